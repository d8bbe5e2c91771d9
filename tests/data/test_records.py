"""TFRecord files read by index: FFHQ's own, and prepared TFDS datasets."""

import shutil
import socket

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.data import FFHQ, TFDS, index_batches
from lcss_tf.data.records import masked_crc, record_index
from tests.data.helpers import classes, write_records

FACES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), dtype=np.uint8)


def stored(data, split="train"):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def test_the_checksum_is_crc_32c():
    crc = (masked_crc(b"123456789") - 0xA282EAD8) & 0xFFFFFFFF
    assert ((crc >> 17 | crc << 15) & 0xFFFFFFFF) == 0xE3069283  # the published check value


def test_the_index_finds_every_record(tmp_path):
    random = np.random.default_rng(1)
    contents = [random.bytes(n) for n in (0, 1, 1000, 17, 70_000)]
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        for content in contents:
            writer.write(content)
    whole = (tmp_path / "x").read_bytes()
    offsets, lengths = record_index(tmp_path / "x")
    assert [whole[o : o + n] for o, n in zip(offsets, lengths, strict=True)] == contents


@pytest.mark.parametrize("cache_mib", [0, 10])
def test_images_are_read_as_they_are(tmp_path, cache_mib):
    write_records(tmp_path / "ffhq-r04.tfrecords", FACES)
    write_records(tmp_path / "ffhq-r03.tfrecords", FACES[:, ::2, ::2])
    data = FFHQ(tmp_path, 16, test_every=3, cache_mib=cache_mib)
    data.require()
    assert np.array_equal(stored(data), FACES[[1, 2, 4, 5]])
    assert np.array_equal(stored(data, "test"), FACES[[0, 3, 6]])
    small = FFHQ(tmp_path, 8, test_every=3, cache_mib=cache_mib)
    assert np.array_equal(stored(small), FACES[[1, 2, 4, 5], ::2, ::2])
    between = FFHQ(tmp_path / "ffhq-r04.tfrecords", 12, cache_mib=cache_mib)
    assert stored(between).shape == (6, 12, 12, 3)


@pytest.mark.parametrize("left", [3_000, 800 + 9, 5])
def test_half_a_shard_is_found_before_training(tmp_path, left):
    path = write_records(tmp_path / "ffhq-r04.tfrecords", FACES)
    path.write_bytes(path.read_bytes()[:left])
    expected = "was not written to its end" if left > 850 else "no TFRecord file"
    with pytest.raises(ValueError, match=rf"ffhq-r04\.tfrecords (is )?{expected}.*again"):
        FFHQ(path, 16).require()


def test_a_shard_of_which_the_end_is_zeros_is_found(tmp_path):
    path = write_records(tmp_path / "ffhq-r04.tfrecords", FACES)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 7 * 3] + bytes(5_000))
    with pytest.raises(ValueError, match="was not written to its end: record 3"):
        FFHQ(path, 16).require()


def test_other_records_are_named(tmp_path):
    path = write_records(tmp_path / "ffhq-r04.tfrecords", FACES)
    with pytest.raises(ValueError, match=r"Record 1 of .*r04.*cannot be used.*1 channels"):
        FFHQ(path, 16, channels=1, cache_mib=0).require()
    with tf.io.TFRecordWriter(str(tmp_path / "other-r04.tfrecords")) as writer:
        for _ in range(3):
            writer.write(b"something else")
    with pytest.raises(ValueError, match=r"Record 1 of .*other.*cannot be used"):
        FFHQ(tmp_path / "other-r04.tfrecords", 16, cache_mib=0).require()
    with pytest.raises(FileNotFoundError, match=r"Set FFHQ\.path"):
        FFHQ(tmp_path, 1024).require()


