"""The Inception network of the literature's FID: the frozen graph of 2015-12-05, as it is."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from lcss_tf import cores, files
from lcss_tf.archives import ArchiveError, tar_member
from lcss_tf.data import DataInfo
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.metrics.extractors import Extractor, Features, check_kind, checked_images
from lcss_tf.metrics.frozen import read_graph
from lcss_tf.registry import EXTRACTORS
from lcss_tf.typing import Array

ARCHIVE = "inception-2015-12-05.tgz"
GRAPH = "classify_image_graph_def.pb"
URL = f"https://storage.googleapis.com/download.tensorflow.org/models/image/imagenet/{ARCHIVE}"
_ARCHIVE_BYTES = 88_931_400
_UNPACKED_BYTES = 2**27  # of the whole archive, at most
_HASH = re.compile(r"[0-9a-f]{64}")
# Tensors of the graph: images as float32 [B, H, W, 3] of 0 to 255, before its own resize to
# 299×299; the pooled features; the product whose second factor holds the classes' weights.
_IMAGES, _FEATURES, _CLASSES = "ExpandDims:0", "pool_3:0", "softmax/logits/MatMul"


@EXTRACTORS.register
class Inception(Extractor):
    """Inception-v3, frozen on 2015-12-05 (Szegedy et al. 2016): FID and IS are defined by it.

    The graph takes images of any size, 0 to 255, and resizes them itself. Features are ``pool_3``,
    2,048 numbers. Logits are their product with the weights of ``softmax/logits`` without the
    bias, as in the first code of the Inception score (Salimans et al. 2016) and in every other
    since. Grey images are repeated to three channels.

    The graph runs in a session of its own: it has operations older than TensorFlow 2, which a
    ``tf.function`` refuses.

    Args:
      path: ``classify_image_graph_def.pb``, or the archive that holds it. By default the graph is
        looked for in the cache; where it is not there it is downloaded once (85 MiB), over https,
        if its `sha256` is given, and otherwise not at all.
      sha256: the expected SHA-256 of the graph. By default the hash at first use is recorded
        beside the file, and later uses must match it.
      batch_size: images in one run of the graph.
    """

    name = "inception"
    costly = True
    has_classes = True

    def __init__(
        self, path: str | Path | None = None, sha256: str | None = None, batch_size: int = 64
    ) -> None:
        self._path, self._sha256, self._batch_size = path, sha256, batch_size
        self._found: tuple[Path, str] | None = None
        self._run: Callable[[Array], tuple[Array, Array]] | None = None

    def metric_name(self, stem: str) -> str:
        """The literature's names: ``fid``, ``kid``, ``inception_score``, ``precision``."""
        return {"frechet": "fid"}.get(stem, stem)

    def check(self, info: DataInfo) -> None:
        """Checks the data, and finds the graph before any long work.

        Raises:
          UsageError: the data are not images with 1 or 3 channels, or the graph's hash differs.
          FileNotFoundError: the graph is missing and cannot be downloaded.
        """
        check_kind(info, "image", "Inception")
        if info.shape[-1] not in (1, 3):
            raise UsageError(
                f"Inception sees images with 1 or 3 channels; {info.name} has {info.shape[-1]}."
            )
        self._graph_file()

    def identity(self) -> str:
        """The hash of the graph."""
        return f"{GRAPH} sha256 {self._graph_file()[1]}"

    def __call__(self, batch: Array) -> Features:
        """The features of uint8 images [B, H, W, C]: float32 [B, 2048] and [B, 1008]."""
        images = checked_images(batch, "Inception")
        if images.shape[-1] == 1:
            images = images.repeat(3, axis=-1)
        if self._run is None:
            self._run = _opened(*self._graph_file())
        run, size = self._run, self._batch_size
        chunks = np.split(images, range(size, len(images), size))
        parts = cores.each(lambda chunk: run(chunk.astype(np.float32)), chunks)
        return Features(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _graph_file(self) -> tuple[Path, str]:
        """(path, SHA-256) of the graph, verified."""
        if self._found is None:
            path = _located(self._path, self._sha256)
            self._found = path, _verified(path, self._sha256)
        return self._found


def _located(path: str | Path | None, expected: str | None) -> Path:
    """The path of the .pb: given, extracted from the given archive, cached, or downloaded."""
    directory = files.cache_directory()
    place = directory / GRAPH
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"Inception.path = {str(path)!r}: no such file. Give {GRAPH} or "
                f"{ARCHIVE}, or leave the path out: {place} is then used."
            )
        if path.suffix != ".tgz":
            return path
        return _extracted(path, path.with_name(GRAPH), expected)
    if place.is_file():
        return place
    archive = directory / ARCHIVE
    if not archive.is_file():
        _download(archive, place, expected)
    return _extracted(archive, place, expected)


