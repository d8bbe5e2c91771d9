"""The time limit on data: the same batches, the same errors, and an end to waiting."""

import threading
import time

import pytest

from lcss_tf.training.patience import DataTimeoutError, within


@pytest.mark.parametrize("seconds", [0, 5.0])
def test_the_batches_in_their_order_and_the_end(seconds):
    assert list(within(iter(range(100)), seconds)) == list(range(100))


@pytest.mark.parametrize("seconds", [0, 5.0])
def test_an_error_comes_in_its_turn(seconds):
    def batches():
        yield 1
        yield 2
        raise ValueError("bad file")

    seen = within(batches(), seconds)
    assert [next(seen), next(seen)] == [1, 2]
    with pytest.raises(ValueError, match="bad file"):
        next(seen)


def test_waiting_ends():
    hold = threading.Event()

    def batches():
        yield 1
        hold.wait(60)
        yield 2

    seen = within(batches(), 0.2)
    assert next(seen) == 1
    start = time.monotonic()
    with pytest.raises(DataTimeoutError, match=r"delivered nothing for 0\.2 s"):
        next(seen)
    assert time.monotonic() - start < 10
    hold.set()


def test_what_is_left_early_lets_its_thread_go():
    before = threading.active_count()
    seen = within(iter(range(10**9)), 5.0)
    assert next(seen) == 0
    seen.close()
    until = time.monotonic() + 10
    while threading.active_count() > before and time.monotonic() < until:
        time.sleep(0.01)
    assert threading.active_count() == before
