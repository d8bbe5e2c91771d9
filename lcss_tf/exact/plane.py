"""p_t in the plane, of an SDE whose drift couples the two coordinates, on a grid.

    ∂p/∂t = −∇·(f p) + ½ Σ_i ∂_i² (g_i² p),  dx = f(x, t) dt + g(x, t) dw

Both axes have the nodes and the conserving fluxes of `lcss_tf.exact.fokker_planck`. A step is
Strang's splitting (1968): half along the first axis, whole along the second, half along the first.
Each part is the exponential of a tridiagonal matrix, with f and g² at the middle of the step. Its
error is of second order in the spacing and in the step, so two runs, the second with both halved,
are extrapolated in log p (Richardson).
"""

import math
from typing import Any

import numpy as np
from scipy.interpolate import PchipInterpolator, RectBivariateSpline

from lcss_tf.errors import UsageError
from lcss_tf.exact.fokker_planck import Coefficients, Grid, exponential, rates, richardson
from lcss_tf.exact.mixtures import (
    ExactMixture,
    component_log_density,
    coupled_coordinate,
    width_and_reach,
)
from lcss_tf.typing import Array, Numbers, SDELike

_FLOOR = 1e-30  # of the peak, below which log p is not resolved
_TAIL = 7.0  # standard deviations of the noise beyond the data
_PACE_TIMES = 400