def _download(archive: Path, place: Path, expected: str | None) -> None:
    """Fetches the archive, if it is known what must be in it."""
    remedy = (
        f"Download {URL} on a machine with a network, and put {ARCHIVE}, or the {GRAPH} in it, "
        f"into {place.parent} (LCSS_TF_CACHE sets another folder), or set Inception.path. "
        "To do without it, use another extractor, such as @features.Pixels()."
    )
    if expected is None:
        raise FileNotFoundError(
            f"The Inception graph is missing: there is no {place}. It is downloaded only where "
            "Inception.sha256 says what its SHA-256 must be: bind that of a copy you trust "
            f"(sha256sum {GRAPH}). Or do it yourself. {remedy}"
        )
    try:
        warn("Downloading %s (85 MiB) to %s.", URL, archive)
        files.download(URL, archive)
    except OSError as error:
        raise FileNotFoundError(
            f"The Inception graph is missing and could not be downloaded ({error}). {remedy}"
        ) from error
    size = archive.stat().st_size
    if size != _ARCHIVE_BYTES:
        archive.unlink()
        raise UsageError(
            f"{URL} gave {size:,} bytes; the archive has {_ARCHIVE_BYTES:,}. It was "
            "removed. A proxy or a login page may have answered: download it by other means."
        )


def _extracted(archive: Path, place: Path, expected: str | None) -> Path:
    """Extracts the graph, if its SHA-256 is the expected one; returns its path."""
    try:
        content = tar_member(archive, GRAPH, _UNPACKED_BYTES)
    except ArchiveError as error:
        raise UsageError(
            f"{archive} cannot be used: {error}. Download it again from {URL}."
        ) from error
    if expected is not None:
        _compare(archive, hashlib.sha256(content).hexdigest(), expected)
    try:
        return files.write_bytes(place, content)
    except OSError as error:
        raise UsageError(
            f"The graph in {archive} cannot be written to {place} ({error}). Set LCSS_TF_CACHE to "
            f"a folder that can be written, or Inception.path to an extracted {GRAPH}."
        ) from error


def _verified(path: Path, expected: str | None) -> str:
    """The file's SHA-256, which must be the expected one, or that of its first use."""
    actual = files.sha256(path)
    record = path.with_name(path.name + ".sha256")
    if expected is None and record.is_file():
        expected = files.read_text(record).strip().partition(" ")[0]
        if not _HASH.fullmatch(expected):
            raise UsageError(
                f"{record} is damaged: it should hold a SHA-256. Remove it if {path} is the right "
                "file; its hash is then recorded again."
            )
    elif expected is None:
        try:
            files.write_text(record, f"{actual}  {path.name}\n")
        except OSError as error:  # a folder that cannot be written: nothing to compare with later
            warn("%s cannot be written: %s", record, error)
        return actual
    _compare(path, actual, expected, record)
    return actual


def _compare(path: Path, actual: str, expected: str, record: Path | None = None) -> None:
    if actual != expected.lower():
        graph = "" if record else f"{GRAPH} in "
        remove = f"remove {record}, or " if record else ""
        raise UsageError(
            f"{graph}{path} has the SHA-256 {actual}, expected {expected.lower()}. Put the right "
            f"file there; if this one is right, {remove}set Inception.sha256."
        )


def _opened(path: Path, digest: str) -> Callable[[Array], tuple[Array, Array]]:
    """images float32 [B, H, W, 3] -> (features [B, D], logits [B, K])."""
    definition = read_graph(Path(path))
    graph = tf.Graph()
    with graph.as_default():
        images = tf.compat.v1.placeholder(tf.float32, [None, None, None, 3])
        try:
            pooled, product = tf.import_graph_def(
                definition, {_IMAGES: images}, [_FEATURES, _CLASSES], name=""
            )
        except ValueError as error:
            raise UsageError(
                f"{path} (sha256 {digest[:12]}…) is not the graph of 2015-12-05, which has the "
                f"tensors {_IMAGES}, {_FEATURES} and {_CLASSES}: {error}"
            ) from error
        weights = product.inputs[1]
        features = tf.reshape(pooled, [-1, weights.shape[0]])
        outputs = features, tf.matmul(features, weights)
    options = tf.compat.v1.ConfigProto()
    options.gpu_options.allow_growth = True
    session = tf.compat.v1.Session(graph=graph, config=options)
    return lambda batch: session.run(outputs, {images: batch})
