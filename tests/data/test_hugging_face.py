"""Hugging Face's datasets, from the disk; nothing is downloaded."""

import builtins

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import Arrays, HuggingFace, ImageFolder, Parquet, Table
from lcss_tf.errors import UsageError
from tests.data import sources

PICTURES = sources.in_order(sources.pictures())


def test_without_the_package_a_message_names_the_extra(monkeypatch):
    real = builtins.__import__

    def missing(name, *args, **kwargs):
        if name == "datasets":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    data = HuggingFace("anything", resolution=8)  # a constructor reads nothing
    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UsageError, match=r"pip install 'lcss_tf\[hub\]'.*lcss_tf\.data\.Parquet"):
        data.require()


@pytest.fixture
def datasets(monkeypatch, tmp_path):
    """The package, without a network, with a cache of its own."""
    package = pytest.importorskip("datasets", reason="needs the extra: pip install 'lcss_tf[hub]'")
    monkeypatch.setattr(package.config, "HF_DATASETS_CACHE", str(tmp_path / "cache"))
    package.disable_progress_bars()

    def refused(*args, **kwargs):
        raise AssertionError("the network is not touched")

    monkeypatch.setattr("socket.socket.connect", refused)
    return package


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def all_examples(data, split="train"):
    return data.examples(tf.range(data.size(split), dtype=tf.int64), split).numpy()


@pytest.mark.parametrize("form", ["saved", "parquet by ours", "folder of parquet"])
def test_images_are_those_of_the_folder(datasets, tmp_path, form):
    folder = ImageFolder(sources.write_folder(tmp_path / "a", PICTURES), (8, 12), test_every=4)
    made = sources.hugging_face(PICTURES)
    options = {"resolution": (8, 12), "label_column": "label", "test_every": 4}
    if form == "saved":
        made.save_to_disk(tmp_path / "pets")
        data = HuggingFace(tmp_path / "pets", **options)
    else:
        (tmp_path / "pets").mkdir()
        made.to_parquet(tmp_path / "pets" / "train.parquet")
        kind = HuggingFace if form == "folder of parquet" else Parquet
        data = kind(tmp_path / "pets", **options)
    assert (data.name, data.class_names()) == ("pets", list(sources.CLASSES))
    numbers = np.array([sources.CLASSES.index(name) for name in folder.class_names()])
    for split in ("train", "test"):
        assert np.array_equal(stored(data, split), stored(folder, split))
        assert np.array_equal(data.labels(split), numbers[folder.labels(split)])


def test_splits_are_those_of_the_data_and_others_are_named(datasets, tmp_path):
    made = sources.hugging_face(PICTURES)
    parts = {"train": made.select(range(2, 12)), "test": made.select([1, 0]), "more": made}
    datasets.DatasetDict(parts).save_to_disk(tmp_path / "pets")
    every = stored(HuggingFace(tmp_path / "pets", resolution=8, train_split="more", test_every=12))
    data = HuggingFace(tmp_path / "pets", resolution=8, label_column="label")
    assert (data.size(), data.size("test")) == (10, 2)
    assert np.array_equal(stored(data, "test")[0], every[0]) or len(every) == 12
    assert data.labels("test").tolist() == [PICTURES[1][3], PICTURES[0][3]]
    data = HuggingFace(tmp_path / "pets", resolution=8, test_split="validation")
    with pytest.raises(
        UsageError, match=r"no split 'validation'; it has .*HuggingFace\.test_split"
    ):
        data.require()


