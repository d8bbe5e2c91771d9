"""Evaluation of a run's checkpoints: figures, references, resuming, following, the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import gin
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import lcss_tf
from lcss_tf import config, files
from lcss_tf.experiment import evaluate, train
from lcss_tf.experiment.evaluation import Evaluation
from lcss_tf.experiment.selection import chosen
from lcss_tf.metrics import KID, Frechet, Pixels
from lcss_tf.metrics.memorization import find_neighbours
from lcss_tf.metrics.references import ReferenceMismatchError, References
from lcss_tf.reports import History
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from tests.experiment.test_tensorboard import BINDINGS
from tests.reports import browser

ROOT = config.PROJECT_GIN.parent
MEASURE = [
    "Evaluation.metrics = [@metrics.PixelFrechet(), @metrics.KID()]",
    "PixelFrechet.num_samples = 96",
    "KID.extractor = @features.Pixels()",
    "KID.num_samples = 64",
]


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    patch = pytest.MonkeyPatch()
    patch.setenv("LCSS_TF_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run on the digits with checkpoints at steps 10 and 20, and the best by a watched metric."""
    workdir = tmp_path_factory.mktemp("runs") / "digits <b>&"
    bindings = [
        *BINDINGS, "Watch.every = 10", "Watch.metric = @metrics.PixelFrechet()",
        "PixelFrechet.num_samples = 32", "Pictures.every = 0",
    ]  # fmt: skip
    config.load(ROOT / "tests/small.gin", bindings)
    train(workdir)
    gin.clear_config()
    return workdir


def loaded(workdir, *bindings):
    gin.clear_config()
    config.load_workdir(workdir, [*MEASURE, *bindings])


def results(workdir):
    return {
        path.parent.name: (path.stat().st_mtime_ns, json.loads(path.read_text()))
        for path in workdir.glob("evaluation/step_*/result.json")
    }


@pytest.fixture(scope="module")
def evaluated(run):
    """The run with all its checkpoints evaluated."""
    loaded(run)
    figures, grid = evaluate(run, "all")
    gin.clear_config()
    return run, figures, grid


def test_every_checkpoint_is_measured_once(evaluated):
    workdir, figures, grid = evaluated
    before = results(workdir)
    assert set(before) == {"step_000000010", "step_000000020"}
    assert figures == json.loads((workdir / "metrics.json").read_text())
    assert figures["step"] == 20
    assert figures["held_out_examples"] == 360
    assert figures["training_examples"] == 96
    for name in ("frechet_pixels_96", "kid_pixels_64"):
        assert figures[f"{name}_error"] > 0
        assert figures[f"{name}_of_training_data"] < figures[name]
    assert grid.read_bytes().startswith(b"\x89PNG")
    loaded(workdir)
    assert evaluate(workdir, "all")[0] == figures
    assert {k: v[0] for k, v in results(workdir).items()} == {k: v[0] for k, v in before.items()}
    loaded(workdir, "Evaluation.seed = 5")
    assert evaluate(workdir, "20")[0] != figures
    assert not list(workdir.glob("evaluation/*/shards_*"))


def test_csv_and_tensorboard_have_the_checkpoints_steps(evaluated):
    workdir, figures, _ = evaluated
    lines = (workdir / "metrics.csv").read_text().splitlines()
    assert lines[0] == "step,metric,value,error,real"
    assert [line.split(",")[:2] for line in lines[1:3]] == [
        ["10", "frechet_pixels_96"], ["10", "kid_pixels_64"]
    ]  # fmt: skip
    events = EventAccumulator(str(workdir / "evaluation"))
    events.Reload()
    steps = {event.step for event in events.Tensors("evaluate/frechet_pixels_96")}
    assert steps == {10, 20}
    assert "evaluate_error/kid_pixels_64" in events.Tags()["tensors"]


def test_the_best_checkpoint_is_kept_and_can_be_evaluated(evaluated):
    workdir = evaluated[0]
    best = json.loads((workdir / "checkpoints/best.json").read_text())
    values = dict(zip(*History(workdir).curve("watch/frechet_pixels_32"), strict=True))
    assert set(values) == {10, 20}
    assert best["step"] == min(values, key=values.get)
    assert best["value"] == pytest.approx(min(values.values()), rel=1e-5)
    loaded(workdir)
    assert evaluate(workdir, "best")[0]["step"] == best["step"]


