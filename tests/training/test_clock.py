"""The share of the time that training waits for input."""

import pytest

from lcss_tf.training import progress


class Hands:
    """A clock that stands still unless it is moved."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        return self.now


def test_the_share_of_waiting(monkeypatch):
    hands = Hands()
    monkeypatch.setattr(progress, "time", hands)

    def batches():
        for seconds in (5.0, 0.1, 0.3, 0.0):
            hands.now += seconds
            yield seconds

    clock, iterator = progress.Clock(), batches()
    for _ in range(3):  # the first step compiles, and counts for nothing
        clock.waiting(iterator)
        hands.now += 0.8
        clock.step()
    rate, waited = clock.lap()
    assert rate == pytest.approx(2 / 2.0)
    assert waited == pytest.approx(0.4 / 2.0)
    clock.waiting(iterator)
    hands.now += 1.0
    clock.step()
    assert clock.lap() == pytest.approx((1.0, 0.0))
