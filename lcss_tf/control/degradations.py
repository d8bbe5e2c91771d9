"""The operators that come with the library: what is observed of an example."""

import os
from collections.abc import Callable, Sequence

import numpy as np
import tensorflow as tf

from lcss_tf.control.masks import make_mask
from lcss_tf.control.operators import LinearOperator, NonlinearOperator
from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.registry import OPERATORS
from lcss_tf.typing import Array, Shape, Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, by which image programs make greyscale
_REACH = 4.0  # of a blur's kernel, in standard deviations
_SMALLEST = 1e-3  # singular value of a blur that A⁺ inverts: float32 knows nothing of smaller ones


@OPERATORS.register
class Identity(LinearOperator):
    """A x = x: an example with noise, or one to be edited (`SDEdit`)."""

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        return tuple(shape)

    def gain(self, shape: Shape) -> float:
        return 1.0

    def apply(self, x: Tensor) -> Tensor:
        return tf.identity(x)

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        return tf.identity(y)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        return tf.identity(y)  # bit for bit


@OPERATORS.register
class Mask(LinearOperator):
    """Inpainting: A x = m·x, m = 1 where x is known; y is 0 where it is hidden.

    Args:
      mask: "half", "box", "random", the path of a file, or an array: see `make_mask`.
    """

    selects = True

    def __init__(self, mask: str | os.PathLike | Array = "half") -> None:
        self.mask = mask
        self._made: dict[tuple[int, ...], Array] = {}

    def known(self, shape: Shape) -> Array:
        shape = tuple(shape)
        if shape not in self._made:
            self._made[shape] = make_mask(self.mask, shape)
        return self._made[shape]

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        return self.known(shape).shape

    def gain(self, shape: Shape) -> float:
        return 1.0

    def apply(self, x: Tensor) -> Tensor:
        return tf.where(self.known(x.shape[1:]), x, tf.zeros_like(x))

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        return self.apply(y)

    def observable(self, y: Tensor) -> Tensor:
        return self.apply(y)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        # Bit for bit, which x + (y − x) is not.
        return tf.where(self.known(x.shape[1:]), y, x)


@OPERATORS.register
class Greyscale(LinearOperator):
    """Colourisation: A x = w·x over the three channels.

    Args:
      weights: w; by default luma, as image programs make greyscale.

    Raises:
      UsageError: not three weights, or none but zeros.
    """

    def __init__(self, weights: Sequence[float] = _LUMA) -> None:
        self.weights = np.array(weights, np.float32)
        if self.weights.shape != (3,) or not self.weights.any():
            raise UsageError(f"Greyscale.weights are three numbers, not all 0; got {weights}.")

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        if len(shape) < 2 or shape[-1] != 3:
            raise UsageError(
                f"Greyscale observes images of three channels; these examples have the shape "
                f"{tuple(shape)}. Colourise with a run on colour images."
            )
        return (*shape[:-1], 1)

    def gain(self, shape: Shape) -> float:
        return float(np.sum(self.weights**2))

    def apply(self, x: Tensor) -> Tensor:
        return tf.reduce_sum(x * self.weights, axis=-1, keepdims=True)

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        return y * self.weights

    def shown(self, y: Tensor, shape: Shape) -> Tensor:
        return tf.repeat(y, 3, axis=-1)


