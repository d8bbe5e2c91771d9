"""Masks: which coordinates of an example are known."""

from pathlib import Path

import numpy as np
from PIL import Image

from lcss_tf.errors import UsageError

_SHARE = 0.5  # of the positions that "random" hides


def half(places):
    """Hides the second half of the last axis: of an image, its right half."""
    mask = np.ones(places, bool)
    mask[..., places[-1] // 2 :] = False
    return mask


def box(places):
    """Hides a box in the middle, half as long as each axis."""
    mask = np.ones(places, bool)
    mask[tuple(slice(n // 4, n // 4 + max(n // 2, 1)) for n in places)] = False
    return mask


def random(places):
    """Hides half of the positions, the same ones every time."""
    count = int(np.prod(places))
    order = np.random.default_rng(0).permutation(count)
    mask = np.ones(count, bool)
    mask[order[: int(round(_SHARE * count))]] = False
    return mask.reshape(places)


KINDS = {"half": half, "box": box, "random": random}


def make(mask, shape):
    """The mask for examples of `shape`: bool of that shape, True where a coordinate is known.

    Args:
      mask: a name in `KINDS`; the path of an image (white: known, black: hidden) or .npy file; or
        an array of zeros and ones. One with a single channel, or none, holds for all channels.
      shape: of one example.

    Raises:
      FileNotFoundError: neither a name nor a file.
      ValueError: the shape does not fit, the mask is not binary, or hides nothing or everything.
    """
    places = tuple(shape[:-1]) if len(shape) > 1 else tuple(shape)
    if hasattr(mask, "lower") or hasattr(mask, "__fspath__"):
        name = str(mask)
        values = KINDS[name](places) if name in KINDS else _read(name)
    else:
        name, values = "the mask given", np.asarray(mask)
    return _checked(values, name, tuple(shape))


def _read(path):
    if not Path(path).is_file():
        raise FileNotFoundError(
            f"No mask {path}: give the path of a file, or one of {', '.join(sorted(KINDS))}."
        )
    if Path(path).suffix == ".npy":
        return np.load(path, allow_pickle=False)
    levels = np.asarray(Image.open(path).convert("L"))
    grey = np.setdiff1d(levels, [0, 255])
    if grey.size:
        raise UsageError(
            f"The mask {path} is not binary: it has the grey level {grey[0]}. White (255) is "
            "known, black (0) hidden."
        )
    return levels > 0


def _checked(values, name, shape):
    if values.ndim == len(shape) - 1 and values.shape == shape[:-1]:
        values = values[..., None]
    fits = values.ndim == len(shape) and all(
        n in (1, m) if i == len(shape) - 1 and i else n == m
        for i, (n, m) in enumerate(zip(values.shape, shape, strict=True))
    )
    if not fits:
        raise UsageError(
            f"{name} has the shape {values.shape}; examples have {shape}. A mask has the same "
            "shape, with all channels or one."
        )
    if not np.isin(values, (0, 1)).all():
        odd = values[~np.isin(values, (0, 1))].flat[0]
        raise UsageError(f"{name} is not binary: it has the value {odd}. 1 is known, 0 hidden.")
    values = np.broadcast_to(values.astype(bool), shape)
    if values.all() or not values.any():
        what = "nothing: there is nothing to fill" if values.all() else "everything: use no task"
        raise UsageError(f"{name} hides {what}.")
    return values
