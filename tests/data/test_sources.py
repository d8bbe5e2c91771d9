"""The contract of every registered source of data, and one set of pictures by every route."""

import json
import tarfile

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.data import DataInfo
from lcss_tf.preparation import Source, prepare
from tests.data import sources
from tests.data.helpers import picture, write_family, write_records
from tests.data.test_web_arrays import npy

PICTURES = sources.in_order(sources.pictures())
OPTIONS = {"test_every": 4, "fit": "pad"}


def write_csv(path):
    rows = np.random.default_rng(0).normal(size=(20, 2))
    lines = ["a,b,kind", *(f"{a!r},{b!r},{'cat' if a > 0 else 'dog'}" for a, b in rows.tolist())]
    path.write_text("\n".join(lines))
    return str(path)


def write_arrays(path):
    x = np.random.default_rng(0).normal(size=(20, 6, 2)).astype(np.float32)
    np.savez(path, x=x, labels=np.arange(20) % 2)
    return path


def write_tar_of_arrays(path):
    with tarfile.open(path, "w") as archive:
        for k in range(20):
            sources.add(archive, f"{k:02}.npy", npy(np.random.default_rng(k).normal(size=(6, 2))))
            sources.add(archive, f"{k:02}.txt", b"cat" if k % 2 else b"dog")
    return path


def write_wav(folder):
    from scipy.io import wavfile

    for k in range(3):
        wave = np.random.default_rng(k).integers(-9_000, 9_000, 400).astype(np.int16)
        wavfile.write(folder / f"{k}.wav", 8_000, wave)
    return str(folder)


def prepared(folder, name="pictures"):
    root = sources.write_folder(folder / name, PICTURES)
    prepare(Source(str(root), (8, 12), **OPTIONS), str(folder / "out"))
    return lcss_tf.data.TFDS(name, (8, 12, 3), data_dir=folder / "out")


def ffhq(folder):
    images = np.stack([picture(k, 16, 16) for k in range(8)])
    write_records(folder / "ffhq-r04.tfrecords", images)
    return lcss_tf.data.FFHQ(str(folder), 16, test_every=4)


def hugging_face(folder):
    pytest.importorskip("datasets", reason="needs the extra: pip install 'lcss_tf[hub]'")
    sources.hugging_face(PICTURES).save_to_disk(folder / "d")
    return lcss_tf.data.HuggingFace(
        folder / "d", resolution=(8, 12), label_column="label", **OPTIONS
    )


def fashion(folder):
    write_family(folder / "fashion", 20, None)
    return lcss_tf.data.Idx(folder / "fashion", class_names=("dark", "light"))


def served(folder):
    return lcss_tf.data.DataService(lcss_tf.data.Digits(), "grpc://localhost:1")


