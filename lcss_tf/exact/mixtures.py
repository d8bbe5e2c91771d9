"""log p_t and ∇ log p_t of a mixture of product densities, under an SDE that acts elementwise.

    p_t(x) = (1/K) Σ_k Π_d q_t(x_d | μ_kd)

with q_t(· | μ) the density at time t of the 1-D SDE that starts from a component's density about
μ. So all that is needed are densities in one dimension:

- a Gaussian component and a closed-form marginal: the data's own closed form;
- any component and a closed-form marginal x_t = α x_0 + σ z: q_t(x | μ) = r(x/α − μ)/α with
  r the component's density smoothed by N(0, (σ/α)²), which is the heat equation's;
- else the Fokker–Planck equation, from every distinct coordinate of a mean.
"""

from typing import Any

import numpy as np
import tensorflow as tf
from scipy.integrate import trapezoid
from scipy.interpolate import BSpline, make_interp_spline
from scipy.special import logsumexp

from lcss_tf.errors import UsageError
from lcss_tf.exact.fokker_planck import Coefficients, Grid, solve
from lcss_tf.typing import Array, Numbers, SDELike, Tensor

_FALL = 60.0  # nats below its peak, where a component's density ends
_SPREAD = 12.0  # standard deviations of the noise to either side of the data
_HEAVY = 300.0  # times the core: the extent where tails are heavy


class ExactMixture:
    """Exact log p_t and scores at given times.

    Args:
      data: a mixture of K equal components, each a product of one density shifted: has `means`
        [K, D] and `component_log_density(u)`, or, where the SDE has a marginal,
        `log_density(x, alpha_t, sigma_t)` and `score(x, alpha_t, sigma_t)`.
      sde: the SDE; drift and diffusion of x_i depend on x_i and t alone, alike for every i.
      times: [T], not negative, in any order.
      spacing: of the coarsest grid, in widths of a component.
      time_step: the coarsest; see `solve`. The work is in proportion to the number of distinct
        coordinates of the means, over spacing × time_step: a few seconds for 8 means in the
        plane. For means along a curve, hundreds of them, 0.3 and 0.2 are a fair choice.
      extent: the largest |x| of the grid; by default far beyond data and noise. A drift that
        pushes outwards may need it set.

    Attributes:
      times: as given.
      error: an estimate from above of the error of log q_t, [T]; see `Solution`. 0 for closed
        forms. It is blind to what splines make of a kink: where the drift has one (power p < 2,
        at 0), so has the score, whose error near it is about 1e-3.

    Raises:
      UsageError: data or an SDE that cannot be treated so, or a density that leaves the grid.
    """

    def __init__(
        self,
        data: Any,
        sde: SDELike,
        times: Numbers,
        spacing: float = 0.15,
        time_step: float = 0.1,
        extent: float | None = None,
    ) -> None:
        self.times = np.asarray(times, np.float64)
        accuracy = (spacing, time_step, extent)
        if self.times.ndim != 1 or not len(times) or np.any(self.times < 0):
            raise UsageError(f"ExactMixture expects times [T] >= 0; got {times}.")
        if not hasattr(data, "means"):
            raise UsageError(
                "ExactMixture expects a mixture: data with `means` [K, D] and "
                f"`component_log_density`; {type(data).__name__} has no means."
            )
        has_marginal = getattr(sde, "has_marginal", False)
        if has_marginal and hasattr(data, "score"):
            self._density: _ClosedForm | _Mixed = _ClosedForm(data, sde, self.times)
        elif not hasattr(data, "component_log_density"):
            raise UsageError(
                "ExactMixture expects data with `component_log_density(u)`, the log density of a "
                f"coordinate about its mean; {type(data).__name__} has none."
            )
        elif has_marginal:
            self._density = _Mixed(data.means, _Smoothed(data, sde, self.times, accuracy))
        else:
            self._density = _Mixed(data.means, _Solved(data, sde, self.times, accuracy))
        self.error = self._density.error

    def log_prob(self, x: Array, i: int) -> Array:
        """log p_t(x) float64 [N] at t = times[i], for x [N, D]."""
        return self._density.log_prob(np.asarray(x, np.float64), i)

    def score(self, x: Array, i: int) -> Array:
        """∇ log p_t(x) float64 [N, D] at t = times[i], for x [N, D]."""
        return self._density.score(np.asarray(x, np.float64), i)


