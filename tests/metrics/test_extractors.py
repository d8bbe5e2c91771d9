"""Feature extractors: the frozen graph run as it is, its file found and verified; the others."""

import gzip
import hashlib
import importlib.util
import shutil
import tarfile
import urllib.error

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import files
from lcss_tf.data import DataInfo, Digits, FashionMNIST, Idx, Scaling
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
from tests.processes import ROOT

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
        Inception(sha256="00" * 32).check(COLOUR)
    for word in (ARCHIVE, GRAPH, str(tmp_path), "https://", "Inception.path", "not known"):
        assert word in str(caught.value)
    with pytest.raises(FileNotFoundError, match="no such file"):
        Inception("/nowhere.pb").check(COLOUR)


def test_nothing_is_downloaded_whose_hash_is_not_known(graph, tmp_path, monkeypatch):
    graph[0].unlink()
    monkeypatch.setattr(files, "download", lambda *_: pytest.fail("it was downloaded"))
    with pytest.raises(FileNotFoundError) as caught:
        Inception().check(COLOUR)
    for word in (ARCHIVE, GRAPH, str(tmp_path), "https://", "Inception.path", "Inception.sha256"):
        assert word in str(caught.value)


def test_an_answer_in_place_of_the_archive_is_removed(graph, tmp_path, monkeypatch):
    graph[0].unlink()
    monkeypatch.setattr(files, "download", lambda url, path: path.write_bytes(b"<html>"))
    with pytest.raises(ValueError, match="6 bytes; the archive has 88,931,400"):
        Inception(sha256="00" * 32).check(COLOUR)
    assert not (tmp_path / ARCHIVE).exists()


@pytest.mark.parametrize("content", [b"<html>", b"", b"\x1f\x8b\x08" + bytes(40)])
def test_what_is_no_archive_is_named(content, graph, tmp_path):
    graph[0].unlink()
    (tmp_path / ARCHIVE).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{ARCHIVE} cannot be used: .*Download it again"):
        Inception().check(COLOUR)


def test_another_graph_in_the_archive_is_not_taken_out(graph, tmp_path):
    path, _ = graph
    with tarfile.open(tmp_path / ARCHIVE, "w:gz") as tar:
        tar.add(path, GRAPH)
    path.unlink()
    with pytest.raises(ValueError, match=f"{GRAPH} in .*{ARCHIVE} has the SHA-256"):
        Inception(sha256="00" * 32).check(COLOUR)
    assert not path.exists()


@pytest.mark.parametrize("record", [b"", b"\xff\xfe", b"nothing", b"00"])
def test_a_damaged_record_of_a_hash_is_named(record, graph):
    path = graph[0].with_name(GRAPH + ".sha256")
    path.write_bytes(record)
    with pytest.raises(ValueError, match=r"pb\.sha256 is (damaged|no text)"):
        Inception().check(COLOUR)


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


# What may run code ----------------------------------------------------------------------------


def definition_of(build):
    graph = tf.Graph()
    with graph.as_default():
        build()
    return graph.as_graph_def()


def by_a_function(mark):
    @tf.function
    def write():
        tf.io.write_file(mark, "x")

    return definition_of(write)


def uncalled(mark):
    definition = tf.compat.v1.GraphDef()
    definition.library.CopyFrom(by_a_function(mark).library)
    return definition


def under_a_name(_):
    definition = tf.compat.v1.GraphDef()
    definition.library.function.add().signature.name = "Relu"
    return definition


def as_an_argument(_):
    definition = tf.compat.v1.GraphDef()
    definition.node.add(name="x", op="NoOp").attr["f"].func.name = "g"
    return definition


def large_in_few_bytes(_):
    definition = tf.compat.v1.GraphDef()
    tensor = definition.node.add(name="x", op="Const").attr["value"].tensor
    tensor.dtype = tf.float32.as_datatype_enum
    tensor.float_val.append(0.0)
    for _ in range(2):
        tensor.tensor_shape.dim.add(size=10**6)
    return definition


HARMFUL = {  # the path of a file that would be written -> GraphDef, and what is said of it
    "a node": (
        lambda m: definition_of(lambda: tf.raw_ops.WriteFile(filename=m, contents="x")),
        "WriteFile",
    ),
    "Python": (
        lambda m: definition_of(lambda: tf.numpy_function(lambda: open(m, "w").close(), [], [])),
        "PyFunc",
    ),
    "a function": (by_a_function, "WriteFile"),
    "a function that nobody calls": (uncalled, "WriteFile"),
    "a function in the place of an operation": (under_a_name, "Relu"),
    "a function as an argument": (as_an_argument, "NoOp with a function"),
    "a constant": (large_in_few_bytes, r"1,000,000,\d+,\d+ numbers"),
}


