"""Kinetic Langevin dynamics: data get a velocity, and noise enters through the velocity alone.

    dx = β(t) u dt,   du = −β(t) (∇U(x) + Γ u) dt + √(2Γ β(t)) dw

The state (x, u) is one tensor, x and u side by side on the last axis: [B, ..., 2C] for data
[B, ..., C]. U(x) = x²/2 is critically damped Langevin diffusion (Dockhorn et al. 2022). The reverse
SDE needs the score of u alone.

**A step** of length h in the clock ∫β is "half a drift, half a kick, friction and noise, half a
kick, half a drift" (weak order 2; Leimkuhler and Matthews 2015):

    x₁ = x + ½h u,   u' = c u − ½h (1 + c) ∇U(x₁) + σ z,   x' = x₁ + ½h u',
    c = e^{−Γh},   σ² = 1 − c²

**The weight.** As in `lcss_tf.sdes.path` the whole path is shifted, now by (a_k, b_k) v. Only u'
has a density, so the shift of x must follow x' = x₁ + ½h u', which it does for any numbers b_k:

    w = Σ ζ (b' − c b) + ½h (1 + c) a₁ ∇²U(x₁) ζ,   ζ = z/σ,   a₁ = a + ½h b,   a' = a₁ + ½h b'

with (a, b) = (0, 1) at the end and a = 0 at the start, where u ~ N(0, v² I) gives the term b u/v².
The best numbers, of least E‖w‖², are those of a linear process: (a, b) is what it is expected to be
at the earlier time, given its end (a', b'). That takes one 2×2 recursion forwards in time, and the
weight one Hessian–vector product a step.

**In a quadratic potential, critically damped** (p = 2, Γ = 2), all is known in closed form: the
state given x_0 is Gaussian, and w = z/ℓ, ℓ the standard deviation of u given x.
"""

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import gaussian_log_prob, like, shape_of, some_of, sum_over_data
from lcss_tf.registry import SDES
from lcss_tf.sdes import path
from lcss_tf.sdes.affine import linear_beta
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.heavy import generalized_normal_log_prob, generalized_normal_sample
from lcss_tf.typing import Array, Seed, Shape, Tensor

_TABLE_STEPS = 256


