"""Latents of examples by the probability-flow ODE, examples of latents, and paths between latents.

The ODE is an invertible map between the data and the prior: a latent x_T determines its example.
Points between two latents, on an arc that suits the prior, decode to examples between two examples.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf
from scipy import special

from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.inference.runner import Runner, inputs_given, score_given
from lcss_tf.samplers.ode import DormandPrinceSolver, probability_flow
from lcss_tf.typing import Array, Numbers, ScoreFn, Tensor

_POINTS = 20_001  # of the prior's tables
_EXTENT = 1e3  # of the tables, in units of the prior's standard deviation
_TOLERATED = 1e-3  # nats per dimension by which a product of densities may miss the prior


def encode(
    score_fn: ScoreFn,
    sde: Any,
    x: Tensor,
    solver: DormandPrinceSolver | None = None,
    t_min: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Latents x_T [B, ...] of examples x [B, ...].

    Args:
      score_fn: the score, (x, t) -> [B, ...].
      sde: the SDE.
      x: in the units of the score, [B, ...].
      solver: a `DormandPrinceSolver`.
      t_min: the time of x; by default the SDE's `t_min`.

    Returns:
      (x_T, failure), the failure as in `Samples`; x_T is NaN where the ODE was not solved.
    """
    return _solved(score_fn, sde, sde.to_state(x, 0), solver, (_start(sde, t_min), sde.T))


def decode(
    score_fn: ScoreFn,
    sde: Any,
    x_T: Tensor,
    solver: DormandPrinceSolver | None = None,
    t_min: float | None = None,
) -> tuple[Tensor, Tensor]:
    """(Examples x [B, ...], failure) of latents x_T [B, ...]: the inverse of `encode`."""
    state, failure = _solved(score_fn, sde, x_T, solver, (sde.T, _start(sde, t_min)))
    return sde.from_state(state), failure


def _start(sde, t_min):
    return sde.t_min if t_min is None else t_min


def _solved(score_fn, sde, x, solver, times):
    flow, solver = probability_flow(score_fn, sde), solver or DormandPrinceSolver()
    solution = solver.solve(lambda t, y: [flow(y[0], t)], [x], times[0], times[1:])
    finished = tf.reshape(solution.finished, [-1] + [1] * (len(x.shape) - 1))
    return tf.where(finished, solution.state[0], np.nan), solution.failure


def interpolate(sde: Any, first: Array, second: Array, fractions: Numbers) -> Array:
    """Latents between pairs of latents, on an arc that suits the prior.

    In coordinates z in which the prior is N(0, I) the points lie on the great arc from z_1 to z_2
    (Shoemake 1985). Their direction is sin((1 − w)θ) z_1/‖z_1‖ + sin(wθ) z_2/‖z_2‖, θ the angle
    between the two, and their norm ‖z_1‖^(1−w) ‖z_2‖^w. A straight line would pass where the
    prior has next to no mass. For a Gaussian prior z is x_T over its standard deviation. For
    another with independent, identically distributed coordinates, z is the quantile of N(0, 1)
    at x_T's level under the prior.

    Args:
      sde: the SDE.
      first, second: latents [B, ...].
      fractions: w [F], 0 at the first and 1 at the second.

    Returns:
      float32 array [F, B, ...]; exactly the latents given at 0 and 1.

    Raises:
      UsageError: shapes that differ, or a prior whose coordinates are not independent and equal.
    """
    first, second = (np.asarray(x, np.float64) for x in (first, second))
    if first.shape != second.shape:
        raise UsageError(
            f"Latents to interpolate must be alike; got {first.shape} and {second.shape}."
        )
    if sde.has_velocity:
        raise UsageError(
            "interpolate expects a prior of independent, equal coordinates; a state of "
            f"{type(sde).__name__} holds a velocity beside the data. Mix positions and velocities "
            "as that prior asks for, and decode them."
        )
    normal = _NormalCoordinates(sde, first.shape[1:])
    starts, ends = normal.forward(first), normal.forward(second)
    # The tables' rounding error is added back, so that both ends are exactly the latents given.
    lost = [first - normal.back(starts), second - normal.back(ends)]
    points = [
        normal.back(_slerp(starts, ends, w)) + (1 - w) * lost[0] + w * lost[1]
        for w in np.asarray(fractions, np.float64)
    ]
    return np.asarray(points, np.float32)


def _slerp(first, second, w):
    """The point at w of the great arc between z's [B, ...]."""
    flat = [z.reshape(len(z), -1) for z in (first, second)]
    norms = [np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-30) for z in flat]
    a, b = (z / norm for z, norm in zip(flat, norms, strict=True))
    angle = np.arccos(np.clip(np.sum(a * b, axis=1, keepdims=True), -1.0, 1.0))
    sine = np.sin(angle)
    straight = sine < 1e-6  # the same direction; or opposite ones, between which no arc is nearest
    safe = np.where(straight, 1.0, sine)
    weights = [np.where(straight, share, np.sin(share * angle) / safe) for share in (1 - w, w)]
    norm = norms[0] ** (1 - w) * norms[1] ** w
    return (norm * (weights[0] * a + weights[1] * b)).reshape(first.shape)