@pytest.mark.parametrize("kind", HARMFUL)
def test_a_graph_has_no_operations_but_those_of_inception(kind, graph, tmp_path):
    """Among its own operations, so that it would be run up to its features."""
    mark = tmp_path / "mark"
    make, said = HARMFUL[kind]
    harmful = make(str(mark))
    definition = tf.compat.v1.GraphDef()
    definition.ParseFromString(graph[0].read_bytes())
    definition.MergeFrom(harmful)
    pool = next(node for node in definition.node if node.name == "pool_3")
    pool.input.extend(f"^{node.name}" for node in harmful.node if "Const" not in node.op)
    graph[0].write_bytes(definition.SerializeToString())
    with pytest.raises(ValueError, match=f"{GRAPH} is refused: .*({said})"):
        Inception()(IMAGES)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"no graph at all", b"\x0a\xff", bytes(99)])
def test_what_is_no_graph_is_named(content, graph):
    graph[0].write_bytes(content)
    with pytest.raises(ValueError, match=f"{GRAPH} .*is (no frozen graph|not the graph)"):
        Inception()(IMAGES)


def test_a_keras_model_that_brings_code_is_refused(tmp_path):
    mark = tmp_path / "mark"
    inputs = keras.Input((4,))
    write = lambda x, m=str(mark): (open(m, "w").close(), x)[1]
    code = keras.layers.Lambda(write, output_shape=(4,))
    keras.Model(inputs, code(inputs)).save(tmp_path / "code.keras")
    mark.unlink(missing_ok=True)
    keras.Model(inputs, keras.layers.Dense(2)(inputs)).save(tmp_path / "old.h5")
    (tmp_path / "no.keras").write_bytes(b"nothing")
    for name, said in (("code", "safe mode"), ("no", "no ZIP archive")):
        with pytest.raises(ValueError, match=rf"{name}\.keras .*{said}"):
            KerasFeatures(tmp_path / f"{name}.keras").check(VECTORS)
    with pytest.raises(ValueError, match=r"a \.keras file is expected"):
        KerasFeatures(tmp_path / "old.h5").check(VECTORS)
    assert not mark.exists()


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


def test_a_classifier_that_comes_with_the_package_is_not_trained(family, monkeypatch):
    data, folder = family
    path = ROOT / "tools" / "pin_classifier.py"
    spec = importlib.util.spec_from_file_location("pin_classifier", path)
    tool = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tool)
    own = Classifier(data)
    images = data.raw(np.arange(60), "test").numpy()
    trained, accuracy = own(images), own.facts()["family_classifier_accuracy"]
    pinned = tool.pin(data, folder / "weights")
    shutil.rmtree(files.cache_directory())
    monkeypatch.setattr(extractors, "BROUGHT", folder / "weights")
    with monkeypatch.context() as patched:
        patched.setattr(Classifier, "_trained", None)
        brought = Classifier(Idx(folder, SMALL), name="any")
        features = brought(images).features
    assert brought.facts() == {"any_classifier_accuracy": pytest.approx(accuracy, abs=0.05)}
    scale = np.abs(trained.features).max()
    assert 0 < np.abs(features - trained.features).max() < 0.01 * scale, "float16"
    assert not files.cache_directory().exists()
    pinned.write_bytes(pinned.read_bytes()[:-100])  # damaged: trained, as if it were not there
    assert Classifier(Idx(folder, SMALL)).identity() == own.identity()
    assert len(list(files.cache_directory().iterdir())) == 1


@pytest.mark.parametrize("path", sorted(extractors.BROUGHT.glob("*.npz")), ids=lambda p: p.stem)
def test_classifiers_of_the_package_are_whole(path):
    stored = files.read_arrays(path)
    assert path.stem.endswith(f"_{str(stored['key'])[:12]}")
    assert stored["accuracy"] > 0.9
    weights = [stored[name] for name in sorted(stored) if name.startswith("weight_")]
    network = extractors._classifier((28, 28, 1), 10)
    assert [w.shape for w in weights] == [w.shape for w in network.get_weights()]
    assert all(w.dtype == np.float16 and np.isfinite(w).all() for w in weights)


def test_the_classifier_of_fashion_mnist_comes_with_the_package(monkeypatch, tmp_path):
    data = FashionMNIST()
    try:
        data.require("train")
    except FileNotFoundError:
        pytest.skip("Fashion-MNIST is not installed: apt-get install dataset-fashion-mnist")
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path))
    monkeypatch.setattr(Classifier, "_trained", None)
    classifier = Classifier(data)
    images = data.raw(np.arange(1_000), "test").numpy()
    found = classifier(images).logits.argmax(axis=1)
    assert np.mean(found == data.labels("test")[:1_000]) > 0.88


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
