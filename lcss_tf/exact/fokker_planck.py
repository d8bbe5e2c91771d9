"""Densities p_t of a one-dimensional SDE, to many digits, from its drift and diffusion alone.

    ∂p/∂t = −∂(f p) + ½ ∂²(g² p),  dx = f(x, t) dt + g(x, t) dw

**Space.** Nodes x = c sinh(u/c) on an even grid of u: dense where the data are, exponentially
sparse in the tails, and between two nodes a flux, so mass is conserved. Where a step is stiff
the flux is the one that is exact for constant coefficients (Scharfetter and Gummel 1969; Chang
and Cooper 1970), which makes a Markov chain and keeps tails positive, however strong the drift.
Where the drift crosses few cells in a step it is the central one, whose error does not grow as
the noise vanishes. The mixture is the same function of x in every run below (the ratio Δt/h is
the same), so the error is a series in h².

**Time.** A step solves dm/ds = A m over s in [0, 1], A made of ∫f dt and ∫g² dt over the step. It
is exact in time where f and g² share one factor β(t), else of second order, with a series in Δt²
(Magnus 1954). In place of exp(A) stands a rational function of order 5 with one real pole,
L-stable (Nørsett 1974; Hairer and Wanner, *Solving ODEs II*, IV.6): five tridiagonal solves.

**Both.** Runs with h and Δt at 1, ½ and ⅓ of the coarsest are extrapolated (Richardson)
in log p. A density is trusted outwards from its peak as long as the extrapolants of the two
last orders agree. Farther out log p is continued from its value, slope and curvature at
that edge: as a parabola where it is concave (a Gaussian tail), as −m log(1 + d/ρ) where it is
convex (a power law).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from scipy.interpolate import PchipInterpolator
from scipy.linalg import lapack

from lcss_tf.errors import UsageError
from lcss_tf.typing import Array, Numbers, SDELike, Tensor

_POLE = 0.2780538411364523  # γ: of these poles, the one of order 5 that is L-stable
_SOLVES = 5
_PACE_TIMES = 1_000  # at which the pace of the steps is looked up
_AGREEMENT = 1e-2  # nats by which extrapolants may differ where log p is trusted
_FLOOR = math.log(1e-40)  # below the peak, where nothing is trusted
_STIFF = 4.0  # cells that the drift crosses in one step, where fluxes become fitted ones
_OPEN = math.log(1e-4)  # below the peak, where a grid's ends are not to be
_BULK = math.log(1e-8)  # below the peak, as far as `Solution.error` looks
_PARTS = 64  # of a cell, at which a density with edges is averaged
_NODES, _WEIGHTS = np.polynomial.legendre.leggauss(3)  # of a step's integrals


class Grid(NamedTuple):
    """x = core·sinh(u/core), |x| <= extent.

    Attributes:
      core: up to |x| = core the nodes are about evenly spaced.
      extent: the largest |x|.
      spacing: of the coarsest grid's nodes at x = 0.
    """

    core: float
    extent: float
    spacing: float

    def points(self, refinement: int = 1) -> Array:
        """Even values of u, [n]; those of refinement 1 are every refinement-th of them."""
        end = self.to_u(self.extent)
        return np.linspace(-end, end, 2 * math.ceil(end / self.spacing) * refinement + 1)

    def to_x(self, u: Array) -> Array:
        """x at u."""
        return self.core * np.sinh(u / self.core)

    def to_u(self, x: Array | float) -> Any:
        """u at x."""
        return self.core * np.arcsinh(x / self.core)

    def slope(self, u: Array) -> Array:
        """dx/du."""
        return np.cosh(u / self.core)


class Solution(NamedTuple):
    """log p on the coarsest nodes; see `solve`.

    Attributes:
      grid: the `Grid`.
      log_p: [T, n, C], continued beyond where it is trusted.
      trusted: bool [T, n, C].
      error: [T, C], the largest difference of the two last extrapolants of log p where p
        is above 1e-8 of its peak: much more than the error of the last. Infinite where a
        run's p is not positive there.
      mass_drift: the largest relative change of a density's mass in any run.
    """

    grid: Grid
    log_p: Array
    trusted: Array
    error: Array
    mass_drift: float


def solve(
    sde: SDELike,
    log_density: Callable[[Array], Array],
    times: Numbers,
    grid: Grid,
    time_step: float = 0.1,
    refinements: Sequence[int] = (1, 2, 3),
) -> Solution:
    """p_t at `times` of several densities at once.

    Args:
      sde: has `drift(x, t)` and `diffusion(x, t)` for x [B, 1], t [B]; in float64 if it takes
        it, else in float32.
      log_density: maps x [n] to log p_0 [n, C] of C densities (NumPy, float64).
      times: [T], increasing, not negative.
      grid: the `Grid`.
      time_step: the coarsest, as a part of the time in which p changes much.
      refinements: of the runs that are extrapolated, increasing. With one alone nothing is
        extrapolated, and all that is positive is trusted.

    Returns:
      A `Solution`.

    Raises:
      UsageError: times do not increase; drift or diffusion is not finite; a density
        reaches the grid's ends, or is too narrow for its spacing.
    """
    times = np.asarray(times, np.float64)
    if times.ndim != 1 or not len(times) or times[0] < 0 or np.any(np.diff(times) <= 0):
        raise UsageError(f"solve expects increasing times >= 0; got {times}.")
    coefficients = Coefficients(sde)
    schedule = Schedule(coefficients, log_density, times, grid, time_step)
    logs, drifts = [], []
    for refinement in refinements:
        density, drift = _run(coefficients, log_density, schedule, grid, refinement)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs.append(np.log(density[:, ::refinement]))
        drifts.append(drift)
    return _extrapolate(grid, np.stack(logs), np.array(refinements), max(drifts))


class Schedule:
    """Steps short where p changes fast: even in W(t) = ∫g²/s² + 8 log(1 + ⅛∫(|f|/s + ½|∂f|)).

    f and g are those at the peaks of the initial densities, s² = s₀² + ∫g² with s₀ their width.
    The logarithm is there because what a drift has pushed for long has come to rest.
    """

    def __init__(
        self,
        coefficients: "Coefficients",
        log_density: Callable[[Array], Array],
        times: Array,
        grid: Grid,
        time_step: float,
    ) -> None:
        u = grid.points()
        x, slope = grid.to_x(u), grid.slope(u)
        log_p = log_density(x)
        peaks = x[np.argmax(log_p, axis=0)]
        # ∫p² = 1/(2√π s) for a Gaussian of standard deviation s.
        square = (slope * (u[1] - u[0])) @ np.exp(2 * log_p)
        width = np.min(1 / (2 * math.sqrt(math.pi) * square))
        t = (times[-1] or 1.0) * np.linspace(0, 1, _PACE_TIMES) ** 2
        near = np.concatenate([peaks - width, peaks, peaks + width])
        f, g_squared = (v.reshape(len(t), 3, -1) for v in coefficients.table(near, t))
        variance = width**2 + _cumulative(np.mean(g_squared, axis=(1, 2)), t)[:, None]
        bend = np.abs(f[:, 2] - f[:, 0]) / (2 * width)
        push = _cumulative(np.mean(np.abs(f[:, 1]) / np.sqrt(variance) + 0.5 * bend, axis=1), t)
        spread = _cumulative(np.mean(g_squared[:, 1] / variance, axis=1), t)
        warped = spread + 8 * np.log1p(push / 8)
        # Where nothing happens W must still increase.
        warped += (1e-6 * warped[-1] + 1e-12) * t / t[-1]
        self._to_time = PchipInterpolator(warped, t)
        self._times = times
        self._warped = PchipInterpolator(t, warped)(times)
        self._time_step = time_step

    def segments(self, refinement: int) -> Iterator[Array]:
        """For each of the times, those of the steps that lead there from the one before."""
        last_time, last = 0.0, 0.0
        for time, warped in zip(self._times, self._warped, strict=True):
            count = math.ceil((warped - last) / self._time_step) * refinement
            steps = self._to_time(np.linspace(last, warped, count + 1))
            if count:
                steps[0], steps[-1] = last_time, time
            yield steps
            last_time, last = time, warped


def _cumulative(values: Array, t: Array) -> Array:
    return np.concatenate([[0.0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(t))])


def _run(coefficients, log_density, schedule, grid, refinement):
    """(p [T, n, C], the largest relative change of mass) by one run."""
    u = grid.points(refinement)
    both = np.linspace(u[0], u[-1], 2 * len(u) - 1)  # nodes, and the midpoints between them
    x, slope = grid.to_x(both), grid.slope(both)
    mass = _initial(log_density, grid, u) * slope[::2, None]
    total, densities, drift = mass.sum(axis=0), [], 0.0
    mass = np.asfortranarray(mass)
    for steps in schedule.segments(refinement):
        for s, t in zip(steps[:-1], steps[1:], strict=True):
            f, g_squared = coefficients.integrals(x, s, t)
            mass = exponential(*rates(f, g_squared, slope, u[1] - u[0]), mass)
        densities.append(mass / slope[::2, None])
        drift = max(drift, np.abs(mass.sum(axis=0) / total - 1).max())
    return np.stack(densities), drift


def _initial(log_density, grid, u):
    """p_0 [n, C] at the nodes; a density with edges is averaged over cells, which finds them."""
    log_p = log_density(grid.to_x(u))
    if not np.any(np.isneginf(log_p)):
        return np.exp(log_p)
    h = u[1] - u[0]
    shifts = ((np.arange(_PARTS) + 0.5) / _PARTS - 0.5) * h
    return np.mean([np.exp(log_density(grid.to_x(u + shift))) for shift in shifts], axis=0)


def rates(f: Array, g_squared: Array, slope: Array, h: float, positive: bool = False) -> Any:
    """A as (right, left) [..., n − 1]: the rates from node i to i + 1, and from i + 1 to i.

    Args:
      f, g_squared: at nodes and midpoints in turn, [..., 2n − 1].
      slope: dx/du there, [2n − 1].
      h: the distance of nodes in u.
      positive: all fluxes are the fitted ones, so that no density becomes negative.
    """
    # Without noise the flux is the limit of the formula.
    g_squared = np.maximum(g_squared, 1e-12 * np.abs(f) * slope * h + 1e-300)
    middle = np.s_[..., 1::2]
    peclet = 2 * f[middle] * slope[1::2] * h / g_squared[middle]
    courant = np.abs(f[middle]) / (slope[1::2] * h)
    fitted = 1.0 if positive else 1 / (1 + (_STIFF / np.maximum(courant, 1e-60)) ** 4)
    weight = lambda w: fitted * _bernoulli(w) + (1 - fitted) * (1 - 0.5 * w)
    factor = 1 / (2 * h**2 * slope[1::2])
    right = factor * weight(-peclet) * (g_squared / slope)[..., :-1:2]
    left = factor * weight(peclet) * (g_squared / slope)[..., 2::2]
    return right, left


def _bernoulli(w: Array) -> Array:
    """w/(e^w − 1)."""
    small = np.abs(w) < 1e-8
    safe = np.clip(np.where(small, 1.0, w), -700, 700)
    return np.where(small, 1 - 0.5 * w, np.where(w > -700, safe / np.expm1(safe), -w))


def exponential(right: Array, left: Array, mass: Array) -> Array:
    """exp(A) m ≈ Σ_j c_j (1 − γA)^{−j} m, for the A of these rates."""
    diagonal = np.ones(len(mass))
    diagonal[:-1] += _POLE * right
    diagonal[1:] += _POLE * left
    factors = lapack.dgttrf(-_POLE * right, diagonal, -_POLE * left)[:-1]
    power, result = mass, np.zeros(())
    for c in _COEFFICIENTS:
        power = lapack.dgttrs(*factors, power)[0]
        result = result + c * power
    return result


def _pole_coefficients() -> Array:
    """c_j, j = 1, …, 5: the series of Σ_j c_j (1 − γz)^{−j} agrees with exp z to z⁵."""
    orders = range(_SOLVES)
    series = [[math.comb(j + k, k) * _POLE**k for j in orders] for k in orders]
    return np.linalg.solve(series, [1 / math.factorial(k) for k in orders])


_COEFFICIENTS = _pole_coefficients()


def _extrapolate(grid, logs, refinements, mass_drift):
    """The `Solution` from log p of every run, [runs, T, n, C]."""
    with np.errstate(invalid="ignore"):
        best = np.tensordot(richardson(refinements), logs, 1)
        difference = np.zeros_like(best)
        if len(logs) > 1:
            difference = np.abs(best - np.tensordot(richardson(refinements[1:]), logs[1:], 1))
    difference = np.where(np.isfinite(best), difference, np.inf)
    # Peaks are the finest run's: where log p is noise, extrapolation may go anywhere.
    finest = np.where(np.isnan(logs[-1]), -np.inf, logs[-1])
    below = finest - finest.max(axis=1, keepdims=True)
    if np.any(below[:, [0, -1]] > _OPEN):
        raise UsageError(
            f"A density has reached the ends of the grid, |x| <= {grid.extent:g}: it needs a "
            "larger extent."
        )
    good = (difference < _AGREEMENT) & (below > _FLOOR)
    error = np.where(below > _BULK, difference, 0.0).max(axis=1)
    trusted, u = np.zeros_like(good), grid.points()
    for i, j in np.ndindex(good.shape[0], good.shape[2]):
        bad, peak = np.flatnonzero(~good[i, :, j]), np.argmax(below[i, :, j])
        low = max(bad[bad <= peak], default=-1) + 1
        high = min(bad[bad >= peak], default=len(u)) - 1
        if high - low < 8:
            raise UsageError(
                f"Density {j} is known at {max(high - low + 1, 0)} nodes only, around x = "
                f"{grid.to_x(u[peak]):g}: the spacing {grid.spacing:g} or the time step is too "
                "coarse for it."
            )
        trusted[i, low : high + 1, j] = True
        _continue(grid, u, best[i, :, j], high, 1)
        _continue(grid, u, best[i, :, j], low, -1)
    return Solution(grid, best, trusted, error, mass_drift)


def richardson(refinements: Array) -> Array:
    """Weights of runs whose error is a series in 1/refinement²."""
    squares = np.asarray(refinements, np.float64) ** 2
    return np.array([np.prod([r / (r - q) for q in squares if q != r]) for r in squares])


def _continue(grid, u, log_p, edge, side):
    """Sets log p [n] beyond index `edge`; see the module."""
    if edge in (0, len(u) - 1):
        return
    edge, h = edge - 2 * side, u[1] - u[0]  # central differences need two nodes farther out
    near = log_p[edge - 2 : edge + 3]
    first = near @ [1, -8, 0, 8, -1] / (12 * h)
    second = near @ [-1, 16, -30, 16, -1] / (12 * h**2)
    slope, bend = grid.slope(u[edge]), grid.to_x(u[edge]) / grid.core**2
    score = first / slope
    curvature = (second - score * bend) / slope**2
    beyond = slice(edge + 1, None) if side > 0 else slice(None, edge)
    distance = grid.to_x(u[beyond]) - grid.to_x(u[edge])
    if curvature > 0 > score * side:
        tail = -(score**2) / curvature * np.log1p(-curvature / score * distance)
    else:
        tail = score * distance + 0.5 * min(curvature, 0.0) * distance**2
    log_p[beyond] = log_p[edge] + tail


# Drift and diffusion as NumPy functions ---------------------------------------------------


class Coefficients:
    """f and g² of an SDE in NumPy: in float64 if the SDE takes it, else in float32.

    Args:
      sde: has `drift(x, t)` and `diffusion(x, t)`.
      dimension: D of the points [B, D] at which it is asked.

    Raises:
      UsageError: it lacks one of them.
    """

    def __init__(self, sde: SDELike, dimension: int = 1) -> None:
        self._name = type(sde).__name__
        for method in ("drift", "diffusion"):
            if not hasattr(sde, method):
                raise UsageError(
                    f"An SDE with `drift` and `diffusion` is expected; {self._name} "
                    f"has no {method}."
                )
        try:
            self._both = _traced(sde, dimension, tf.float64)
        except NotImplementedError:
            raise UsageError(
                f"The Fokker–Planck solvers expect noise of one number an example or one a "
                f"coordinate; {self._name}.diffusion is a matrix."
            ) from None
        except (TypeError, ValueError, tf.errors.InvalidArgumentError):
            self._both = _traced(sde, dimension, tf.float32)

    def at(self, x: Array, t: Array) -> tuple[Array, Array]:
        """(f, g²), float64 [B, D], at x [B, D] and t [B].

        Raises:
          UsageError: one is not finite.
        """
        f, g = (value.numpy().astype(np.float64) for value in self._both(x, t))
        if not (np.all(np.isfinite(f)) and np.all(np.isfinite(g))):
            raise UsageError(
                f"{self._name}: drift or diffusion is not finite somewhere in "
                f"|x| <= {np.abs(x).max():g}, t in [{t.min():g}, {t.max():g}]. A smaller extent "
                "may avoid it."
            )
        return f, g**2

    def table(self, x: Array, t: Array) -> list[Array]:
        """(f, g²) [q, n] at every pair of t [q] and x [n]."""
        pair = self.at(np.tile(x, len(t))[:, None], np.repeat(t, len(x)))
        return [value.reshape(len(t), len(x)) for value in pair]

    def integrals(self, x: Array, s: float, t: float) -> tuple[Array, Array]:
        """(∫f dt, ∫g² dt) [n] over [s, t], by Gauss–Legendre quadrature with 3 nodes."""
        half = 0.5 * (t - s)
        f, g_squared = self.table(x, s + half * (1 + _NODES))
        return half * _WEIGHTS @ f, half * _WEIGHTS @ g_squared


def _traced(sde, dimension, dtype):
    points, times = tf.TensorSpec([None, dimension], dtype), tf.TensorSpec([None], dtype)

    @tf.function(input_signature=[points, times])
    def both(x: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        g = sde.diffusion(x, t)
        if g.shape.rank == 3:
            raise NotImplementedError
        return sde.drift(x, t), tf.broadcast_to(g, tf.shape(x))

    both.get_concrete_function()  # a dtype that the SDE does not take shows here
    return lambda x, t: both(tf.cast(x, dtype), tf.cast(t, dtype))


__all__ = ["Coefficients", "Grid", "Solution", "solve"]
