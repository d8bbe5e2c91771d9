import numpy as np
import pytest
import tensorflow as tf
from scipy.io import wavfile

from lcss_tf.data import Audio, arrays


def tone(frames, channels=1, seed=0):
    x = np.random.default_rng(seed).uniform(-0.5, 0.5, (frames, channels))
    return x if channels > 1 else x[:, 0]


def write(path, samples, dtype=np.int16, rate=8_000):
    path.parent.mkdir(exist_ok=True)
    scale = {np.int16: 2**15, np.int32: 2**31, np.float32: 1, np.float64: 1}[dtype]
    stored = (samples * scale).astype(dtype)
    wavfile.write(path, rate, stored)
    return stored


def windows(data, split="train"):
    return data.info().unscale(data.examples(tf.range(data.size(split), dtype=tf.int64), split))


@pytest.mark.parametrize("memory", [2**30, 0], ids=["memory", "files"])
@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.float32, np.float64])
def test_windows_are_the_files_samples(tmp_path, monkeypatch, dtype, memory):
    monkeypatch.setattr(arrays, "MEMORY_BYTES", memory)
    stored = [
        write(tmp_path / place, tone(1_070, 2, seed), dtype)
        for seed, place in enumerate(("a.wav", "more/b.WAV"))
    ]
    data = Audio(tmp_path, window=100, channels=2, test_every=5)
    assert (data.shape, data.size(), data.size("test")) == ((100, 2), 16, 4)
    assert data.sample_rate is None or data.sample_rate == 8_000
    train = np.stack([s[100 * k : 100 * k + 100] for s in stored for k in range(8)])
    test = np.stack([s[100 * k : 100 * k + 100] for s in stored for k in (8, 9)])
    size = np.abs(train.astype(np.float64)).max()
    assert np.allclose(windows(data), train, atol=1e-6 * size)
    assert np.allclose(windows(data, "test"), test, atol=1e-6 * size)
    assert data.examples(tf.range(16, dtype=tf.int64)).numpy().std() == pytest.approx(1, abs=0.05)


def test_other_chunks_before_the_samples_are_skipped(tmp_path, monkeypatch):
    monkeypatch.setattr(arrays, "MEMORY_BYTES", 0)  # read by offset
    stored = write(tmp_path / "a.wav", tone(400))
    whole = (tmp_path / "a.wav").read_bytes()
    size = (len(whole) + 18 - 8).to_bytes(4, "little")
    extra = b"odd!" + (9).to_bytes(4, "little") + b"something" + b"\0"  # padded to two bytes
    (tmp_path / "a.wav").write_bytes(b"RIFF" + size + whole[8:36] + extra + whole[36:])
    data = Audio(tmp_path, window=40)
    assert np.allclose(windows(data)[..., 0], stored[:360].reshape(9, 40), atol=0.05)


def test_overlapping_windows_share_no_sample_with_held_out_ones(tmp_path):
    write(tmp_path / "a.wav", np.arange(400) / 2**15)
    data = Audio(tmp_path, window=40, hop=10, test_every=4)
    train, test = (np.unique(np.rint(windows(data, s))) for s in ("train", "test"))
    assert not set(train) & set(test)
    assert len(train) + len(test) > 350