@SDES.register
class KineticSDE(SDE):
    """Kinetic Langevin dynamics in the potential U(x) = Σ|x_i|^p/p; see the module.

    For another potential derive from it, and define `potential` with `position_sample` and
    `position_log_prob`, the distribution ∝ exp(−U).

    Args:
      power: p >= 2.
      friction: Γ > 0; 2 is critical where U'' = 1.
      velocity_std: v > 0, of the velocity that data are given at time 0.
      beta_min, beta_max: β(0) > 0 and β(T), T = 1.

    Raises:
      UsageError: a number out of its range.
    """

    has_velocity = True
    example_shape = (2,)  # a position and its velocity, before the data are known
    simulation_spacing = 0.5
    t_min = 1e-3

    def __init__(
        self,
        power: float = 2.0,
        friction: float = 2.0,
        velocity_std: float = 0.2,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
    ) -> None:
        if power < 2 or friction <= 0 or velocity_std <= 0 or beta_min <= 0:
            raise UsageError(
                "KineticSDE expects power >= 2 and friction, velocity_std and beta_min > 0; got "
                f"{power}, {friction}, {velocity_std} and {beta_min}."
            )
        self.power, self.friction = float(power), float(friction)
        self.velocity_std = float(velocity_std)
        self.beta = linear_beta(beta_min, beta_max, self)

    # The potential ------------------------------------------------------------------------

    def potential(self, x: Tensor) -> Tensor:
        """U(x), [B]."""
        return sum_over_data(tf.abs(x) ** self.power) / self.power

    def position_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """x ∝ exp(−U) of `shape` [B, ...]."""
        return generalized_normal_sample(shape, seed, self.power)

    def position_log_prob(self, x: Tensor) -> Tensor:
        """Its log density, [B]."""
        return generalized_normal_log_prob(x, self.power)

    def gradient(self, x: Tensor) -> Tensor:
        """∇U(x), of the shape of x; by automatic differentiation."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            potential = tf.reduce_sum(self.potential(x))
        gradient = tape.gradient(potential, x)
        if gradient is None:
            raise UsageError(
                f"{type(self).__name__}.potential has no gradient: write it with TensorFlow's "
                "operations on x, or define gradient(x) = ∇U."
            )
        return gradient

    # The state ----------------------------------------------------------------------------

    def state_shape(self, shape: Shape) -> tuple[int, ...]:
        return (*shape[:-1], 2 * shape[-1])

    def to_state(self, x0: Tensor, seed: Seed) -> Tensor:
        """(x_0, u_0), u_0 ~ N(0, v² I)."""
        z = random.normal(random.fold_in(seed, "velocity"), shape_of(x0))
        return tf.concat([x0, self.velocity_std * z], axis=-1)

    def from_state(self, state: Tensor) -> Tensor:
        """x."""
        return _halves(state)[0]

    def added_log_prob(self, state: Tensor) -> Tensor:
        """log N(u; 0, v² I), [B]."""
        return gaussian_log_prob(_halves(state)[1], self.velocity_std)

    def noisy(self, field: Tensor) -> Tensor:
        """The half of a field that noise enters: 0 for x."""
        x, u = _halves(field)
        return tf.concat([tf.zeros_like(x), u], axis=-1)

    # The contract of SDE ------------------------------------------------------------------

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        position, velocity = _halves(x)
        pull = -self.gradient(position) - self.friction * velocity
        return like(self.beta(t), x) * tf.concat([velocity, pull], axis=-1)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        g = like(tf.sqrt(2 * self.friction * self.beta(t)), x)
        ones = tf.ones([1] * (len(x.shape) - 1) + [x.shape[-1] // 2])
        return g * tf.concat([tf.zeros_like(ones), ones], axis=-1)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        half = (*shape[:-1], shape[-1] // 2)
        x = self.position_sample(half, random.fold_in(seed, "position"))
        return tf.concat([x, random.normal(random.fold_in(seed, "velocity"), half)], axis=-1)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        position, velocity = _halves(x)
        return self.position_log_prob(position) + gaussian_log_prob(velocity)

    def prepare(self, x0: Tensor, seed: Seed = 0) -> None:
        """Measures the curvature of U along the path, for the schedule of the weights."""
        self.expect(self.state_shape(x0.shape[1:]))
        most = max(2, 2**14 // math.prod(self.example_shape))
        state = self.to_state(tf.cast(some_of(x0, most), tf.float32), seed)
        states = functools.partial(self.states_along_path, state, seed=seed)
        self.measured = self.measure_schedule(states, seed)

    def check_weights(self) -> None:
        """Raises UsageError if the potential's derivatives are not finite at the prior."""
        x = self.broadcast_prior_sample((16, *self.example_shape), random.as_seed(0))
        value = self._product(_halves(x)[0], tf.ones_like(_halves(x)[0]))
        if not (np.isfinite(value[0]).all() and np.isfinite(value[1]).all()):
            raise UsageError(
                f"{type(self).__name__}.potential has no finite first and second derivative at a "
                "sample of the prior."
            )

    # Simulation and weights ---------------------------------------------------------------

    def _clock(self, grid: path.Grid, k: Tensor) -> Tensor:
        return self.beta.integral(grid.time(k), grid.time(k + 1.0))

    def _product(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(∇U, ∇²U v) at x."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(x)
            gradient = self.gradient(x)
            total = tf.reduce_sum(gradient * v)
        product = tape.gradient(total, x)
        return gradient, tf.zeros_like(x) if product is None else product

    def _run(self, state: Tensor, grid: path.Grid, seed: Seed) -> Tensor:
        shape = shape_of(_halves(state)[0])

        def step(i, x, u):
            h = self._clock(grid, tf.cast(i, tf.float32))
            c = like(tf.exp(-self.friction * h), x)
            std = like(tf.sqrt(-tf.math.expm1(-2 * self.friction * h)), x)
            h = like(h, x)
            x = x + 0.5 * h * u
            z = random.normal(random.fold_in(seed, i), shape)
            u = c * u - 0.5 * h * (1 + c) * self._tamed_gradient(x, h) + std * z
            return i + 1, x + 0.5 * h * u, u

        return tf.concat(path.loop(grid, step, _halves(state)), axis=-1)

    def _tamed_gradient(self, x: Tensor, h: Tensor) -> Tensor:
        """∇U, no larger than a kick that turns x round: h² |∇U| <= 2 √(x² + 1)."""
        gradient = self.gradient(x)
        return gradient * tf.math.rsqrt(1 + (h**2 * gradient) ** 2 / (4 * (x**2 + 1)))

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """The state at t from that at s."""
        return self._run(x, path.Grid(s, t, 1, 1.0), seed)

    @property
    def is_critical(self) -> bool:
        """Whether the state's distribution is known in closed form; a subclass's is not."""
        own = type(self).potential is KineticSDE.potential
        return own and self.power == 2 and self.friction == 2

    def kernel(self, t: Tensor) -> tuple:
        """The state at t given x_0, where `is_critical`: (e_x, e_u, l_xx, l_ux, l_uu), each [B].

        x = e_x x_0 + l_xx z, u = e_u x_0 + l_ux z + l_uu z', z and z' ~ N(0, I).
        """
        tau = tf.cast(self.beta.integral(tf.zeros_like(t), t), tf.float64)
        decay, kept = tf.exp(-tau), 1 - self.velocity_std**2
        ex, ux, eu, uu = 1 + tau, tau, -tau, 1 - tau  # the exponential of the drift over `decay`
        xx = 1 - decay**2 * (ex**2 + kept * ux**2)
        xu = -(decay**2) * (ex * eu + kept * ux * uu)
        square = 1 - decay**2 * (eu**2 + kept * uu**2)
        root = tf.sqrt(xx)
        rest = tf.sqrt(square - xu**2 / xx)
        parts = (decay * ex, decay * eu, root, xu / root, rest)
        return tuple(tf.cast(v, tf.float32) for v in parts)

    def _exact(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        ex, eu, xx, ux, uu = (like(v, x0) for v in self.kernel(t))
        z, w = (random.normal(random.fold_in(seed, k), shape_of(x0)) for k in ("x", "u"))
        state = tf.concat([ex * x0 + xx * z, eu * x0 + ux * z + uu * w], -1)
        return state, tf.concat([tf.zeros_like(w), w / uu], -1)

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws the state at t, [B, ..., 2C], given data x_0 [B, ..., C]."""
        self.expect(self.state_shape(x0.shape[1:]))
        if self.is_critical:
            return self._exact(x0, t, seed)[0]
        return tf.stop_gradient(self._run(self.to_state(x0, seed), self._grid(t), seed))

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(state, w): as `sample_xt`, with the Stein weight of u; 0 for x."""
        self.expect(self.state_shape(x0.shape[1:]))
        if self.is_critical:
            return self._exact(x0, t, seed)
        return self.path_with_weight(x0, t, seed)

    def path_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """`sample_with_weight` by simulation, whatever the potential."""
        grid, tables = self._grid(t), self.schedule()
        x, u = _halves(self.to_state(x0, seed))
        shape = shape_of(x)
        square = self.velocity_std**2
        zero, wide = tf.zeros_like(x), tf.zeros_like(t, tf.float64)

        def step(i, x, u, wx, wu, Pxx, Pxu, Puu):
            k = tf.cast(i, tf.float32)
            clock = self._clock(grid, k)
            middle = 0.5 * (grid.time(k) + grid.time(k + 1.0))
            ratios, P = self._ratios(clock, self._mean_curvature(tables, middle), (Pxx, Pxu, Puu))
            h, c = like(clock, x), like(tf.exp(-self.friction * clock), x)
            std = like(tf.sqrt(-tf.math.expm1(-2 * self.friction * clock)), x)
            x = x + 0.5 * h * u
            z = random.normal(random.fold_in(seed, i), shape)
            zeta = z / std
            kick = 0.5 * h * (1 + c)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(x)
                gradient = self._tamed_gradient(x, h)
                total = tf.reduce_sum(gradient * zeta)
            bend = kick * tape.gradient(total, x)
            u = c * u - kick * gradient + std * z
            rx, ru = (like(tf.cast(r, tf.float32), x) for r in ratios)
            free = wu - 0.5 * h * wx - c * zeta
            wx = wx + bend + rx * free
            wu = zeta + ru * free - 0.5 * h * wx
            return i + 1, x + 0.5 * h * u, u, wx, wu, *P

        start = (x, u, zero, u / square, wide, wide, wide + square)
        x, u, _, weight = path.loop(grid, step, start)[:4]
        state, weight = tf.concat([x, u], -1), tf.concat([zero, weight], -1)
        return tf.stop_gradient(state), tf.stop_gradient(weight)

    def _ratios(self, h: Tensor, curvature: tuple[Tensor, Tensor], P: tuple) -> tuple:
        """((r_x, r_u), P after the step): b = r_x a₁ + r_u b', float64 [B]."""
        h, mean, variance = (tf.cast(v, tf.float64) for v in (h, *curvature))
        return kinetic_ratios(h, np.float64(self.friction), mean, variance, P)

    def _mean_curvature(self, tables: dict, t: Tensor) -> tuple[Tensor, Tensor]:
        return tuple(path.at_time(tables[k], self, t) for k in ("slope", "slope_variance"))

    def measure_schedule(self, states: Callable[[Array], Any], seed: Seed) -> dict[str, Array]:
        """The mean and the variance of U's curvature over dimensions, by time."""
        times = path.table_times(self)

        @tf.function(autograph=False)
        def moments(state, seed):
            x, _ = _halves(state)
            probe = random.rademacher(seed, shape_of(x))
            _, product = self._product(x, probe)
            return tf.reduce_mean(probe * product), tf.reduce_mean(product**2)

        rows = [
            moments(state, random.seed_for(seed, "probe", i))
            for i, state in enumerate(states(times))
        ]
        first, second = np.asarray(rows, np.float64).T
        variance = np.maximum(second - first**2, 0.0)
        return {
            "time": times,
            "slope": np.asarray(first, np.float32),
            "slope_variance": np.asarray(variance, np.float32),
        }

    # Scales -------------------------------------------------------------------------------

    def noise_scale(self, t: Tensor) -> Tensor:
        """s(t) [B]: the standard deviation of u given x, of the linearised process from one x_0."""
        if self.is_critical:
            return self.kernel(t)[-1]
        return path.at_time(self._once("noise", self._scale_table), self, t)

    def _scale_table(self) -> Array:
        tables, times = self.schedule(), path.table_times(self, _TABLE_STEPS)
        mean = np.interp(times, tables["time"], tables["slope"]).astype(float)
        P: tuple
        P, scales = (np.float64(0), np.float64(0), np.float64(self.velocity_std**2)), [0.0]
        for s, t, m in zip(times[:-1], times[1:], mean[1:], strict=True):
            h = float(self.beta.integral(s, t)) / 4
            for _ in range(4):
                P = tuple(
                    np.float64(v)
                    for v in kinetic_ratios(h, np.float64(self.friction), m, np.float64(0), P)[1]
                )
            scales.append(math.sqrt(max(P[2] - P[1] ** 2 / P[0], 0.0)))
        return np.asarray(scales, np.float32)

    def noise_rate(self, t: Tensor) -> Tensor:
        """2Γβ(t), [B]."""
        return 2 * self.friction * self.beta(tf.convert_to_tensor(t, tf.float32))


def kinetic_ratios(h: Any, friction: float, mean: Any, variance: Any, P: tuple) -> tuple:
    """((r_x, r_u), P') of one step; see the module. All float64.

    Args:
      h: the step in the clock.
      friction: Γ.
      mean, variance: of the curvature U'' over dimensions.
      P: (xx, xu, uu), the covariance that the recursion carries.
    """
    xx, xu, uu = P
    h = tf.cast(h, tf.float64)
    c, noise = tf.exp(-friction * h), -tf.math.expm1(-2 * friction * h)
    xx, xu = xx + h * xu + 0.25 * h**2 * uu, xu + 0.5 * h * uu  # of (a₁, b)
    kick = 0.5 * h * (1 + c)
    lead = xu / xx
    spread = tf.maximum(uu - lead * xu, 0.0)
    gain = c * spread / (c**2 * spread + noise)
    ratios = lead * (1 - c * gain) + gain * kick * mean, gain
    penalty = kick**2 * variance / noise
    shrink = 1 / (1 + penalty * xx)
    uu = uu - penalty * xu**2 * shrink
    xx, xu = xx * shrink, xu * shrink
    pull = kick * mean
    uu = c**2 * uu - 2 * c * pull * xu + pull**2 * xx + noise  # of (a₁, b')
    xu = c * xu - pull * xx
    return ratios, (xx + h * xu + 0.25 * h**2 * uu, xu + 0.5 * h * uu, uu)


def _halves(state: Tensor) -> tuple[Tensor, Tensor]:
    """(x, u)."""
    return tuple(tf.split(state, 2, axis=-1))


__all__ = ["KineticSDE", "kinetic_ratios"]