def test_arrays_and_tables_are_their_siblings(datasets, tmp_path):
    x = np.random.default_rng(1).normal(size=(20, 6, 2)).astype(np.float32)
    rows, kinds = np.random.default_rng(2).normal(size=(20, 2)), np.arange(20) % 3
    np.savez(tmp_path / "x.npz", x=x, labels=kinds)
    text = [
        "a,b,kind",
        *(f"{a!r},{b!r},{k}" for (a, b), k in zip(rows.tolist(), kinds, strict=True)),
    ]
    (tmp_path / "x.csv").write_text("\n".join(text))
    features = datasets.Features({
        "x": datasets.Array2D((6, 2), "float32"), "a": datasets.Value("float64"),
        "b": datasets.Value("float64"), "kind": datasets.ClassLabel(names=["p", "q", "r"]),
    })  # fmt: skip
    columns = {"x": x, "a": rows[:, 0], "b": rows[:, 1], "kind": kinds}
    datasets.Dataset.from_dict(columns, features=features).save_to_disk(tmp_path / "d")
    pairs = [
        (HuggingFace(tmp_path / "d", "x", shape=(6, 2), label_column="kind"),
         Arrays(tmp_path / "x.npz", (6, 2))),
        (HuggingFace(tmp_path / "d", columns=("b", "a"), label_column="kind"),
         Table(str(tmp_path / "x.csv"), ("b", "a"), "kind", test_every=10)),
    ]  # fmt: skip
    for here, there in pairs:
        assert here.class_names() == ["p", "q", "r"]
        assert here.fingerprint() == there.fingerprint()
        for split in ("train", "test"):
            assert np.array_equal(all_examples(here, split), all_examples(there, split))
            assert np.array_equal(here.labels(split), there.labels(split))


def test_a_part_that_was_chosen_is_read_in_its_order(datasets, tmp_path):
    chosen = sources.hugging_face(PICTURES).select([7, 3, 3, 0])
    chosen.save_to_disk(tmp_path / "d")
    data = HuggingFace(tmp_path / "d", resolution=8, label_column="label", test_every=4)
    assert data.labels("test").tolist() == [PICTURES[7][3]]
    assert data.labels().tolist() == [PICTURES[k][3] for k in (3, 3, 0)]
    assert np.array_equal(*stored(data)[:2])


def test_without_a_network_it_fails_at_once_and_says_what_to_put_where(datasets, tmp_path):
    remedy = (
        r"datasets\.load_dataset\('nobody/pets'\)\.save_to_disk.*HuggingFace\.path to it, or set "
        r"HuggingFace\.download = True"
    )
    with pytest.raises(FileNotFoundError, match=remedy):
        HuggingFace("nobody/pets:small", resolution=8).require()
    assert not datasets.config.HF_HUB_OFFLINE  # as it was
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="cannot be read by Hugging Face's datasets"):
        HuggingFace(tmp_path / "empty", resolution=8).require()
    sources.hugging_face(PICTURES).save_to_disk(tmp_path / "d")
    (shard,) = (tmp_path / "d").glob("*.arrow")
    shard.write_bytes(shard.read_bytes()[:200])
    with pytest.raises(UsageError, match="cannot be read by Hugging Face's datasets"):
        HuggingFace(tmp_path / "d", resolution=8).require()
    (tmp_path / "d" / "state.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read by Hugging Face's datasets"):
        HuggingFace(tmp_path / "d", resolution=8).require()


@pytest.mark.parametrize("name", ["state.json", "dataset_info.json", "a.parquet"])
def test_damaged_files_are_named(datasets, tmp_path, name):
    if name == "a.parquet":
        (tmp_path / "d").mkdir()
        sources.hugging_face(PICTURES).to_parquet(tmp_path / "d" / name)
        (tmp_path / "d" / name).write_bytes((tmp_path / "d" / name).read_bytes()[:900])
        contents = [None]
    else:
        sources.hugging_face(PICTURES).save_to_disk(tmp_path / "d")
        contents = ["[]", "{}" if name == "state.json" else "7", '{"features": {"image": 7}}']
    for content in contents:
        if content is not None:
            (tmp_path / "d" / name).write_text(content)
        with pytest.raises(UsageError, match="d cannot be read by Hugging Face's datasets"):
            HuggingFace(tmp_path / "d", resolution=8).require()


def test_images_by_path_alone_are_bad(datasets, tmp_path):
    folder = sources.write_folder(tmp_path / "a", PICTURES)
    images = [str(path) for path in sorted(folder.rglob("*.*"))]
    features = datasets.Features({"image": datasets.Image()})
    made = datasets.Dataset.from_dict({"image": images}, features=features)
    made.save_to_disk(tmp_path / "d")
    data = HuggingFace(tmp_path / "d", resolution=8)
    why = data.why_bad(0, "train")
    assert why is None or "read the files by ImageFolder" in why
