"""Feature extractors: the frozen graph run as it is, its file found and verified; the others."""

import gzip
import hashlib
import tarfile
import urllib.error

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import files
from lcss_tf.data import DataInfo, Digits, Idx, Scaling
from lcss_tf.metrics import (
    Classifier,
    DigitsClassifier,
    IdentityFeatures,
    Inception,
    KerasFeatures,
    Pixels,
    extractors,
)
from lcss_tf.metrics.inception import ARCHIVE, GRAPH
from tests.conftest import relative_error
from tests.data.helpers import idx, write_family
from tests.metrics import frozen_graph

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 12, 17, 3), np.uint8)
COLOUR = DataInfo("colour", (12, 17, 3), "image", Scaling.for_images())
SMALL = (12, 12, 1)
VECTORS = DataInfo("signals", (5, 2), "vector", Scaling.identity())


@pytest.fixture
def graph(tmp_path, monkeypatch):
    """(path, layers) of the frozen graph in an empty cache without a network."""
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path))

    def no_network(*_, **__):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", no_network)
    return tmp_path / GRAPH, frozen_graph.write(tmp_path / GRAPH)


def by_hand(images, layers):
    """The frozen graph's outputs by TensorFlow 2's own functions."""
    x = tf.compat.v1.image.resize_bilinear(np.float32(images), [299, 299])
    x = tf.nn.conv2d((x - 128.0) / 128.0, layers.kernel, 33, "VALID")
    x = (x - layers.mean) / np.sqrt(layers.variance + frozen_graph.EPSILON)
    features = tf.reduce_mean(tf.nn.relu(x), [1, 2]).numpy()
    return features, features @ layers.weights


def test_the_frozen_graph_runs_as_it_is(graph):
    extractor = Inception(batch_size=2)
    outputs = extractor(IMAGES)
    features, logits = by_hand(IMAGES, graph[1])
    assert relative_error(outputs.features, features) < 1e-5
    assert relative_error(outputs.logits, logits) < 1e-5
    grey = IMAGES[:, :, :, :1]
    assert relative_error(extractor(grey).features, by_hand(grey.repeat(3, -1), graph[1])[0]) < 1e-5


def test_the_graph_is_taken_out_of_its_archive(graph, tmp_path):
    path, layers = graph
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
        tar.add(path, f"./{GRAPH}")
    path.unlink()
    assert relative_error(Inception()(IMAGES).features, by_hand(IMAGES, layers)[0]) < 1e-5
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (tmp_path / ARCHIVE).rename(elsewhere / ARCHIVE)
    assert Inception(elsewhere / ARCHIVE).identity() == Inception().identity()


def test_without_network_the_message_says_what_to_put_where(graph, tmp_path):
    graph[0].unlink()
    with pytest.raises(FileNotFoundError) as caught:
        Inception().check(COLOUR)
    for word in (ARCHIVE, GRAPH, str(tmp_path), "http://", "Inception.path", "not known"):
        assert word in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Inception("/nowhere.pb").check(COLOUR)


def test_an_answer_in_place_of_the_archive_is_removed(graph, tmp_path, monkeypatch):
    graph[0].unlink()
    monkeypatch.setattr(files, "download", lambda url, path: path.write_bytes(b"<html>"))
    with pytest.raises(ValueError, match="6 bytes; the archive has 88,931,400"):
        Inception().check(COLOUR)
    assert not (tmp_path / ARCHIVE).exists()


def test_the_graphs_hash_is_verified(graph):
    path, _ = graph
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert digest in Inception(sha256=digest.upper()).identity()
    with pytest.raises(ValueError, match=f"{digest}, expected 00"):
        Inception(sha256="00").identity()
    Inception().identity()  # its first use is recorded
    frozen_graph.write(path, seed=1)
    with pytest.raises(ValueError, match=f"expected {digest}"):
        Inception().identity()


def test_another_graph_is_named(graph):
    frozen_graph.write(graph[0], pool="pool_4")
    with pytest.raises(ValueError, match="not the graph of 2015-12-05.*pool_3:0"):
        Inception()(IMAGES)


@pytest.mark.slow
def test_the_digits_classifier_knows_held_out_digits_and_is_kept(tmp_path, monkeypatch):
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path))
    data = Digits()
    images = data.info().unscale(data.examples(np.arange(data.size("test")), "test"))
    first = DigitsClassifier()
    outputs = first(images)
    assert np.mean(outputs.logits.argmax(axis=1) == data.labels("test")) > 0.97
    assert outputs.features.shape == (360, 64)
    kept = list(tmp_path.iterdir())
    again = DigitsClassifier()
    np.testing.assert_array_equal(again(images).features, outputs.features)
    assert again.identity() == first.identity()
    assert list(tmp_path.iterdir()) == kept
    kept[0].write_bytes(b"damaged")
    monkeypatch.setattr(extractors, "_EPOCHS", 1)  # a new one, in less time
    assert DigitsClassifier()(images).features.shape == (360, 64)
    with pytest.raises(ValueError, match="8×8"):
        first.check(COLOUR)


@pytest.fixture
def family(tmp_path, monkeypatch):
    """Labelled images of 28 pixels, (an `Idx`, its folder), and a cache of its own."""
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(extractors, "_EPOCHS", 2)
    write_family(tmp_path / "family", 320, None, held_out=60, size=12)
    return Idx(tmp_path / "family", SMALL), tmp_path / "family"


