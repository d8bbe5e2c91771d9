"""Restart sampling: where its times lie, what it costs, and how it contracts errors."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import DDIM, DPMSolverPP, EDMHeun, Restart, UniPC
from lcss_tf.samplers.schedules import log_noise
from tests.samplers.test_orders import exact_score, linear_parts, moments

INTERVAL = {"noise_min": 0.1, "noise_max": 1.0}


@pytest.mark.parametrize("kind", ["VPSDE", "VESDE", "EDMSDE", "FlowMatchingSDE"])
def test_times_and_levels(kind):
    sde = lcss_tf.SDES[kind]()
    sampler = Restart(UniPC, num_restarts=2, restart_steps=4, num_steps=20, **INTERVAL)
    inner = UniPC(num_steps=20)
    times = sampler.times(sde)
    assert len(times) == sampler.num_steps + 1 == 21 + 2 * 5
    (first, second) = np.flatnonzero(np.diff(times) > 0)
    assert second == first + 5
    main = np.delete(times, np.arange(first + 1, first + 11))
    np.testing.assert_allclose(main, inner.times(sde))
    levels = np.exp(log_noise(sde, times))
    nearest = np.argmin(np.abs(np.log(np.exp(log_noise(sde, main)) / 0.1)))
    np.testing.assert_allclose(levels[[first, first + 5, first + 10]], levels[nearest], rtol=1e-5)
    np.testing.assert_allclose(levels[[first + 1, first + 6]], 1.0, rtol=1e-3)
    roots = levels[first + 1 : first + 6] ** (1 / 7)
    np.testing.assert_allclose(np.diff(roots), np.diff(roots)[0], rtol=2e-3)


@pytest.mark.parametrize(
    ("make", "denoise", "expected"),
    [(EDMHeun, True, 2 * 8 + 1 + 2 * 2 * 3), (UniPC, False, 8 + 2 * 3), (DDIM, True, 9 + 2 * 3)],
)
def test_every_evaluation_is_counted(make, denoise, expected):
    sde, calls = lcss_tf.SDES["VPSDE"](), []

    def score_fn(x, t):
        calls.append(1)
        return exact_score(sde)(x, t)

    sampler = Restart(
        make, num_restarts=2, restart_steps=3, num_steps=8, denoise=denoise, **INTERVAL
    )  # fmt: skip
    samples = sampler.sample(score_fn, sde, (4, 1), 1)  # outside a graph every call is one
    assert samples.nfe == len(calls) == expected


def test_no_restarts_is_the_sampler_alone():
    sde, x_T = lcss_tf.SDES["VPSDE"](), random.normal(1, (4, 1))
    alone = DPMSolverPP(num_steps=8).sample_from(exact_score(sde), sde, x_T, random.as_seed(0))
    none = Restart(DPMSolverPP, num_restarts=0, num_steps=8)
    found = none.sample_from(exact_score(sde), sde, x_T, random.as_seed(0))
    np.testing.assert_array_equal(found.x, alone.x)


@pytest.mark.parametrize(
    "kind", ["VPSDE", *(pytest.param(k, marks=pytest.mark.slow) for k in ("SubVPSDE", "VESDE"))]
)
def test_restarts_keep_the_distribution_and_contract_errors(kind, monkeypatch):
    """On Gaussian data, exactly: each restart multiplies an error by F J.

    J = alpha_high/alpha_low is the jump's factor and F = std_low/std_high the flow's, std² the
    variance of x_t. The variance stays: std_low² = (F J)² std_low² + F² (the jump's noise).
    """
    sde, restarts = lcss_tf.SDES[kind](), 3
    make = lambda count: Restart(
        UniPC, num_restarts=count, restart_steps=9, num_steps=36, t_end=1e-2,
        denoise=False, **INTERVAL,
    )  # fmt: skip
    parts = {count: linear_parts(make(count), sde, monkeypatch) for count in (0, restarts)}
    times = make(restarts).times(sde)
    low = times[np.flatnonzero(np.diff(times) > 0)[0]]
    high = times[np.flatnonzero(np.diff(times) > 0)[0] + 1]
    alpha = np.float64(sde.marginal(tf.constant([low, high], tf.float32))[0])
    std = np.sqrt([moments(sde, low)[1], moments(sde, high)[1]])
    factor = std[0] / std[1] * alpha[1] / alpha[0]
    assert factor < 0.8
    assert parts[restarts][0] / parts[0][0] == pytest.approx(factor**restarts, rel=0.02)
    (mean_T, variance_T), (mean, variance) = moments(sde, sde.T), moments(sde, 1e-2)
    A, B, C = parts[restarts]
    assert np.count_nonzero(np.abs(B) > 1e-6) == restarts
    assert A * mean_T + C == pytest.approx(mean, abs=2e-3)
    assert A**2 * variance_T + np.sum(B**2) == pytest.approx(variance, rel=0.02)


def test_what_it_refuses():
    with pytest.raises(ValueError, match="those of DDIM, as it is set, are not"):
        Restart(lambda **options: DDIM(eta=1.0, **options))
    for name in ("EulerMaruyama", "DormandPrince", "Ancestral"):
        with pytest.raises(ValueError, match=f"those of {name}"):
            Restart(lambda name=name, **options: lcss_tf.SAMPLERS[name]())
    with pytest.raises(ValueError, match=r"in gin @samplers.DDIM without \(\)"):
        Restart(DDIM())
    with pytest.raises(ValueError, match=r"noise_max must lie between .* got 500"):
        Restart(noise_max=500.0).check(lcss_tf.SDES["VPSDE"]())
    travels = lcss_tf.control.TimeTravel().control(
        Restart(), lcss_tf.control.InverseProblem(lcss_tf.control.Mask("half"), None)
    )
    with pytest.raises(ValueError, match="those of Restart go back by themselves"):
        travels.check(lcss_tf.SDES["VPSDE"]())


def test_its_message_names_the_steps_that_were_asked_for():
    sampler = Restart(num_steps=12, num_restarts=2, restart_steps=3)
    assert "of 20" in sampler.explain((3, 0.5))
    assert "Restart.num_steps = 12" in sampler.explain((3, 0.5))
