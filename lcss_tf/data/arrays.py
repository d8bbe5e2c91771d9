"""Arrays that NumPy saved: time series, volumes, short videos, vectors, images."""

import os
import zipfile

import numpy as np

from lcss_tf.data.files import permission
from lcss_tf.data.segments import Segment, check_dtype
from lcss_tf.data.stored_arrays import StoredArrays
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS

_LABELS = "labels"
_KINDS = {1: "vector", 2: "signal", 3: "image", 4: "volume"}  # by the rank of one example


@DATASETS.register
class Arrays(StoredArrays):
    """The rows of a ``.npy`` file, or of one array of a ``.npz`` archive.

    The file is mapped into memory, or read row by row if it is larger than 1 GiB; an archive made
    by ``numpy.savez_compressed`` is unpacked into memory. Pickled objects are never loaded. An
    array ``labels`` of integers in the same archive holds classes.

    Args:
      path: of the file; it need not exist yet. The array is [N, *shape]; where the last size of
        `shape` is 1 the file may leave that axis out.
      shape: of one example: (T, channels) is a signal, (height, width, channels) an image,
        (depth, height, width, channels) a volume or a short video, (D,) a vector.
      key: the array's name in an archive; by default its only array beside ``labels``.
      kind: how people look at it, if not as the rank says.
      stored_range: (low, high) of the numbers, mapped to [−1, 1]; None: bytes by (0, 255),
        others are standardised.
      test_every: one in so many examples, the first to begin with, is held out.
      on_bad_example: ``"error"``, or ``"skip"`` examples with NaN or infinity.

    Raises:
      ValueError: an argument out of its range.
    """

    def __init__(
        self,
        path,
        shape,
        key=None,
        kind=None,
        stored_range=None,
        test_every=10,
        on_bad_example="error",
    ):
        if kind is None and len(shape) not in _KINDS:
            raise UsageError(
                f"Arrays.shape has 1 to 4 axes (the last are channels), or Arrays.kind is given; "
                f"got {tuple(shape)}."
            )
        self.path = os.path.abspath(os.path.expanduser(path))
        name = os.path.splitext(os.path.basename(self.path))[0]
        kind = kind or _KINDS[len(shape)]
        super().__init__(name, shape, kind, stored_range, test_every, on_bad_example)
        self.key = key

    def segments(self):
        """See `StoredArrays.segments`."""
        if not os.path.isfile(self.path):
            raise FileNotFoundError(
                f"There is no file {self.path}. Set Arrays.path to a .npy or .npz file that "
                "numpy.save or numpy.savez wrote."
            )
        segment = self._archive() if zipfile.is_zipfile(self.path) else _mapped(self.path)
        array = segment.array
        check_dtype(array.dtype, self.path)
        if self.shape[-1] == 1 and array.shape[1:] == self.shape[:-1]:
            array = array[..., None]
        if array.shape[1:] != self.shape:
            raise UsageError(
                f"{self.path} holds an array of shape {array.shape}, and Arrays.shape = "
                f"{self.shape} asks for (examples, *{self.shape}). Change the one or the other."
            )
        return [segment._replace(array=array)]

    def _archive(self):
        with _opened(self.path) as archive:
            names = [name for name in archive.files if name != _LABELS]
            key = self.key or (names[0] if len(names) == 1 else None)
            if key not in archive.files:
                raise UsageError(
                    f"{self.path} holds the arrays {archive.files}: set Arrays.key to one of them "
                    f"(got {self.key!r})."
                )
        return _mapped_member(self.path, key)

    def all_labels(self, segments):
        """See `StoredArrays.all_labels`."""
        if not zipfile.is_zipfile(self.path):
            return None
        with _opened(self.path) as archive:
            if _LABELS not in archive.files:
                return None
            labels = archive[_LABELS]
        if labels.dtype.kind not in "ui" or labels.shape != (len(segments[0].array),):
            raise UsageError(
                f"The labels in {self.path} must be one integer for each of the "
                f"{len(segments[0].array)} examples; got {labels.dtype} of shape {labels.shape}."
            )
        return labels.astype(np.int64)


def _opened(path):
    return _numpy_errors(path, lambda: np.load(path, allow_pickle=False))


def _numpy_errors(path, load):
    """load(), with NumPy's errors told for people."""
    try:
        with permission(path):
            return load()
    except PermissionError:
        raise
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        if any(word in str(error) for word in ("pickle", "Object arrays", "Python objects")):
            raise UsageError(
                f"{path} holds Python objects (a pickle), which could run any program and is never "
                "loaded. Save an array of numbers: numpy.save(path, array.astype(numpy.float32))."
            ) from error
        raise UsageError(
            f"{path} cannot be read as NumPy's arrays ({error}). It may be half written: save it "
            "again."
        ) from error


def _mapped(path):
    array = _numpy_errors(path, lambda: np.load(path, mmap_mode="r", allow_pickle=False))
    return _segment(array, path, getattr(array, "offset", 0))


def _mapped_member(path, key):
    """An array of an archive: mapped where it is stored plainly, else unpacked."""
    with zipfile.ZipFile(path) as archive:
        member = archive.getinfo(f"{key}.npy")
        if member.compress_type != zipfile.ZIP_STORED:
            array = _numpy_errors(path, lambda: np.load(path, allow_pickle=False)[key])
            return Segment(array, None, 0, 0)
        with archive.open(member) as file:
            start = file._orig_compress_start if hasattr(file, "_orig_compress_start") else None
            version = np.lib.format.read_magic(file)
            shape, fortran, dtype = _numpy_errors(path, lambda: _header(file, version))
            header = file.tell()
    if start is None or fortran or dtype.hasobject:
        return Segment(_numpy_errors(path, lambda: np.load(path)[key]), None, 0, 0)
    offset = start + header
    array = np.memmap(path, dtype, "r", offset, shape) if np.prod(shape) else np.empty(shape, dtype)
    return _segment(array, path, offset)


def _header(file, version):
    read = {(1, 0): np.lib.format.read_array_header_1_0}
    return read.get(version, np.lib.format.read_array_header_2_0)(file)


def _segment(array, path, offset):
    if array.ndim < 1 or not len(array):
        raise UsageError(f"{path} holds no examples: an array of shape {array.shape}.")
    # Rows that lie one after another can be read by their offset.
    path = path if array.flags.c_contiguous else None
    return Segment(array, path, offset, int(array.strides[0]))
