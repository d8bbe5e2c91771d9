"""Other people's text is shown as it is, wherever it is shown."""

import pytest

from lcss_tf.texts import markdown, visible

PAIRS = [
    ("plain, 3 × 4 – ε-MSE, größe, 数据, score_error@0.1", None),
    ("two\nlines\rand\ttabs", r"two\nlines\rand\ttabs"),
    ("\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\x00", r"\x1b[31mred\x1b]0;title\x07\x9b2J\x7f\x00"),
    ("a\u202egnp.exe\u2066b\u2028c\u2029d", r"a\u202egnp.exe\u2066b\u2028c\u2029d"),
    ("caf\udce9.png", r"caf\xe9.png"),  # a name in another encoding than UTF-8
    ("\ud800", r"\ud800"),
]


@pytest.mark.parametrize(("text", "shown"), PAIRS)
def test_what_acts_is_escaped(text, shown):
    assert visible(text) == (text if shown is None else shown)
    visible(text).encode()  # and can be written


def test_lines_of_ones_own_stay():
    assert visible("a\n\tb\x1b\n", "\n\t") == "a\n\tb\\x1b\n"
    assert visible(3.5) == "3.5"


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("score_error@0.1", "score_error@0.1"),
        ("a|b", r"a\|b"),
        ("*bold* _soft_ `code`", r"\*bold\* \_soft\_ \`code\`"),
        ("[x](http://y) <b> ~~z~~ $m$ &amp;", r"\[x\](http://y) \<b\> \~\~z\~\~ \$m\$ \&amp;"),
        ("back\\slash|", r"back\\slash\|"),
        ("a\n- forged\n| row |", r"a\\n- forged\\n\| row \|"),
        ("# title", r"\# title"),
        ("- item", r"\- item"),
        ("12. item", r"12\. item"),
        ("1) item", r"1\) item"),
        ("3.5", r"3\.5"),
        ("    code", "code"),
        ("", ""),
    ],
)
def test_markdown_is_literal(text, source):
    assert markdown(text) == source


def test_inside_a_line_the_beginning_means_nothing():
    assert markdown("-0.5", begins=False) == "-0.5"
    assert markdown("1. a|b", begins=False) == r"1. a\|b"
