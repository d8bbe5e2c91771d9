"""Finished runs side by side; comparisons over seeds."""

import csv
import json

import gin
import numpy as np
import pytest
import scipy.stats

from lcss_tf.commands import _cli, _gin, compare
from lcss_tf.commands._comparison import entry_workdir
from lcss_tf.commands._comparison_report import report_finished, write_seeds, z_test
from lcss_tf.commands.evaluate import Evaluation
from lcss_tf.commands.train import train
from lcss_tf.errors import UsageError
from tests.processes import ROOT
from tests.reports import browser


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Two short runs on two moons, the first evaluated at two checkpoints, the second at one."""
    patch = pytest.MonkeyPatch()
    patch.setenv("LCSS_TF_CACHE", str(tmp_path_factory.mktemp("cache")))
    directory = tmp_path_factory.mktemp("runs")
    paths = []
    for name, loss, which in (("a<i>", "LCSSLoss", "all"), ("b", "DSMLoss", "newest")):
        bindings = [
            f"fit.loss = @losses.{loss}()", "Evaluation.metric = @metrics.SlicedWasserstein()",
            "SlicedWasserstein.num_samples = 256", "sample.batch_size = 256",
            "Evaluation.report = False", "Distribution.num_replicas = 1",
        ]  # fmt: skip
        _gin.load(ROOT / "tests/small.gin", bindings)
        train(directory / name)
        Evaluation(directory / name).run(which)
        gin.clear_config()
        paths.append(directory / name)
    patch.undo()
    return paths


def test_the_report_of_two_runs(runs, tmp_path):
    out = tmp_path / "out.html"
    words = ["--report", *map(str, runs), "--out", str(out)]
    assert _cli.run(compare, words, "lcss compare") == 0
    text = out.read_text()
    assert "a&lt;i&gt;" in text
    assert "<i>" not in text
    assert "sliced_wasserstein_256" in text
    assert "fit.loss" in text, "what differs is listed"
    assert "fit.batch_size" not in text, "what is equal is not"


@pytest.mark.skipif(not (browser.CHROMIUM and browser.DRIVER), reason=browser.MISSING)
def test_the_report_in_a_browser(runs, tmp_path):
    out = report_finished(runs, tmp_path / "out.html")
    with browser.page() as page:
        page.open(out)
        headings = page.run("return [...document.querySelectorAll('h2')].map(e => e.id)")
        assert headings == ["metrics", "significance", "samples", "curves", "configuration"]
        broken = "return [...document.images].filter(i => !i.complete || !i.naturalWidth).length"
        assert page.run(broken) == 0
        assert page.run("return document.images.length") >= 4
        overflow = "return document.documentElement.scrollWidth - window.innerWidth"
        assert page.run(overflow) <= 0
        page.screenshot(tmp_path / "comparison.png")


def test_wrong_runs_are_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="needs runs"):
        report_finished([])
    with pytest.raises(FileNotFoundError, match="holds no run"):
        report_finished([runs[0], tmp_path])
    with pytest.raises(UsageError, match="compared once"):
        report_finished([runs[0], runs[0]])


def test_significance_by_the_errors():
    row = lambda value, error: {"value": value, "error": error}
    gap, error, p = z_test(row(1.0, 0.3), row(0.2, 0.4))
    assert (gap, error) == pytest.approx((0.8, 0.5))
    assert p == pytest.approx(0.10960, abs=1e-4)  # of |z| = 1.6
    assert z_test(row(1.0, None), row(0.2, 0.4)) == (0.8, None, None)
    assert z_test(row(None, None), row(0.2, 0.4)) == (None, None, None)


def test_tables_over_seeds(tmp_path):
    """Means, standard errors and paired p-values of figures that are known."""
    entries = {f"{loss} (seed {s})": (loss, s) for s in range(3) for loss in ("A", "B")}
    values = {"A": [1.0, 2.0, 3.0], "B": [1.5, 2.4, 3.7]}
    for name, (loss, s) in entries.items():
        at = {"step": 10, "seconds": 1.0, "distance": values[loss][s]}
        result = {"name": name, "ms_per_step": 2.0, "budgets": {"steps": at, "seconds": at}}
        entry_workdir(tmp_path, name).mkdir()
        (entry_workdir(tmp_path, name) / "result.json").write_text(json.dumps(result))
    paths = write_seeds(tmp_path, entries)
    with open(paths[1]) as file:
        rows = [r for r in csv.DictReader(file) if r["figure"] == "distance"]
    assert [(r["budget"], r["loss"]) for r in rows] == [
        (b, loss) for b in ("steps", "seconds") for loss in "AB"
    ]
    assert float(rows[1]["mean"]) == pytest.approx(np.mean(values["B"]))
    assert float(rows[1]["standard_error"]) == pytest.approx(scipy.stats.sem(values["B"]))
    expected = scipy.stats.ttest_rel(values["A"], values["B"]).pvalue
    assert float(rows[1]["p_to_first"]) == pytest.approx(expected)
    assert "2.00 ± 0.58" in paths[0].read_text()
