"""Inverse problems y = H(x) + noise: what their operators are, and operators given by functions.

The operators that come with the library are in `lcss_tf.control.degradations`.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.solvers import solve
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, sum_over_data
from lcss_tf.typing import Array, Shape, Tensor

_PROBES = 8  # random pairs by which an adjoint is checked
_TOLERANCE = 0.01  # of the check, in units of ⟨A x, y⟩ for random x and y
_POWER_STEPS = 50  # of the power iteration


class InverseProblem(NamedTuple):
    """y = H(x) + noise; H(x) = A x of a linear operator.

    operator: H, e.g. a `LinearOperator`.
    y: observations [B, ...], scaled like the data; None to check a combination without them.
    noise_std: standard deviation of the noise in y, in the units of the scaled data.
    """

    operator: Any
    y: Tensor | None
    noise_std: float = 0.0


class Operator:
    """Base of the operators. Examples x have shape [B, *shape], observations y
    [B, *observed_shape(shape)].

    Attributes:
      is_linear: whether H(x) = A x.
      selects: whether A selects coordinates: some are observed as they are, the others not at all.
      keeps_units: whether an observation is in the units of the data: whether a constant is
        observed as the same constant. If not, y is given as H makes it of the normalised data.
    """

    is_linear: bool = False
    selects: bool = False
    keeps_units: bool = True

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        """The shape of one observation of an example of `shape`.

        Raises:
          UsageError: the operator does not act on such examples.
        """
        raise NotImplementedError(f"{type(self).__name__} must define observed_shape(shape).")

    def apply(self, x: Tensor) -> Tensor:
        """H(x)."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(x).")

    def check(self, y: Tensor, shape: Shape) -> None:
        """Raises UsageError unless y [B, ...] are observations of examples of `shape`."""
        expected = tuple(self.observed_shape(shape))
        if tuple(y.shape[1:]) != expected:
            raise UsageError(
                f"{type(self).__name__} makes observations of shape {expected} of examples of "
                f"shape {tuple(shape)}; got {tuple(y.shape[1:])}."
            )

    def observable(self, y: Tensor) -> Tensor:
        """y, with 0 in the places that no observation ever fills."""
        return y

    def shown(self, y: Tensor, shape: Shape) -> Tensor | None:
        """y as an example of `shape`, for display; None where it is none."""
        return y if tuple(y.shape[1:]) == tuple(shape) else None

    def known(self, shape: Shape) -> Array | None:
        """Which coordinates are observed, bool of `shape`; None unless the operator `selects`."""
        del shape
        return None


class NonlinearOperator(Operator):
    """Base of the nonlinear operators: y = H(x) + noise, H differentiable.

    A subclass defines `observed_shape` and `apply`, in TensorFlow operations. Methods that need the
    gradient of ‖y − H(x)‖² alone take it: `DPS`.
    """


