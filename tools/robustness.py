"""Writes docs/results/robustness.md: every input of tests/robustness, and what came of it.

python tools/robustness.py [--output=docs/results/robustness.md]
"""

import argparse
import os
import sys
import tempfile
from collections import Counter, defaultdict
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))


def _result_of(case) -> str:
    with tempfile.TemporaryDirectory() as folder:
        try:
            return case.check(Path(folder))
        except Exception as error:  # The table reports a failure as a result; the test fails.
            return f"WRONG: {case.name}: {type(error).__name__}"


def rows(kinds) -> list:
    """(kind, group, number of cases, results in words) of every group."""
    table = []
    for kind, cases in kinds.items():
        groups = defaultdict(Counter)
        for case in cases:
            groups[case.group][_result_of(case)] += 1
        for group, results in groups.items():
            words = "; ".join(f"{count} {result}" for result, count in results.most_common())
            table.append((kind, group, sum(results.values()), words))
    return table


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--output", default=ROOT / "docs/results/robustness.md", type=Path)
    args = parser.parse_args()
    from tests.robustness.test_cases import kinds

    table = rows(kinds())
    lines = [
        "# Inputs that people bring",
        "",
        "`python tools/robustness.py` makes every input, reads it and writes this page.",
        "`tests/robustness` runs the same cases as tests.",
        "",
        "| kind | what is varied | how many | result |",
        "|---|---|---:|---|",
        *(f"| {kind} | {group} | {number} | {words} |" for kind, group, number, words in table),
        "",
    ]
    args.output.write_text("\n".join(lines))
    wrong = sum("WRONG" in row[-1] for row in table)
    print(
        f"{sum(row[2] for row in table)} inputs, {wrong} groups with a wrong result: {args.output}"
    )
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
