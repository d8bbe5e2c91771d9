"""Methods and samplers that go up in time by themselves."""

import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.control import DiffPIR, InverseProblem, Mask, NullSpace, SDEdit, TimeTravel
from lcss_tf.errors import UsageError
from tests.control.helpers import KNOWN


@pytest.mark.parametrize("method", [DiffPIR(), SDEdit(0.5), TimeTravel(NullSpace())])
def test_what_steps_down_in_time_refuses_restarts(method):
    """Inside `SDEdit` a method may repeat steps: that is no restart."""
    sde = lcss_tf.sdes.VPSDE()
    problem = InverseProblem(Mask(KNOWN), tf.zeros((2, 4)), 0.0)
    restart = lcss_tf.samplers.Restart(num_steps=8)
    with pytest.raises(UsageError, match="those of Restart go back by themselves"):
        method.control(restart, problem).check(sde)
    method.control(restart.sampler, problem).check(sde)
    SDEdit(0.5, TimeTravel(NullSpace())).control(restart.sampler, problem).check(sde)