data = lcss_tf.data
# Of each registered source an object, made in a folder that holds nothing yet.
MADE = {
    "Arrays": lambda p: data.Arrays(
        write_arrays(p / "x.npz"), (6, 2), class_names=("cat", "dog")
    ),
    "Audio": lambda p: data.Audio(write_wav(p), 40),
    "Augmented": lambda p: data.Augmented(data.Digits()),
    "Checkerboard": lambda p: data.Checkerboard(),
    "DataService": served,
    "Dequantised": lambda p: data.Dequantised(data.Digits()),
    "Digits": lambda p: data.Digits(),
    "FFHQ": ffhq,
    "FashionMNIST": None,  # its files are not there; Idx reads others of its form
    "GaussianMixture": lambda p: data.GaussianMixture(),
    "HuggingFace": hugging_face,
    "Idx": fashion,
    "ImageFolder": lambda p: data.ImageFolder(
        sources.write_folder(p / "a", PICTURES), (8, 12), **OPTIONS
    ),
    "LowResolution": lambda p: data.LowResolution(data.Digits()),
    "MovingDigits": lambda p: data.MovingDigits(),
    "NoiseImages": lambda p: data.NoiseImages((4, 6, 3)),
    "Parquet": lambda p: data.Parquet(
        sources.write_parquet(p / "a.parquet", PICTURES, words=True), resolution=(8, 12),
        label_column="label", **OPTIONS,
    ),
    "Photos": lambda p: data.Photos(8),
    "Spiral": lambda p: data.Spiral(),
    "StudentMixture": lambda p: data.StudentMixture(),
    "TFDS": prepared,
    "Table": lambda p: data.Table(write_csv(p / "a.csv"), ("a", "b"), "kind"),
    "TwoMoons": lambda p: data.TwoMoons(),
    "Vibrations": lambda p: data.Vibrations(),
    "WebArrays": lambda p: data.WebArrays(write_tar_of_arrays(p / "a.tar"), (6, 2), label="txt"),
    "WebDataset": lambda p: data.WebDataset(
        sources.write_shards(p / "s", PICTURES), (8, 12), **OPTIONS
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(lcss_tf.DATASETS))
def test_every_registered_source_keeps_the_contract(name, tmp_path, monkeypatch):
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))
    if name not in MADE:
        pytest.skip("registered by another test")
    if MADE[name] is None:
        pytest.skip("its files are not part of the project")
    made = MADE[name](tmp_path)
    assert made.shape
    assert made.kind in lcss_tf.data.base.KINDS
    for split in ("train", "test"):
        size = made.size(split)
        indices = np.array([2, 0, 2, 1]) % (size or 99)
        some = made.examples(tf.constant(indices, tf.int64), split).numpy()
        assert some.dtype == np.float32
        assert some.shape == (4, *made.shape)
        assert np.isfinite(some).all()
        assert np.array_equal(some[0], some[2])  # a function of the index
        one = made.examples(tf.constant(indices[1:2], tf.int64), split).numpy()
        assert np.allclose(one[0], some[1], rtol=1e-6)  # SIMD rounds generated ones otherwise
        labels = made.labels(split)
        names = made.class_names()
        if labels is not None:
            assert labels.dtype == np.int64
            assert labels.shape == (size,)
            assert not names or (labels.min() >= 0 and labels.max() < len(names))
    info = made.info()
    assert DataInfo.from_json(info.to_json()) == info
    assert info.unscale(some).shape[0] == 4
    json.dumps(made.fingerprint())
    if name == "DataService":  # its own test has a service
        return
    whole = [np.asarray(batch) for batch in made.training_pipeline(3, 5).take(4)]
    later = [np.asarray(batch) for batch in made.training_pipeline(3, 5, 2).take(2)]
    assert np.array_equal(whole[2:], later)  # resuming is a jump


def test_every_source_of_the_project_is_held_to_it():
    ours = {
        name for name, source in lcss_tf.DATASETS.items() if source.__module__.startswith("lcss_tf")
    }
    assert ours == set(MADE)


@pytest.mark.slow
def test_one_set_of_pictures_gives_the_same_bytes_and_classes_by_every_route(tmp_path):
    def folder(name):
        (tmp_path / name).mkdir()
        return tmp_path / name

    routes = {name: MADE[name](folder(name)) for name in ("TFDS", "Parquet", "WebDataset")}
    routes["archive"] = data.ImageFolder(
        sources.write_zip(tmp_path / "a.zip", PICTURES), (8, 12), **OPTIONS
    )
    try:
        routes["HuggingFace"] = hugging_face(folder("HuggingFace"))
    except pytest.skip.Exception:
        routes.pop("HuggingFace", None)
    expected = MADE["ImageFolder"](folder("ImageFolder"))
    assert expected.class_names() == list(sources.CLASSES)
    for split in ("train", "test"):
        indices = tf.range(expected.size(split), dtype=tf.int64)
        for name, route in routes.items():
            assert np.array_equal(route.stored(indices, split), expected.stored(indices, split))
            assert np.array_equal(route.labels(split), expected.labels(split)), name
            assert route.class_names() == expected.class_names(), name
    batches = lambda source: [np.asarray(x) for x in source.training_pipeline(4, 1, 3).take(3)]
    for route in routes.values():
        assert np.array_equal(batches(route), batches(expected))


def test_names_of_classes_reach_the_description_and_labels_are_asked_by_them(tmp_path):
    for k, name in enumerate(("Table", "Arrays", "Parquet", "WebDataset", "TFDS", "WebArrays")):
        (tmp_path / str(k)).mkdir()
        made = MADE[name](tmp_path / str(k))
        names = made.class_names()
        assert len(names) == 2
        described = made.info()
        info = DataInfo(
            made.name, made.shape, made.kind, described.scaling, described.columns, classes=names
        )
        again = DataInfo.from_json(info.to_json())
        assert [again.class_number(word) for word in names] == [0, 1]
        assert again.class_title(1) == f"1: {names[1]}"


