"""Text in reports: escaped, rounded to what counts."""

import pytest

from lcss_tf.reports import value_text, write_html
from lcss_tf.reports.html import _ENVIRONMENT


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
    ("value", "text"),
    [
        ((0.11632, 0.00213), "0.1163 ± 0.0021"),
        ((12.3456, 1.26), "12.3 ± 1.3"),
        ((1234.5, 37.0), "1234 ± 37"),
        ((0.5, None), "0.5"),
        ((0.5, float("nan")), "0.5"),
        ((None, None), "–"),
        ((3.2e-9, 4e-10), "3.2e-09 ± 4e-10"),
        ((0.913, 8e-17), "0.913"),  # the mean of equal numbers
    ],
)
def test_values_have_the_digits_that_count(value, text):
    assert value_text(*value) == text


def test_control_characters_are_shown(tmp_path):
    _ENVIRONMENT.from_string("{{ a }}").render(a="x")
    shown = _ENVIRONMENT.from_string("{{ a }}|{{ b }}").render(a="\x1b[2J\x00\n", b="caf\udce9<")
    assert shown == "\\x1b[2J\\x00\n|caf\\xe9&lt;"