IMAGES = np.random.default_rng(0).integers(0, 256, (10, 6, 6, 3), dtype=np.uint8)
LABELS = np.arange(10) % 3


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """A dataset ``tiny`` of seven training and three test images, in two versions."""
    import tensorflow_datasets as tfds

    root = tmp_path_factory.mktemp("tfds")
    features = tfds.features.FeaturesDict(
        {
            "image": tfds.features.Image(shape=(6, 6, 3)),
            "label": tfds.features.ClassLabel(num_classes=3),
        }
    )
    for version, images in (("1.10.0", IMAGES), ("1.9.0", 255 - IMAGES)):
        place = root / "tiny" / version
        place.mkdir(parents=True)
        identity = tfds.core.dataset_info.DatasetIdentity(
            name="tiny", version=tfds.core.Version(version), data_dir=str(place), module_name=""
        )
        info = tfds.core.DatasetInfo(builder=identity, features=features)
        writer = tfds.core.SequentialWriter(info, max_examples_per_shard=4)
        writer.initialize_splits(["train", "test"])
        records = [{"image": image, "label": k} for image, k in zip(images, LABELS, strict=True)]
        writer.add_examples({"train": records[:7], "test": records[7:]})
        writer.close_all()
    return root


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    def refuse(*_):
        raise AssertionError("data must not touch the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_a_prepared_dataset_is_read(data_dir):
    dataset = TFDS("tiny", (6, 6, 3), data_dir=data_dir)
    assert (dataset.size(), dataset.size("test")) == (7, 3)
    everything = dataset.examples(tf.range(7, dtype=tf.int64))
    assert np.array_equal(dataset.info().unscale(everything), IMAGES[:7])
    assert np.array_equal(dataset.labels("test"), LABELS[7:])


def test_a_version_and_slices_may_be_named(data_dir):
    dataset = TFDS(
        "tiny:1.9.0", (6, 6, 3), data_dir, train_split="train[:5]", test_split="train[5:]"
    )
    assert (dataset.size("train"), dataset.size("test")) == (5, 2)
    test = dataset.stored(tf.range(2, dtype=tf.int64), "test")
    assert np.array_equal(test, 255 - IMAGES[5:7])


@pytest.mark.slow
def test_another_shape_is_cropped_and_resized(data_dir):
    dataset = TFDS("tiny", (3, 3, 3), data_dir=data_dir, flip=True)
    batch = next(iter(dataset.pipeline(index_batches(7, 5, 0))))
    assert batch.shape == (5, 3, 3, 3)
    grey = TFDS("tiny", (6, 6, 1), data_dir=data_dir)
    expected = IMAGES[:7] @ [0.299, 0.587, 0.114]
    got = grey.stored(tf.range(7, dtype=tf.int64), "train")[..., 0]
    assert np.abs(got - expected).max() <= 1


def test_the_environment_names_the_default_place(data_dir, monkeypatch):
    monkeypatch.setenv("TFDS_DATA_DIR", str(data_dir))
    assert TFDS("tiny", (6, 6, 3)).folder() == str(data_dir / "tiny" / "1.10.0")


def test_an_unprepared_dataset_says_where_it_looked_and_how_to_prepare_it(tmp_path):
    dataset = TFDS("cifar10", (32, 32, 3), data_dir=tmp_path)
    assert dataset.info().shape == (32, 32, 3)
    for use in (dataset.require, dataset.size, lambda: dataset.some_examples(4)):
        with pytest.raises(FileNotFoundError) as caught:
            use()
        assert f"{tmp_path}/cifar10/<version>/dataset_info.json" in str(caught.value)
        assert f"tfds build cifar10 --data_dir={tmp_path}" in str(caught.value)
        assert f"--resolution=32 --out={tmp_path} --name=cifar10" in str(caught.value)


def test_a_version_that_is_not_prepared_is_not_replaced(data_dir):
    with pytest.raises(FileNotFoundError, match=r"tfds build tiny:2\.0\.0"):
        TFDS("tiny:2.0.0", (6, 6, 3), data_dir).require()


def test_an_unknown_split_lists_the_known_ones(data_dir):
    dataset = TFDS("tiny", (6, 6, 3), data_dir, test_split="valid")
    with pytest.raises(ValueError, match=r"\['test', 'train'\].*TFDS\.test_split"):
        dataset.require("test")


@pytest.mark.slow
@pytest.mark.parametrize("cache_mib", [0, 10])
def test_from_the_disk_and_from_memory_are_the_same(data_dir, cache_mib):
    dataset = TFDS("tiny", (6, 6, 3), data_dir, cache_mib=cache_mib)
    some = dataset.stored(tf.constant([6, 0, 6], tf.int64), "train")
    assert np.array_equal(some, IMAGES[[6, 0, 6]])
    batch = next(iter(dataset.pipeline(index_batches(7, 7, 0), condition=classes(3))))
    for image, label in zip(dataset.info().unscale(batch[0]), batch[1], strict=True):
        assert LABELS[np.argmax([np.array_equal(image, other) for other in IMAGES])] == label


def test_a_shard_that_was_not_written_to_its_end_is_found(data_dir, tmp_path):
    shutil.copytree(data_dir, tmp_path / "copy")
    shard = sorted((tmp_path / "copy" / "tiny" / "1.10.0").glob("*train*"))[1]
    whole = shard.read_bytes()
    dataset = lambda: TFDS("tiny", (6, 6, 3), tmp_path / "copy")
    shard.write_bytes(whole[: len(whole) // 2 + 9])
    with pytest.raises(ValueError, match=rf"{shard.name} was not written to its end"):
        dataset().require()
    length = int.from_bytes(whole[:8], "little") + 16
    shard.write_bytes(whole[:length])  # ends at a record's end, too early
    with pytest.raises(ValueError, match=rf"{shard.name} holds 1 records.*expected"):
        dataset().require()
    shard.unlink()
    with pytest.raises(FileNotFoundError, match=rf"{shard.name} is gone"):
        dataset().require()


def test_a_description_that_names_a_module_imports_nothing(data_dir, tmp_path, monkeypatch):
    shutil.copytree(data_dir, tmp_path / "copy")
    path = tmp_path / "copy" / "tiny" / "1.10.0" / "features.json"
    (tmp_path / "harmful.py").write_text(f"open({str(tmp_path / 'mark')!r}, 'w')")
    monkeypatch.syspath_prepend(tmp_path)
    known = path.read_text()
    for text, message in (
        (known.replace("tensorflow_datasets.core.features.image_feature", "harmful"), "'harmful'"),
        ('{"type": "harmful.Feature", "content": {}}', "'harmful'"),
        ("{", r"features\.json is damaged"), ("[]", r"features\.json is damaged"),
        ("{}", "cannot be opened"),
    ):  # fmt: skip
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            TFDS("tiny", (6, 6, 3), tmp_path / "copy").require()
    path.write_text(known)
    path.with_name("dataset_info.json").write_text("{")
    with pytest.raises(ValueError, match=r"dataset_info\.json or .* damaged"):
        TFDS("tiny", (6, 6, 3), tmp_path / "copy").require()
    assert not (tmp_path / "mark").exists()


def test_download_is_done_only_if_asked(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    asked = []

    class Builder:
        def download_and_prepare(self):
            asked.append(True)

    monkeypatch.setattr(tfds, "builder", lambda name, data_dir: Builder())
    for download in (False, True):
        with pytest.raises(FileNotFoundError, match=r"TFDS\.download = True"):
            TFDS("cifar10", (32, 32, 3), tmp_path, download=download).require()
        assert asked == [True] * download
