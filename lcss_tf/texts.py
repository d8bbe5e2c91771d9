"""Other people's text, shown as it is: names of files, columns, runs and classes, and errors.

A name may hold line ends, escape sequences of terminals, and signs that Markdown, HTML or
matplotlib read as their own. There is one function for each place where text is shown:

    terminal and logs   `visible`
    Markdown            `markdown`
    CSV                 `visible`, the rest being quoted by the csv module (`files.csv_table`)
    HTML                `visible`, the rest being escaped by the templates (`reports.write_html`)
    pictures            `visible`, and no mathematics (`plots.literal_text`)
"""

import re
import unicodedata
from typing import Any

# Signs that change the direction of what follows them: they can make one name look like another.
_BIDI = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
# Control characters, line and paragraph separators, and bytes of a name that are no UTF-8.
_HIDDEN = re.compile(f"[\\x00-\\x1f\\x7f-\\x9f\u2028\u2029\ud800-\udfff{_BIDI}]")
# An underscore inside a word is no emphasis: score_error stays as it is.
_MARKDOWN = re.compile(r"[\\`*\[\]<>|~$&]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
_BEGINNING = re.compile(r"^(?:(?=[-+#=])|(\d+)(?=[.)]))")  # of a list, a title or a rule


def visible(text: Any, keep: str = "") -> str:
    r"""A text with every character that acts, instead of being shown, as an escape: ``\n``.

    Args:
      text: anything; its ``str``.
      keep: characters that may act: ``"\n\t"`` where the text has lines of its own.
    """
    return _HIDDEN.sub(lambda m: m[0] if m[0] in keep else _escape(m[0]), str(text))


def markdown(text: Any, begins: bool = True) -> str:
    """A text as one line of Markdown that shows it literally.

    Args:
      text: anything; its ``str``.
      begins: whether it may stand at the beginning of a line or of an item of a list, where more
        signs have a meaning than inside a line or a table.
    """
    text = _MARKDOWN.sub(lambda m: "\\" + m[0], visible(text).strip())
    return _BEGINNING.sub(lambda m: (m[1] or "") + "\\", text) if begins else text


def _escape(character: str) -> str:
    if unicodedata.category(character) == "Cs":
        code = ord(character)
        # A byte of a file's name that is no UTF-8, as Python keeps it.
        return f"\\x{code - 0xDC00:02x}" if 0xDC80 <= code <= 0xDCFF else f"\\u{code:04x}"
    return repr(character)[1:-1]


__all__ = ["markdown", "visible"]