class LinearOperator(Operator):
    """Base of the linear operators: y = A x + noise.

    A subclass defines `observed_shape`, `apply` and `transpose`; and `gain`, where the rows of A
    are orthogonal and of one length. Then A⁺ has a closed form. Elsewhere conjugate gradients find
    it, unless the subclass defines `wiener`.

    Attributes:
      iterations: of conjugate gradients, at most.
      tolerance: of conjugate gradients, of what is left over what was there.
    """

    is_linear = True
    iterations: int = 100
    tolerance: float = 1e-5

    def gain(self, shape: Shape) -> float | None:
        """γ, where A Aᵀ y = γ y for every y = A x; None where there is no such γ."""
        del shape
        return None

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        """Aᵀ y, of shape [B, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} must define transpose(y, shape).")

    def pseudo_inverse(self, y: Tensor, shape: Shape) -> Tensor:
        """A⁺ y: the smallest x with A x = y. Aᵀ y/γ, or by conjugate gradients."""
        gain = self.gain(shape)
        if gain is not None:
            return self.transpose(y, shape) / gain
        return self.wiener(y, shape, 1.0, 0.0)

    def wiener(
        self, y: Tensor, shape: Shape, variance: float | Tensor, noise_variance: float
    ) -> Tensor:
        """v Aᵀ (v A Aᵀ + σ² I)⁻¹ y, the mean of x given y = A x + N(0, σ² I) and x ~ N(0, v I).

        Wiener's filter; for σ = 0 it is A⁺ y.

        Args:
          y: [B, ...].
          shape: of one example.
          variance: v, a number or [B].
          noise_variance: σ².
        """
        gain = self.gain(shape)
        if gain is not None:
            x = self.pseudo_inverse(y, shape)
            if noise_variance > 0:
                variance = like(variance, x)
                x *= variance / (variance + noise_variance / gain)
            return x
        variance = tf.convert_to_tensor(variance if noise_variance > 0 else 1.0)

        def matrix(u: Tensor) -> Tensor:
            image = self.apply(self.transpose(u, shape))
            return like(variance, u) * image + noise_variance * u

        found = self.transpose(solve(matrix, y, self.iterations, self.tolerance), shape)
        return like(variance, found) * found

    def largest_gain(self, shape: Shape) -> float:
        """The largest eigenvalue of A Aᵀ: γ, or by the power iteration, once for every shape."""
        gain = self.gain(shape)
        return gain if gain is not None else _once(self, "gain", shape, self._power_iteration)

    def _power_iteration(self, shape: tuple[int, ...]) -> float:
        x, square = random.normal(0, (1, *shape)), tf.ones([])
        for _ in range(_POWER_STEPS):
            x = self.transpose(self.apply(x / tf.norm(x)), shape)
            square = tf.norm(x)
        return float(square)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A⁺ (y − A x): the nearest to x of all examples that are observed as y."""
        return x + self.pseudo_inverse(y - self.apply(x), x.shape[1:])

    def shown(self, y: Tensor, shape: Shape) -> Tensor | None:
        alike = tuple(y.shape[1:]) == tuple(shape) and self.keeps_units
        return y if alike else self.pseudo_inverse(y, shape)


class Linear(LinearOperator):
    """A linear operator given by functions.

    ::

        blur = lcss.control.Linear(lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME"), keeps_units=True)
        model.posterior(y, blur, noise_std=0.05).sample(4)

    At its first use it is checked at random x and y: ⟨A x, y⟩ = ⟨x, Aᵀ y⟩ (the dot-product test)
    and A(x + 2 x') = A x + 2 A x'.

    Args:
      apply: x [B, *shape] -> A x [B, ...], in TensorFlow operations.
      adjoint: y -> Aᵀ y, of the shape of x; None: derived from `apply` by automatic
        differentiation, which is exact.
      observed_shape: of one observation; None: found by applying A once.
      keeps_units: see `Operator`. False: y is given as A makes it of the normalised data.
      iterations: of conjugate gradients, which find A⁺.

    Raises:
      UsageError: at its first use: the functions are no linear operator and its adjoint, or make
        other shapes.
    """

    def __init__(
        self,
        apply: Callable[[Tensor], Tensor],
        adjoint: Callable[[Tensor], Tensor] | None = None,
        observed_shape: Shape | None = None,
        keeps_units: bool = False,
        iterations: int = 100,
    ) -> None:
        if iterations < 1:
            raise UsageError(f"Linear.iterations must be at least 1; got {iterations}.")
        self._apply, self._adjoint = apply, adjoint
        self._observed_shape = None if observed_shape is None else tuple(observed_shape)
        self.keeps_units = keeps_units
        self.iterations = iterations

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        return _once(self, "shape", shape, self._checked_shape)

    def apply(self, x: Tensor) -> Tensor:
        return tf.convert_to_tensor(self._apply(x))

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        if self._adjoint is not None:
            return tf.convert_to_tensor(self._adjoint(y))
        x = tf.zeros((y.shape[0], *shape))
        with tf.GradientTape() as tape:
            tape.watch(x)
            image = self._apply(x)
        return tape.gradient(image, x, output_gradients=y)

    def _checked_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        x, other = (random.normal(seed, (_PROBES, *shape)) for seed in (1, 2))
        image, of_other = self._of(x), self._of(other)
        observed = tuple(image.shape[1:])
        if self._observed_shape not in (None, observed):
            raise UsageError(
                f"The operator's observed_shape is {self._observed_shape}, and `apply` made "
                f"{observed} of examples of shape {shape}. Correct it, or leave it out."
            )
        both, parts = self._of(x + 2 * other), image + 2 * of_other
        if _norm(both - parts) > _TOLERANCE * _norm(parts):
            raise UsageError(
                "The function `apply` is not linear: A(x + 2 x') differs from A x + 2 A x' by "
                f"{_norm(both - parts) / _norm(parts):.2g} of it. Take off what it adds, or give "
                "it as a NonlinearOperator and use DPS."
            )
        y = random.normal(3, image.shape)
        back = self.transpose(y, shape)
        if back is None or tuple(back.shape) != tuple(x.shape):
            found = None if back is None else tuple(back.shape[1:])
            raise UsageError(
                f"The adjoint of observations of shape {observed} has the shape {found}; expected "
                f"{shape}, that of the examples. Correct it, or leave it out: it is then derived "
                "from `apply`, if that is made of TensorFlow operations."
            )
        left, right = sum_over_data(image * y).numpy(), sum_over_data(x * back).numpy()
        usual = _norm(image) * _norm(y) / (np.sqrt(_PROBES * np.prod(observed)) * np.sqrt(_PROBES))
        if np.abs(left - right).max() > _TOLERANCE * max(usual, 1e-30):
            worst = int(np.abs(left - right).argmax())
            raise UsageError(
                "The adjoint fails the dot-product test: of random x and y, <A x, y> = "
                f"{left[worst]:.4g} and <x, A'y> = {right[worst]:.4g}. Correct it, or leave "
                "adjoint out: it is then derived from `apply`."
            )
        if self.keeps_units and _norm(self._of(tf.ones_like(x)) - 1) > _TOLERANCE * _norm(image):
            raise UsageError(
                "With keeps_units = True a constant is observed as the same constant, and `apply` "
                "makes others of ones. Leave keeps_units out, and give y as A makes it of the "
                "normalised data."
            )
        return observed

    def _of(self, x: Tensor) -> Tensor:
        try:
            image = tf.convert_to_tensor(self._apply(x))
        except (ValueError, TypeError, tf.errors.OpError) as error:
            raise UsageError(
                f"The operator does not act on examples of shape {tuple(x.shape[1:])}: "
                f"{str(error).splitlines()[0][:200]}"
            ) from error
        if image.shape[:1] != x.shape[:1]:
            raise UsageError(
                f"The function `apply` made the shape {tuple(image.shape)} of {tuple(x.shape)}; "
                "expected one observation for each example, [B, ...]."
            )
        return image


