"""The most memory that a process held since it was asked."""

import numpy as np

from lcss_tf.training.memory import PeakMemory


def test_peak_memory_sees_an_allocation():
    memory = PeakMemory()
    memory.restart()
    before = memory.peak()
    block = np.ones(2**24)  # 128 MiB, touched
    after = memory.peak()
    assert after - before > 100
    del block
    memory.restart()
    assert memory.peak() < after - 100
