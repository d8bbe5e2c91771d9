"""Checks the documentation's prose: python tools/prose.py [FILES]

A sentence has at most 35 words. Words that the field does not use are named with the one that it
does. Links to files lead somewhere; the site's build checks their anchors. Code, tables' rules and
addresses are not prose. Of Python files the docstrings and the messages are read: their words, and
the length of the docstrings' sentences.
"""

import ast
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_WORDS = 35
# What was written once, and what the field says.
WORDS = {
    r"films?": "trajectory",
    r"(?<!power )(?<!-)laws?": "distribution",
    r"(?<!standard )deviations?": "standard deviation",
    r"(?:go|goes|went|going) on(?= from| where| with)?": "resume, or continue",
    r"spacings?": "time schedule",
    r"restorations?": "posterior sampling, inverse problems",
    r"kernel distance": "KID",
    r"class score": "Inception score",
    r"evened": "c_in",
    r"filling error": "inpainting RMSE",
    r"foretells?": "predicts",
    r"lets go of": "releases",
}
_LINK = re.compile(r"\[([^\]]*)\]\(([^)\s]+)\)")
_END = re.compile(r"(?<=[.!?:;])[\"'”)*]*\s+(?=[\"'“(*`\[]*[A-Z0-9`∇σαE])")


def blocks(text: str) -> Iterator[tuple[int, str]]:
    """(line, paragraph) of the prose in a Markdown text; a table's cells are a paragraph each."""
    text = re.sub(r"<!--.*?-->", lambda m: "\n" * m[0].count("\n"), text, flags=re.S)
    lines, fenced, start, found = text.split("\n"), False, 1, []
    for number, line in enumerate([*lines, ""], 1):
        bare = line.strip()
        if bare.startswith("```"):
            fenced = not fenced
            bare = ""
        elif fenced or line.startswith("    "):
            bare = "" if not found or fenced else bare
        cell = bare.startswith("|")
        item = re.match(r"[-*] |\d+\. |#+ ", bare)
        if found and (not bare or cell or item):
            yield start, " ".join(found)
            found = []
        if cell:
            for part in re.split(r"(?<!\\)\|", bare):
                yield number, part.strip()
        elif bare:
            start = start if found else number
            found.append(re.sub(r"^([-*] |\d+\. |#+ )", "", bare))


def sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph; a colon or semicolon before a capital ends one too."""
    plain = _LINK.sub(r"\1", paragraph)
    plain = re.sub(r"`[^`]*`", "code", plain)
    return [s for s in _END.split(plain) if s.strip()]


def long_sentences(place: str, paragraph: str) -> Iterator[str]:
    """The sentences of a paragraph that are too long, a line each."""
    for sentence in sentences(paragraph):
        words = re.findall(r"[A-Za-zÀ-ž0-9'’.-]*[A-Za-zÀ-ž][\w'’.-]*", sentence)
        if len(words) > MOST_WORDS:
            yield f"{place}: a sentence of {len(words)} words: {sentence[:70]}…"


def other_words(place: str, text: str, skipped: str = "") -> Iterator[str]:
    """The words of a text that the field does not use, a line each; but those of `skipped`."""
    plain = " ".join(re.sub(r"`+[^`]*`+", "", text).split())
    for word, better in WORDS.items():
        hit = None if skipped and skipped in word else re.search(rf"\b(?:{word})\b", plain, re.I)
        if hit:
            yield f"{place}: {hit[0]!r}: write {better!r}"


def python_faults(path: Path) -> Iterator[str]:
    """What is wrong with a module's docstrings and messages, a line each."""
    tree = ast.parse(path.read_text())
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef)
    for node in ast.walk(tree):
        if isinstance(node, documented) and (doc := ast.get_docstring(node, clean=False)):
            place = f"{path}:{node.body[0].lineno}"
            for paragraph in re.split(r"\n\s*\n|\n\s*(?=[-*] |[\w*, ]+: )", inspect.cleandoc(doc)):
                if paragraph.startswith(("    ", "|")):
                    continue
                for part in re.split(r"; |\. (?=[a-z_, ]+: )", paragraph):  # of a list
                    yield from long_sentences(place, " ".join(part.split()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield from other_words(f"{path}:{node.lineno}", node.value, "spacing")


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a page, a line each."""
    if path.suffix == ".py":
        yield from python_faults(path)
        return
    text = path.read_text()
    for line, paragraph in blocks(text):
        yield from long_sentences(f"{path}:{line}", paragraph)
        yield from other_words(f"{path}:{line}", paragraph)
    for _, target in _LINK.findall(text):
        if re.match(r"[a-z]+:|#", target):
            continue
        file = target.split("#")[0]
        # These are made when the site is built.
        made = re.search(r"notebooks/\w+\.md|reference/gin\.md|api/\w+\.md", file)
        if not made and not (path.parent / file).exists():
            yield f"{path}: no file {target}"


def main(paths: list[str]) -> int:
    pages = [Path(p) for p in paths] or [
        ROOT / "README.md",
        ROOT / "CONTRIBUTING.md",
        *sorted((ROOT / "docs").rglob("*.md")),
        *sorted((ROOT / "lcss_tf").rglob("*.py")),
    ]
    found = [fault for page in pages for fault in faults(page)]
    sys.stdout.write("\n".join(found or [f"{len(pages)} files are fine."]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
