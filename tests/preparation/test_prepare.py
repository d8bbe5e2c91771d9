"""Collections become TFDS datasets: whole, in order, resumable, and the source stays as it was."""

import importlib.util
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import TFDS, ImageFolder
from lcss_tf.preparation import Source, conversion, prepare, report


def picture(seed, height=16, width=16):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.fixture
def folder(tmp_path):
    """Twelve images of two classes and of mixed kinds, and two that are bad."""
    root = tmp_path / "My Photos"
    for i in range(12):
        place = root / ("cats" if i < 5 else "dogs")
        place.mkdir(parents=True, exist_ok=True)
        if i == 3:
            Image.fromarray(picture(i, 40, 20)).save(place / f"{i:02}.jpg", quality=95)
        elif i == 7:
            Image.fromarray(picture(i)).convert("CMYK").save(place / f"{i:02}.jpg")
        else:
            Image.fromarray(picture(i)).save(place / f"{i:02}.png")
    (root / "dogs" / "98.png").write_bytes(b"no image")
    (root / "dogs" / "99.png").write_bytes((root / "dogs" / "11.png").read_bytes()[:300])
    return root


def states(root):
    return {
        path: (path.stat().st_mtime_ns, path.read_bytes())
        for path in sorted(root.rglob("*")) if path.is_file()
    }  # fmt: skip


def same_as_the_folder(folder, out, name="my_photos"):
    """The prepared examples are the folder's good ones, bit for bit, with their labels."""
    there = ImageFolder(folder, 16, test_every=4)
    here = TFDS(name, (16, 16, 3), data_dir=out)
    for split in ("train", "test"):
        good = [i for i in range(there.size(split)) if there.why_bad(i, split) is None]
        assert here.size(split) == len(good)
        expected = [there.pixels(tf.constant(i, tf.int64), split).numpy() for i in good]
        got = here.stored(tf.range(len(good), dtype=tf.int64), split)
        assert np.array_equal(got, expected)
        assert np.array_equal(here.labels(split), there.labels(split)[good])


def test_a_folder_is_converted_reported_and_never_changed(folder, tmp_path):
    before = states(folder)
    source = Source(str(folder), 16, test_every=4)
    result, text, place = prepare(source, tmp_path / "out")
    assert states(folder) == before
    same_as_the_folder(folder, tmp_path / "out")
    assert result["dataset"] == "my_photos/1.0.0"
    assert sum(result["examples"].values()) == 12
    assert result["source_sizes"] == {"16×16": 11, "20×40": 1}
    assert result["source_modes"] == {"RGB": 11, "CMYK": 1}
    assert result["source_formats"] == {"PNG": 10, "JPEG": 2}
    assert result["classes"] == ["cats", "dogs"]
    assert [reason.split(":")[0] for reason in sorted(result["rejected"])] == [
        "My Photos/dogs/98.png", "My Photos/dogs/99.png"
    ]  # fmt: skip
    assert "truncated or damaged" in text
    data = TFDS("my_photos", (16, 16, 3), data_dir=tmp_path / "out")
    every = np.concatenate(
        [data.stored(tf.range(data.size(s), dtype=tf.int64), s) for s in ("train", "test")]
    )
    assert np.allclose(result["mean"], (every / 255).mean(axis=(0, 1, 2)), atol=1e-6)
    assert np.allclose(result["standard_deviation"], (every / 255).std(axis=(0, 1, 2)), atol=1e-6)
    assert np.asarray(Image.open(os.path.join(place, "examples.png"))).shape[2] == 3
    assert json.loads(Path(place, "report.json").read_text()) == result
    assert not [name for name in os.listdir(tmp_path / "out") if name.startswith(".")]