def test_selections(run):
    checkpoints = Checkpoints(run)
    steps = lambda text: [int(path.stem[5:]) for path in chosen(checkpoints, text)]
    assert steps("newest") == steps("20") == steps("11-") == [20]
    assert steps("all") == steps("10-20") == [10, 20]
    assert steps("-15") == [10]
    with pytest.raises(CheckpointError, match="Steps there are: 10, 20"):
        chosen(checkpoints, "1_000")
    with pytest.raises(ValueError, match="expected newest, best, all"):
        chosen(checkpoints, "last")


def test_a_damaged_checkpoint_is_left_out_of_a_range(run, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    (workdir / "checkpoints/step_000000010.npz").write_bytes(b"damaged")
    loaded(workdir)
    assert evaluate(workdir, "all")[0]["step"] == 20
    assert "step_000000010.npz is left out" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be used"):
        evaluate(workdir, "10")


def test_following_ends_with_the_last_checkpoint(run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    last = workdir / "checkpoints/step_000000020.npz"
    last.rename(tmp_path / last.name)
    loaded(workdir, "Evaluation.poll_s = 0.05", "Evaluation.report = False")
    evaluation = Evaluation(workdir)
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        (tmp_path / last.name).rename(last)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        figures, _ = evaluation.follow()
    assert sleeps == [0.05]
    assert figures["step"] == 20
    assert set(results(workdir)) == {"step_000000010", "step_000000020"}


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_figures(run, tmp_path):
    """kill −9 while shards are written: those that are finished are not drawn again."""
    workdirs = [tmp_path / name for name in ("whole", "killed")]
    for workdir in workdirs:
        shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    bindings = [*MEASURE, "PixelFrechet.num_samples = 6_000", "sample.batch_size = 256"]
    loaded(workdirs[0], *bindings[4:])
    expected = evaluate(workdirs[0])[0]
    command = [sys.executable, str(ROOT / "bin/evaluate.py"), f"--workdir={workdirs[1]}"]
    command += [f"--gin_bindings={binding}" for binding in bindings]
    process = subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    until = time.monotonic() + 120
    while len(list(workdirs[1].glob("evaluation/*/shards_*/shard_*.npz"))) < 2:
        assert process.poll() is None, "it ended before two shards were there"
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    shards = sorted(workdirs[1].glob("evaluation/*/shards_*/shard_*.npz"))
    shards[0].write_bytes(b"damaged")
    drawn = []
    loaded(workdirs[1], *bindings[4:])
    evaluation = Evaluation(workdirs[1])
    generate = evaluation._generation
    evaluation._generation = _Counted(generate, drawn)
    assert evaluation.run()[0] == expected
    assert len(drawn) == -(-6_000 // 1_024) - len(shards) + 1


class _Counted:
    """A generation that notes its calls."""

    def __init__(self, generation, calls):
        self._generation, self._calls = generation, calls
        self.batch_size = generation.batch_size

    def __call__(self, *arguments, **options):
        self._calls.append(arguments)
        return self._generation(*arguments, **options)


def test_references_are_stored_reused_and_never_mixed(tmp_path):
    data, metrics = lcss_tf.DATASETS["Digits"](), [Frechet(Pixels(), 100)]
    make = lambda **options: References(data, 0, directory=tmp_path, **options)
    first, path = make().summary(metrics)
    written = path.stat().st_mtime_ns
    again, same = make().summary(metrics)
    assert same == path
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.moments()[0].covariance, again.moments()[0].covariance)
    # Whatever they depend on gives another file.
    others = [
        make(split="train").summary(metrics)[1],
        make(num_examples=200).summary(metrics)[1],
        make().summary([KID(Pixels(), 100)])[1],
        References(
            lcss_tf.DATASETS["Digits"](centered=False), 0, directory=tmp_path
        ).summary(metrics)[1],
    ]  # fmt: skip
    assert len({path, *others}) == 5
    with pytest.raises(ReferenceMismatchError, match="split: train there, test now") as caught:
        make(path=others[0]).summary(metrics)
    assert "size: 1437 there, 360 now" in str(caught.value)
    assert make(path=path).summary(metrics)[1] == path
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ReferenceMismatchError, match="cannot be read"):
        make(path=path).summary(metrics)
    assert make().summary(metrics)[0].count == 360  # the cache's own file is made again


def test_only_statistics(run):
    loaded(run)
    figures, path = evaluate(run, stats_only=True)
    assert path.is_file()
    assert str(path) in figures.values()


def test_copies_of_the_training_set_are_called_memorised():
    data = lcss_tf.DATASETS["Digits"]()
    references = References(data, 0)
    copies = References.examples(60, "train")
    found = find_neighbours(copies, data, references)
    assert found.share_nearer() == 1.0
    assert found.samples.max() == 0.0
    assert found.training.min() > 0.0
    np.testing.assert_array_equal(found.pictured[:, 0], found.pictured[:, 1])
    held_out = find_neighbours(References.examples(256, "test"), data, references)
    assert held_out.share_nearer() < 0.1
    # By hand, for one.
    train_set = np.float32(References.examples(1437, "train")).reshape(1437, -1)
    query = np.float32(References.examples(256, "test"))[7].reshape(-1)
    expected = np.sqrt(np.mean((train_set - query) ** 2, axis=1)).min()
    assert held_out.samples[7] == pytest.approx(expected, rel=1e-5)
    assert find_neighbours(copies, lcss_tf.DATASETS["TwoMoons"](), references) is None


def test_features_of_a_costly_extractor_are_kept_until_the_end(run, monkeypatch):
    calls = []

    class Costly(Pixels):
        name, costly = "costly", True

        def __call__(self, batch):
            calls.append(len(batch))
            return super().__call__(batch)

    loaded(run)
    evaluation = Evaluation(run, metrics=[Frechet(Costly(), 64)], report=False)
    monkeypatch.setattr(evaluation, "_write_samples", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        evaluation.run()
    before = len(calls)
    monkeypatch.undo()
    evaluation.run()
    assert len(calls) == before, "features were extracted again"


def _interrupted(*_):
    raise KeyboardInterrupt


@pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.MISSING)
def test_the_report_in_a_browser(evaluated, tmp_path):
    workdir = evaluated[0]
    with browser.page() as page:
        page.open(workdir / "report.html")
        assert page.run("return document.title") == f"{workdir.name}: evaluation"
        assert page.run("return document.querySelector('h1').textContent") == workdir.name
        headings = page.run("return [...document.querySelectorAll('h2')].map(e => e.id)")
        assert headings == ["metrics", "samples", "neighbours", "loss", "configuration"]
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert page.run(broken) == 0
        assert page.run("return document.images.length") == 6
        # Self-contained: nothing was asked of anybody.
        fetched = page.run(
            "return performance.getEntriesByType('resource').map(e => e.name)"
            ".filter(n => !n.startsWith('data:'))"
        )
        assert fetched == []
        overflow = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.run(overflow) <= 0
        text = page.run("return document.querySelector('#metrics ~ div').innerText")
        assert "frechet_pixels_96" in text
        assert "±" in text
        assert "PixelFrechet" in page.run("return document.querySelector('pre').textContent")
        page.screenshot(tmp_path / "report.png")
    assert np.asarray(Image.open(tmp_path / "report.png")).std() > 10


def test_bad_bindings_are_refused_before_any_work(run):
    loaded(run, "Evaluation.metrics = [@metrics.SlicedWasserstein()]")
    with pytest.raises(ValueError, match="sees vectors; digits holds images"):
        evaluate(run)
    inception = ["Frechet.extractor = @features.Inception()", "Inception.path = '/nowhere.pb'"]
    loaded(run, "Evaluation.metrics = [@metrics.Frechet()]", *inception)
    with pytest.raises(FileNotFoundError, match="no such file"):
        evaluate(run)
    assert Path(files.cache_directory()).exists()
