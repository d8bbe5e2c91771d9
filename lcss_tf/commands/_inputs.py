"""What a task is given: held-out examples of the run's data, or a user's files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lcss_tf import random
from lcss_tf.data.base import DataInfo
from lcss_tf.data.decoding import BadImageError, read_header, read_image
from lcss_tf.data.numpy_files import is_archive, member_names, read_member, read_numpy
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array

_HELD_OUT = "test"
_COUNT = 8  # held-out examples, unless a number is asked for
_LABELS = ("labels", "label", "classes", "y")  # names of arrays that hold no examples
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


class Inputs(NamedTuple):
    """truth: examples [N, ...], or None where only observations are known. observed: y [N, ...].
    Both normalised, float32."""

    truth: Array | None
    observed: Array


def read_inputs(
    names: Sequence[str],
    info: DataInfo,
    data: Callable[[], Any],
    operator: Any,
    noise_std: float,
    seed: int,
) -> Inputs:
    """The `Inputs` that `names` describe; noise is added to examples.

    Args:
      names: "test" or "test:16", held-out examples spread over the split; or paths of image,
        .npy and .npz files, which hold examples in the data's own units, or observations of them
        (a small image for super-resolution, a grey one to be given colours).
      info: the `DataInfo` of the run.
      data: () -> the run's `Dataset`; called for "test" only.
      operator: A of the inverse problem.
      noise_std: of the noise, in normalised units.
      seed: of the noise.

    Raises:
      FileNotFoundError: no such file.
      UsageError: other shapes, or examples and observations mixed.
    """
    shape = tuple(info.shape)
    values = _all(names, info, data, tuple(operator.observed_shape(shape)))
    if values.shape[1:] != shape:
        return Inputs(None, values)
    observed = operator.apply(values).numpy()
    if noise_std > 0:
        noise_seed = random.seed_for(seed, "observation")
        noise = noise_std * random.normal(noise_seed, observed.shape)
        observed = operator.apply(operator.pseudo_inverse(observed + noise, shape)).numpy()
    return Inputs(values, observed)


def read_examples(names: Sequence[str], info: DataInfo, data: Callable[[], Any]) -> Array:
    """The normalised examples [N, ...] that `names` describe; see `read_inputs`."""
    return _all(names, info, data, tuple(info.shape))


def held_out(name: str, data: Any) -> Array:
    """The held-out examples that "test" or "test:16" asks for, normalised, float32 [N, ...]."""
    text = name.partition(":")[2]
    if (text and not text.isdigit()) or text == "0":
        raise UsageError(f"Ask for held-out examples as 'test' or 'test:16'; got {name!r}.")
    data.require("test")
    return np.asarray(data.some_examples(int(text or _COUNT), "test"))


def _all(names: Sequence[str], info: DataInfo, data: Callable, small: tuple[int, ...]) -> Array:
    if not names:
        raise UsageError("The task needs --input: files, or 'test' for held-out examples.")
    parts = [_read(name, info, data, small) for name in names]
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise UsageError(f"The inputs have the shapes {shapes}; give those of one at a time.")
    return np.concatenate(parts)


def _read(name: str, info: DataInfo, data: Callable, small: tuple[int, ...]) -> Array:
    shape = tuple(info.shape)
    if name.partition(":")[0] == _HELD_OUT and not Path(name).exists():
        return held_out(name, data())
    if not Path(name).is_file():
        raise FileNotFoundError(f"No input {name}: give a file, or 'test' for held-out examples.")
    suffix = Path(name).suffix
    stored = read_array(name) if suffix in (".npz", ".npy") else _image(name, shape, small)
    stored = stored[None] if stored.shape in (shape, small) else stored
    if stored.shape[1:] not in (shape, small):
        also = f", or {small} as it is observed" if small != shape else ""
        raise UsageError(
            f"{name} has the shape {stored.shape}; one example of {info.name} has the shape "
            f"{shape}{also}. Crop or resize it first."
        )
    if info.scaling.stored_dtype == "uint8" and stored.dtype != np.uint8:
        raise UsageError(f"{name} holds {stored.dtype}; images are uint8, from 0 to 255.")
    if not np.isfinite(stored).all():
        raise UsageError(f"{name} holds values that are not finite.")
    return info.scaling.scale_finite(stored, f"The examples of {name}")


def read_array(name: str) -> Array:
    """The examples in a .npy or .npz file, whoever wrote it.

    Of an archive it is the array ``samples``, the only one beside labels, or NumPy's unnamed first,
    ``arr_0``.

    Raises:
      UsageError: no array of numbers, or several that could be meant.
    """
    if not is_archive(name):
        return read_numpy(name).array
    names = list(member_names(name))
    others = [other for other in names if other not in _LABELS]
    chosen = [n for n in ("samples", *(others if len(others) == 1 else ()), "arr_0") if n in names]
    if not chosen:
        raise UsageError(
            f"{name} holds {names}; expected one array beside labels, or one called 'samples'."
        )
    return read_member(name, chosen[0])


def _image(name: str, shape: tuple[int, ...], small: tuple[int, ...]) -> Array:
    if len(shape) != 3:
        raise UsageError(f"{name}: examples of shape {shape} are no images; give a .npz file.")
    if shape[2] not in _MODES:
        raise UsageError(f"{name}: no image file has the {shape[2]} channels of {shape}.")
    content = Path(name).read_bytes()
    try:
        mode = read_header(content).mode
        # A grey image is an observation where such is observed; else channels follow the data.
        for candidate in (shape, small):
            if _MODES.get(candidate[2]) == mode:
                values = read_image(content, candidate[2])
                if values.shape == candidate:
                    return values
        return read_image(content, shape[2])
    except BadImageError as error:
        raise UsageError(f"{name} cannot be used: {error}.") from error
