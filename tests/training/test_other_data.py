"""A run that is resumed knows its own data again, and keeps the scaling that it began with."""

import functools
import json
import tarfile

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.io import wavfile

import lcss_tf as lcss
from lcss_tf import files
from lcss_tf.commands import _runs
from lcss_tf.data import (
    Arrays,
    Audio,
    Checkerboard,
    DataInfo,
    Dequantised,
    Digits,
    ImageFolder,
    Parquet,
    Table,
    WebDataset,
    from_user,
)
from lcss_tf.data.rescaling import Rescaled, rescaled
from lcss_tf.errors import UsageError
from lcss_tf.training import Distribution, TrainStep
from lcss_tf.training.checkpoints import FORMAT
from lcss_tf.training.workdir import as_begun, source_of, write_description
from tests.data.helpers import classes, encoded
from tests.data.sources import add
from tests.training.helpers import no_prior_check

Z = np.random.default_rng(5).normal(size=(40, 3))
ONE = Distribution(1)


def changed_at(x, place, value):
    x = np.array(x)
    x[place] = value
    return x


def array(folder, x, **options):
    np.save(folder / "x.npy", x)
    return Arrays(folder / "x.npy", x.shape[1:], **options)


def table(folder, x, label=None):
    columns = ("a", "b", "c")[: x.shape[1]]
    lines = [",".join(map(repr, row)) for row in x.tolist()]
    (folder / "x.csv").write_text("\n".join([",".join(columns), *lines]))
    modelled = tuple(name for name in columns if name != label)
    return Table(str(folder / "x.csv"), modelled, label=label)


def sounds(folder, x):
    (folder / "wav").mkdir(exist_ok=True)
    wavfile.write(folder / "wav" / "a.wav", 8_000, x.astype(np.float32).ravel())
    return Audio(folder / "wav", window=10)


def shards(folder, seeds, labels=(0, 1, 0, 1)):
    with tarfile.open(folder / "a.tar", "w") as archive:
        for (name, seed), label in zip(seeds.items(), labels, strict=True):
            noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), np.uint8)
            add(archive, name, encoded(Image.fromarray(noise), "PNG"))
            add(archive, name.replace("png", "cls"), str(label).encode())
    return WebDataset(folder / "a.tar", 6)


def columns(folder, x):
    import pyarrow as pa
    from pyarrow import parquet

    parquet.write_table(pa.table(dict(zip("abc", x.T, strict=True))), folder / "x.parquet")
    return Parquet(folder / "x.parquet", columns=("a", "b", "c"))


def pictures(folder, seeds, size=6, fit="crop"):
    root = folder / "images"
    root.mkdir(exist_ok=True)
    for path in root.iterdir():
        path.unlink()
    for name, seed in seeds.items():
        noise = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        Image.fromarray(noise).save(root / name)
    return ImageFolder(root, size, fit=fit)


