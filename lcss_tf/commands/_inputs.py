"""What a task is given: held-out examples of the run's data, or a user's files."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from lcss_tf import random
from lcss_tf.data.base import DataInfo
from lcss_tf.data.decoding import ImageHeader, read_picture
from lcss_tf.data.numpy_files import is_archive, member_names, read_member, read_numpy
from lcss_tf.errors import UsageError
from lcss_tf.typing import Array

_HELD_OUT = "test"
_COUNT = 8  # held-out examples, unless a number is asked for
_LABELS = ("labels", "label", "classes", "y", "condition")  # names of arrays that hold no examples
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}
_CHANNELS = {mode: channels for channels, mode in _MODES.items()}


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
    noise: tuple[float, int],
    observed: bool = False,
) -> Inputs:
    """The `Inputs` that `names` describe; examples are observed, and noise is added.

    Args:
      names: "test" or "test:16", held-out examples spread over the split; or paths of image,
        .npy and .npz files, which hold examples in the data's own units, or observations of them
        (a small image for super-resolution, a grey one to be given colours).
      info: the `DataInfo` of the run.
      data: () -> the run's `Dataset`; called for "test" only.
      operator: H of the inverse problem.
      noise: its standard deviation in normalised units, and its seed.
      observed: whether what has the shape of an example is an observation too.

    Raises:
      FileNotFoundError: no such file.
      UsageError: other shapes, or examples and observations mixed.
    """
    shape, small = tuple(info.shape), tuple(operator.observed_shape(info.shape))
    # What an operator makes in units of its own is not scaled as examples are.
    own_units = lambda found: not operator.keeps_units and (observed or found[1:] != shape)
    values = _all(names, info, data, small, own_units)
    if observed or values.shape[1:] != shape:
        if values.shape[1:] != small:
            raise UsageError(
                f"With --observed the inputs are observations of shape {small}; got "
                f"{values.shape[1:]}. Leave --observed out for examples."
            )
        return Inputs(None, values)
    noise_std, seed = noise
    y = operator.apply(values)
    if noise_std > 0:
        noise_seed = random.seed_for(seed, "observation")
        y = operator.observable(y + noise_std * random.normal(noise_seed, y.shape))
    return Inputs(values, np.asarray(y))


def read_examples(names: Sequence[str], info: DataInfo, data: Callable[[], Any]) -> Array:
    """The normalised examples [N, ...] that `names` describe; see `read_inputs`."""
    return _all(names, info, data, tuple(info.shape))


def held_out(name: str, data: Any) -> Array:
    """The held-out examples that "test" or "test:16" asks for, normalised, float32 [N, ...]."""
    count = held_out_count(name)
    data.require("test")
    return np.asarray(data.some_examples(count, "test"))


def held_out_count(name: str) -> int:
    """How many held-out examples "test" or "test:16" asks for."""
    text = name.partition(":")[2]
    if (text and not text.isdigit()) or text == "0":
        raise UsageError(f"Ask for held-out examples as 'test' or 'test:16'; got {name!r}.")
    return int(text or _COUNT)


def _all(
    names: Sequence[str],
    info: DataInfo,
    data: Callable,
    small: tuple[int, ...],
    own_units: Callable[[tuple[int, ...]], bool] = lambda found: False,
) -> Array:
    if not names:
        raise UsageError("The task needs --input: files, or 'test' for held-out examples.")
    parts = [_read(name, info, data, small, own_units) for name in names]
    shapes = sorted({part.shape[1:] for part in parts})
    if len(shapes) > 1:
        raise UsageError(f"The inputs have the shapes {shapes}; give those of one at a time.")
    return np.concatenate(parts)


def _read(
    name: str, info: DataInfo, data: Callable, small: tuple[int, ...], own_units: Callable
) -> Array:
    shape = tuple(info.shape)
    if name.partition(":")[0] == _HELD_OUT and not Path(name).exists():
        return held_out(name, data())
    if not Path(name).is_file():
        raise FileNotFoundError(f"No input {name}: give a file, or 'test' for held-out examples.")
    suffix = Path(name).suffix
    fitting = (shape, small)
    check = lambda found, _: _check_shape(found, name, fitting, info)  # before it is unpacked
    is_array = suffix in (".npz", ".npy")
    stored = read_array(name, check) if is_array else _image(name, fitting, info)
    stored = stored[None] if stored.shape in fitting else stored
    _check_shape(stored.shape, name, fitting, info)
    in_own_units = own_units(stored.shape)
    if info.scaling.stored_dtype == "uint8" and stored.dtype != np.uint8 and not in_own_units:
        raise UsageError(f"{name} holds {stored.dtype}; images are uint8, from 0 to 255.")
    if not np.isfinite(stored).all():
        raise UsageError(f"{name} holds values that are not finite.")
    if in_own_units:
        return stored.astype(np.float32)
    return info.scaling.scale_finite(stored, f"The examples of {name}")


def read_array(name: str, check: Callable | None = None) -> Array:
    """The examples in a .npy or .npz file, whoever wrote it.

    Of an archive it is the array ``samples``, the only one beside labels, or NumPy's unnamed first,
    ``arr_0``.

    Args:
      name: of the file.
      check: raises where an array of a shape and a dtype is not wanted, before it is unpacked.

    Raises:
      UsageError: no array of numbers, or several that could be meant.
    """
    if not is_archive(name):
        return np.asarray(read_numpy(name, check=check).array)
    names = list(member_names(name))
    others = [other for other in names if other not in _LABELS]
    chosen = [n for n in ("samples", *(others if len(others) == 1 else ()), "arr_0") if n in names]
    if not chosen:
        raise UsageError(
            f"{name} holds {names}; expected one array beside labels, or one called 'samples'."
        )
    return read_member(name, chosen[0], check)


def _check_shape(shape: tuple[int, ...], name: str, fitting: tuple, info: DataInfo) -> None:
    """Raises a UsageError unless it is the shape of one example or observation, or of several."""
    if shape in fitting or (shape[1:] in fitting and shape[0]):
        return
    if shape[1:] in fitting:
        raise UsageError(f"{name} holds no examples: an array of shape {shape}. Give some.")
    one, small = fitting
    also = f", or {small} as it is observed" if small != one else ""
    raise UsageError(
        f"{name} has the shape {shape}; one example of {info.name} has the shape {one}{also}. Crop "
        "or resize it first."
    )


def _image(name: str, fitting: tuple, info: DataInfo) -> Array:
    shape, small = fitting
    if len(shape) != 3:
        raise UsageError(f"{name}: examples of shape {shape} are no images; give a .npz file.")
    if shape[2] not in _MODES:
        raise UsageError(f"{name}: no image file has the {shape[2]} channels of {shape}.")

    def channels(header: ImageHeader) -> int:
        # A grey image is an observation where such is observed; else channels follow the data.
        # One on its side is turned upright, so that its size is known when it is decoded.
        sizes = (header.size[::-1], header.size)
        if not {shape[:2], small[:2]} & set(sizes):
            found = (*sizes[0], _CHANNELS.get(header.mode, shape[2]))
            _check_shape(found, name, fitting, info)
        alike = [s for s in fitting if s[:2] in sizes and _MODES.get(s[2]) == header.mode]
        return alike[0][2] if alike else shape[2]

    return read_picture(name, channels)
