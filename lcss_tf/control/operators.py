"""Inverse problems y = A x + noise, their linear operators A, and masks."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.archives import mapped
from lcss_tf.data.decoding import ImageHeader, read_picture
from lcss_tf.errors import UsageError
from lcss_tf.registry import OPERATORS
from lcss_tf.typing import Array, OperatorLike, Shape, Tensor

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, by which image programs make greyscale
_HIDDEN_SHARE = 0.5  # of the places, by "random"


class InverseProblem(NamedTuple):
    """y = A x + noise.

    operator: A, e.g. a `LinearOperator`.
    y: observations [B, ...], scaled like the data; None to check a combination without them.
    noise_std: standard deviation of the noise in y, in the units of the scaled data.
    """

    operator: OperatorLike
    y: Tensor | None
    noise_std: float = 0.0


class LinearOperator:
    """Base of the operators: those with orthogonal rows of one length, A Aᵀ = γ I.

    A subclass defines `observed_shape`, `gain`, `apply` and `transpose`. Examples x have shape
    [B, *shape], observations y [B, *observed_shape(shape)].

    Attributes:
      selects: whether A selects coordinates: some are observed as they are, the others not at all.
    """

    selects: bool = False

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        """The shape of one observation of an example of `shape`.

        Raises:
          UsageError: the operator does not act on such examples.
        """
        raise NotImplementedError(f"{type(self).__name__} must define observed_shape(shape).")

    def gain(self, shape: Shape) -> float:
        """γ, where A Aᵀ y = γ y for every y = A x."""
        raise NotImplementedError(f"{type(self).__name__} must define gain(shape).")

    def apply(self, x: Tensor) -> Tensor:
        """A x."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(x).")

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        """Aᵀ y, of shape [B, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} must define transpose(y, shape).")

    def pseudo_inverse(self, y: Tensor, shape: Shape) -> Tensor:
        """A⁺ y = Aᵀ y/γ: the smallest x with A x = y."""
        return self.transpose(y, shape) / self.gain(shape)

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A⁺ (y − A x): the nearest to x of all examples that are observed as y."""
        return x + self.pseudo_inverse(y - self.apply(x), x.shape[1:])

    def check(self, y: Tensor, shape: Shape) -> None:
        """Raises UsageError unless y [B, ...] are observations of examples of `shape`."""
        expected = tuple(self.observed_shape(shape))
        if tuple(y.shape[1:]) != expected:
            raise UsageError(
                f"{type(self).__name__} makes observations of shape {expected} of examples of "
                f"shape {tuple(shape)}; got {tuple(y.shape[1:])}."
            )

    def shown(self, y: Tensor, shape: Shape) -> Tensor:
        """y as an example of `shape`, for display."""
        return self.pseudo_inverse(y, shape)

    def known(self, shape: Shape) -> Array | None:
        """Which coordinates are observed, bool of `shape`; None unless the operator `selects`."""
        del shape
        return None


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

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        # Bit for bit, which x + (y − x) is not.
        return tf.where(self.known(x.shape[1:]), y, x)

    def shown(self, y: Tensor, shape: Shape) -> Tensor:
        return y


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


# Masks: which coordinates of an example are known.


def _half(places: Shape) -> Array:
    """Hides the second half of the last axis: of an image, its right half."""
    mask = np.ones(places, bool)
    mask[..., places[-1] // 2 :] = False
    return mask


def _box(places: Shape) -> Array:
    """Hides a box in the middle, half as long as each axis."""
    mask = np.ones(places, bool)
    mask[tuple(slice(n // 4, n // 4 + max(n // 2, 1)) for n in places)] = False
    return mask


def _random(places: Shape) -> Array:
    """Hides half of the places, the same ones every time."""
    count = int(np.prod(places))
    order = np.random.default_rng(0).permutation(count)
    mask = np.ones(count, bool)
    mask[order[: int(round(_HIDDEN_SHARE * count))]] = False
    return mask.reshape(places)


MASKS = {"half": _half, "box": _box, "random": _random}


def make_mask(mask: str | os.PathLike | Array, shape: Shape) -> Array:
    """The mask for examples of `shape`: bool of that shape, True where a coordinate is known.

    Args:
      mask: a name in `MASKS`; the path of an image (white: known, black: hidden) or .npy file; or
        an array of zeros and ones. One channel, or no channel axis, holds for all channels.
      shape: of one example.

    Raises:
      FileNotFoundError: neither a name nor a file.
      UsageError: the shape does not fit, the mask is not binary, or hides nothing or everything.
    """
    places = tuple(shape[:-1]) if len(shape) > 1 else tuple(shape)
    if isinstance(mask, (str, os.PathLike)):
        name = str(mask)
        values = MASKS[name](places) if name in MASKS else _read(name, tuple(shape))
    else:
        name, values = "the mask given", np.asarray(mask)
    return _checked(values, name, tuple(shape))


def _read(path: str, shape: tuple[int, ...]) -> Array:
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"No mask {path}: give the path of a file, or one of {', '.join(sorted(MASKS))}."
        )
    if Path(path).suffix == ".npy":
        return mapped(path)  # its shape is compared before its numbers are read

    def grey(header: ImageHeader) -> int:
        if header.size[::-1] != shape[:2]:  # before it is decoded
            raise _other_shape(path, header.size[::-1], shape)
        return 1

    levels = read_picture(path, grey)[..., 0]
    others = np.setdiff1d(levels, [0, 255])
    if others.size:
        raise UsageError(
            f"The mask {path} is not binary: it has the grey level {others[0]}. White (255) is "
            "known, black (0) hidden."
        )
    return levels > 0


def _other_shape(name: str, found: tuple[int, ...], shape: tuple[int, ...]) -> UsageError:
    return UsageError(
        f"{name} has the shape {found}; examples have {shape}. A mask has the same shape, with all "
        "channels or one."
    )


def _checked(values: Array, name: str, shape: tuple[int, ...]) -> Array:
    if values.ndim == len(shape) - 1 and values.shape == shape[:-1]:
        values = values[..., None]
    fits = values.ndim == len(shape) and all(
        n in (1, m) if i == len(shape) - 1 and i else n == m
        for i, (n, m) in enumerate(zip(values.shape, shape, strict=True))
    )
    if not fits:
        raise _other_shape(name, values.shape, shape)
    if not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))].flat[0]
        raise UsageError(f"{name} is not binary: it has the value {odd}. 1 is known, 0 hidden.")
    values = np.broadcast_to(values.astype(bool), shape)
    if values.all() or not values.any():
        what = (
            "nothing: nothing is to be filled in" if values.all() else "everything: sample freely"
        )
        raise UsageError(f"{name} hides {what}.")
    return values


__all__ = [
    "MASKS",
    "AveragePooling",
    "Greyscale",
    "InverseProblem",
    "LinearOperator",
    "Mask",
    "make_mask",
]
