"""The states of a trajectory lie at the times that are said."""

import numpy as np
import pytest

import lcss_tf
from lcss_tf.control import InverseProblem, Mask, NullSpace


def test_states_of_a_trajectory_have_their_times():
    """Of any schedule, and under control, the states lie at the times that are said."""
    sde, schedule = lcss_tf.SDES["VPSDE"](), lcss_tf.SCHEDULES["PowerSchedule"](2.0)
    mask = InverseProblem(Mask("half"), None)
    adaptive = lcss_tf.SAMPLERS["DormandPrince"](schedule=schedule)
    expected = schedule.times(sde, adaptive.end(sde), 7)
    for sampler in (adaptive, NullSpace().control(adaptive, mask)):
        np.testing.assert_allclose(sampler.trajectory_times(sde, 7), expected)
    steps = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=14, schedule=schedule)
    for sampler in (steps, NullSpace().control(steps, mask)):
        np.testing.assert_allclose(sampler.trajectory_times(sde, 7), steps.times(sde)[::2])
    with pytest.raises(ValueError, match="15 steps needs as many"):
        steps.sample(lambda x, t: -x, sde, (2, 3), 1, trajectory_steps=15)
