"""A leak is seen in the most that each third of a run holds; the allocator's jumps are not one."""

import numpy as np
import pytest

from lcss_tf.benchmark.scaling import table
from lcss_tf.benchmark.soak import most_by_thirds, text

STEPS = np.arange(50, 20_001, 50)


def test_a_leak_shows():
    most = most_by_thirds(STEPS, 1_000 + 0.01 * STEPS)
    assert most == pytest.approx([1_066.5, 1_133, 1_200], abs=1)
    assert text(most).endswith("MiB")


def test_memory_given_back_is_no_growth():
    mib = np.full(len(STEPS), 1_200.0)
    mib[150:200] = 1_100.0
    assert most_by_thirds(STEPS, mib) == [1_200.0] * 3


def test_too_few_readings():
    with pytest.raises(ValueError, match="8 readings"):
        most_by_thirds(STEPS[:8], STEPS[:8])


def test_overheads_are_medians_of_ratios_within_a_round():
    """The machine slows down by half from round to round: the ratio does not care."""
    rows = table({"one": [10.0, 15.0, 20.0], "two": [11.0, 16.5, 22.0]}).splitlines()
    assert rows[-1] == "| two | 16.50 | 1.10 |"