class _ClosedForm:
    """The closed form that the data set itself has."""

    def __init__(self, data: Any, sde: SDELike, times: Array) -> None:
        self._data = data
        self._marginal = _marginal(sde, times)
        self.error = np.zeros(len(times))

    def log_prob(self, x: Array, i: int) -> Array:
        return self._data.log_density(x, *self._marginal[i]).numpy()

    def score(self, x: Array, i: int) -> Array:
        return self._data.score(x, *self._marginal[i]).numpy()


class _Mixed:
    """A mixture of products of densities in one dimension."""

    def __init__(self, means: Array, density: Any) -> None:
        self._count, self._density = len(means), density
        self.error = density.error

    def log_prob(self, x: Array, i: int) -> Array:
        log_components, _ = self._density(x, i)
        return logsumexp(log_components, axis=1) - np.log(self._count)

    def score(self, x: Array, i: int) -> Array:
        log_components, scores = self._density(x, i)
        weights = np.exp(log_components - logsumexp(log_components, axis=1, keepdims=True))
        return np.stack([np.sum(weights * score, axis=1) for score in scores], axis=1)


class _Solved:
    """q_t(x_d | μ_kd) by the Fokker–Planck equation, from every distinct coordinate of a mean."""

    def __init__(self, data, sde, times, accuracy) -> None:
        coupled = coupled_coordinate(sde, data.means.shape[1], times.max())
        if coupled is not None:
            raise UsageError(
                "ExactMixture expects an SDE whose drift and diffusion of x_i are one function "
                f"of x_i and t; {type(sde).__name__}'s coordinate {coupled} of "
                f"{data.means.shape[1]} differs from what it is alone. In the plane, PlaneMixture "
                "takes it."
            )
        starts, index = np.unique(np.round(data.means, 12), return_inverse=True)
        self._index = index.reshape(data.means.shape)
        log_density = lambda x: component_log_density(data, x[:, None] - starts)
        grid = _grid(data, sde, np.abs(starts).max(), times.max(), accuracy)
        self._splines = _Splines(sde, log_density, times, grid, accuracy[1])
        self.error = self._splines.error

    def __call__(self, x, i):
        """log Π_d q_t(x_d | μ_kd) [N, K], and ∂_d of it, D times [N, K]."""
        pairs = [self._splines(x[:, d], i, self._index[:, d]) for d in range(x.shape[1])]
        return sum(log for log, _ in pairs), [score for _, score in pairs]


class _Smoothed:
    """q_t(x_d | μ_kd) from one solution of the heat equation, in the time (σ/α)²."""

    def __init__(self, data, sde, times, accuracy) -> None:
        self._means = data.means
        self._alpha, sigma = np.transpose(_marginal(sde, times))
        heat_times = (sigma / self._alpha) ** 2
        grid = _grid(data, _Heat, 0.0, heat_times.max(), accuracy)
        log_density = lambda x: component_log_density(data, x[:, None])
        self._splines = _Splines(_Heat, log_density, heat_times, grid, accuracy[1])
        self.error = self._splines.error

    def __call__(self, x, i):
        """As `_Solved`."""
        alpha, shape = self._alpha[i], (len(x), len(self._means))
        total, scores = 0.0, []
        for d in range(x.shape[1]):
            offsets = x[:, d, None] / alpha - self._means[:, d]
            log, score = self._splines(offsets.ravel(), i, [0])
            total = total + log.reshape(shape) - np.log(alpha)
            scores.append(score.reshape(shape) / alpha)
        return total, scores


class _Heat:
    """dx = dw."""

    @staticmethod
    def drift(x: Tensor, t: Tensor) -> Tensor:
        return tf.zeros_like(x)

    @staticmethod
    def diffusion(x: Tensor, t: Tensor) -> Tensor:
        return tf.ones_like(x)


