"""FFHQ's builder: over a small folder of the official layout, directly and by prepare_data."""

import json
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from lcss_tf.data import TFDS, ImageFolder
from lcss_tf.preparation import Source, prepare
from lcss_tf.preparation.tfds_builders import Ffhq

NUMBERS = (0, 1, 2, 1_000, 59_999, 60_000, 69_999)


def picture(number):
    return np.random.default_rng(number).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.fixture
def official(tmp_path):
    """A folder with images1024x1024: seven of the 70,000 files, of 16 pixels."""
    for number in NUMBERS:
        part = tmp_path / "ffhq" / "images1024x1024" / f"{number // 1_000 * 1_000:05}"
        part.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(number)).save(part / f"{number:05}.png")
    return tmp_path / "ffhq"


def stored(data, split):
    return data.stored(tf.range(data.size(split), dtype=tf.int64), split).numpy()


def build(manual_dir, data_dir, **options):
    builder = tfds.builder("ffhq", data_dir=data_dir, **options)
    config = tfds.download.DownloadConfig(manual_dir=manual_dir)
    builder.download_and_prepare(download_config=config)
    return builder


@pytest.mark.slow
def test_tfds_knows_it_and_it_trains_as_the_folder_does(official, tmp_path):
    builder = build(official, tmp_path / "tfds", resolution=16)
    assert isinstance(builder, Ffhq)
    assert builder.info.full_name == "ffhq/1.0.0"
    assert "NVlabs/ffhq-dataset" in builder.info.homepage
    assert "label" not in builder.info.features  # the parts of a thousand are no classes
    here = TFDS("ffhq", (16, 16, 3), data_dir=tmp_path / "tfds")
    there = ImageFolder(official / "images1024x1024", 16)
    for split in ("train", "test"):
        assert here.size(split) == there.size(split) > 0
        assert np.array_equal(stored(here, split), stored(there, split))


def test_the_official_split_goes_by_the_files_numbers(official, tmp_path):
    build(official, tmp_path / "tfds", resolution=16, official_split=True)
    data = TFDS("ffhq", (16, 16, 3), data_dir=tmp_path / "tfds", test_split="validation")
    assert np.array_equal(stored(data, "train"), [picture(n) for n in NUMBERS if n < 60_000])
    assert np.array_equal(stored(data, "test"), [picture(n) for n in NUMBERS if n >= 60_000])
    other = official / "images1024x1024" / "00000" / "face.png"
    Image.fromarray(picture(5)).save(other)
    with pytest.raises(ValueError, match=r"face\.png is none of FFHQ's files.*restore the names"):
        build(official, tmp_path / "again", resolution=16, official_split=True)


@pytest.mark.slow
def test_prepare_data_makes_the_same(official, tmp_path):
    folder = official / "images1024x1024"
    result, _, place = prepare(Source(str(folder), 16), tmp_path / "prepared", name="ffhq")
    assert result["dataset"] == "ffhq/1.0.0"
    assert result["classes"] == []
    described = json.loads((Path(place) / "1.0.0" / "dataset_info.json").read_text())
    assert "Karras" in described["citation"]
    build(official, tmp_path / "tfds", resolution=16)
    prepared, built = (
        TFDS("ffhq", (16, 16, 3), data_dir=tmp_path / name) for name in ("prepared", "tfds")
    )
    for split in ("train", "test"):
        assert np.array_equal(stored(prepared, split), stored(built, split))


def test_what_is_missing_is_told_with_what_to_put_where(tmp_path):
    where = r"images1024x1024(.|\n)*https://github\.com/NVlabs/ffhq-dataset"
    with pytest.raises(AssertionError, match=rf"{tmp_path}/none does not exist(.|\n)*{where}"):
        build(tmp_path / "none", tmp_path / "tfds")
    (tmp_path / "ffhq" / "thumbnails128x128").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=rf"no folder {tmp_path}/ffhq/{where}"):
        build(tmp_path / "ffhq", tmp_path / "tfds")


def test_a_part_is_told_and_a_bad_image_stops_it(official, tmp_path, caplog):
    source = Source(str(official / "images1024x1024"), 16)
    with caplog.at_level("WARNING", logger="absl"):
        Ffhq(source=source, data_dir=tmp_path / "part").download_and_prepare()
    assert "holds 7 of 70000 images" in caplog.text
    (official / "images1024x1024" / "01000" / "01000.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"01000\.png: not an image.*Download it again"):
        Ffhq(source=source, data_dir=tmp_path / "bad").download_and_prepare()
