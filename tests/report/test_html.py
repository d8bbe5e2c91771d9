"""Text in reports: escaped, rounded to what counts; the history that training left."""

import numpy as np
import pytest

from lcss_tf.report import History, figure_text, write_html
from lcss_tf.report.html import _ENVIRONMENT
from lcss_tf.training.summaries import Summaries


def test_every_text_is_escaped(tmp_path):
    nasty = "<script>alert('x')</script>&\"q\""
    content = {
        "title": nasty, "names": [nasty], "unevaluated": [nasty], "metrics": [], "grids": [],
        "runs": [{"name": nasty, "workdir": nasty, "step": 1, "seconds": 2.0}],
        "differences": [], "curves": [], "settings": [(nasty, [nasty])],
    }  # fmt: skip
    text = write_html(tmp_path / "a.html", "comparison.html", **content).read_text()
    assert "<script" not in text
    assert text.count("&lt;script&gt;") == 8
    assert list(tmp_path.iterdir()) == [tmp_path / "a.html"]


def test_a_missing_text_is_an_error():
    with pytest.raises(Exception, match="undefined"):
        _ENVIRONMENT.get_template("comparison.html").render(title="x")


@pytest.mark.parametrize(
    ("figure", "text"),
    [
        ((0.11632, 0.00213), "0.1163 ± 0.0021"),
        ((12.3456, 1.26), "12.3 ± 1.3"),
        ((1234.5, 37.0), "1234 ± 37"),
        ((0.5, None), "0.5"),
        ((0.5, float("nan")), "0.5"),
        ((None, None), "–"),
        ((3.2e-9, 4e-10), "3.2e-09 ± 4e-10"),
    ],
)
def test_figures_have_the_digits_that_count(figure, text):
    assert figure_text(*figure) == text


def test_history_joins_interrupted_runs_and_counts_training_seconds(tmp_path):
    first, second = Summaries(tmp_path), None
    for step in (10, 20, 30):
        first.scalars({"loss/total": step / 10.0, "speed/steps_per_second": 5.0}, step)
    first.close()
    second = Summaries(tmp_path)
    for step in (30, 40):  # went on from 20
        second.scalars({"loss/total": 9.0, "speed/steps_per_second": 10.0}, step)
    second.close()
    history = History(tmp_path)
    steps, values = history.curve("loss/total")
    np.testing.assert_array_equal(steps, [10, 20, 30, 40])
    np.testing.assert_allclose(values, [1, 2, 9, 9])
    np.testing.assert_allclose(history.seconds([20, 40, 35]), [4, 6, 5.5])
    assert history.tags("loss") == ["loss/total"]
    assert np.isnan(History(tmp_path / "none").seconds([1.0])).all()
