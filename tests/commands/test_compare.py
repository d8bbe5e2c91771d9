"""A comparison through the command line: results, resume, tables, plots, diagnosis, refusals."""

import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import gin
import numpy as np
import pytest
from PIL import Image

import lcss_tf
from lcss_tf import config
from lcss_tf.compare import Contest, report, run_entry
from lcss_tf.compare.contest import slug
from lcss_tf.memory import PeakMemory

ROOT = Path(__file__).parents[2]
NAMES = ["DSM", "LCSS, cubic"]


def run(*arguments, ok=True):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(ROOT / "bin/compare.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env=environment,
        check=False,
    )
    assert (done.returncode == 0) == ok, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    """A finished and diagnosed comparison; its entries in this process, to save time."""
    path = tmp_path_factory.mktemp("runs") / "compare"
    config.load(ROOT / "tests/small_compare.gin")
    config.claim_workdir(path)
    for name in NAMES:
        run_entry(path, name)
    for name in NAMES:
        run_entry(path, name, diagnosis=True)
    report.write(path, NAMES)
    report.write_diagnosis(path, NAMES)
    gin.clear_config()
    return path


@pytest.mark.slow
def test_every_loss_is_judged_at_both_budgets(workdir):
    for name in NAMES:
        result = json.loads((workdir / slug(name) / "result.json").read_text())
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
    result = json.loads((workdir / "lcss_cubic" / "result.json").read_text())
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
    events = list(workdir.glob("*/events.out.tfevents.*"))
    assert len(events) == 2
    assert b"hparams" in events[0].read_bytes()


@pytest.mark.slow
def test_diagnosis_has_every_loss_and_bucket(workdir):
    for name in ("dsm", "lcss_cubic"):
        diagnosis = json.loads((workdir / name / "diagnosis.json").read_text())
        variance = diagnosis["figures"]["variance"]
        assert len(variance) == len(diagnosis["buckets"])
        assert min(variance) > 0
    assert "| DSM | variance |" in (workdir / "diagnosis.md").read_text()


@pytest.mark.slow
def test_it_goes_on_where_it_stopped(workdir):
    """A finished loss is not trained again; a stopped one goes on from its checkpoint."""
    kept = (workdir / "dsm" / "result.json").stat().st_mtime_ns
    (workdir / "lcss_cubic" / "result.json").unlink()
    before = json.loads((workdir / "lcss_cubic" / "progress.json").read_text())
    printed = run(f"--workdir={workdir}")
    assert "DSM: finished." in printed
    assert (workdir / "dsm" / "result.json").stat().st_mtime_ns == kept
    after = json.loads((workdir / "lcss_cubic" / "result.json").read_text())
    last = before[max(before, key=int)]
    assert after["budgets"] == last["budgets"], "both budgets were spent: nothing was trained"


def test_a_loss_that_cannot_train_is_refused_before_any_work(tmp_path):
    binding = "--gin_bindings=Comparison.sdes={'DSM': @sdes.PearsonSDE()}"
    printed = run(
        "--gin_file=tests/small_compare.gin", f"--workdir={tmp_path / 'no'}", binding, ok=False
    )
    assert "Comparison.losses['DSM']: DSMLoss needs a closed-form transition kernel" in printed
    assert "PearsonSDE has none: use LCSSLoss" in printed
    assert not (tmp_path / "no").exists()


def test_impossible_contests_are_refused():
    loss = lcss_tf.LOSSES["DSMLoss"]()
    with pytest.raises(ValueError, match="'B'.*Comparison.losses has not"):
        Contest({"A": loss}, 1.0, sdes={"B": None})
    with pytest.raises(ValueError, match="differ in letters"):
        Contest({"A b": loss, "a-b": loss}, 1.0)
    with pytest.raises(ValueError, match="times in"):
        Contest({"A": loss}, 1.0, times=(0.0,))
    with pytest.raises(FileNotFoundError, match="run the comparison first"):
        report.write("/nonexistent", ["A"])


@pytest.mark.parametrize(
    "path", sorted(config.PROJECT_GIN.glob("compare_*.gin")), ids=lambda p: p.stem
)
def test_shipped_comparisons_build(path):
    config.load(path)
    contest = Contest()
    contest.check()
    assert f"python bin/compare.py --gin_file=gin/{path.name}" in path.read_text()
    for name in contest.entries:
        assert contest.recipe(name).total_steps > 0
    gin.clear_config()


def test_peak_memory_sees_an_allocation():
    memory = PeakMemory()
    memory.restart()
    before = memory.peak()
    block = np.ones(2**24)  # 128 MiB, touched
    after = memory.peak()
    assert after - before > 100
    del block
    memory.restart()
    assert memory.peak() < after - 100
