"""A request to stop: remembered, or raised where that does no harm. The time limit on data."""

import os
import signal
import threading

import pytest

from lcss_tf.training.interruption import DataTimeoutError, Interrupted, StopRequest, within


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_the_first_is_remembered(number):
    before = signal.getsignal(number)
    with StopRequest() as request:
        assert not request.asked
        os.kill(os.getpid(), number)
        assert request.asked
        assert request.status == 128 + number
    assert signal.getsignal(number) is before


def test_it_breaks_off_what_may_be_broken_off():
    with StopRequest() as request:
        with pytest.raises(Interrupted), request.breaking():
            os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(Interrupted), request.breaking():  # asked before: nothing is begun
            pytest.fail("not reached")


def test_the_second_does_what_it_did_before():
    heard = []
    before = signal.signal(signal.SIGINT, lambda *_: heard.append("before"))
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGINT)
            assert request.asked
            assert not heard
            os.kill(os.getpid(), signal.SIGINT)
            assert heard == ["before"]
    finally:
        signal.signal(signal.SIGINT, before)


def test_under_nohup_the_end_of_the_terminal_is_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopRequest() as request:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not request.asked
            assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


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
    with pytest.raises(DataTimeoutError, match=r"delivered nothing for 0\.2 s"):
        next(seen)
    hold.set()


def test_what_is_left_early_lets_its_thread_go():
    before = set(threading.enumerate())  # of which others may end meanwhile
    seen = within(iter(range(10**9)), 5.0)
    assert next(seen) == 0
    (own,) = set(threading.enumerate()) - before
    seen.close()
    own.join(10.0)
    assert not own.is_alive()