class PlaneMixture:
    """log p_t and scores at given times, of a mixture in the plane.

    Args:
      data: a mixture of K equal components, each a product of one density shifted: has `means`
        [K, 2] and `component_log_density(u)`.
      sde: any SDE of vectors whose noise has no correlation: g is one number an example, or one a
        coordinate. Drift and diffusion may depend on all of x.
      times: [T] > 0, in any order.
      spacing: of the coarser grid, in widths of a component.
      time_step: of the coarser run, as a part of the time in which p changes much. With these
        defaults scores are known to 0.1 to 0.5 % after half a minute.
      extent: the largest |x_i|; by default far beyond data and noise.

    Attributes:
      times: as given.
      error: the largest difference of log p between the two runs, extrapolated and not, where
        p is above 1e-4 of its peak, [T]: more than the error of the result.

    Raises:
      UsageError: data that are not in the plane, noise that is correlated, or a density that
        leaves the grid.
    """

    def __init__(
        self,
        data: Any,
        sde: SDELike,
        times: Numbers,
        spacing: float = 0.5,
        time_step: float = 0.2,
        extent: float | None = None,
    ) -> None:
        self.times = np.asarray(times, np.float64)
        if self.times.ndim != 1 or not len(self.times) or self.times.min() <= 0:
            raise UsageError(f"PlaneMixture expects times [T] > 0; got {times}.")
        if not hasattr(data, "component_log_density") or np.shape(data.means)[1:] != (2,):
            raise UsageError(
                "PlaneMixture expects a mixture in the plane: data with `means` [K, 2] and "
                f"`component_log_density`; got {type(data).__name__}, whose means have the shape "
                f"{np.shape(getattr(data, 'means', ()))}."
            )
        self._sorted, self._which = np.unique(self.times, return_inverse=True)
        self._data, self._means = data, np.asarray(data.means, np.float64)
        self._coefficients = Coefficients(sde, 2)
        self._name = type(sde).__name__
        width, _ = width_and_reach(data)
        largest = np.abs(self._means).max() + 4 * width
        if extent is None:
            near = np.concatenate([self._means, -self._means])[:: max(len(self._means) // 16, 1)]
            noise = self._noise(near).max()
            extent = largest + _TAIL * math.sqrt(noise)
        self._grid = Grid(largest, extent, spacing * width)
        self._pace = self._paced(width)
        runs = [self._run(refinement, time_step / refinement) for refinement in (1, 2)]
        best = np.tensordot(richardson(np.array([1, 2])), np.stack(runs), 1)
        u = self._grid.points()
        self._splines = [RectBivariateSpline(u, u, log_p) for log_p in best]
        bulk = best > best.max(axis=(1, 2), keepdims=True) + math.log(1e-4)
        self.error = np.where(bulk, np.abs(best - runs[1]), 0.0).max(axis=(1, 2))[self._which]

    def log_prob(self, x: Array, i: int) -> Array:
        """log p_t(x) float64 [N] at t = times[i], for x [N, 2] within the grid."""
        u = self._grid.to_u(np.asarray(x, np.float64))
        return self._splines[self._which[i]](*u.T, grid=False)

    def score(self, x: Array, i: int) -> Array:
        """∇ log p_t(x) float64 [N, 2] at t = times[i], for x [N, 2] within the grid."""
        u = self._grid.to_u(np.asarray(x, np.float64))
        slopes = [self._splines[self._which[i]](*u.T, dx=1 - k, dy=k, grid=False) for k in (0, 1)]
        return np.stack(slopes, axis=1) / self._grid.slope(u)

    def _noise(self, x):
        """∫g² dt over [0, T], [N]: the larger of the two coordinates'."""
        t = np.linspace(0.0, self._sorted[-1], 101)
        total = [self._coefficients.at(x, np.full(len(x), s))[1].max(axis=1) for s in t]
        return self._sorted[-1] * np.mean(total, axis=0)

    def _paced(self, width):
        """W(t) and its inverse: W' = ḡ²/s² + ‖∂f‖, with s² = width² + ∫ḡ²."""
        t = self._sorted[-1] * np.linspace(0, 1, _PACE_TIMES) ** 2
        x = self._means[:: max(len(self._means) // 16, 1)]
        noise, bend = np.empty(len(t)), np.empty(len(t))
        for k, s in enumerate(t):
            at = lambda y, s=s: self._coefficients.at(y, np.full(len(y), s))
            noise[k] = at(x)[1].mean()
            columns = [
                (at(x + width * e)[0] - at(x - width * e)[0]) / (2 * width) for e in np.eye(2)
            ]
            bend[k] = np.sqrt(np.mean(np.sum(np.square(columns), axis=(0, 2))))
        step = np.diff(t, prepend=0.0)
        variance = width**2 + np.cumsum(noise * step)
        warped = np.cumsum((noise / variance + bend) * step)
        warped += (1e-6 * warped[-1] + 1e-12) * t / t[-1]
        return PchipInterpolator(t, warped), PchipInterpolator(warped, t)

    def _run(self, refinement, time_step):
        """log p on the coarser grid's nodes, [T, n, n]."""
        grid, u = self._grid, self._grid.points(refinement)
        x, slope = grid.to_x(u), grid.slope(u)
        log_p = np.full((len(u), len(u)), -np.inf)
        for mean in self._means:
            parts = [component_log_density(self._data, x - m) for m in mean]
            log_p = np.logaddexp(log_p, parts[0][:, None] + parts[1])
        mass = np.exp(log_p - math.log(len(self._means))) * slope[:, None] * slope
        to_warped, to_time = self._pace
        last, results = 0.0, []
        for time in self._sorted:
            ends = to_warped(last), to_warped(time)
            steps = to_time(np.linspace(*ends, math.ceil((ends[1] - ends[0]) / time_step) + 1))
            steps[0], steps[-1] = last, time
            for s, t in zip(steps[:-1], steps[1:], strict=True):
                mass = self._step(mass, x, u, s, t)
            p = (mass / (slope[:, None] * slope))[::refinement, ::refinement]
            if max(p[0].max(), p[-1].max(), p[:, 0].max(), p[:, -1].max()) > 1e-4 * p.max():
                raise UsageError(
                    f"The density of {self._name} at t = {time:g} has reached the ends of the "
                    f"grid, |x| <= {grid.extent:g}: it needs a larger extent."
                )
            results.append(np.log(np.maximum(p, _FLOOR * p.max())))
            last = time
        return np.stack(results)

    def _step(self, mass, x, u, s, t):
        """Strang's splitting over [s, t]; mass [n, n]."""
        middle, h = 0.5 * (s + t), t - s
        half = self._rates(x, u, middle, 0.5 * h, 0)  # of the first part and of the last
        mass = _moved(mass.T, *half).T
        mass = _moved(mass, *self._rates(x, u, middle, h, 1))
        return _moved(mass.T, *half).T

    def _rates(self, x, u, t, h, axis):
        """(right, left) of what moves along one axis in a time h, all lines as one system."""
        both = np.linspace(u[0], u[-1], 2 * len(u) - 1)  # nodes, and the midpoints between them
        there, slope = self._grid.to_x(both), self._grid.slope(both)
        lines = np.stack(np.meshgrid(x, there, indexing="ij"), axis=-1).reshape(-1, 2)
        if axis == 0:
            lines = lines[:, ::-1]
        f, g_squared = (
            h * part[:, axis].reshape(len(u), len(both))
            for part in self._coefficients.at(lines, np.full(len(lines), t))
        )
        # One tridiagonal system, with nothing from the end of a line to the next.
        return [
            np.pad(side, ((0, 0), (0, 1))).ravel()[:-1]
            for side in rates(f, g_squared, slope, u[1] - u[0], positive=True)
        ]


def _moved(lines, right, left):
    """Masses [n, n] after their time, line by line."""
    return exponential(right, left, np.asfortranarray(lines.reshape(-1, 1))).reshape(lines.shape)


def exact_mixture(data: Any, sde: SDELike, times: Numbers) -> ExactMixture | PlaneMixture:
    """`ExactMixture` where drift and diffusion act elementwise, else `PlaneMixture`.

    Raises:
      UsageError: neither takes these data and this SDE; says why.
    """
    dimension = np.shape(data.means)[1]
    elementwise = getattr(sde, "has_marginal", False) or (
        coupled_coordinate(sde, dimension, float(np.max(times))) is None
    )
    return (ExactMixture if elementwise else PlaneMixture)(data, sde, times)


__all__ = ["PlaneMixture", "exact_mixture"]
