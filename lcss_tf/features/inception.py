"""The Inception network of the literature's FID: the frozen graph of 2015-12-05, as it is."""

import os
import tarfile
from pathlib import Path

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf import files
from lcss_tf.errors import UsageError
from lcss_tf.features.base import Extractor, Outputs, check_kind, checked_images
from lcss_tf.registry import EXTRACTORS

ARCHIVE = "inception-2015-12-05.tgz"
GRAPH = "classify_image_graph_def.pb"
URL = f"http://download.tensorflow.org/models/image/imagenet/{ARCHIVE}"
_ARCHIVE_BYTES = 88_931_400
# Tensors of the graph: images as float32 [B, H, W, 3] of 0 to 255, before its own resize to
# 299×299; the pooled features; the product whose second factor holds the classes' weights.
_IMAGES, _FEATURES, _CLASSES = "ExpandDims:0", "pool_3:0", "softmax/logits/MatMul"


@EXTRACTORS.register
class Inception(Extractor):
    """Inception-v3 as frozen on 2015-12-05 (Szegedy et al. 2016): what FID and IS are defined by.

    Images of any size, 0 to 255, go in; the graph resizes them itself. Features are ``pool_3``,
    2,048 numbers; logits their product with the weights of ``softmax/logits``, without the
    bias, as in the Inception score's first code (Salimans et al. 2016) and everywhere since.
    Grey images are repeated to three channels.

    The graph runs in a session of its own: its operations are older than TensorFlow 2 and a
    ``tf.function`` would refuse them.

    Args:
      path: of ``classify_image_graph_def.pb`` or of the archive that holds it; by default it is
        sought in the cache, and fetched once.
      sha256: what the graph's SHA-256 must be. Where it is not given, the one of the first use
        is recorded beside the file, and later uses must agree with that.
      batch_size: images that run at a time.
    """

    name = "inception"
    costly = True
    has_classes = True

    def __init__(self, path=None, sha256=None, batch_size=64):
        self._path, self._sha256, self._batch_size = path, sha256, batch_size
        self._found, self._run = None, None

    def title(self, kind):
        """The literature's names."""
        return {"frechet": "fid", "kernel": "kid", "class_score": "inception_score"}.get(kind, kind)

    def check(self, info):
        """Raises ValueError unless the data are images with 1 or 3 channels.

        Also finds the graph, before any long work.
        """
        check_kind(info, "image", "Inception")
        if info.shape[-1] not in (1, 3):
            raise UsageError(
                f"Inception sees images with 1 or 3 channels; {info.name} has {info.shape[-1]}."
            )
        self._graph_file()

    def identity(self):
        """The hash of the graph."""
        return f"{GRAPH} sha256 {self._graph_file()[1]}"

    def __call__(self, batch):
        """`Outputs` of uint8 images [B, H, W, C]: float32 [B, 2048] and [B, 1008]."""
        images = checked_images(batch, "Inception")
        if images.shape[-1] == 1:
            images = images.repeat(3, axis=-1)
        if self._run is None:
            self._run = _opened(*self._graph_file())
        parts = [
            self._run(images[i : i + self._batch_size].astype(np.float32))
            for i in range(0, len(images), self._batch_size)
        ]
        return Outputs(*(np.concatenate(part) for part in zip(*parts, strict=True)))

    def _graph_file(self):
        """(path, SHA-256) of the graph, verified.

        Raises:
          FileNotFoundError: it is not there and cannot be fetched.
          ValueError: its hash is another one.
        """
        if self._found is None:
            path = _located(self._path)
            self._found = path, _verified(path, self._sha256)
        return self._found


def _located(path):
    """The path of the .pb: given, taken out of a given archive, cached, or fetched."""
    directory = files.cache_directory()
    place = directory / GRAPH
    if path is not None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(
                f"Inception.path = {str(path)!r}: there is no such file. Give {GRAPH} or "
                f"{ARCHIVE}, or leave it out: {place} is then used."
            )
        return _extracted(path, path.with_name(GRAPH)) if path.suffix == ".tgz" else path
    if place.is_file():
        return place
    archive = directory / ARCHIVE
    if not archive.is_file():
        try:
            logging.warning("Fetching %s (85 MiB) to %s.", URL, archive)
            files.download(URL, archive)
        except OSError as error:
            raise FileNotFoundError(
                f"The Inception graph is not there, and could not be fetched ({error}). Fetch "
                f"{URL} on a machine with a network, and put {ARCHIVE}, or the {GRAPH} in it, "
                f"into {directory} (set LCSS_TF_CACHE for another place), or bind Inception.path. "
                "Without it: bind another extractor, such as @features.Pixels()."
            ) from error
        if archive.stat().st_size != _ARCHIVE_BYTES:
            size = archive.stat().st_size
            archive.unlink()
            raise UsageError(
                f"{URL} gave {size:,} bytes; the archive has {_ARCHIVE_BYTES:,}. It was removed: "
                "something between here and there answers in its place."
            )
    return _extracted(archive, place)


def _extracted(archive, place):
    """Takes the graph out of its archive."""
    with tarfile.open(archive) as tar:
        member = next((m for m in tar if Path(m.name).name == GRAPH and m.isfile()), None)
        if member is None:
            raise UsageError(f"{archive} holds no {GRAPH}. Fetch it again from {URL}.")
        content = tar.extractfile(member).read()
    temporary = place.with_name(f".{place.name}.{os.getpid()}.tmp")
    temporary.write_bytes(content)
    os.replace(temporary, place)
    return place


def _verified(path, expected):
    """The file's SHA-256, which must be the expected one, or that of its first use."""
    actual = files.sha256(path)
    record = path.with_name(path.name + ".sha256")
    if expected is None and record.is_file():
        expected = record.read_text().split()[0]
    elif expected is None:
        try:
            record.write_text(f"{actual}  {path.name}\n")
        except OSError as error:  # a folder that cannot be written: nothing to compare with later
            logging.warning("%s cannot be written: %s", record, error)
        return actual
    if actual != expected.lower():
        raise UsageError(
            f"{path} has the SHA-256 {actual}, expected {expected.lower()}. Put the right file "
            f"there; if this one is right, remove {record} or bind Inception.sha256 to it."
        )
    return actual


def _opened(path, digest):
    """images float32 [B, H, W, 3] -> (features [B, D], logits [B, K])."""
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(Path(path).read_bytes())
    for node in definition.node:  # they say that a batch is one image
        node.attr.pop("_output_shapes", None)
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