class Nonlinear(NonlinearOperator):
    """A nonlinear operator given by a function.

    Args:
      apply: x [B, *shape] -> H(x) [B, ...], in TensorFlow operations with a gradient.
      keeps_units: see `Operator`.

    Raises:
      UsageError: at its first use: no gradient leads through the function.
    """

    def __init__(self, apply: Callable[[Tensor], Tensor], keeps_units: bool = False) -> None:
        self._apply = apply
        self.keeps_units = keeps_units

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        return _once(self, "shape", shape, self._checked_shape)

    def apply(self, x: Tensor) -> Tensor:
        return tf.convert_to_tensor(self._apply(x))

    def _checked_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        x = random.normal(1, (2, *shape))
        with tf.GradientTape() as tape:
            tape.watch(x)
            image = self.apply(x)
        if tape.gradient(image, x) is None:
            raise UsageError(
                "No gradient leads through the function `apply`, and DPS needs it. Write it in "
                "TensorFlow operations; rounding and comparing have none."
            )
        return tuple(image.shape[1:])


def _norm(x: Tensor) -> float:
    return float(tf.norm(x))


def _once(owner: Any, name: str, shape: Shape, measure: Callable[[tuple[int, ...]], Any]) -> Any:
    """What `measure` returns for a shape, once."""
    known = vars(owner).setdefault("_measured", {})
    key = name, tuple(int(size) for size in shape)
    if key not in known:
        known[key] = eagerly(measure, key[1])
    return known[key]


def eagerly(function: Callable[..., Any], *args: Any) -> Any:
    """function(*args), outside of every graph that is being traced: in a thread of its own."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(function, *args).result()


__all__ = [
    "InverseProblem",
    "Linear",
    "LinearOperator",
    "Nonlinear",
    "NonlinearOperator",
    "Operator",
    "eagerly",
]