def test_what_is_left_out_is_counted_and_any_file_name_is_taken(tmp_path):
    root = tmp_path / "set"
    for k, name in enumerate(("1/a.png", "1/b.tif", "2/a.jpe", "10/a.png", "10/b.gif")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(k)).save(root / name, {".jpe": "JPEG"}.get(name[-4:]))
    os.rename(root / "2/a.jpe", os.fsencode(root) + b"/2/\xe9.jpe")
    for name in (".hidden/a.png", "1/._a.png", "Thumbs.db", "list.txt", "2/x.heic"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    with open(os.fsencode(root) + b"/2/b\xe4d.png", "wb") as file:
        file.write(b"no image")
    result, text, _ = prepare(Source(str(root), 16, test_every=3), tmp_path / "out")
    assert result["classes"] == ["1", "2", "10"]
    assert sum(result["examples"].values()) == 5
    assert result["left_out"] == {"hidden, or a system's own": 3, ".txt": 1}
    assert "left out, no images: 4" in text
    assert result["rejected"] == [
        "set/2/x.heic: HEIF is not read; convert it to PNG",
        "set/2/b\\xe4d.png: not an image, or its header is damaged (it begins with b'no image')",
    ]
    data = TFDS("set", (16, 16, 3), data_dir=tmp_path / "out")
    assert data.class_names() == ["1", "2", "10"]
    with pytest.raises(ValueError, match=r"1 files cannot be used:\n  set/2/x\.heic: HEIF"):
        prepare(Source(str(root), 16), tmp_path / "other", on_bad_example="error")
    assert not (tmp_path / "other").exists()


@pytest.mark.slow
def test_a_stopped_run_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(conversion, "_CHUNK", 2)
    source, out = Source(str(folder), 16, test_every=4), tmp_path / "out"
    real, converted = conversion.convert, []

    def counting(source, split, index):
        if len(converted) == 5:
            raise KeyboardInterrupt
        converted.append((split, index))
        return real(source, split, index)

    monkeypatch.setattr(conversion, "convert", counting)
    with pytest.raises(KeyboardInterrupt):
        prepare(source, out)
    assert not (out / "my_photos").exists()
    finished = {
        tuple(p.stem.rsplit("_", 1)) for p in out.glob(".chunks_*/*.json")
    }  # fmt: skip
    assert finished
    again = []
    monkeypatch.setattr(
        conversion, "convert", lambda s, split, i: again.append((split, i)) or real(s, split, i)
    )
    prepare(source, out)
    done = {(split, int(k)) for split, k in finished}
    assert not {(split, index // 2) for split, index in again} & done
    same_as_the_folder(folder, out)
    again.clear()
    result, _, _ = prepare(source, out)  # finished: it is left as it is
    assert sum(result["examples"].values()) == 12
    assert not again
    with pytest.raises(ValueError, match=r"made from .*Choose another --name"):
        prepare(source._replace(resolution=8), out)


def test_bad_files_stop_it_if_asked(folder, tmp_path):
    with pytest.raises(ValueError, match=r"2 files cannot be used:(.|\n)*99\.png.*truncated"):
        prepare(Source(str(folder), 16), tmp_path / "out", on_bad_example="error")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"out": "{folder}/out"}, "lies in the source, which is never changed"),
        ({"name": "My Photos"}, "--name consists of lower-case letters"),
        ({"path": "{folder}/none"}, "There is nothing at"),
    ],
)
def test_wrong_requests_are_refused_before_any_work(folder, tmp_path, change, message):
    change = {key: value.format(folder=folder) for key, value in change.items()}
    source = Source(change.get("path", str(folder)), 16)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        prepare(source, change.get("out", tmp_path / "out"), change.get("name"))
    assert not (tmp_path / "out").exists()


def test_beam_says_how_to_get_it(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[beam\]'"):
        prepare(Source(str(folder), 16), tmp_path / "out", beam=True)


@pytest.mark.skipif(importlib.util.find_spec("apache_beam") is None, reason="needs Apache Beam")
def test_beam_s_local_runner_makes_the_same(folder, tmp_path):
    result, _, _ = prepare(Source(str(folder), 16, test_every=4), tmp_path / "out", beam=True)
    same_as_the_folder(folder, tmp_path / "out")
    assert len(result["rejected"]) == 2


def test_names_of_files_and_classes_forge_no_line_of_the_report():
    result = {
        "dataset": "mine/1.0.0", "examples": {"train": 2}, "shape": [4, 4, 3],
        "source_sizes": {"4×4": 2}, "source_modes": {"RGB": 2}, "source_formats": {"PNG": 2},
        "mean": [0.5], "standard_deviation": [0.1], "classes": ["a\n- rejected: 0", "<b>|*c*"],
        "rejected": ["x\n  - forged.png: \x1b[2J", "caf\udce9.png: it cannot be read"],
        "left_out": {".a*b*": 3},
    }  # fmt: skip
    text = report.as_text(result)
    lines = text.splitlines()
    assert len(lines) == 15
    assert [line for line in lines if line.startswith("- rejected")] == ["- rejected: 2"]
    assert lines[-4] == r"  - x\\n  - forged.png: \\x1b\[2J"
    assert lines[-2:] == ["- left out, no images: 3", r"  - .a\*b\*: 3"]
    assert r"a\\n- rejected: 0, \<b\>\|\*c\*" in text
    text.encode()