class _NormalCoordinates:
    """x ↔ z of one coordinate, from tables of the prior's distribution function.

    Its logarithm, and that of what lies beyond, are integrated from `prior_log_prob`, each from its
    own tail, so that z is right far out too.
    """

    def __init__(self, sde, shape) -> None:
        width = float(sde.prior_std())
        u = np.linspace(-np.arcsinh(_EXTENT), np.arcsinh(_EXTENT), _POINTS)
        x = width * np.sinh(u)
        log_density = _log_prob(sde, x[:, None])
        mass = np.exp(log_density) * width * np.cosh(u) * (u[1] - u[0])
        middle = 0.5 * (mass[1:] + mass[:-1])
        below = np.concatenate([[0.0], np.cumsum(middle)])
        above = np.concatenate([np.cumsum(middle[::-1])[::-1], [0.0]])
        self._check(sde, shape, width, below[-1])
        z = np.where(
            below < above, special.ndtri(below / below[-1]), -special.ndtri(above / above[0])
        )
        finite = np.isfinite(z)  # far enough out the tables hold no information
        x, z = x[finite], z[finite]
        grows = np.append(True, np.diff(z) > 0)
        self._x, self._z = x[grows], z[grows]

    def forward(self, x: Array) -> Array:
        return _continued(x, self._x, self._z)

    def back(self, z: Array) -> Array:
        return _continued(z, self._z, self._x)

    @staticmethod
    def _check(sde, shape, width, total):
        dimension = int(np.prod(shape))
        x = width * np.random.RandomState(0).normal(size=(4, *shape))
        apart = _log_prob(sde, x.reshape(-1, 1)).reshape(4, dimension).sum(axis=1)
        gap = np.abs(apart - _log_prob(sde, x)).max() / dimension
        if not (gap < _TOLERATED and abs(total - 1) < _TOLERATED):
            raise UsageError(
                f"interpolate expects a prior of independent, equal coordinates; the prior of "
                f"{type(sde).__name__} is none (its log density is off by {gap:.2g} nats a "
                f"dimension, its mass is {total:.4g}). Mix the latents as that prior asks for, and "
                "decode them."
            )


def _log_prob(sde, x):
    return sde.prior_log_prob(tf.constant(x, tf.float32)).numpy().astype(np.float64)


def _continued(value, source, target):
    """Linear interpolation in a table, continued in proportion beyond its ends."""
    inside = np.interp(value, source, target)
    low = target[0] * value / source[0]
    high = target[-1] * value / source[-1]
    return np.where(value < source[0], low, np.where(value > source[-1], high, inside))


class Latents:
    """The probability-flow ODE under the average's weights, compiled, in both directions.

    Args:
      state: as of `Sampling`.
      batch_size: examples at a time, over all replicas.
      solver: a `DormandPrinceSolver`.
    """

    def __init__(
        self, state: Any, batch_size: int = 64, solver: DormandPrinceSolver | None = None
    ) -> None:
        self._state, self._solver = state, solver or DormandPrinceSolver()
        self._runners = {
            way: Runner(
                functools.partial(self._carry, way),
                state.average,
                state.distribution,
                batch_size,
                what="encode.batch_size",
            )
            for way in (encode, decode)
        }

    def encode(self, x: Array, condition: Array | None = None) -> Array:
        """x_T, float32 [N, ...], of normalised examples x [N, ...].

        `condition`: as the network takes it, [1, ...] for all or [N, ...]; None: the null one.

        Raises:
          NotFiniteError: the ODE could not be solved; says where.
        """
        return self._run(encode, x, condition)

    def decode(self, x_T: Array, condition: Array | None = None) -> Array:
        """Normalised examples [N, ...] of latents x_T [N, ...]: the inverse of `encode`."""
        return self._run(decode, x_T, condition)

    def _run(self, way: Callable, x: Array, condition: Array | None) -> Array:
        x, runner, parts = np.asarray(x, np.float32), self._runners[way], []
        shape = tuple(self._state.shape)
        shape = shape if way is encode else tuple(self._state.sde.state_shape(shape))
        if x.shape[1:] != shape:
            raise UsageError(f"Expected examples or latents of shape {shape}; got {x.shape[1:]}.")
        told = inputs_given(condition, len(x))
        for part in runner.parts(len(x)):
            carried, failures = runner({"x": x[part]} | told(part), 0, part.start)
            bad = int((~np.isfinite(carried.reshape(len(carried), -1))).any(axis=1).sum())
            if bad:
                failure = min([f for f in failures.tolist() if f[0] >= 0] or [[0, np.nan]])
                raise NotFiniteError(
                    f"{bad} of the examples {part.start} to {part.stop - 1} were not carried along "
                    f"the ODE: {self._solver.explain(failure)}"
                )
            parts.append(carried)
        return np.concatenate(parts)

    def _carry(self, way: Callable, inputs: dict, seed: Any) -> tuple:
        del seed
        score_fn = score_given(self._state, inputs)
        carried, failure = way(score_fn, self._state.sde, inputs["x"], self._solver)
        return carried, failure[None]


__all__ = ["Latents", "decode", "encode", "interpolate"]
