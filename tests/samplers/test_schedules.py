"""Where the times lie."""

import numpy as np
import pytest

import lcss_tf
from lcss_tf.samplers.schedules import LogSNRSchedule, PowerSchedule, RhoSchedule, log_noise


@pytest.mark.parametrize("kind", ["VPSDE", "SubVPSDE", "VESDE"])
@pytest.mark.parametrize("name", sorted(lcss_tf.SCHEDULES))
def test_times_fall_from_T_to_the_end(name, kind):
    sde = lcss_tf.SDES[kind]()
    for steps in (1, 2, 20):
        times = lcss_tf.SCHEDULES[name]().times(sde, 1e-3, steps)
        assert times.shape == (steps + 1,)
        assert np.all(np.diff(times) < 0)
        assert times[0] == pytest.approx(1.0)
        assert times[-1] == pytest.approx(1e-3)


def test_what_is_equal_in_each():
    sde = lcss_tf.SDES["VPSDE"]()

    def equal(values):
        steps = np.diff(values)
        np.testing.assert_allclose(steps, steps[0], rtol=2e-3)

    equal(PowerSchedule(3.0).times(sde, 0.01, 8) ** (1 / 3))
    equal(log_noise(sde, LogSNRSchedule().times(sde, 0.01, 8)))
    equal(np.exp(log_noise(sde, RhoSchedule(7.0).times(sde, 0.01, 8)) / 7.0))


def test_bad_input():
    for make, option in ((PowerSchedule, "power"), (RhoSchedule, "rho")):
        with pytest.raises(ValueError, match=f"{make.__name__} expects {option} > 0; got 0"):
            make(0.0)
    with pytest.raises(ValueError, match=r"LogSNRSchedule.*PearsonSDE.*UniformSchedule"):
        LogSNRSchedule().check(lcss_tf.SDES["PearsonSDE"]())
    with pytest.raises(ValueError, match="Set t_end > 0"):
        LogSNRSchedule().times(lcss_tf.SDES["VPSDE"](), 0.0, 4)
