"""Checks the documentation's prose: python tools/prose.py [FILES]

A sentence has at most 35 words. Words that the field does not use are named with the one that it
does. Links to files lead somewhere; the site's build checks their anchors. Code, tables' rules and
addresses are not prose.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MOST_WORDS = 35
# What was written once, and what the field says.
WORDS = {
    r"films?": "trajectory",
    r"laws?": "distribution",
    r"(?<!standard )deviations?": "standard deviation",
    r"(?:go|goes|went|going) on(?= from| where| with)?": "resume, or continue",
    r"spacings?": "time schedule",
    r"restorations?": "posterior sampling, inverse problems",
    r"few[- ]steps": "samplers for affine SDEs",
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


def faults(path: Path) -> Iterator[str]:
    """What is wrong with a page, a line each."""
    text = path.read_text()
    for line, paragraph in blocks(text):
        for sentence in sentences(paragraph):
            words = re.findall(r"[A-Za-zÀ-ž0-9'’.-]*[A-Za-zÀ-ž][\w'’.-]*", sentence)
            if len(words) > MOST_WORDS:
                yield f"{path}:{line}: a sentence of {len(words)} words: {sentence[:70]}…"
        plain = re.sub(r"`[^`]*`", "", paragraph)
        for word, better in WORDS.items():
            hit = re.search(rf"\b(?:{word})\b", plain, re.I)
            if hit:
                yield f"{path}:{line}: {hit[0]!r}: write {better!r}"
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
    ]
    found = [fault for page in pages for fault in faults(page)]
    sys.stdout.write("\n".join(found or [f"{len(pages)} pages are fine."]) + "\n")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
