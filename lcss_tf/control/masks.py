"""Masks: which coordinates of an example are known."""

import os
from pathlib import Path

import numpy as np

from lcss_tf.archives import mapped
from lcss_tf.data.decoding import ImageHeader, read_picture
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Shape

_HIDDEN_SHARE = 0.5  # of the places, by "random"


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


__all__ = ["MASKS", "make_mask"]