def test_a_classifier_of_any_labelled_images_is_trained_once(family):
    data, folder = family
    first = Classifier(data)
    first.check(data.info())
    accuracy = first.facts()["family_classifier_accuracy"]
    assert accuracy > 0.9
    images = data.raw(np.arange(60), "test").numpy()
    outputs = first(images)
    assert (outputs.features.shape, outputs.logits.shape) == ((60, 64), (60, 2))
    found = outputs.logits.argmax(axis=1)
    assert np.mean(found == data.labels("test")) == pytest.approx(accuracy)
    assert first.metric_name("frechet") == "frechet_family"
    (kept,) = files.cache_directory().iterdir()
    before = kept.stat().st_mtime_ns
    again = Classifier(Idx(folder, SMALL))
    assert again.identity() == first.identity()
    assert np.array_equal(again(images).features, outputs.features)
    assert kept.stat().st_mtime_ns == before
    labels = np.roll(data.labels(), 1).astype(np.uint8)
    (folder / "train-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(labels)))
    other = Classifier(Idx(folder, SMALL))
    assert other.identity() != first.identity(), "other labels, another classifier"
    assert len(list(files.cache_directory().iterdir())) == 2
    with pytest.raises(ValueError, match="holds a classifier of other data.*Remove it"):
        Classifier(Idx(folder, SMALL), path=kept).identity()


def test_a_classifier_refuses_what_it_was_not_made_for(family):
    data, folder = family
    with pytest.raises(ValueError, match=r"12×12×1; colour has \(12, 17, 3\)"):
        Classifier(data).check(COLOUR)
    with pytest.raises(ValueError, match=r"sees images \[B, 12, 12, 1\]"):
        Classifier(data)(np.zeros((2, 8, 8, 1), np.uint8))
    images = str(folder / "train-images-idx3-ubyte.gz")
    with pytest.raises(ValueError, match="has no labels. Use data with labels"):
        Classifier(Idx(images, SMALL)).check(data.info())
    (folder / "one").write_bytes(idx(np.zeros(260, np.uint8)))
    with pytest.raises(ValueError, match="has one class alone"):
        Classifier(Idx(images, SMALL, labels_path=folder / "one")).identity()


@pytest.mark.parametrize("shape", [(8, 8, 1), (28, 28, 1), (32, 24, 3), (96, 96, 3), (1, 5, 1)])
def test_the_classifiers_network_fits_images_of_any_size(shape):
    network = extractors._classifier(shape, 7)
    features, logits = network.output_shape
    assert (features, logits) == ((None, 64), (None, 7))
    assert network.count_params() < 1_000_000


def test_any_keras_model_gives_features(tmp_path):
    x = inputs = keras.Input((12, 17, 3))
    x = keras.layers.GlobalAveragePooling2D(name="mean")(x)
    model = keras.Model(inputs, keras.layers.Dense(4)(x))
    model.save(tmp_path / "model.keras")
    options = {"layer": "mean", "low": -1.0, "high": 1.0, "has_classes": True, "batch_size": 2}
    extractor = KerasFeatures(str(tmp_path / "model.keras"), "mine", **options)
    extractor.check(COLOUR)
    outputs = extractor(IMAGES)
    scaled = IMAGES / 127.5 - 1.0
    assert relative_error(outputs.features, scaled.mean(axis=(1, 2))) < 1e-5
    assert relative_error(outputs.logits, model(np.float32(scaled)).numpy()) < 1e-5
    assert extractor.metric_name("frechet") == "frechet_mine"
    other = KerasFeatures(str(tmp_path / "model.keras"), low=0.0)
    assert other.identity() != extractor.identity()
    with pytest.raises(ValueError, match="no layer 'none'; it has .*mean"):
        KerasFeatures(str(tmp_path / "model.keras"), layer="none")(IMAGES)
    with pytest.raises(ValueError, match=r"\(12, 17, 3\); digits has \(8, 8, 1\)"):
        extractor.check(Digits().info())
    with pytest.raises(FileNotFoundError, match="no such file"):
        KerasFeatures("/nowhere.keras").check(COLOUR)


@pytest.mark.parametrize("extractor", [Pixels(), DigitsClassifier(), Inception()])
def test_images_in_the_wrong_range_are_refused(extractor):
    with pytest.raises(ValueError, match="uint8 images.*got float32.*values -1 to 1.*unscale"):
        extractor(np.linspace(-1, 1, 64, dtype=np.float32).reshape(1, 8, 8, 1))


def test_kinds_and_sizes_are_checked():
    with pytest.raises(ValueError, match="sees images; signals holds vectors"):
        Pixels().check(VECTORS)
    with pytest.raises(ValueError, match="sees vectors; colour holds images"):
        IdentityFeatures().check(COLOUR)
    with pytest.raises(ValueError, match="at most 4,096 numbers"):
        Pixels().check(DataInfo("large", (64, 64, 3), "image", Scaling.for_images()))
    with pytest.raises(ValueError, match="1 or 3 channels; four has 4"):
        Inception().check(DataInfo("four", (8, 8, 4), "image", Scaling.for_images()))


def test_they_are_registered():
    assert lcss_tf.EXTRACTORS["inception"] is Inception
    assert set(lcss_tf.EXTRACTORS) >= {
        "DigitsClassifier",
        "KerasFeatures",
        "Pixels",
        "IdentityFeatures",
    }