class _Splines:
    """Quintic splines in u of a solution's log p; beyond the grid it is linear in u."""

    def __init__(self, sde, log_density, times, grid, time_step) -> None:
        distinct, self._which = np.unique(times, return_inverse=True)
        solution = solve(sde, log_density, distinct, grid, time_step)
        self._grid, u = grid, grid.points()
        self._end = u[-1]
        self._splines = [make_interp_spline(u, log_p, k=5) for log_p in solution.log_p]
        self.error = solution.error.max(axis=1)[self._which]

    def __call__(self, x, i, columns):
        """(log q, ∂ log q) [N, len(columns)] at x [N] and times[i]."""
        whole = self._splines[self._which[i]]
        spline = BSpline(whole.t, whole.c[:, columns], whole.k)
        u = self._grid.to_u(x)
        inside = np.clip(u, -self._end, self._end)
        slope = spline(inside, 1)
        log = spline(inside) + slope * (u - inside)[:, None]
        return log, slope / self._grid.slope(u)[:, None]


def component_log_density(data: Any, u: Array) -> Array:
    """The log density of one coordinate about its mean, float64, at u of any shape."""
    return np.asarray(data.component_log_density(tf.constant(u, tf.float64)), np.float64)


def _marginal(sde, times):
    """(α_t, σ_t), [T, 2]: in float64 if the SDE takes it."""
    try:
        pair = sde.marginal(tf.constant(times, tf.float64))
    except (TypeError, ValueError, tf.errors.InvalidArgumentError):
        pair = sde.marginal(tf.constant(times, tf.float32))
    return np.stack([np.asarray(value, np.float64) for value in pair], axis=1)


def _grid(data, sde, largest, end, accuracy):
    """A `Grid` for a component's density shifted by up to `largest`, until the time `end`."""
    spacing, _, extent = accuracy
    width, reach = width_and_reach(data)
    core = 2 * largest + 10 * width
    if extent is None:
        times = np.linspace(0.0, end, 201)
        noise = lambda x: np.sqrt(end * Coefficients(sde).table(x, times)[1].mean(axis=0).max())
        spread = _SPREAD * noise(np.array([0.0, largest, -largest]))
        if noise(np.array([spread, -spread])) > 2 * spread / _SPREAD:
            spread = _HEAVY * core  # noise that grows with x makes heavy tails
        extent = core + max(spread, min(reach, _HEAVY * core))
    return Grid(core, extent, spacing * width)


def width_and_reach(data: Any) -> tuple[float, float]:
    """s of ∫q² = 1/(2√π s), for a Gaussian its std, and where q has fallen by `_FALL`."""
    r = np.geomspace(1e-8, 1e8, 8_001)
    log_q = component_log_density(data, np.stack([-r, r]))
    top = log_q.max()
    q = np.exp(log_q - top)
    first, second = (np.sum(trapezoid(q**k, r, axis=1)) for k in (1, 2))
    far = r[np.any(log_q > top - _FALL, axis=0)]
    return first**2 / (2 * np.sqrt(np.pi) * second), far.max()


def coupled_coordinate(sde: SDELike, dimension: int, end: float) -> int | None:
    """A coordinate that is not driven by itself alone, up to the time `end`; None: all are."""
    draw = np.random.RandomState(0)
    x, others = draw.normal(size=(8, dimension)), draw.normal(size=(8, dimension))
    t = np.linspace(0.1, 0.9, 8) * max(end, 1e-3)
    coefficients = Coefficients(sde, dimension)
    together = coefficients.at(x, t)
    for d in range(dimension):  # in the data's own shape, all that a coupled SDE has to know
        moved = np.where(np.arange(dimension) == d, x, others)
        for one, other in zip(together, coefficients.at(moved, t), strict=True):
            if not np.allclose(one[:, d], other[:, d], rtol=1e-4, atol=1e-6):
                return d
    alone = Coefficients(sde)
    for d in range(dimension):
        for own, whole in zip(alone.at(x[:, d : d + 1], t), together, strict=True):
            if not np.allclose(own[:, 0], whole[:, d], rtol=1e-4, atol=1e-6):
                return d
    return None


__all__ = ["ExactMixture", "component_log_density", "coupled_coordinate", "width_and_reach"]