def test_tables_and_arrays_name_their_classes(tmp_path):
    assert data.Table("sklearn:iris", ("sepal length (cm)",), "target").class_names() == [
        "setosa", "versicolor", "virginica"
    ]  # fmt: skip
    assert data.Table("sklearn:iris", ("sepal length (cm)",)).class_names() == []
    (tmp_path / "a.csv").write_text("a,kind\n1,b10\n2, b2\n3,b10\n5,b2\n7.5,b10\n")
    table = data.Table(str(tmp_path / "a.csv"), ("a",), "kind", test_every=5)
    assert table.class_names() == ["b2", "b10"]
    assert table.labels().tolist() == [0, 1, 0, 1]
    (tmp_path / "a.csv").write_text("a,kind\n1,b10\n2,3\n3,b10\n")
    with pytest.raises(lcss_tf.errors.UsageError, match="column 'kind': 'b10'"):
        data.Table(str(tmp_path / "a.csv"), ("a",), "kind").require()
    with pytest.raises(lcss_tf.errors.UsageError, match="run to 1, and 1 classes have names"):
        data.Arrays(write_arrays(tmp_path / "x.npz"), (6, 2), class_names=("cat",)).require()
    x = np.random.default_rng(0).normal(size=(8, 3))
    held = data.InMemory(x, np.arange(8) % 2, class_names=("cat", "dog"))
    assert held.class_names() == ["cat", "dog"]
    with pytest.raises(lcss_tf.errors.UsageError, match="run to 1, and 1 classes have names"):
        data.InMemory(x, np.arange(8) % 2, class_names=("cat",))


ROUTES = ["folder", "zip", "shards", "parquet", "hugging face"]


def known_again(route, place, made):
    """The fingerprint of pictures by a route, in a folder that is made."""
    place.mkdir()
    if route == "folder":
        source = data.ImageFolder(sources.write_folder(place / "a", made), 8)
    elif route == "zip":
        source = data.ImageFolder(sources.write_zip(place / "a.zip", made), 8)
    elif route == "shards":
        source = data.WebDataset(sources.write_shards(place / "s", made), 8)
    elif route == "parquet":
        path = sources.write_parquet(place / "a.parquet", made)
        source = data.Parquet(path, resolution=8, label_column="label")
    else:
        pytest.importorskip("datasets", reason="needs the extra: pip install 'lcss_tf[hub]'")
        sources.hugging_face(made).save_to_disk(place / "d")
        source = data.HuggingFace(place / "d", resolution=8, label_column="label")
    return json.dumps(source.fingerprint())


@pytest.mark.parametrize("route", ROUTES)
def test_data_that_changed_are_noticed_wherever_they_lie(tmp_path, route):
    key, content, ending, label = PICTURES[-1]
    other = [*PICTURES[:-1], (key, PICTURES[0][1], ending, label)]
    relabelled = [*PICTURES[:-1], (key, content, ending, 1 - label)]
    seen = [known_again(route, tmp_path / str(k), made) for k, made in enumerate((
        PICTURES, PICTURES, other, relabelled, PICTURES[:-1]
    ))]  # fmt: skip
    assert seen[0] == seen[1]  # where they lie does not count
    assert len(set(seen)) == 4


@pytest.mark.parametrize("route", ROUTES)
def test_any_picture_and_any_label_of_small_data_count(tmp_path, route, monkeypatch):
    made = sources.in_order(sources.pictures(96))

    def with_one(k, content=None, label=None):
        key, old, ending, given = made[k]
        one = (key, content or old, ending, given if label is None else label)
        return [*made[:k], one, *made[k + 1 :]]

    bitmaps = [k for k, one in enumerate(made) if one[2] == "bmp"][8:16]
    flipped = lambda k: made[k][1][:-1] + bytes([made[k][1][-1] ^ 1])  # its last pixel
    changed = [with_one(k, flipped(k)) for k in bitmaps[:3]]
    changed += [with_one(k, label=1 - made[k][3]) for k in bitmaps[3:5]]
    longer = [with_one(k, made[k][1] + b"\0") for k in bitmaps[5:]]
    seen = [known_again(route, tmp_path / str(k), some) for k, some in enumerate([made, *changed])]
    assert len(set(seen)) == 6
    monkeypatch.setattr("lcss_tf.data.fingerprint._BYTES", 10_000)  # now they are large
    seen = [
        known_again(route, tmp_path / f"large {k}", some) for k, some in enumerate([made, *longer])
    ]
    assert len(set(seen)) == 4  # their sizes count
