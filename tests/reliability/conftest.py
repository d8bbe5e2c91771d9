"""Figures of faults for the table in docs/reliability.md.

LCSS_TF_RELIABILITY=faults.jsonl python -m pytest -m "" tests/reliability
"""

import json
import os

import pytest


@pytest.fixture
def record():
    """record(fault, how, times, lost, seconds): one row of the table, if a file is named."""

    def write(fault, how, times, lost, seconds):
        path = os.environ.get("LCSS_TF_RELIABILITY")
        if path:
            row = {"fault": fault, "how": how, "times": times, "lost": lost, "seconds": seconds}
            with open(path, "a") as file:
                file.write(json.dumps(row) + "\n")

    return write
