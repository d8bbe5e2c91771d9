"""A comparison through the command line: results, resume, tables, plots, diagnosis, refusals."""

import csv
import json
import signal
import time
from pathlib import Path

import gin
import keras
import numpy as np
import pytest
from PIL import Image

import lcss_tf
from lcss_tf.commands import _cli, _gin, _runs, compare
from lcss_tf.commands._comparison import Comparison, Evaluator, diagnose_entry, slug, train_entry
from lcss_tf.commands._comparison_report import write_diagnosis, write_tables
from lcss_tf.errors import UsageError
from lcss_tf.training.optimizers import for_run
from lcss_tf.training.workdir import only_process
from tests.processes import (
    alive,
    assert_same_end,
    descendants,
    final,
    readable,
    start,
    start_code,
    steps_on_disk,
    wait_for,
)

ROOT = Path(__file__).parents[2]
SMALL = ROOT / "tests/small_compare.gin"
NAMES = ["DSM", "LCSS, cubic"]
ONE = "Distribution.num_replicas = 1"


def load(*bindings):
    _gin.load(SMALL, [ONE, *bindings])


def claim(path):
    """As the command does before it starts its processes."""
    _runs.write_records(path, _runs.records())


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished and diagnosed comparison; its runs in this process, to save time."""
    path = tmp_path_factory.mktemp("runs") / "compare"
    load()
    claim(path)
    for name in NAMES:
        train_entry(Comparison(), name, path)
    for name in NAMES:
        diagnose_entry(Comparison(), name, path)
    write_tables(path, NAMES)
    write_diagnosis(path, NAMES)
    gin.clear_config()
    return path


def result_of(workdir, name):
    return json.loads((workdir / slug(name) / "result.json").read_text())


@pytest.mark.slow
def test_every_loss_is_evaluated_at_both_budgets(workdir):
    for name in NAMES:
        result = result_of(workdir, name)
        assert result["budgets"]["steps"]["step"] == 20
        assert result["budgets"]["seconds"]["seconds"] >= 0.2
        assert len(result["curve"]) == 2
        for budget in ("steps", "seconds"):
            picture = np.asarray(Image.open(workdir / slug(name) / f"equal_{budget}_samples.png"))
            assert picture.std() > 0
        assert result["ms_per_step"] > 0
        for figures in result["budgets"].values():
            for key in ("score_error@0.2", "score_error@0.6", "score_error_mean"):
                assert 0 < figures[key] < 10
            # Twenty steps do not tame a cubic drift: its samples may be not a number.
            assert figures["sliced_wasserstein_64 (samples)"] > 0 or name == "LCSS, cubic"


@pytest.mark.slow
def test_tables_agree_with_the_results(workdir):
    with open(workdir / "table.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == NAMES * 2
    assert {row["budget"] for row in rows} == {"steps", "seconds"}
    result = result_of(workdir, "LCSS, cubic")
    row = next(r for r in rows if r["loss"] == "LCSS, cubic" and r["budget"] == "steps")
    assert float(row["score_error@0.6"]) == result["budgets"]["steps"]["score_error@0.6"]
    markdown = (workdir / "table.md").read_text()
    assert markdown.count("| LCSS, cubic |") == 2


@pytest.mark.slow
def test_plots_are_drawn(workdir):
    for name in ("errors", "curves", "cost", "diagnosis"):
        picture = np.asarray(Image.open(workdir / f"{name}.png"))
        assert picture.ndim == 3
        assert picture.std() > 5, "something is drawn"


@pytest.mark.slow
def test_hparams_reach_tensorboard(workdir):
    for name in NAMES:
        events = list((workdir / slug(name)).glob("events.out.tfevents.*"))
        assert any(b"hparams" in path.read_bytes() for path in events)
        assert any(b"loss/total" in path.read_bytes() for path in events)


@pytest.mark.slow
def test_diagnosis_has_every_loss_and_bucket(workdir):
    for name in ("dsm", "lcss_cubic"):
        diagnosis = json.loads((workdir / name / "diagnosis.json").read_text())
        variance = diagnosis["figures"]["variance"]
        assert len(variance) == len(diagnosis["buckets"])
        assert min(variance) > 0
    assert "| DSM | variance |" in (workdir / "diagnosis.md").read_text()
    assert "| loss | variance | norm | critical_batch |" in (workdir / "diagnosis.md").read_text()
    with open(workdir / "diagnosis_steps.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["loss"] for row in rows] == NAMES
    assert all(float(row["variance"]) > 0 for row in rows)


@pytest.mark.slow
def test_a_spent_run_is_not_trained_on(workdir):
    """Its result is written again from the record, without another step."""
    (workdir / "lcss_cubic" / "result.json").rename(workdir / "kept.json")
    before, checkpoint = steps_on_disk(workdir / "lcss_cubic"), final(workdir / "lcss_cubic")
    load()
    train_entry(Comparison(), "LCSS, cubic", workdir)
    assert result_of(workdir, "LCSS, cubic") == json.loads((workdir / "kept.json").read_text())
    assert steps_on_disk(workdir / "lcss_cubic") == before
    for key, value in final(workdir / "lcss_cubic")[1].items():
        np.testing.assert_array_equal(value, checkpoint[1][key], err_msg=key)


@pytest.mark.slow
def test_the_command_trains_what_is_not_finished(workdir, monkeypatch, capfd):
    """A finished loss is not trained again; the processes are those of the other."""
    kept = (workdir / "dsm" / "result.json").stat().st_mtime_ns
    saved = workdir / "saved.json"
    (workdir / "lcss_cubic" / "result.json").rename(saved)
    asked = []

    def in_process(path, *arguments):
        asked.append(arguments)
        with pytest.raises(UsageError, match="is being used by process"), only_process(path):
            """The command holds the lock meanwhile."""
        saved.rename(workdir / "lcss_cubic" / "result.json")

    monkeypatch.setattr(compare, "_in_process", in_process)
    assert _cli.run(compare, [f"--workdir={workdir}", "--resume=force"], "lcss compare") == 0
    assert asked == [("--entry", "LCSS, cubic", "--resume=force")]
    assert "DSM: finished." in capfd.readouterr().out
    assert (workdir / "dsm" / "result.json").stat().st_mtime_ns == kept


FAST = ("Comparison.seconds = 0.0", "Comparison.times = (0.5,)", "Comparison.metric = None")


@pytest.mark.slow
def test_a_stopped_run_equals_one_never_stopped(tmp_path, monkeypatch):
    """Its budget of steps ends between two looks at the clock, and is met exactly all the same.

    The signal comes in the evaluation there, which is made up for at the same step.
    """
    load(*FAST, "Comparison.seconds = 1e-9", "fit.steps = 13")
    train_entry(Comparison(), "DSM", tmp_path / "whole")

    measure, calls = Evaluator.score_errors, []

    def stopped(self):
        calls.append(self)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)
        return measure(self)

    monkeypatch.setattr(Evaluator, "score_errors", stopped)
    with pytest.raises(SystemExit) as error:
        train_entry(Comparison(), "DSM", tmp_path / "stopped")
    assert error.value.code == 143
    assert steps_on_disk(tmp_path / "stopped" / "dsm") == [10, 13]
    train_entry(Comparison(), "DSM", tmp_path / "stopped")
    whole, again = (result_of(tmp_path / name, "DSM") for name in ("whole", "stopped"))
    assert whole["ms_per_step"] > 0
    for result in (whole, again):
        for place in (*result["curve"], *result["budgets"].values()):
            del place["seconds"]
    assert again["budgets"] == whole["budgets"]
    assert again["budgets"]["steps"]["step"] == 13
    assert again["curve"] == whole["curve"]


def test_what_fails_in_an_evaluation_ends_the_run(tmp_path, monkeypatch):
    """The loop outlives callbacks that fail; without budgets it would never end."""
    load(*FAST)
    directory = tmp_path / "dsm"
    directory.mkdir()
    # A process that is killed between record and checkpoint leaves a record behind.
    (directory / "progress.json").write_text(json.dumps({str(s): {} for s in (90, 91, 92, 93)}))

    def fail(self):
        raise OSError("the disk is gone")

    monkeypatch.setattr(Evaluator, "score_errors", fail)
    with pytest.raises(OSError, match="the disk is gone"):
        train_entry(Comparison(), "DSM", tmp_path)
    assert not (directory / "result.json").exists()
    assert steps_on_disk(directory) == [10], "saved: the same command resumes there"
    assert list(json.loads((directory / "progress.json").read_text())) == ["10"]
    (directory / "progress.json").unlink()
    with pytest.raises(UsageError, match="has no record of step 10"):
        train_entry(Comparison(), "DSM", tmp_path)


LONG = ("--gin_bindings=Comparison.seconds=3_600", "--gin_bindings=fit.steps=1_000_000")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self").exists(), reason="looks at Linux's /proc")
def test_signals_second_processes_and_resuming(tmp_path):
    """SIGTERM ends the command and the run it started; the same command resumes it."""
    workdir, log = tmp_path / "run", tmp_path / "log"
    arguments = (f"--gin_file={SMALL}", *LONG, f"--workdir={workdir}")
    process = start(*arguments, name="compare", log=log)
    events = lambda: list((workdir / "dsm").glob("events.out.tfevents.*"))
    wait_for(lambda: events() and b"loss/total" in events()[0].read_bytes(), process)
    (child,) = descendants(process.pid)
    # A second command in the same workdir is refused, and leaves the first alone.
    second = start(*arguments, name="compare", log=tmp_path / "second")
    assert second.wait(timeout=60) == 1
    assert f"is being used by process {process.pid}" in (tmp_path / "second").read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) == 143
    assert not alive(child), "nothing is orphaned"
    at = steps_on_disk(workdir / "dsm")[-1]
    assert at > 0
    assert "Stopped; the same command resumes." in log.read_text()

    first = set(events())
    process = start(*arguments, name="compare", log=log)
    wait_for(lambda: f"at step {at:,}" in log.read_text(), process)
    trains = lambda: any(b"loss/total" in p.read_bytes() for p in set(events()) - first)
    wait_for(trains, process)
    # As a terminal does at Ctrl-C: to the group of the command. The run gets it once, and saves.
    (child,) = descendants(process.pid)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert not alive(child)
    later = steps_on_disk(workdir / "dsm")[-1]
    assert later > at


# Checkpoints are due by the clock, here five a second of training.
ENTRY = """
import sys
from lcss_tf.commands import _cli, _comparison, compare
_comparison._SAVE_S = 0.2
sys.exit(_cli.run(compare, sys.argv[1:], "lcss compare"))
"""


@pytest.mark.slow
def test_kills_leave_the_weights_as_they_would_be(tmp_path):
    """kill −9 at random: equal bit for bit to a run that was never killed."""
    bindings = ("fit.steps = 3_000", "Comparison.seconds = 0.0", "Comparison.metric = None")
    killed, log = tmp_path / "killed", tmp_path / "log"
    load(*bindings)
    claim(killed)
    for delay in (0.0, 0.3, 0.1):
        before = steps_on_disk(killed / "dsm")[-1:]
        process = start_code(ENTRY, f"--workdir={killed}", "--entry=DSM", log=log)
        wait_for(lambda b=before: steps_on_disk(killed / "dsm")[-1:] > b, process)
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        readable(killed / "dsm")
    assert not (killed / "dsm" / "result.json").exists(), "killed before its end"
    for path in (killed, tmp_path / "whole"):
        keras.backend.clear_session()  # names of layers count from one again
        train_entry(Comparison(), "DSM", path)
    assert steps_on_disk(killed / "dsm")[-1] == 3_000
    assert result_of(killed, "DSM")["budgets"].keys() == {"steps"}, "0 seconds: no such budget"
    tables = write_tables(killed, ["DSM"])
    assert tables[0].read_text().count("| DSM |") == 1
    assert_same_end(tmp_path / "whole" / "dsm", killed / "dsm")


def test_a_loss_that_cannot_train_is_refused_before_any_work(tmp_path, capfd):
    binding = "--gin_bindings=Comparison.sdes={'DSM': @sdes.PearsonSDE()}"
    status = _cli.run(
        compare, [f"--gin_file={SMALL}", f"--workdir={tmp_path / 'no'}", binding], "lcss compare"
    )
    printed = capfd.readouterr().err
    assert status == 1
    assert "Comparison.losses['DSM']: DSMLoss needs a closed-form transition kernel" in printed
    assert "PearsonSDE has none: use LCSSLoss" in printed
    assert not (tmp_path / "no").exists()


def test_impossible_comparisons_are_refused():
    loss = lcss_tf.LOSSES["DSMLoss"]()
    with pytest.raises(UsageError, match=r"'B'.*Comparison.losses has not"):
        Comparison({"A": loss}, 1.0, sdes={"B": None})
    for option in ("networks", "optimizers"):
        with pytest.raises(UsageError, match=rf"{option}.*'B'.*Comparison.losses has not"):
            Comparison({"A": loss}, 1.0, **{option: {"B": None}})
    with pytest.raises(UsageError, match="differ in letters"):
        Comparison({"A b": loss, "a-b": loss}, 1.0)
    with pytest.raises(UsageError, match="times in"):
        Comparison({"A": loss}, 1.0, times=(0.0,))
    with pytest.raises(FileNotFoundError, match="run the comparison first"):
        write_tables("/nonexistent", ["A"])


@pytest.mark.parametrize("path", sorted(_gin.CONFIGS.glob("compare_*.gin")), ids=lambda p: p.stem)
def test_shipped_comparisons_build(path):
    _gin.load(path, [ONE])
    comparison = Comparison()
    comparison.check()
    assert f"python bin/compare.py --gin_file=gin/{path.name}" in path.read_text()
    for name in comparison.entries:
        _, arguments = comparison.build(name)
        assert arguments["steps"] > 0
        assert arguments["loss"] is comparison.losses[comparison.entries[name][0]]


def test_networks_side_by_side_are_each_run_s_own():
    load(
        "Comparison.seeds = (3, 4)", "Comparison.networks = {'DSM': @networks.DiT()}",
        "Comparison.optimizers = {'DSM': @own/Adam()}", "own/Adam.learning_rate = 0.02",
    )  # fmt: skip
    comparison = Comparison()
    built = [comparison.build(name)[1] for name in comparison.entries]
    optimizers = [for_run(arguments["optimizer"], 100) for arguments in built]
    rates = [round(float(o.get_config()["learning_rate"]), 6) for o in optimizers[::2]]
    assert rates == [0.02] * 2
    assert all(float(o.learning_rate) < 2e-4 for o in optimizers[1::2])  # a warm-up's first
    made = [comparison.build(name)[0].network for name in comparison.entries]
    assert [type(network).__name__ for network in made] == ["DiT", "MLP"] * 2
    assert made[0] is not made[2]
    assert made[0].get_config()["width"] == made[2].get_config()["width"]


def test_seeds_train_each_loss_with_each():
    load("Comparison.seeds = (3, 4)")
    comparison = Comparison()
    comparison.check()
    assert list(comparison.entries) == [
        "DSM (seed 3)", "LCSS, cubic (seed 3)", "DSM (seed 4)", "LCSS, cubic (seed 4)"
    ]  # fmt: skip
    model, arguments = comparison.build("LCSS, cubic (seed 4)")
    assert arguments["seed"] == 4
    assert type(model.sde).__name__ == "GeneralizedNormalSDE"
    with pytest.raises(KeyError, match="No run named 'DSM'"):
        comparison.build("DSM")
