"""A request to stop: remembered, or raised where that does no harm."""

import os
import signal

import pytest

from lcss_tf.training.signals import Interrupted, StopRequest


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
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