@OPERATORS.register
class AveragePooling(LinearOperator):
    """Super-resolution: A x are the means of blocks, `factor` long along every spatial axis.

    Args:
      factor: side of a block in pixels, at least 2.

    Raises:
      UsageError: a factor below 2.
    """

    def __init__(self, factor: int = 2) -> None:
        if factor < 2 or factor != int(factor):
            raise UsageError(
                f"AveragePooling.factor must be a whole number of at least 2; got {factor}."
            )
        self.factor = int(factor)

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        places = tuple(shape[:-1])
        if not places or any(n % self.factor for n in places):
            raise UsageError(
                f"AveragePooling averages blocks of {self.factor} pixels along every axis but the "
                f"channels; examples of shape {tuple(shape)} do not divide into such. Choose a "
                f"factor that divides {' and '.join(map(str, places)) or 'the sizes of an image'}."
            )
        return (*(n // self.factor for n in places), shape[-1])

    def gain(self, shape: Shape) -> float:
        return 1.0 / self.factor ** (len(shape) - 1)

    def apply(self, x: Tensor) -> Tensor:
        small = self.observed_shape(x.shape[1:])
        split = [part for n in small[:-1] for part in (n, self.factor)]
        blocks = tf.reshape(x, [-1, *split, small[-1]])
        return tf.reduce_mean(blocks, axis=list(range(2, 2 * len(small), 2)))

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        return self.pseudo_inverse(y, shape) * self.gain(shape)

    def pseudo_inverse(self, y: Tensor, shape: Shape) -> Tensor:
        for axis in range(1, len(shape)):
            y = tf.repeat(y, self.factor, axis=axis)
        return y


@OPERATORS.register
class GaussianBlur(LinearOperator):
    """Deblurring: A x is x under a Gaussian kernel along every axis but the channels.

    The kernel is sampled at the pixels and ends at 4 standard deviations; beyond its edge an image
    is reflected, with the edge repeated. Along an axis of n pixels the discrete cosines (DCT-II)
    are then A's eigenvectors, with the eigenvalues λ_k = Σ_j g_j cos(π j k/n). So Aᵀ = A, and A⁺
    and Wiener's filter are exact. A⁺ leaves singular values below 1e-3 out, which float32 cannot
    invert: give noise_std > 0 for a picture from elsewhere.

    Args:
      std: of the kernel, in pixels.

    Raises:
      UsageError: std <= 0.
    """

    def __init__(self, std: float = 1.0) -> None:
        if not (std > 0 and np.isfinite(std)):
            raise UsageError(f"GaussianBlur.std must be > 0, in pixels; got {std}.")
        self.std = float(std)

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        if len(shape) < 2:
            raise UsageError(
                "GaussianBlur blurs along every axis but the channels; examples of shape "
                f"{tuple(shape)} have no other. Use a Linear operator of your own."
            )
        return tuple(shape)

    def apply(self, x: Tensor) -> Tensor:
        return self._along_cosines(x, x.shape[1:], lambda values: values)

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        return self.apply(y)

    def wiener(
        self, y: Tensor, shape: Shape, variance: float | Tensor, noise_variance: float
    ) -> Tensor:
        if noise_variance == 0:
            invert = lambda values: tf.where(
                tf.abs(values) > _SMALLEST, 1.0 / values, tf.zeros_like(values)
            )
        else:
            variance = like(tf.convert_to_tensor(variance), y)
            invert = lambda values: variance * values / (variance * values**2 + noise_variance)
        return self._along_cosines(y, shape, invert)

    def _along_cosines(
        self, x: Tensor, shape: Shape, function: Callable[[Tensor], Tensor]
    ) -> Tensor:
        """U f(Λ) Uᵀ x, where A = U Λ Uᵀ."""
        values = np.ones((1,) * len(shape), np.float64)
        for axis, size in enumerate(shape[:-1]):
            own = self._eigenvalues(int(size))
            values = values * own.reshape([-1 if i == axis else 1 for i in range(len(shape))])
            x = _along(_cosines(int(size)).T, x, axis + 1)
        x = x * function(tf.constant(values, tf.float32))
        for axis, size in enumerate(shape[:-1]):
            x = _along(_cosines(int(size)), x, axis + 1)
        return x

    def _eigenvalues(self, size: int) -> Array:
        reach = max(int(_REACH * self.std + 0.5), 1)
        places = np.arange(-reach, reach + 1)
        kernel = np.exp(-0.5 * (places / self.std) ** 2)
        frequencies = np.pi * np.arange(size) / size
        return np.cos(frequencies[:, None] * places) @ (kernel / kernel.sum())


@OPERATORS.register
class Clipping(NonlinearOperator):
    """Over- and underexposure: H(x) = min(max(x, low), high). Not linear: `DPS` undoes it.

    Args:
      low, high: in the units of the scaled data, [−1, 1] for most images.

    Raises:
      UsageError: unless low < high.
    """

    def __init__(self, low: float = -0.5, high: float = 0.5) -> None:
        if not low < high:
            raise UsageError(f"Clipping expects low < high; got {low} and {high}.")
        self.low, self.high = low, high

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        return tuple(shape)

    def apply(self, x: Tensor) -> Tensor:
        return tf.clip_by_value(x, self.low, self.high)


def _cosines(size: int) -> Array:
    """The orthonormal DCT-II vectors as columns, float32 [size, size]."""
    places, orders = np.arange(size)[:, None] + 0.5, np.arange(size)
    vectors = np.sqrt(2.0 / size) * np.cos(np.pi * places * orders / size)
    vectors[:, 0] /= np.sqrt(2.0)
    return vectors.astype(np.float32)


def _along(matrix: Array, x: Tensor, axis: int) -> Tensor:
    """The matrix times x [B, ...] along an axis."""
    moved = tf.tensordot(x, tf.constant(matrix), [[axis], [1]])
    last = len(x.shape) - 1
    return tf.transpose(moved, [*range(axis), last, *range(axis, last)])


__all__ = ["AveragePooling", "Clipping", "GaussianBlur", "Greyscale", "Identity", "Mask"]
