"""Data sets in IDX files: `Idx` for MNIST and its family, and `FashionMNIST`."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from lcss_tf import files
from lcss_tf.data.arrays import (
    KIND_OF_RANK,
    MEMORY_BYTES,
    Segment,
    StoredArrays,
    joined_labels,
    segments_of,
)
from lcss_tf.data.files import absolute, permission
from lcss_tf.data.idx_files import read_idx
from lcss_tf.data.scaling import Scaling
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Array, Shape

# "train-images-idx3-ubyte.gz", "emnist-letters-test-labels-idx1-ubyte", "t10k-images.idx3-ubyte".
_NAME = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-[a-z]+(?:\.gz)?")
_ROLES = {
    ("train", "images"): "path",
    ("train", "labels"): "labels_path",
    ("test", "images"): "test_path",
    ("test", "labels"): "test_labels_path",
}


class IdxPaths(NamedTuple):
    """The files of a data set; None where there is none."""

    path: str
    labels_path: str | None = None
    test_path: str | None = None
    test_labels_path: str | None = None


def idx_paths(folder: str) -> IdxPaths | None:
    """The files in a folder by the names that MNIST's family has; None without training images.

    A plain file is taken before a compressed one of the same name.

    Raises:
      UsageError: several files could be meant, as of the parts of EMNIST.
    """
    if not os.path.isdir(folder):
        return None
    with permission(folder, "The folder", "-R u+rX"):
        names = sorted(os.listdir(folder))
    found: dict[str, str] = {}
    for name in names:  # "x" stands before "x.gz"
        match = _NAME.fullmatch(name)
        if not match:
            continue
        role = _ROLES["train" if match[1] == "train" else "test", match[2]]
        if role in found and name != os.path.basename(found[role]) + ".gz":
            raise UsageError(
                f"{visible(folder)} holds several data sets: {os.path.basename(found[role])} and "
                f"{visible(name)}. Give the files themselves: {', '.join(_ROLES.values())}."
            )
        found.setdefault(role, os.path.join(folder, name))
    return IdxPaths(**found) if "path" in found else None


@DATASETS.register
class Idx(StoredArrays):
    """IDX files, plain or compressed by gzip: MNIST, Fashion-MNIST, KMNIST, EMNIST and others.

    Bytes are images by default, uint8 from 0 to 255. Other numbers (int8, int16, int32, float32,
    float64) are standardised, unless they have a `stored_range`. Plain files beyond 1 GiB are read
    example by example.

    Args:
      path: the training images, or a folder that holds the files under the names of MNIST's family
        (``train-images-idx3-ubyte``, ``train-labels-idx1-ubyte``, ``t10k-images-idx3-ubyte``,
        ``t10k-labels-idx1-ubyte``, with or without ``.gz``); it need not exist yet.
      shape: of one example. Where its last size is 1 the file may leave that axis out, as MNIST
        does: [N, 28, 28] with the shape (28, 28, 1).
      labels_path: the classes of the training images, one integer each; None: none.
      test_path, test_labels_path: the held-out images and their classes. Without them the first of
        every `test_every` training images is held out.
      class_names: the names of the classes, the k-th being that of label k.
      kind: how to show an example, if not as its rank says.
      stored_range: (low, high) of the numbers, mapped to [−1, 1].
      centered: whether images of bytes are scaled to [−1, 1]; otherwise to [0, 1].
      test_every: see `test_path`.
      on_bad_example: ``"error"``, or ``"skip"`` examples with NaN or infinity.

    Raises:
      UsageError: an argument out of its range.
    """

    def __init__(
        self,
        path: str,
        shape: Shape = (28, 28, 1),
        labels_path: str | None = None,
        test_path: str | None = None,
        test_labels_path: str | None = None,
        class_names: Sequence[str] = (),
        kind: str | None = None,
        stored_range: tuple[float, float] | None = None,
        centered: bool = True,
        test_every: int = 10,
        on_bad_example: str = "error",
    ) -> None:
        if kind is None and len(shape) not in KIND_OF_RANK:
            raise UsageError(
                f"{self.owner}.shape has 1 to 4 axes (the last are channels), or a kind "
                f"is given; got {tuple(shape)}."
            )
        if test_labels_path is not None and test_path is None:
            raise UsageError(
                f"test_labels_path = {test_labels_path!r} needs test_path, the held-out images."
            )
        name = os.path.basename(absolute(path)).removesuffix(".gz")
        kind = kind or KIND_OF_RANK[len(shape)]
        super().__init__(name, shape, kind, stored_range, test_every, on_bad_example, class_names)
        given = (path, labels_path, test_path, test_labels_path)
        self._given = IdxPaths(*(None if p is None else absolute(p) for p in given))  # type: ignore[arg-type]  # the first is given
        self._centered = centered

    def paths(self) -> IdxPaths:
        """The files that are read.

        Raises:
          FileNotFoundError: they are missing; says what to put where.
          UsageError: a folder with several data sets in it.
        """
        found = self._given
        if os.path.isdir(found.path):
            of_folder = idx_paths(found.path)
            if of_folder is None:
                raise FileNotFoundError(
                    f"The folder {visible(found.path)} holds no train-images-idx3-ubyte, nor one "
                    "with the ending .gz. Put the files there, or give their paths."
                )
            pairs = zip(found[1:], of_folder[1:], strict=True)
            found = IdxPaths(of_folder.path, *(given or other for given, other in pairs))
        for option, path in found._asdict().items():
            if path is not None and not os.path.isfile(path):
                raise FileNotFoundError(
                    f"There is no file {visible(path)}. Set {self.owner}.{option} to an "
                    "IDX file, plain or compressed by gzip."
                )
        return found

    def segments(self) -> list[Segment]:
        """See `StoredArrays.segments`."""
        found = self.paths()
        self.last_is_test = found.test_path is not None
        images = [found.path] if found.test_path is None else [found.path, found.test_path]
        return segments_of(
            images, lambda path: read_idx(path, MEMORY_BYTES), self.shape, f"{self.owner}.shape"
        )

    def all_labels(self, segments: Sequence[Segment]) -> Array | None:
        """See `StoredArrays.all_labels`."""
        found = self.paths()
        paths = [found.labels_path, found.test_labels_path][: len(segments)]
        images = [found.path, found.test_path][: len(segments)]
        read = [None if p is None else read_idx(p, MEMORY_BYTES).array for p in paths]
        places = [str(p or image) for p, image in zip(paths, images, strict=True)]
        return joined_labels(places, read, segments)

    def _ranged(self, dtype: np.dtype) -> Scaling | None:
        if dtype == np.uint8 and self.kind == "image" and self._range is None:
            return Scaling.for_images(self._centered)
        return super()._ranged(dtype)


FASHION_CLASSES = (
    "T-shirt/top", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
_DEBIAN = "/usr/share/datasets/fashion-mnist"  # of the package dataset-fashion-mnist
_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"
# SHA-256 of the files as their authors publish them.
_SHA256 = {
    "train-images-idx3-ubyte.gz":
        "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte.gz":
        "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte.gz":
        "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte.gz":
        "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}  # fmt: skip


def tfds_folder(data_dir: str | None = None) -> str:
    """Where TFDS keeps its datasets: `data_dir`, ``$TFDS_DATA_DIR``, ``~/tensorflow_datasets``."""
    return absolute(data_dir or os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets")


@DATASETS.register
class FashionMNIST(Idx):
    """70,000 grey pictures of clothing, 28×28 pixels, in ten classes (Xiao et al. 2017).

    The 60,000 of the authors' training files are for training, the 10,000 of their test files for
    testing. Nothing is downloaded unless `download` is set.

    Args:
      data_dir: the folder of the four IDX files, or one with a folder ``fashion_mnist`` (or
        ``fashion-mnist``) of them. By default they are looked for where the Debian package
        dataset-fashion-mnist puts them, in TFDS' folder, in Keras' and in the cache.
      download: fetch what is missing into `data_dir`, by default into the cache. The files'
        SHA-256 are known and verified.
      centered: scale to [−1, 1]; otherwise to [0, 1].
    """

    def __init__(
        self, data_dir: str | None = None, download: bool = False, centered: bool = True
    ) -> None:
        super().__init__("fashion_mnist", class_names=FASHION_CLASSES, centered=centered)
        self.data_dir = None if data_dir is None else absolute(data_dir)
        self._download = download

    @property
    def scaling(self) -> Scaling:  # type: ignore[override]  # an attribute where nothing is measured
        """Known without the data; see `Dataset`."""
        return Scaling.for_images(self._centered)

    def places(self) -> list[str]:
        """The folders in which the files are looked for, in this order."""
        names = ("fashion_mnist", "fashion-mnist")
        if self.data_dir is not None:
            return [self.data_dir, *(os.path.join(self.data_dir, name) for name in names)]
        keras = absolute(os.environ.get("KERAS_HOME") or "~/.keras")
        return [
            _DEBIAN,
            *(os.path.join(tfds_folder(), name) for name in names),
            os.path.join(keras, "datasets", names[1]),
            self._fetched(),
        ]

    def paths(self) -> IdxPaths:
        """See `Idx.paths`."""
        incomplete = ""
        for place in self.places():
            found = idx_paths(place)
            if found is not None and None not in found:
                return found
            if found is not None:
                roles = found._asdict()
                missing = next(n for n, role in zip(_SHA256, roles, strict=True) if not roles[role])
                incomplete = f" {visible(place)} lacks {missing.removesuffix('.gz')}."
        if self._download:
            return self._downloaded()
        raise FileNotFoundError(
            f"Fashion-MNIST is not there.{incomplete} Looked in: "
            f"{', '.join(map(visible, self.places()))}. Install the Debian package: apt-get "
            f"install dataset-fashion-mnist; or download {', '.join(_SHA256)} from {_URL} into one "
            "of these folders; or set FashionMNIST.download = True; or FashionMNIST.data_dir to "
            "where they are."
        )

    def _fetched(self) -> str:
        return self.data_dir or str(files.cache_directory() / "fashion_mnist")

    def _downloaded(self) -> IdxPaths:
        for name, sha256 in _SHA256.items():
            fetch(_URL + name, Path(self._fetched()) / name, sha256)
        found = idx_paths(self._fetched())
        assert found is not None
        return found


def local_idx(name: str, data_dir: str | None) -> Idx | None:
    """A data set of TFDS' catalogue whose IDX files are on the disk; None where they are not.

    Args:
      name: as TFDS knows it, e.g. ``"mnist"``, without a version.
      data_dir: TFDS' folder; None: where it is by default. The files lie in the folder `name` in
        it; Fashion-MNIST may also lie where `FashionMNIST` looks.
    """
    if name == "fashion_mnist":
        fashion = FashionMNIST(data_dir)
        try:
            fashion.paths()
        except FileNotFoundError:
            return None
        return fashion
    folder = os.path.join(tfds_folder(data_dir), *name.split("/"))
    found = idx_paths(folder)
    return None if found is None or None in found else Idx(folder)


def fetch(url: str, path: Path, sha256: str) -> None:
    """Downloads a file whose SHA-256 is known, unless it is there already.

    Raises:
      FileNotFoundError: there is no network, or no such file.
      UsageError: another file came; it is removed.
    """
    if path.is_file() and files.sha256(path) == sha256:
        return
    unverified = path.with_name(f".{path.name}.unverified")
    warn("Downloading %s to %s.", url, path)
    try:
        try:
            files.download(url, unverified)
        except OSError as error:
            raise FileNotFoundError(
                f"{url} could not be downloaded ({error}). Download it on a machine with a "
                f"network, and put it into {path.parent}."
            ) from error
        actual = files.sha256(unverified)
        if actual != sha256:
            raise UsageError(
                f"{url} gave a file with the SHA-256 {actual}; expected {sha256}. It was removed. "
                "A proxy or a login page may have answered: download it by other means."
            )
        os.replace(unverified, path)
    finally:
        unverified.unlink(missing_ok=True)


__all__ = [
    "FASHION_CLASSES",
    "FashionMNIST",
    "Idx",
    "IdxPaths",
    "idx_paths",
    "local_idx",
    "tfds_folder",
]
