"""Multistep samplers for affine SDEs: DPM-Solver++, UniPC, DEIS. One function evaluation a step.

In λ = log(alpha/sigma) the probability flow from time t down to s is

    x_s = (sigma_s/sigma_t) x_t + alpha_s ∫ e^{λ−λ_s} D dλ
        = (alpha_s/alpha_t) x_t − sigma_s ∫ e^{λ_s−λ} ε dλ,         λ from λ_t to λ_s,

D the estimate of the data and ε that of the noise. A method of order p puts for D (or ε) the
polynomial of degree p − 1 through its last p values. In Newton's form, with values at y_0 (time t),
y_1, y_2, … and divided differences f[0], f[0,1], f[0,1,2], …, the integral is

    Σ_{k<p} W_k f[0..k],    W_k = ∫ e^{λ−λ_s} Π_{j<k} (y(λ) − y_j) dλ,

and the steps may have any lengths. The first steps have as many values as were computed so far.
At the start, near the prior, D hardly changes, so that their lower orders hardly show.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.affine import AffineSampler, alpha_sigma, data_and_noise, log_snr
from lcss_tf.samplers.base import Reverse, Step
from lcss_tf.samplers.schedules import LogSNRSchedule, PowerSchedule
from lcss_tf.sdes import SDE
from lcss_tf.typing import Seed, Tensor

_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(16)
_NODES, _WEIGHTS = 0.5 * (_NODES + 1.0), 0.5 * _WEIGHTS  # on [0, 1]
_VARIANTS = ("bh1", "bh2")
_VARIABLES = ("t", "rho", "log_rho")
_FEW_STEPS = 15  # below which the papers' code lowers the last orders


class Past(NamedTuple):
    """The memory of a multistep method: the values of the evaluations so far, the newest first.

    values: [n, B, ...]. times: [n]. known: int32, how many there are; the rest of the n is filler.
    order: int32, of the step before.
    """

    values: Tensor
    times: Tensor
    known: Tensor
    order: Tensor


class Multistep(AffineSampler):
    """Base of the multistep samplers; see the module. A subclass defines `value` and `move`.

    Args:
      order: p, from 1 to `most_order`: as many values are combined.
      first_order_end: end with order 1: the last step has order 1, the one before it at most 2,
        and so on, as D changes faster there than a few steps can follow. None: if num_steps < 15,
        as in the papers' code; with a last function evaluation (`denoise`) from order 3 on only.
      **options: of `AffineSampler`.

    Raises:
      UsageError: order out of its range.
    """

    most_order = 3
    deterministic = True

    def __init__(self, order: int, first_order_end: bool | None = None, **options: Any) -> None:
        super().__init__(**options)
        if order not in range(1, self.most_order + 1):
            raise UsageError(
                f"{type(self).__name__}.order must be a whole number from 1 to "
                f"{self.most_order}; got {order}."
            )
        self.order = order
        if first_order_end is None:
            first_order_end = self.num_steps < _FEW_STEPS and (order > 2 or not self.denoise)
        self.first_order_end = first_order_end

    def value(self, reverse: Reverse, x: Tensor, t: Tensor) -> Tensor:
        """The estimate that is interpolated, of the shape of x: one function evaluation."""
        raise NotImplementedError(f"{type(self).__name__} must define value(reverse, x, t).")

    def move(
        self, sde: SDE, x: Tensor, times: tuple[Tensor, Tensor], past: Past, seed: Seed
    ) -> Step:
        """The step from t to s of order `past.order`, whose newest value is at x and t."""
        raise NotImplementedError(f"{type(self).__name__} must define move(sde, x, times, …).")

    def correct(self, sde: SDE, x: Tensor, before: Past, past: Past) -> Tensor:
        """x, improved by the newest value, which was computed at it; by default as it is."""
        return x

    def kept(self) -> int:
        """How many values the memory holds."""
        return self.order

    def begin(self, reverse: Reverse, x: Tensor) -> Past:
        """No values yet."""
        none = tf.constant(0)
        values = tf.stack([tf.zeros_like(x)] * self.kept())
        return Past(values, tf.fill([self.kept()], float(reverse.sde.T)), none, none)

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        (t, s), before = times, Past(*memory)
        value = self.value(reverse, x, t)
        known = tf.minimum(before.known + 1, self.kept())
        order = tf.minimum(known, self.order)
        if self.first_order_end:
            order = tf.minimum(order, self._steps_left(reverse.sde, s[0]))
        past = Past(
            tf.concat([value[None], before.values[:-1]], axis=0),
            tf.concat([t[0][None], before.times[:-1]], axis=0),
            known,
            order,
        )
        x = self.correct(reverse.sde, x, before, past)
        return self.move(reverse.sde, x, times, past, seed), past

    def _steps_left(self, sde, s):
        """Of the schedule, with the step that ends at time s."""
        ends = tf.constant(self.times(sde)[1:], tf.float32)
        return tf.maximum(tf.reduce_sum(tf.cast(ends <= s, tf.int32)), 1)


def differences(values: Tensor, nodes: Tensor) -> list[Tensor]:
    """Newton's divided differences [f[0], f[0,1], …, f[0..n−1]], each [B, ...].

    Args:
      values: [n, B, ...].
      nodes: [n]; where two are equal, which only fillers are, their difference counts as 0.
    """
    nodes, column = tf.unstack(nodes), tf.unstack(values)
    found = column[:1]
    for k in range(1, len(nodes)):
        inverse = [
            tf.math.divide_no_nan(1.0, nodes[i] - nodes[i + k]) for i in range(len(nodes) - k)
        ]
        column = [inverse[i] * (column[i] - column[i + 1]) for i in range(len(inverse))]
        found.append(column[0])
    return found


def integrals(
    kernel: Callable[[Tensor], Tensor], h: Tensor, places: Tensor, nodes: Tensor
) -> list[Tensor]:
    """[W_0, W_1, …, W_n], W_k = h ∫ kernel(v) Π_{j<k} (y(v) − y_j) dv over [0, 1]; scalars.

    By Gauss and Legendre's 16 nodes.

    Args:
      kernel: its values at v [16].
      h: a scalar.
      places: y(v) at those v, [16].
      nodes: y_j, [n].
    """
    integrand = tf.constant(_WEIGHTS, h.dtype) * kernel(tf.constant(_NODES, h.dtype))
    found = [h * tf.reduce_sum(integrand)]
    for node in tf.unstack(nodes):
        integrand *= places - node
        found.append(h * tf.reduce_sum(integrand))
    return found


def combined(weights: list[Tensor], terms: list[Tensor], order: Tensor) -> Tensor:
    """Σ_{k < order} weights_k terms_k."""
    total = weights[0] * terms[0]
    for k in range(1, len(terms)):
        total += tf.where(order > k, weights[k], 0.0) * terms[k]
    return total


class _DataMultistep(Multistep):
    """Base of those that interpolate D, in y = λ."""

    def value(self, reverse: Reverse, x: Tensor, t: Tensor) -> Tensor:
        return data_and_noise(reverse, x, t)[0]

    def weights(self, h: Tensor, nodes: Tensor, order: Tensor, rate: float = 1.0) -> list[Tensor]:
        """[W_0, …, W_n] of a step of length h in λ; nodes [n] lie about its start.

        The kernel is rate·e^{rate (λ − λ_s)}. At order 2, W_1 is not the integral but h B/2.
        """
        kernel = lambda v: rate * tf.exp(-rate * h * (1.0 - v))
        found = integrals(kernel, h, h * tf.constant(_NODES, h.dtype), nodes)
        found[0] = -tf.math.expm1(-rate * h)
        if len(found) > 1:
            found[1] = tf.where(order == 2, 0.5 * h * self.size(h, rate), found[1])
        return found

    def size(self, h: Tensor, rate: float = 1.0) -> Tensor:
        """B(h), which at order 2 stands for h in the term of the second value: W_0."""
        return -tf.math.expm1(-rate * h)

    def integrated(
        self, sde: SDE, x: Tensor, times: tuple[Tensor, Tensor], past: Past, rate: float = 1.0
    ) -> Tensor:
        """(sigma_s/sigma_t) e^{(1 − rate) h} x + alpha_s Σ_{k<p} W_k f[0..k]."""
        (_, sigma_t), (alpha_s, sigma_s) = (alpha_sigma(sde, time, x) for time in times)
        nodes = log_snr(sde, past.times)
        h = log_snr(sde, times[1])[0] - nodes[0]
        weights = self.weights(h, nodes[:-1] - nodes[0], past.order, rate)
        data = combined(weights, differences(past.values, nodes), past.order)
        return sigma_s / sigma_t * tf.exp((1.0 - rate) * h) * x + alpha_s * data


@SAMPLERS.register
class DPMSolverPP(_DataMultistep):
    """DPM-Solver++, multistep (Lu et al. 2022b): 2M by default, 3M, or order 1, which is DDIM.

        x_s = (sigma_s/sigma_t) x + alpha_s Σ_{k<p} W_k f[0..k],    h = λ_s − λ_t > 0,

    with W_0 = 1 − e^{−h}, and at order 2 W_1 = (h/2) W_0: the last factor is then W_0 D̄ with
    D̄ = D + (h/2h')(D − D'), D' and h' of the step before. At order 3 the W_k are the integrals.
    (diffusers 0.42 halves the second derivative, which leaves order 2.) The form for the SDE,

        x_s = (sigma_s/sigma_t) e^{−h} x + alpha_s (1 − e^{−2h}) D̄ + sigma_s √(1 − e^{−2h}) z,

    damps the errors of earlier steps.

    Args:
      order: 1, 2 or 3.
      stochastic: the form for the SDE, of order 1 or 2.
      first_order_end: see `Multistep`.
      **options: of `AffineSampler`; times are equal steps of λ by default.

    Raises:
      UsageError: order out of its range.
    """

    default_schedule = LogSNRSchedule()

    def __init__(
        self,
        order: int = 2,
        stochastic: bool = False,
        first_order_end: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(order, first_order_end, **options)
        if stochastic and order == 3:
            raise UsageError(
                "DPMSolverPP's form for the SDE has order 1 or 2; got order = 3. Use order = 2, "
                "or stochastic = False."
            )
        self.stochastic = stochastic
        self.deterministic = not stochastic

    def move(
        self, sde: SDE, x: Tensor, times: tuple[Tensor, Tensor], past: Past, seed: Seed
    ) -> Step:
        if not self.stochastic:
            x = self.integrated(sde, x, times, past)
            return Step(x, x)
        mean = self.integrated(sde, x, times, past, rate=2.0)
        h = log_snr(sde, times[1]) - log_snr(sde, times[0])
        std = sde.marginal(times[1])[1] * tf.sqrt(-tf.math.expm1(-2.0 * h))
        return Step(mean + like(std, x) * random.normal(seed, shape_of(x)), mean)


@SAMPLERS.register
class UniPC(_DataMultistep):
    """UniPC, multistep (Zhao et al. 2023): predictor UniP-p, corrector UniC-p, order p + 1.

    The predictor is DPM-Solver++'s, but with W_1 = (h/2) B(h) at order 2. The next step evaluates D
    at the state x that was predicted. This value D_t then corrects x, at no further cost:

        x ← x + alpha_t W_p f[t, 0, …, p−1].

    That is the difference between two integrals over the step that led to t, of the polynomials
    with and without D_t. (At p = 1, W_1 = (h/2) B(h). At p = 2 the predictor's (h/2) B(h) also
    gives way to the integral.) As a difference it also suits states that a method for inverse
    problems has moved meanwhile. The last state stays as predicted.

    Args:
      order: p, 1, 2 or 3.
      variant: "bh1": B(h) = h; "bh2": B(h) = 1 − e^{−h}. It matters at the orders named above only.
      first_order_end: see `Multistep`.
      **options: of `AffineSampler`; times are equal steps of λ by default.

    Raises:
      UsageError: order out of its range, or another variant.
    """

    default_schedule = LogSNRSchedule()

    def __init__(
        self,
        order: int = 3,
        variant: str = "bh2",
        first_order_end: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(order, first_order_end, **options)
        if variant not in _VARIANTS:
            raise UsageError(f"UniPC.variant must be one of {_VARIANTS}; got {variant!r}.")
        self.variant = variant

    def kept(self) -> int:
        return self.order + 1

    def size(self, h: Tensor, rate: float = 1.0) -> Tensor:
        return h if self.variant == "bh1" else super().size(h, rate)

    def correct(self, sde: SDE, x: Tensor, before: Past, past: Past) -> Tensor:
        nodes, p = log_snr(sde, past.times), before.order
        h, about = nodes[0] - nodes[1], nodes[1:] - nodes[1]
        corrector, predictor = (self.weights(h, about, order) for order in (p + 1, p))
        terms = differences(past.values, nodes)  # [f[t], f[t,0], f[t,0,1], …]
        change = tf.zeros_like(x)
        for k in range(1, self.order + 1):
            change += tf.where(p == k, corrector[k], 0.0) * terms[k]
        if self.order > 1:
            older = differences(past.values[1:3], nodes[1:3])[1]
            change += tf.where(p == 2, corrector[1] - predictor[1], 0.0) * older
        return x + alpha_sigma(sde, past.times[:1], x)[0] * change

    def move(
        self, sde: SDE, x: Tensor, times: tuple[Tensor, Tensor], past: Past, seed: Seed
    ) -> Step:
        x = self.integrated(sde, x, times, past)
        return Step(x, x)


@SAMPLERS.register
class DEIS(Multistep):
    """DEIS (Zhang and Chen 2023), multistep: exponential Adams–Bashforth steps on the noise ε.

        x_s = (alpha_s/alpha_t) x + alpha_s ∫ ε dρ,    ρ = sigma/alpha from ρ_t to ρ_s,

    with the polynomial through the last p values of ε for ε. Their tAB-DEIS, the default, takes a
    polynomial in t, its integrals by quadrature over log ρ; at order 1 it is DDIM.

    Args:
      order: p, 1 to 4: their r = p − 1.
      variable: what the polynomial is of: "t" (tAB), "rho" (ρAB), or "log_rho" (as in diffusers).
      first_order_end: see `Multistep`.
      **options: of `AffineSampler`; times are quadratic by default.

    Raises:
      UsageError: order out of its range, or another variable.
    """

    default_schedule = PowerSchedule(2.0)
    most_order = 4

    def __init__(
        self,
        order: int = 3,
        variable: str = "t",
        first_order_end: bool | None = None,
        **options: Any,
    ) -> None:
        super().__init__(order, first_order_end, **options)
        if variable not in _VARIABLES:
            raise UsageError(f"DEIS.variable must be one of {_VARIABLES}; got {variable!r}.")
        self.variable = variable

    def value(self, reverse: Reverse, x: Tensor, t: Tensor) -> Tensor:
        return data_and_noise(reverse, x, t)[1]

    def move(
        self, sde: Any, x: Tensor, times: tuple[Tensor, Tensor], past: Past, seed: Seed
    ) -> Step:
        (alpha_t, _), (alpha_s, sigma_s) = (alpha_sigma(sde, time, x) for time in times)
        start, end = (log_snr(sde, time)[0] for time in times)
        h = end - start
        log_rho = -(start + h * tf.constant(_NODES, h.dtype))
        places = {
            "t": lambda: sde.time_of_log_noise(log_rho),
            "rho": lambda: tf.exp(log_rho),
            "log_rho": lambda: log_rho,
        }[self.variable]()
        nodes = {
            "t": past.times,
            "rho": tf.exp(-log_snr(sde, past.times)),
            "log_rho": -log_snr(sde, past.times),
        }[self.variable]
        weights = integrals(lambda v: tf.exp(h * (1.0 - v)), h, places, nodes[:-1])
        weights[0] = tf.math.expm1(h)
        noise = combined(weights, differences(past.values, nodes), past.order)
        x = alpha_s / alpha_t * x - sigma_s * noise
        return Step(x, x)


__all__ = ["DEIS", "DPMSolverPP", "Multistep", "Past", "UniPC"]