def test_bad_files_are_an_error_or_are_left_out_and_counted(tmp_path, caplog):
    for k in range(2):
        write(tmp_path / f"{k}.wav", tone(500, seed=k))
    whole = (tmp_path / "0.wav").read_bytes()
    bad = {
        "cut.wav": whole[:600],
        "odd.wav": whole[:-1],
        "no_samples.wav": whole[:40] + bytes(4),
        "header.wav": whole[:30],
        "text.wav": b"no sound at all",
        "deep.wav": whole[:32] + b"\x03\x00\x18\x00" + whole[36:],  # 24 bits in 3 bytes
    }
    for name, content in bad.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=rf"{name}.*on_bad_example"):
            Audio(tmp_path, window=50).require()
        (tmp_path / name).rename(tmp_path / f"{name}.out")
    write(tmp_path / "fast.wav", tone(500), rate=16_000)
    with pytest.raises(ValueError, match=r"fast\.wav has 1 channels .*16000 Hz.*ffmpeg"):
        Audio(tmp_path, window=50).require()
    write(tmp_path / "short.wav", tone(10))
    data = Audio(tmp_path, window=50, on_bad_example="skip")
    with caplog.at_level("WARNING", logger="absl"):
        assert data.size() + data.size("test") == 20
    assert "2 of 4 WAV files are left out" in caplog.text
    assert "short.wav holds 10 samples" in caplog.text


def test_no_files(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"holds no WAV file.*Audio\.root"):
        Audio(tmp_path, window=8).require()
    with pytest.raises(FileNotFoundError, match="There is no folder"):
        Audio(tmp_path / "none", window=8).require()
    with pytest.raises(ValueError, match="at least 1; got 0"):
        Audio(tmp_path, window=0)


def test_hidden_files_are_no_recordings(tmp_path):
    for name in ("a.wav", "b.wav", "._a.wav", ".trash/c.wav", "__MACOSX/d.wav"):
        write(tmp_path / name, tone(200))
    assert [path.rsplit("/")[-1] for path in (s.path for s in Audio(tmp_path, 20).segments())] == [
        "a.wav", "b.wav"
    ]  # fmt: skip


@pytest.mark.parametrize("left_out", ["stereo", "short", "no channels", "another type and rate"])
def test_a_file_that_is_left_out_sets_neither_rate_nor_type(tmp_path, left_out):
    channels = 2 if left_out == "stereo" else 1
    dtype = np.float32 if left_out == "another type and rate" else np.int16
    frames = 10 if left_out == "short" else 500
    write(tmp_path / "0.wav", tone(frames, channels), dtype, rate=44_100)
    if left_out == "no channels":
        content = bytearray((tmp_path / "0.wav").read_bytes())
        content[22:24] = bytes(2)
        (tmp_path / "0.wav").write_bytes(content)
    for k in range(1, 4):
        write(tmp_path / f"{k}.wav", tone(500, seed=k))
    asked = 8_000 if left_out == "another type and rate" else None
    data = Audio(tmp_path, window=50, on_bad_example="skip", sample_rate=asked)
    assert data.size() + data.size("test") == 30
    assert data.sample_rate == 8_000
    with pytest.raises(ValueError, match=r"0\.wav.*on_bad_example"):
        Audio(tmp_path, window=50, sample_rate=asked).require()


def test_where_no_file_can_be_used_the_reason_is_told(tmp_path):
    for k in range(2):
        write(tmp_path / f"{k}.wav", tone(500, 2, k))
    with pytest.raises(ValueError, match=r"None of the 2 .*0\.wav has 2 channels.*Audio\.channels"):
        Audio(tmp_path, window=50, on_bad_example="skip").require()


def test_recordings_of_24_bits_come_back(tmp_path):
    wide = np.random.default_rng(1).integers(-(2**31), 2**31, 400, np.int32) & ~0xFF
    whole = np.ascontiguousarray(wide, "<i4").view(np.uint8).reshape(-1, 4)[:, 1:].tobytes()
    header = b"RIFF" + (36 + len(whole)).to_bytes(4, "little") + b"WAVEfmt " + bytes([16, 0, 0, 0])
    header += bytes([1, 0, 1, 0]) + (8_000).to_bytes(4, "little") + (24_000).to_bytes(4, "little")
    header += bytes([3, 0, 24, 0]) + b"data" + len(whole).to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(header + whole)
    data = Audio(tmp_path, window=40)
    assert windows(data).dtype == np.float64
    np.testing.assert_allclose(windows(data)[..., 0], wide[:360].reshape(9, 40), atol=400)
