"""The classical losses: DSM, ISM, SSM and FD-SSM, and the derivative products that they take.

Denoising score matching (Vincent 2011), implicit score matching (Hyvärinen 2005), sliced score
matching (Song et al. 2019), finite-difference sliced score matching (Pang et al. 2020).
"""

import math
from typing import Any

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.losses.base import Loss
from lcss_tf.losses.lcss import DIRECTIONS, check_directions, in_one_pass
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import LOSSES
from lcss_tf.typing import ScoreFn, Seed, Tensor

_MOST_DIMENSIONS = 4096  # of the exact trace


@LOSSES.register
class DSMLoss(Loss):
    """J = ½‖S(x_t, t) + z/σ_t‖², x_t = α_t x_0 + σ_t z.

    Its terms: norm = ½‖S‖², trace = S·z/σ_t + ½‖z‖²/σ_t².
    """

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE has no marginal."""
        super().check(sde)
        self._check_kernel(sde)

    def _check_kernel(self, sde: Any) -> None:
        if not sde.has_marginal:
            name = type(sde).__name__
            raise UsageError(
                f"DSMLoss needs a closed-form transition kernel, {name} has none: use LCSSLoss, "
                f"which needs none, or make {name} an AffineSDE by defining marginal(t)."
            )

    def noise_mse_offset(self, sde: Any) -> float | None:
        """0: by default the loss is ε-MSE itself."""
        return 0.0 if self._is_noise_mse(sde) else None

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        # The stream from which every loss draws x_t: the same seed, the same points.
        z = random.normal(random.fold_in(seed, "path"), shape_of(x0))
        return self.terms_for_noise(score_fn, sde, x0, t, z)

    def terms_for_noise(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, z: Tensor
    ) -> dict[str, Tensor]:
        """`terms` for the given noise z, of the shape of x0."""
        self._check_kernel(sde)
        alpha_t, sigma_t = sde.marginal(t)
        sigma_t = like(sigma_t, x0)
        score = score_fn(like(alpha_t, x0) * x0 + sigma_t * z, t)
        # The square as a whole: its parts cancel to many digits where sigma_t is small.
        total = 0.5 * sum_over_data((score + z / sigma_t) ** 2)
        norm = 0.5 * sum_over_data(score**2)
        return {"norm": norm, "trace": total - norm}


@LOSSES.register
class ISMLoss(Loss):
    """J = ½‖S‖² + tr ∇S, the trace by one backward pass for each of the d dimensions.

    What all the others estimate: for small d, and to measure them against. One evaluation for
    the norm, and d evaluations with their backward passes, stacked: memory grows like d.

    Raises (at the first use):
      UsageError: d > 4,096.
    """

    differentiates_score = True

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        x = xla.call(sde.sample_xt, x0, t, random.fold_in(seed, "path"))
        return self.terms_at(score_fn, x, t)

    def terms_at(self, score_fn: ScoreFn, x: Tensor, t: Tensor) -> dict[str, Tensor]:
        """norm and the exact trace at x, each [B]."""
        shape = shape_of(x)
        dimension = math.prod(shape[1:])
        if dimension > _MOST_DIMENSIONS:
            raise UsageError(
                f"ISMLoss takes the exact trace by one backward pass for each dimension, of which "
                f"there are {dimension:,}; it takes at most {_MOST_DIMENSIONS:,}. Use LCSSLoss, "
                "SSMLoss or FDSSMLoss."
            )
        score = score_fn(x, t)
        axes = tf.range(dimension)
        return {"norm": 0.5 * sum_over_data(score**2), "trace": trace(score_fn, x, t, axes)}


class SlicedLoss(Loss):
    """Base of the losses that estimate the trace by slices v with E vvᵀ = I.

    Args:
      variance_reduced: the norm as a whole, not by the slices.
      directions: v "rademacher", "gaussian", or on the "sphere" of radius √d.
      num_directions: slices per example.
      **options: of `Loss`.

    Raises:
      UsageError: an unknown option.
    """

    def __init__(
        self, variance_reduced: bool, directions: str, num_directions: int, **options: Any
    ) -> None:
        super().__init__(**options)
        check_directions(type(self).__name__, directions, num_directions)
        self.variance_reduced = variance_reduced
        self.directions, self.num_directions = directions, num_directions

    def draw(self, sde: Any, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, list[Tensor]]:
        """x_t [B, ...], and the slices, each of its shape."""
        x = xla.call(sde.sample_xt, x0, t, random.fold_in(seed, "path"))
        seeds = random.split(random.fold_in(seed, "direction"), self.num_directions)
        return x, [DIRECTIONS[self.directions](s, shape_of(x)) for s in seeds]

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        x, slices = self.draw(sde, x0, t, seed)
        return self.terms_for_slices(score_fn, x, t, slices)

    def terms_for_slices(
        self, score_fn: ScoreFn, x: Tensor, t: Tensor, slices: list[Tensor], *steps: Tensor
    ) -> dict[str, Tensor]:
        """norm and trace, each [B], at x [B, ...] for a list of slices [B, ...]."""
        raise NotImplementedError(f"{type(self).__name__} must define terms_for_slices(...).")


@LOSSES.register
class SSMLoss(SlicedLoss):
    """J = ½‖S‖² + vᵀ∇(vᵀS), averaged over slices v with E vvᵀ = I.

    Without `variance_reduced` the norm is estimated by the same slices, ½(vᵀS)². Works on
    every SDE: x_t is sampled, and no transition kernel is asked for. One evaluation and one
    backward pass a slice, through which the training differentiates once more.

    Args:
      variance_reduced: the form SSM-VR.
      directions: v "rademacher", "gaussian", or on the "sphere" of radius √d.
      num_directions: slices per example; they share the evaluation.
      **options: of `Loss`.

    Raises:
      UsageError: an unknown option.
    """

    differentiates_score = True

    def __init__(
        self,
        variance_reduced: bool = True,
        directions: str = "rademacher",
        num_directions: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(variance_reduced, directions, num_directions, **options)

    def terms_for_slices(
        self, score_fn: ScoreFn, x: Tensor, t: Tensor, slices: list[Tensor]
    ) -> dict[str, Tensor]:
        """norm and trace, each [B], at x [B, ...] for a list of slices [B, ...]."""
        score, products = score_and_products(score_fn, x, t, slices)
        count = len(slices)
        pairs = zip(slices, products, strict=True)
        trace = tf.add_n([sum_over_data(v * product) for v, product in pairs]) / count
        if self.variance_reduced:
            norm = 0.5 * sum_over_data(score**2)
        else:
            norm = 0.5 * tf.add_n([sum_over_data(v * score) ** 2 for v in slices]) / count
        return {"norm": norm, "trace": trace}


@LOSSES.register
class FDSSMLoss(SlicedLoss):
    """J = ⅛‖S₊ + S₋‖² + (S₊ − S₋)·v/(2h), S± = S(x ± h v), with E vvᵀ = I.

    h = radius · noise_scale(t). In the paper's letters v has length ε: with v on the sphere
    of radius √d, ε = h√d, and the second term is (d/2ε²)(S₊ − S₋)·hv. Without
    `variance_reduced`: ⅛((S₊ + S₋)·v)² + (S₊ − S₋)·v/(2h), the norm by the same slice. (The
    published code of that form squares before it sums over the dimensions and omits 1/ε²;
    both are mended here, and a factor d gives it the scale of J.) Its expectation is that of
    SSM up to O(h²). Works on every SDE, by two evaluations in one pass.

    Args:
      variance_reduced: the norm as a whole, not by the slice.
      radius: h in units of noise_scale(t), positive.
      directions, num_directions: as in `SSMLoss`.
      **options: of `Loss`.

    Raises:
      UsageError: an unknown option, or a number out of its range.
    """

    def __init__(
        self,
        variance_reduced: bool = True,
        radius: float = 0.05,
        directions: str = "sphere",
        num_directions: int = 1,
        **options: Any,
    ) -> None:
        super().__init__(variance_reduced, directions, num_directions, **options)
        if radius <= 0:
            raise UsageError(f"FDSSMLoss expects radius > 0; got {radius}.")
        self.radius = radius

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        x, slices = self.draw(sde, x0, t, seed)
        h = like(self.radius * sde.noise_scale(t), x)
        return self.terms_for_slices(score_fn, x, t, slices, h)

    def terms_for_slices(
        self, score_fn: ScoreFn, x: Tensor, t: Tensor, slices: list[Tensor], h: Tensor
    ) -> dict[str, Tensor]:
        """norm and trace, each [B], at x [B, ...] for a list of slices and steps h."""
        points = [x + sign * h * v for v in slices for sign in (1.0, -1.0)]
        scores = in_one_pass(score_fn, points, t)
        norms, traces = [], []
        for v, plus, minus in zip(slices, scores[::2], scores[1::2], strict=True):
            middle = 0.5 * (plus + minus)
            projected = sum_over_data(middle * v) ** 2
            norms.append(0.5 * (sum_over_data(middle**2) if self.variance_reduced else projected))
            traces.append(sum_over_data((plus - minus) * v / (2.0 * h)))
        count = len(slices)
        return {"norm": tf.add_n(norms) / count, "trace": tf.add_n(traces) / count}


# Derivatives of a field with respect to x, by automatic differentiation ---------------------


def score_and_products(
    score_fn: ScoreFn, x: Tensor, t: Tensor, vectors: list[Tensor]
) -> tuple[Tensor, list[Tensor]]:
    """S(x, t), and vᵀ ∇S for each of the vectors v, by one backward pass each.

    Args:
      x: [B, ...].
      t: [B].
      vectors: a list of [B, ...].

    Returns:
      The score [B, ...] and a list of the products, each [B, ...].
    """
    with tf.GradientTape(persistent=True, watch_accessed_variables=False) as tape:
        tape.watch(x)
        score = score_fn(x, t)
    return score, [tape.gradient(score, x, output_gradients=v) for v in vectors]


def trace(score_fn: ScoreFn, x: Tensor, t: Tensor, axes: Tensor) -> Tensor:
    """Σ_i ∂S_i/∂x_i [B] over the given axes, int [count], of the flattened data.

    All axes go through in one stacked batch. Neither tf.vectorized_map, which makes XLA
    compile anew for every batch of random numbers, nor a loop over (parts of) the axes, whose
    second derivative XLA refuses where a layer's gradient sums over broadcast axes.
    """
    shape, count = shape_of(x), axes.shape[0]
    dimension = math.prod(shape[1:])
    basis = tf.reshape(tf.one_hot(axes, dimension), (count, 1, *shape[1:]))
    basis = tf.reshape(basis * tf.ones_like(x)[None], (-1, *shape[1:]))
    stacked = tf.tile(x, [count] + [1] * (len(shape) - 1))
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(stacked)
        score = score_fn(stacked, tf.tile(t, [count]))
    product = tape.gradient(
        score,
        stacked,
        output_gradients=basis,
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return tf.reduce_sum(tf.reshape(sum_over_data(product * basis), (count, -1)), axis=0)


__all__ = ["DSMLoss", "FDSSMLoss", "ISMLoss", "SSMLoss", "score_and_products", "trace"]
