"""Files that may not be read, that vanish or change while training reads them: any source."""

import itertools
import zipfile

import numpy as np
import pytest
from PIL import Image
from scipy.io import wavfile

from lcss_tf.data import FFHQ, Arrays, Audio, ImageFolder, Table, arrays, index_batches
from lcss_tf.data.pipeline import example_at, with_named_errors
from tests.data.helpers import allow_others, as_nobody, write_records

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


def folder(place):
    (place / "images").mkdir()
    for k, image in enumerate(IMAGES):
        Image.fromarray(image).save(place / "images" / f"{k:02}.png")
    return ImageFolder(place / "images", 16, cache_mib=0), place / "images" / "07.png"


def archive(place):
    folder(place)
    with zipfile.ZipFile(place / "x.zip", "w") as file:
        for path in sorted((place / "images").iterdir()):
            file.write(path, path.name)
    return ImageFolder(place / "x.zip", 16, cache_mib=0), place / "x.zip"


def records(place):
    path = write_records(place / "ffhq-r04.tfrecords", IMAGES)
    return FFHQ(path, 16, cache_mib=0), path


def npy(place):
    np.save(place / "x.npy", RANDOM.normal(size=(30, 8)))
    return Arrays(place / "x.npy", (8,)), place / "x.npy"


def npz(place):
    np.savez(place / "x.npz", values=RANDOM.normal(size=(30, 8)))
    return Arrays(place / "x.npz", (8,)), place / "x.npz"


def wav(place):
    (place / "sound").mkdir()
    for name in ("a", "b"):
        samples = (1e4 * RANDOM.uniform(-1, 1, 600)).astype(np.int16)
        wavfile.write(place / "sound" / f"{name}.wav", 8_000, samples)
    return Audio(place / "sound", window=20), place / "sound" / "b.wav"


def csv(place):
    (place / "x.csv").write_text("a,b\n" + "\n".join(f"{k},{k * k}" for k in range(20)))
    return Table(str(place / "x.csv"), ("a", "b")), place / "x.csv"


ALL = [folder, archive, records, npy, npz, wav, csv]


@pytest.mark.parametrize("make", ALL, ids=lambda make: make.__name__)
def test_no_permission_to_read(make, tmp_path):
    data, path = make(tmp_path)
    allow_others(tmp_path)
    path.chmod(0)
    # Of a folder of images only the first is looked at before training.
    read_all = lambda: data.examples(np.arange(data.size()))
    use = read_all if make is folder else data.require
    named = r"images/.*\.png" if make is folder else path.name
    with as_nobody(), pytest.raises((ValueError, OSError), match=rf"{named}.*chmod u\+r"):
        use()


@pytest.mark.slow
@pytest.mark.parametrize("what", ["vanishes", "is cut"])
@pytest.mark.parametrize("make", ALL[:-1], ids=lambda make: make.__name__)  # tables: in memory
def test_a_file_that_is_lost_in_mid_epoch(make, what, tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 0)  # as if they were too large for it
    data, path = make(tmp_path)
    size, rows, seed = data.size(), 4, 0
    indices_of = lambda step: example_at(np.arange(rows * step, rows * step + rows), size, seed)
    batches = iter(data.pipeline(index_batches(size, rows, seed)))
    batches = with_named_errors(data, batches, indices_of)
    assert len(next(batches)) == rows
    whole = path.read_bytes()
    path.unlink()
    if what == "is cut":
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match=rf"{path.name}.* cannot be used: .+\. (Repair|Put)"):
        list(itertools.islice(batches, 100))  # some are read ahead