NAMES = {f"{k}.png": k for k in range(4)}
BYTES = np.random.default_rng(1).integers(0, 256, (40, 3), np.uint8)
LABELLED = np.column_stack([Z[:, :2], np.arange(40.0) % 2])
# source -> (the data at the start, later data, what is said of the change)
CHANGES = {
    "a table a thousand times larger": (
        lambda f: table(f, Z), lambda f: table(f, 1e3 * Z), r"scaling\.stds: .* there, .* now"
    ),
    "a table in another order": (lambda f: table(f, Z), lambda f: table(f, Z[::-1]), "content"),
    "a table with a row more": (
        lambda f: table(f, Z[:-1]), lambda f: table(f, Z), "examples: 31 there, 32 now"
    ),
    "a table with other labels": (
        lambda f: table(f, LABELLED, "c"),
        lambda f: table(f, changed_at(LABELLED, (7, 2), 2), "c"),
        "content",
    ),
    "an array of which one number changed": (
        lambda f: array(f, Z), lambda f: array(f, changed_at(Z, (7, 1), 9.0)), "content"
    ),
    "an array of another dtype": (
        lambda f: array(f, Z), lambda f: array(f, Z.astype(np.float32)), "stored_dtype"
    ),
    "an array of bytes": (
        lambda f: array(f, BYTES), lambda f: array(f, 255 - BYTES), "content"
    ),
    "an array in a range": (
        lambda f: array(f, Z, stored_range=(-9, 9)),
        lambda f: array(f, Z, stored_range=(-5, 9)),
        r"scaling\.stored_low: -9\.0 there, -5\.0 now",
    ),
    "recordings": (lambda f: sounds(f, Z), lambda f: sounds(f, 2 * Z), "content"),
    "a folder with another image": (
        lambda f: pictures(f, NAMES), lambda f: pictures(f, NAMES | {"2.png": 9}), "content"
    ),
    "a folder with other names": (
        lambda f: pictures(f, NAMES),
        lambda f: pictures(f, {name.replace("2", "5"): k for name, k in NAMES.items()}),
        "names",
    ),
    "a folder with another fit": (
        lambda f: pictures(f, NAMES), lambda f: pictures(f, NAMES, fit="pad"), "fit: .* now"
    ),
    "shards with another image": (
        lambda f: shards(f, NAMES), lambda f: shards(f, NAMES | {"2.png": 9}), "content"
    ),
    "shards with another label": (
        lambda f: shards(f, NAMES), lambda f: shards(f, NAMES, (0, 1, 1, 1)), "labels"
    ),
    "a Parquet file in another order": (
        lambda f: columns(f, Z), lambda f: columns(f, Z[::-1]), "content"
    ),
    "an array in memory": (lambda f: from_user(Z), lambda f: from_user(Z + 1e-3), "means"),
    "bytes in memory": (lambda f: from_user(BYTES), lambda f: from_user(BYTES // 2), "content"),
    "labels in memory": (
        lambda f: from_user(Z, np.arange(40) % 2),
        lambda f: from_user(Z, np.arange(40) % 3),
        "content",
    ),
    "tf.data": (
        lambda f: from_user(tf.data.Dataset.from_tensor_slices(Z)),
        lambda f: from_user(tf.data.Dataset.from_tensor_slices(10 * Z)),
        "stds",
    ),
    "another source": (lambda f: from_user(Z[:, :2]), lambda f: Checkerboard(), "scaling"),
}  # fmt: skip


def begin(workdir, data, checkpoint=True):
    """What a run on these data leaves."""
    description = {"data": data.info().to_dict(), "source": source_of(data)}
    write_description(workdir, description)
    if checkpoint:
        meta = {"format": FORMAT, "step": 1, "model": description}
        content = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        files.write_arrays(workdir / "checkpoints" / "step_000000001.npz", {"meta": content})


@pytest.mark.parametrize("name", CHANGES)
def test_changed_data_are_refused_by_what_changed_or_keep_the_runs_scaling(tmp_path, caplog, name):
    before, after, message = CHANGES[name]
    data = before(tmp_path)
    assert as_begun(data, tmp_path / "run", False, ONE) is data  # nothing there yet
    begin(tmp_path / "run", data)
    again = before(tmp_path)
    assert as_begun(again, tmp_path / "run", False, ONE) is again
    other = after(tmp_path)
    with pytest.raises(UsageError, match=rf"(?s)run on other data.*{message}.*--resume=force"):
        as_begun(other, tmp_path / "run", False, ONE)
    with caplog.at_level("WARNING", logger="absl"):
        forced = as_begun(other, tmp_path / "run", True, ONE)
    assert "keeps its scaling" in caplog.text
    assert forced.scaling == data.scaling
    few = np.arange(3)
    raw = other.info().unscale(other.examples(few))
    np.testing.assert_allclose(data.info().unscale(forced.examples(few)), raw, rtol=1e-5, atol=1e-5)


def test_a_run_without_a_checkpoint_takes_the_new_scaling_if_forced(tmp_path):
    begin(tmp_path, from_user(Z), checkpoint=False)
    with pytest.raises(UsageError, match="other data"):
        as_begun(from_user(7 * Z), tmp_path, False, ONE)
    data = from_user(7 * Z)
    assert as_begun(data, tmp_path, True, ONE) is data


def test_a_run_that_recorded_no_source_is_compared_by_its_scaling(tmp_path):
    write_description(tmp_path, {"data": from_user(Z).info().to_dict()})
    as_begun(from_user(Z), tmp_path, False, ONE)
    with pytest.raises(UsageError, match="means"):
        as_begun(from_user(Z + 1), tmp_path, False, ONE)


def test_data_that_moved_or_that_rounding_touched_are_the_same(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
    begin(tmp_path / "run", pictures(tmp_path / "old", NAMES))
    as_begun(pictures(tmp_path / "new", NAMES), tmp_path / "run", False, ONE)
    data = from_user(Z)
    begin(tmp_path / "sum", data)
    stored = DataInfo.from_dict(json.loads((tmp_path / "sum" / "data.json").read_text()))
    data.scaling = type(data.scaling).standardising(
        np.multiply(data.scaling.means, 1 + 1e-14), data.scaling.stds, "float64"
    )
    assert as_begun(data, tmp_path / "sum", False, ONE).scaling == stored.scaling


def test_large_files_are_known_by_examples_spread_over_them(tmp_path, monkeypatch):
    monkeypatch.setattr("lcss_tf.data.arrays.MEMORY_BYTES", 0)
    data = array(tmp_path, Z)
    assert data.fingerprint() == array(tmp_path, Z).fingerprint()
    assert data.fingerprint() != array(tmp_path, Z[::-1].copy()).fingerprint()
    monkeypatch.setattr("lcss_tf.data.fingerprint._BYTES", 1)  # 16 examples at least
    one = from_user(np.arange(1_000.0)).fingerprint()
    assert one != from_user(np.arange(1_000.0) ** 1.01).fingerprint()


def test_what_is_rescaled_offers_what_the_data_do():
    digits = Digits()
    for data in (digits, Dequantised(digits)):
        assert data.fingerprint() == digits.fingerprint()
        assert rescaled(data, data.scaling) is data
    data = from_user((Z, np.arange(40) % 2), test_every=4)
    other = Rescaled(data, type(data.scaling).standardising([1, 2, 3], [2, 2, 2]))
    expected = (data.info().unscale(data.examples([0, 5])) - [1, 2, 3]) / 2
    np.testing.assert_allclose(other.examples([0, 5]), expected, atol=1e-6)
    assert (other.size("train"), other.size("test"), other.kind) == (30, 10, "vector")
    batch, labels = next(iter(other.training_pipeline(4, seed=0, condition=classes(2))))
    own, own_labels = next(iter(data.training_pipeline(4, seed=0, condition=classes(2))))
    np.testing.assert_array_equal(labels, own_labels)
    np.testing.assert_allclose(batch, (data.info().unscale(own) - [1, 2, 3]) / 2, atol=1e-6)
    assert batch.shape == (4, 3)


def test_fit_refuses_other_data_and_goes_on_with_the_old_scaling_if_forced(tmp_path):
    def fit(x, steps, resume="auto"):
        network = lcss.networks.MLP(width=4, depth=1, embedding_features=4)
        model = lcss.ScoreModel(network, lcss.sdes.VPSDE(), distribution=ONE)
        step = functools.partial(TrainStep, jit_compile=False)
        trainer = no_prior_check(resume=resume, make_step=step)
        model.fit(x, steps=steps, batch_size=8, workdir=tmp_path, trainer=trainer)
        return model

    before = fit(Z, 1).info.scaling
    described = (tmp_path / "data.json").read_bytes()
    with pytest.raises(UsageError, match="other data"):
        fit(1e3 * Z, 2)
    assert (tmp_path / "data.json").read_bytes() == described
    model = fit(1e3 * Z, 2, "force")
    assert model.info.scaling == before
    assert (tmp_path / "data.json").read_bytes() == described
    assert lcss.ScoreModel.load(tmp_path, distribution=ONE).info.scaling == before
    # The data that were accepted are the run's own from now on.
    assert as_begun(from_user(1e3 * Z), tmp_path, False, ONE).scaling == before
    np.testing.assert_allclose(
        _runs.data_for(model, from_user(1e3 * Z)).examples([0]),
        (1e3 * Z[:1] - before.means) / before.stds,
        rtol=1e-5,
    )
