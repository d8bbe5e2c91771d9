"""The multistep samplers against diffusers' numbers (research/rivals/sampler_parity.py)."""

import json

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.samplers import DEIS, DPMSolverPP, Schedule, UniPC
from tests.conftest import FIXTURES, relative_error

STORED = np.load(FIXTURES / "samplers_diffusers.npz")
META = json.loads(bytes(STORED["meta.json"]))


class Given(Schedule):
    """The stored times."""

    def __init__(self, place):
        self.place = place

    def times(self, sde, end, num_steps):
        return STORED[f"{self.place}.times"]


def score_of(sde):
    """The exact score of the stored mixture of two Gaussians."""
    means = tf.constant(META["means"], tf.float32)

    def score_fn(x, t):
        alpha_t, sigma_t = (v[:, None] for v in sde.marginal(t))
        variance = (alpha_t * META["std"]) ** 2 + sigma_t**2
        away = x[:, None] - alpha_t[:, None] * means
        shares = tf.nn.softmax(-0.5 * tf.reduce_sum(away**2, axis=2) / variance, axis=1)
        return -tf.reduce_sum(shares[:, :, None] * away, axis=1) / variance

    return score_fn


CASES = {
    "dpm_2": (DPMSolverPP, {"order": 2}),
    "dpm_3": (DPMSolverPP, {"order": 3}),
    "deis_2": (DEIS, {"order": 2, "variable": "log_rho"}),
    "deis_3": (DEIS, {"order": 3, "variable": "log_rho"}),
} | {
    f"unipc_{order}_{kind}": (UniPC, {"order": order, "variant": kind})
    for order in (1, 2, 3)
    for kind in ("bh1", "bh2")
}


def states(make, options, place, first_order_end=False):
    """Ours, [N + 1, B, 2]."""
    times = STORED[f"{place}.times"]
    sde, steps = lcss_tf.SDES["VPSDE"](), len(times) - 1
    sampler = make(
        num_steps=steps, t_end=times[-1], denoise=False, schedule=Given(place),
        first_order_end=first_order_end, **options,
    )  # fmt: skip
    x_T = tf.constant(STORED["x_T"], tf.float32)
    return sampler.sample_from(score_of(sde), sde, x_T, random.as_seed(0), steps).trajectory


def with_half_of_the_second_derivative():
    """`DPMSolverPP.weights` with W_2 less ½ ∫ e^{λ−λ_s} (λ − λ_t)² dλ."""
    ours = DPMSolverPP.weights

    def theirs(self, h, nodes, order, rate=1.0):
        first, second, third = ours(self, h, nodes, order, rate)
        return [first, second, third - 0.5 * (h**2 - 2.0 * (h - first))]

    return theirs


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("place", ["quadratic", "rho"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_parity(name, place, end, monkeypatch):
    """Every state of every run, to float32's rounding.

    diffusers' DEIS interpolates in log ρ. Its DPM-Solver++ of order 3 takes half of the second
    derivative; with this ours is the same, and without it of order 3 (test_orders.py).
    """
    make, options = CASES[name]
    if name == "dpm_3":
        monkeypatch.setattr(DPMSolverPP, "weights", with_half_of_the_second_derivative())
    key = f"{place}.{name}" + (".lower_end" if end else "")
    assert relative_error(states(make, options, place, end), STORED[key]) < 2e-6
