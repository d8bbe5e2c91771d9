"""Evaluation of a run's checkpoints: figures, references, resuming, following, the report."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import gin
import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from lcss_tf import files
from lcss_tf.commands import evaluate
from lcss_tf.commands.evaluate import Evaluation
from lcss_tf.metrics import Frechet, Pixels
from lcss_tf.plots.history import History
from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from lcss_tf.training.workdir import only_process
from tests.commands.helpers import DIGITS, ONE, ROOT, lcss, load_run, trained
from tests.reports import browser

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
    return trained(
        tmp_path_factory.mktemp("runs") / "digits <b>&", *DIGITS, "Pictures.every = 0",
        "TrainStep.jit_compile = False", "sample.jit_compile = False",
        "Watch.every = 10", "Watch.metric = @metrics.PixelFrechet()",
        "PixelFrechet.num_samples = 32",
    )  # fmt: skip


def evaluation(workdir, *bindings, **options):
    """An `Evaluation` of the run, its configuration loaded."""
    load_run(workdir, *MEASURE, *bindings)
    return Evaluation(workdir, **options)


def results(workdir):
    return {
        path.parent.name: (path.stat().st_mtime_ns, json.loads(path.read_text()))
        for path in workdir.glob("evaluation/step_*/result.json")
    }


@pytest.fixture(scope="module")
def evaluated(run):
    """The run with all its checkpoints evaluated."""
    figures = evaluation(run).run("all")
    gin.clear_config()
    return run, figures


def test_every_checkpoint_is_measured_once(evaluated):
    workdir, figures = evaluated
    before = results(workdir)
    assert set(before) == {"step_000000010", "step_000000020"}
    assert figures == json.loads((workdir / "metrics.json").read_text())
    assert figures["step"] == 20
    assert figures["held_out_examples"] == 360
    assert figures["training_examples"] == 96
    for name in ("frechet_pixels_96", "kid_pixels_64"):
        assert figures[f"{name}_error"] > 0
        assert figures[f"{name}_of_training_data"] < figures[name]
    for grid in (workdir / "samples/final_grid.png", *workdir.glob("evaluation/step_*/grid.png")):
        assert grid.read_bytes().startswith(b"\x89PNG")
    assert evaluation(workdir).run("all") == figures
    assert {k: v[0] for k, v in results(workdir).items()} == {k: v[0] for k, v in before.items()}
    assert evaluation(workdir, "Evaluation.seed = 5").run("20") != figures
    assert not list(workdir.glob("evaluation/*/shards_*"))


def test_the_bar_moves_with_every_batch_and_features_are_taken_beside_the_next_shard(
    run, monkeypatch
):
    """32 samples a batch, shards of 64: the bar hears of each batch, and of all samples once."""
    heard, threads = [], []

    class Heard(evaluate.Bar):
        def update(self, count=1):
            heard.append(count)
            super().update(count)

    monkeypatch.setattr(evaluate, "Bar", Heard)
    monkeypatch.setattr(evaluate, "_SHARD", 64)
    measured = evaluation(run, "sample.batch_size = 32", "Evaluation.seed = 7")
    extract = Pixels.__call__

    def watched(self, batch):
        threads.append((threading.current_thread() is threading.main_thread(), len(batch)))
        return extract(self, batch)

    measured.suite.real_values  # noqa: B018  what is read of real examples does not count here
    monkeypatch.setattr(Pixels, "__call__", watched)
    measured.run("20")
    assert heard == [32, 32, 32]
    assert threads == [(False, 64), (False, 32)]


def test_csv_and_tensorboard_have_the_checkpoints_steps(evaluated):
    workdir, figures = evaluated
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
    values = dict(zip(*History.from_workdir(workdir).curve("watch/frechet_pixels_32"), strict=True))
    assert set(values) == {10, 20}
    assert best["step"] == min(values, key=values.get)
    assert best["value"] == pytest.approx(min(values.values()), rel=1e-5)
    assert evaluation(workdir).run("best")["step"] == best["step"]


def test_selections(run):
    checkpoints = Checkpoints(run)
    steps = lambda text: [int(path.stem[5:]) for path in checkpoints.chosen(text)]
    assert steps("newest") == steps("20") == steps("11-") == [20]
    assert steps("all") == steps("10-20") == [10, 20]
    assert steps("-15") == [10]
    with pytest.raises(CheckpointError, match="Steps there are: 10, 20"):
        checkpoints.chosen("1_000")
    with pytest.raises(ValueError, match="expected newest, best, all"):
        checkpoints.chosen("last")


def test_a_damaged_checkpoint_is_left_out_of_a_range(run, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    (workdir / "checkpoints/step_000000010.npz").write_bytes(b"damaged")
    found = evaluation(workdir)
    assert found.run("all")["step"] == 20
    assert "step_000000010.npz is left out" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be used"):
        found.run("10")


def test_following_ends_with_the_last_checkpoint(run, tmp_path):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    last = workdir / "checkpoints/step_000000020.npz"
    last.rename(tmp_path / last.name)
    found = evaluation(workdir, "Evaluation.poll_s = 0.05", "Evaluation.report = False")
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        (tmp_path / last.name).rename(last)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time, "sleep", sleep)
        figures = found.follow()
    assert sleeps == [0.05]
    assert figures["step"] == 20
    assert set(results(workdir)) == {"step_000000010", "step_000000020"}


def test_following_a_training_that_died_ends_and_says_so(run, tmp_path, monkeypatch, capsys):
    workdir = tmp_path / "run"
    shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    (workdir / "checkpoints/step_000000020.npz").unlink()
    bindings = ["Evaluation.poll_s = 0.01", "Evaluation.report = False"]
    found = evaluation(workdir, *bindings, "Evaluation.give_up_s = 0.0")
    with pytest.raises(CheckpointError, match=r"No process trains in .*is of step 10 of 20"):
        found.follow()
    assert set(results(workdir)) == {"step_000000010"}
    # While somebody trains it waits, and says for what.
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 3:
            raise KeyboardInterrupt

    capsys.readouterr()
    monkeypatch.setattr("lcss_tf.commands.evaluate.time.sleep", sleep)
    with only_process(workdir), pytest.raises(KeyboardInterrupt):
        found.follow()
    printed = capsys.readouterr().out
    assert printed.count(f"Waiting for the next checkpoint of {workdir}, whose newest") == 1


def test_the_first_checkpoint_is_waited_for_while_somebody_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(evaluate, "_LOOK_S", 0.0)
    monkeypatch.setattr(evaluate, "_GIVE_UP_S", 0.0)
    assert lcss("evaluate", f"--workdir={tmp_path / 'none'}", "--follow") == 1
    assert "holds no run" in capsys.readouterr().err
    (tmp_path / "config.gin").write_text("")
    assert lcss("evaluate", f"--workdir={tmp_path}", "--follow") == 1
    assert "has no checkpoint, and no process trains there" in capsys.readouterr().err
    place, looks = tmp_path / "checkpoints" / "step_000000010.npz", []

    def look(workdir):
        looks.append(workdir)
        if len(looks) == 3:
            place.parent.mkdir()
            place.touch()
        return True

    monkeypatch.setattr(evaluate, "in_use", look)
    evaluate._await_first(tmp_path)
    assert len(looks) == 3
    assert capsys.readouterr().out.count("Waiting for the first checkpoint") == 1


@pytest.mark.slow
def test_a_killed_evaluation_goes_on_to_the_same_figures(run, tmp_path):
    """kill −9 while shards are written: those that are finished are not drawn again."""
    workdirs = [tmp_path / name for name in ("whole", "killed")]
    for workdir in workdirs:
        shutil.copytree(run, workdir, ignore=shutil.ignore_patterns("evaluation"))
    bindings = [*MEASURE, "PixelFrechet.num_samples = 6_000", "sample.batch_size = 256"]
    expected = evaluation(workdirs[0], *bindings[4:]).run()
    command = [sys.executable, str(ROOT / "bin/evaluate.py"), f"--workdir={workdirs[1]}"]
    command += [f"--gin_bindings={binding}" for binding in (ONE, *bindings)]
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
    found = evaluation(workdirs[1], *bindings[4:])
    found._draw = _Counted(found._draw, drawn)
    assert found.run() == expected
    assert len(drawn) == -(-6_000 // 1_024) - len(shards) + 1


class _Counted:
    """A `Sampling` that notes its calls."""

    def __init__(self, draw, calls):
        self._draw, self._calls = draw, calls
        self.batch_size = draw.batch_size

    def __call__(self, *arguments, **options):
        self._calls.append(arguments)
        return self._draw(*arguments, **options)


@pytest.mark.slow
def test_only_statistics(run, capsys):
    bindings = [ONE, *MEASURE]
    assert lcss("evaluate", f"--workdir={run}", "--stats_only", bindings=bindings) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if "reference" in line]
    assert len(lines) == 1
    assert Path(lines[0].split()[-1]).is_file()


def test_the_command_prints_figures_and_where_to_look(evaluated, capsys):
    workdir, figures = evaluated
    assert lcss("evaluate", f"--workdir={workdir}", bindings=[ONE, *MEASURE]) == 0
    printed = capsys.readouterr().out
    assert "Step 20 is evaluated already." in printed
    line = next(line for line in printed.splitlines() if line.startswith("frechet_pixels_96 "))
    assert line.split()[1:] == [f"{figures['frechet_pixels_96']:,.4g}", "±",
                                f"{figures['frechet_pixels_96_error']:.2g}"]  # fmt: skip
    for path in ("report.html", "samples/final_grid.png"):
        assert str(workdir / path) in printed
        assert (workdir / path).is_file()


def test_features_of_a_costly_extractor_are_kept_until_the_end(run, monkeypatch):
    calls = []

    class Costly(Pixels):
        name, costly = "costly", True

        def __call__(self, batch):
            calls.append(len(batch))
            return super().__call__(batch)

    found = evaluation(run, metrics=[Frechet(Costly(), 64)], report=False)
    monkeypatch.setattr(found, "_write_samples", _interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.run()
    before = len(calls)
    monkeypatch.undo()
    found.run()
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
    with pytest.raises(ValueError, match="sees vectors; digits holds images"):
        evaluation(run, "Evaluation.metrics = [@metrics.SlicedWasserstein()]")
    inception = ["Frechet.extractor = @features.Inception()", "Inception.path = '/nowhere.pb'"]
    with pytest.raises(FileNotFoundError, match="no such file"):
        evaluation(run, "Evaluation.metrics = [@metrics.Frechet()]", *inception).run()
    assert Path(files.cache_directory()).exists()
