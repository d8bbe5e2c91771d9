"""The time distribution p: at which times a loss trains, and with what importance weight.

Times are numbered by u in [0, 1]: t = sde.training_time(u), which for most SDEs is uniform in t. A
loss is a mean over u, and any density p(u) > 0 estimates it:

    L = ∫₀¹ λ(t) J(t) du = E_{u ~ p}[λ(t) J(t)/p(u)]

With ``reweight=True`` 1/p is part of the estimate: p changes its variance, and never its
expectation. With ``reweight=False`` it is left out, and the density becomes part of the weighting:
the loss is ∫ p λ J du. The default is what each distribution was made for. Those that reduce the
variance of a given objective (importance, adaptive) reweight; those that somebody published as a
part of an objective (log-normal, logit-normal) do not.

Times are drawn as quantiles u = F⁻¹(v), where the v of a global batch are stratified: one in each
of as many equal slices of [0, 1). Every p then has the variance reduction of stratification.

A distribution of one's own defines `component_cdf`, or overrides `cdf`, `density` and `quantile`.
"""

import math
import weakref
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.losses.weightings import check_noise_level
from lcss_tf.ops import bisect, outside_graphs
from lcss_tf.registry import TIME_DISTRIBUTIONS, WEIGHTINGS
from lcss_tf.typing import Array, Seed, Tensor

State = Mapping[str, Tensor]  # what an adaptive distribution knows, by name; {} of all others

_FLOOR = 0.1  # of the densities that divide: no importance weight is above 10
_LEAST_MASS = 0.01  # of a log-normal between the noise levels of the SDE
_COARSE = 64  # cells of a table at first
_ROUNDS = 22  # of halving cells
_STEP = 0.1  # relative change of the density over a cell
_NEGLIGIBLE = 1e-7  # of the largest density
_NARROWEST = 1e-6  # cell, relative to where it ends: float32 tells its nodes apart
_PRIOR = 4.0  # examples that the mean over all bins counts for in each


class TimeSample(NamedTuple):
    """Times t [B] in [t_min, T], their importance weights [B], and their bins [B], int, or None."""

    t: Tensor
    weight: Tensor
    bins: Tensor | None = None


class TimeDistribution:
    """Base of the time distributions; see the module.

    Args:
      stratified: whether the quantiles of a global batch are stratified, or independent.
      reweight: whether the loss is divided by the density; None: the default of the class.
      floor: share of uniform times that is mixed in, from 0 to 1, which bounds the importance
        weight by 1/floor (a defensive mixture, Hesterberg 1995). None: 0.1 with `reweight`, else 0.

    Raises:
      UsageError: a number out of its range.
    """

    reweights: bool = True  # the default of `reweight`

    def __init__(
        self, stratified: bool = True, reweight: bool | None = None, floor: float | None = None
    ) -> None:
        self.stratified = stratified
        self.reweight = self.reweights if reweight is None else reweight
        self.floor = (_FLOOR if self.reweight else 0.0) if floor is None else float(floor)
        if not 0 <= self.floor <= 1:
            raise UsageError(
                f"{type(self).__name__}.floor is a share from 0 to 1; got {self.floor}."
            )

    # What the author writes ---------------------------------------------------------------

    def component_cdf(self, sde: Any, u: Tensor) -> Tensor:
        """The cumulative distribution function at u [B], without the floor: rises from 0 to 1."""
        raise NotImplementedError(f"{type(self).__name__} must define component_cdf(sde, u).")

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE lacks something that the distribution needs."""

    # What follows -------------------------------------------------------------------------

    def cdf(self, sde: Any, u: Tensor) -> Tensor:
        """F(u), [B]."""
        return (1.0 - self.floor) * self.component_cdf(sde, u) + self.floor * u

    def density(self, sde: Any, u: Tensor) -> Tensor:
        """p(u) = F'(u), [B]; by automatic differentiation."""
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(u)
            total = tf.reduce_sum(self.cdf(sde, u))
        return tape.gradient(total, u)

    def quantile(self, sde: Any, v: Tensor) -> Tensor:
        """F⁻¹(v), [B]; by bisection."""
        return xla.call(lambda v: bisect(lambda u: self.cdf(sde, u), v), v)

    def weight(self, sde: Any, u: Tensor) -> Tensor:
        """The importance weight at u, [B]: 1/p(u) with `reweight`, else 1."""
        return 1.0 / self.density(sde, u) if self.reweight else tf.ones_like(u)

    def sample(
        self,
        sde: Any,
        seed: Seed,
        batch: int,
        global_batch: int | None = None,
        state: State | None = None,
    ) -> TimeSample:
        """The times of `batch` examples, a part of a global batch.

        Args:
          sde: the forward SDE.
          seed: its row says which strata are this replica's, so that all replicas together cover
            all of them.
          batch: how many.
          global_batch: examples of all replicas; `batch` by default.
          state: of an adaptive distribution; None: `initial_state`.
        """
        del state
        u = self.quantile(sde, self.uniforms(seed, batch, global_batch))
        return TimeSample(sde.training_time(u), self.weight(sde, u))

    def uniforms(self, seed: Seed, batch: int, global_batch: int | None = None) -> Tensor:
        """v [batch], stratified over the global batch or independent; as for `sample`."""
        if not self.stratified:
            return random.uniform(seed, (batch,))
        seed = random.as_seed(seed)
        first = seed[2] if seed.shape == (3,) else 0
        slices = tf.cast(first + tf.range(batch), tf.float32)
        count = tf.cast(batch if global_batch is None else global_batch, tf.float32)
        return (slices + random.uniform(seed, (batch,))) / count

    def describe(self) -> str:
        """What the times are, and what that makes of the objective: a sentence; "" by default."""
        name = type(self).__name__
        if self.reweight:
            return f"Times: {name}, reweighted: the objective is that of UniformTimes."
        return f"Times: {name}; their density is part of the objective."

    # What an adaptive distribution knows ----------------------------------------------------

    def initial_state(self) -> dict[str, Array]:
        """What training changes and a checkpoint keeps, float32 by name: {} but for adaptive."""
        return {}

    def statistics(
        self, sample: TimeSample, size: Tensor, factor: Tensor, state: State | None = None
    ) -> dict[str, Tensor]:
        """What a batch tells: vectors by name, which are summed over the global batch.

        Args:
          sample: of `sample`, drawn with `state`.
          size: of each example's loss, importance weight included, [B]; see `Loss.sizes`.
          factor: what an error of the noise is multiplied by in it, [B].
          state: as of `sample`.
        """
        del sample, size, factor, state
        return {}

    def update(self, state: State, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The next state from this one and the sums of `statistics`: a pure function."""
        del sums
        return dict(state)


@TIME_DISTRIBUTIONS.register
class UniformTimes(TimeDistribution):
    """p(u) = 1: uniform in u, which is t itself but for SDEs with training times of their own.

    Args:
      stratified: one time in each of as many slices as the global batch has examples: the same
        expectation as independent times, far less variance.
    """

    def __init__(self, stratified: bool = True) -> None:
        super().__init__(stratified)

    def cdf(self, sde: Any, u: Tensor) -> Tensor:
        return u

    def density(self, sde: Any, u: Tensor) -> Tensor:
        return tf.ones_like(u)

    def quantile(self, sde: Any, v: Tensor) -> Tensor:
        return v

    def describe(self) -> str:
        return "" if self.stratified else "Times: uniform and independent."


@TIME_DISTRIBUTIONS.register
class LogNormalTimes(TimeDistribution):
    """log(σ_t/α_t) ~ N(mean, std²), cut off at t_min and T: EDM's times (Karras et al. 2022).

    By default the density is part of the weighting, as in the paper: ``LogNormalTimes()`` with
    ``EDMWeighting()`` is EDM's loss, on any affine SDE.

    Args:
      mean: P_mean of the paper.
      std: P_std, positive.
      **options: of `TimeDistribution`; `reweight` is False by default.

    Raises:
      UsageError: a number out of its range.
    """

    reweights = False

    def __init__(self, mean: float = -1.2, std: float = 1.2, **options: Any) -> None:
        super().__init__(**options)
        _check_normal(self, mean, std)
        self.mean, self.std = mean, std

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE has no noise level, or one that lies elsewhere."""
        name = type(self).__name__
        check_noise_level(name, sde, "times=UniformTimes() or AdaptiveTimes()")
        levels = _log_noise(sde, tf.linspace(0.0, 1.0, 65)).numpy()
        if not (np.isfinite(levels).all() and (np.diff(levels) > 0).all()):
            raise UsageError(
                f"{name} needs a noise level sigma_t/alpha_t that rises with t; that of "
                f"{type(sde).__name__} does not. Use UniformTimes or AdaptiveTimes."
            )
        low, high = float(levels[0]), float(levels[-1])
        below = [0.5 * math.erfc((self.mean - x) / (self.std * math.sqrt(2))) for x in (low, high)]
        if below[1] - below[0] < _LEAST_MASS:
            raise UsageError(
                f"{name}(mean={self.mean:g}, std={self.std:g}) has almost no times on "
                f"{type(sde).__name__}, whose log(sigma/alpha) runs from {low:.2f} to {high:.2f}. "
                "Choose a mean in between, or a larger std."
            )

    def component_cdf(self, sde: Any, u: Tensor) -> Tensor:
        below = lambda u: _normal_cdf((_log_noise(sde, u) - self.mean) / self.std)
        ends = below(tf.constant([0.0, 1.0]))
        return (below(u) - ends[0]) / (ends[1] - ends[0])


@TIME_DISTRIBUTIONS.register
class LogitNormalTimes(TimeDistribution):
    """log(u/(1 − u)) ~ N(mean, std²): the middle times, as for rectified flows (Esser et al. 2024).

    By default the density is part of the weighting, as in the paper. It needs no noise level.

    Args:
      mean: m of the paper; below 0 for more times near the data.
      std: s, positive.
      **options: of `TimeDistribution`; `reweight` is False by default.

    Raises:
      UsageError: a number out of its range.
    """

    reweights = False

    def __init__(self, mean: float = 0.0, std: float = 1.0, **options: Any) -> None:
        super().__init__(**options)
        _check_normal(self, mean, std)
        self.mean, self.std = mean, std

    def component_cdf(self, sde: Any, u: Tensor) -> Tensor:
        logit = tf.math.log(u) - tf.math.log1p(-u)
        return _normal_cdf((logit - self.mean) / self.std)

    def density(self, sde: Any, u: Tensor) -> Tensor:
        # In closed form: at the ends the derivative of the cdf is 0 · ∞.
        inside = (u > 0) & (u < 1)
        safe = tf.where(inside, u, 0.5)
        z = (tf.math.log(safe) - tf.math.log1p(-safe) - self.mean) / self.std
        normal = tf.exp(-0.5 * z**2) / (self.std * math.sqrt(2 * math.pi))
        component = tf.where(inside, normal / (safe * (1.0 - safe)), 0.0)
        return (1.0 - self.floor) * component + self.floor


@TIME_DISTRIBUTIONS.register
class ImportanceTimes(TimeDistribution):
    """p ∝ λ(t)/s(t)², s the noise scale: times in proportion to the noise error's factor.

    With the weighting "likelihood" that is g²/σ², by which the likelihood bound is trained (Song,
    Durkan, Murray, Ermon 2021): the weighted noise error over p is then as even as the noise error
    itself. Sampled from a table with linear interpolation, so the importance weight is exact.

    Args:
      weighting: λ(t), as of `Loss`; take the loss's own.
      **options: of `TimeDistribution`; `reweight` is True by default.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        weighting: str | Callable[[Any, Tensor], Tensor] = "likelihood",
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.weighting = WEIGHTINGS.make(weighting)
        self._tables: Any = weakref.WeakKeyDictionary()  # of each SDE

    def check(self, sde: Any) -> None:
        """Raises UsageError if the weighting does not go with the SDE, or gives no density."""
        if hasattr(self.weighting, "check"):
            self.weighting.check(sde)
        self._table(sde)

    def cdf(self, sde: Any, u: Tensor) -> Tensor:
        table = self._table(sde)
        return table.below(u, _cell(table.nodes, u))

    def density(self, sde: Any, u: Tensor) -> Tensor:
        table = self._table(sde)
        return table.density(u, _cell(table.nodes, u))

    def quantile(self, sde: Any, v: Tensor) -> Tensor:
        return self._table(sde).quantile(v)

    def _table(self, sde: Any) -> "_Table":
        """The table of this SDE as it is now: for such examples, with what it has measured."""
        tables, key = self._tables.setdefault(sde, {}), sde.example_shape
        if key not in tables or tables[key][0] is not sde.measured:
            tables[key] = sde.measured, outside_graphs(lambda: self._made_table(sde))
        return tables[key][1]

    def _made_table(self, sde: Any) -> "_Table":
        def factor(u: Array) -> Array:
            t = sde.training_time(tf.constant(u, tf.float32))
            values = np.asarray(self.weighting(sde, t) / sde.noise_scale(t) ** 2, np.float64)
            if not (np.isfinite(values).all() and (values >= 0).all()):
                worst = float(t[int(np.argmin(np.isfinite(values) & (values >= 0)))])
                raise UsageError(
                    f"{type(self).__name__}: the weighting over noise_scale² must be finite and "
                    f"not negative; it is neither on {type(sde).__name__} at t = {worst:.3g}. Use "
                    "another weighting, or a larger t_min."
                )
            return values

        nodes, values = _refined(factor)
        mass = np.sum(0.5 * (values[1:] + values[:-1]) * np.diff(nodes))
        if mass <= 0:
            raise UsageError(f"{type(self).__name__}: the weighting is 0 at all times.")
        return _Table(nodes, (1.0 - self.floor) * values / mass + self.floor)


@TIME_DISTRIBUTIONS.register
class AdaptiveTimes(TimeDistribution):
    """p ∝ the root of a second moment at each time, as it is measured in training.

        p_k = (1 − floor) r_k/mean(r) + floor      for equal bins k of [0, 1]

    moment = "loss": r² = E[l²], l the loss of an example. The estimate of the loss has the least
      variance of all independent times (Nichol and Dhariwal 2021).
    moment = "gradient": r² = E[c l], c = λ/s² the factor of the noise error in l. With l = c ‖e‖²,
      as in DSM and in LCSS by paths, that is the squared gradient by the network's output. Then the
      gradient has the least variance, if the network's Jacobian is alike at all times.
      (Katharopoulos and Fleuret 2018 choose examples so.)

    Averages are over past batches, with weights that fall exponentially with the examples since.
    It starts uniform. The next batch's p depends on earlier batches alone, so the estimate stays
    unbiased. What it knows is a state: two vectors that a checkpoint keeps, the same on all
    replicas, so that a run resumes exactly.

    Args:
      num_bins: of the bins.
      memory: examples after which a batch counts 1/e in the averages.
      moment: "loss" or "gradient".
      base: the distribution that is adapted, an object or a name: bins are equal in its quantile,
        and the objective is its. By default uniform times.
      floor: share of `base` that is mixed in, above 0: every time is looked at again.
      stratified, reweight: as of `TimeDistribution`; without `reweight` the objective follows
        the state, and the loss is no longer the same from step to step.

    Raises:
      UsageError: an unknown moment, a number out of its range, or a base that is adaptive itself.
    """

    def __init__(
        self,
        num_bins: int = 64,
        memory: float = 20_000.0,
        moment: str = "loss",
        base: Any = "UniformTimes",
        floor: float = _FLOOR,
        stratified: bool = True,
        reweight: bool = True,
    ) -> None:
        super().__init__(stratified, reweight, floor)
        if num_bins < 1 or memory <= 0 or floor <= 0:
            raise UsageError(
                "AdaptiveTimes expects num_bins >= 1, memory > 0 and floor > 0; got "
                f"{num_bins}, {memory} and {floor}."
            )
        if moment not in ("loss", "gradient"):
            raise UsageError(f"AdaptiveTimes.moment is 'loss' or 'gradient'; got {moment!r}.")
        self.num_bins, self.memory, self.moment = num_bins, memory, moment
        self.base = TIME_DISTRIBUTIONS.make(base)
        if self.base.initial_state():
            raise UsageError(
                "AdaptiveTimes.base must not be adaptive itself; got "
                f"{type(self.base).__name__}. Leave it out, or use ImportanceTimes, say."
            )

    def check(self, sde: Any) -> None:
        """As of the base."""
        self.base.check(sde)

    def initial_state(self) -> dict[str, Array]:
        """squares, counts: the sums of r² and of examples by bin, with falling weights, [n]."""
        return {name: np.zeros(self.num_bins, np.float32) for name in ("squares", "counts")}

    def profile(self, state: State | None = None) -> Tensor:
        """p in each bin, relative to the base's: [n], of mean 1."""
        state = self.initial_state() if state is None else state
        squares, counts = (tf.cast(state[k], tf.float32) for k in ("squares", "counts"))
        root = tf.sqrt(tf.math.divide_no_nan(squares, counts))
        seen = tf.reduce_sum(tf.cast(counts > 0, tf.float32))
        mean = tf.math.divide_no_nan(tf.reduce_sum(root), seen)
        # Bins that few examples have seen are near the mean.
        root = tf.where(mean > 0, (counts * root + _PRIOR * mean) / (counts + _PRIOR), 1.0)
        return (1.0 - self.floor) * root / tf.reduce_mean(root) + self.floor

    def sample(
        self,
        sde: Any,
        seed: Seed,
        batch: int,
        global_batch: int | None = None,
        state: State | None = None,
    ) -> TimeSample:
        """See `TimeDistribution`."""
        v = self.uniforms(seed, batch, global_batch)
        profile = self.profile(state)
        edges = tf.concat([[0.0], tf.cumsum(profile) / self.num_bins], axis=0)
        k = _cell(edges, v)
        height = tf.gather(profile, k)
        inside = (v - tf.gather(edges, k)) * self.num_bins / height
        u = self.base.quantile(
            sde, (tf.cast(k, tf.float32) + tf.clip_by_value(inside, 0.0, 1.0)) / self.num_bins
        )
        weight = self.base.weight(sde, u)
        return TimeSample(sde.training_time(u), weight / height if self.reweight else weight, k)

    # Without a state it is its base.

    def cdf(self, sde: Any, u: Tensor) -> Tensor:
        return self.base.cdf(sde, u)

    def density(self, sde: Any, u: Tensor) -> Tensor:
        return self.base.density(sde, u)

    def quantile(self, sde: Any, v: Tensor) -> Tensor:
        return self.base.quantile(sde, v)

    def statistics(
        self, sample: TimeSample, size: Tensor, factor: Tensor, state: State | None = None
    ) -> dict[str, Tensor]:
        """The sums of r² and of examples by bin, both before the division by p."""
        height = tf.gather(self.profile(state), sample.bins) if self.reweight else 1.0
        other = size if self.moment == "loss" else factor
        square = tf.abs(size * other) * height**2
        in_bin = tf.one_hot(sample.bins, self.num_bins)
        return {
            "squares": tf.reduce_sum(in_bin * square[:, None], axis=0),
            "counts": tf.reduce_sum(in_bin, axis=0),
        }

    def update(self, state: State, sums: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Both averages: a ← a e^(−B/memory) + the batch's sums, B its examples."""
        keep = tf.exp(-tf.reduce_sum(sums["counts"]) / self.memory)
        return {name: keep * state[name] + sums[name] for name in state}

    def describe(self) -> str:
        base = type(self.base).__name__
        if self.reweight:
            return f"Times: AdaptiveTimes, reweighted: the objective is that of {base}."
        return f"Times: AdaptiveTimes over {base}; their density is part of the objective."


# Tables -------------------------------------------------------------------------------------


class _Table:
    """A density on [0, 1] that is linear between nodes: its integral and quantile are exact.

    Args:
      nodes: rising from 0 to 1, [n].
      values: the density there, [n].
    """

    def __init__(self, nodes: Array, values: Array) -> None:
        below = np.concatenate([[0], np.cumsum(0.5 * (values[1:] + values[:-1]) * np.diff(nodes))])
        self.nodes = np.asarray(nodes, np.float32)
        self._values = np.asarray(values / below[-1], np.float32)
        self._below = np.asarray(below / below[-1], np.float32)

    def density(self, u: Tensor, k: Tensor) -> Tensor:
        """At u [B] in the cells k [B]."""
        start, first, slope = self._line(k)
        return first + slope * (u - start)

    def below(self, u: Tensor, k: Tensor) -> Tensor:
        """The integral up to u [B] in the cells k [B]."""
        start, first, slope = self._line(k)
        x = u - start
        return tf.gather(self._below, k) + x * (first + 0.5 * slope * x)

    def quantile(self, v: Tensor) -> Tensor:
        """Where the integral is v, [B]."""
        k = _cell(self._below, v)
        start, first, slope = self._line(k)
        left = tf.maximum(v - tf.gather(self._below, k), 0.0)
        # first x + slope x²/2 = left, in the form that cancels nothing.
        root = tf.sqrt(tf.maximum(first**2 + 2.0 * slope * left, 0.0))
        x = tf.math.divide_no_nan(2.0 * left, first + root)
        return tf.minimum(start + x, tf.gather(self.nodes, k + 1))

    def _line(self, k: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        (start, end), (first, last) = (
            [tf.gather(values, k + i) for i in (0, 1)] for values in (self.nodes, self._values)
        )
        return start, first, (last - first) / (end - start)


def _cell(edges: Tensor, x: Tensor) -> Tensor:
    """k [B] with edges[k] <= x < edges[k + 1], the last cell for what lies beyond."""
    k = tf.searchsorted(edges, x, side="right") - 1
    return tf.clip_by_value(k, 0, edges.shape[0] - 2)


def _refined(function: Callable[[Array], Array]) -> tuple[Array, Array]:
    """(nodes, values) of a function >= 0 on [0, 1], cells halved until it is even in each."""
    nodes = np.linspace(0.0, 1.0, _COARSE + 1)
    values = function(nodes)
    for _ in range(_ROUNDS):
        larger = np.maximum(values[1:], values[:-1])
        uneven = np.abs(np.diff(values)) > _STEP * larger + _NEGLIGIBLE * values.max()
        uneven &= np.diff(nodes) > _NARROWEST * nodes[1:]
        if not uneven.any():
            break
        middles = 0.5 * (nodes[1:] + nodes[:-1])[uneven]
        places = np.flatnonzero(uneven) + 1
        nodes = np.insert(nodes, places, middles)
        values = np.insert(values, places, function(middles))
    return nodes, values


# The normal distribution --------------------------------------------------------------------


def _normal_cdf(z: Tensor) -> Tensor:
    """Φ(z), with all its digits far below 0."""
    return 0.5 * tf.math.erfc(-z / math.sqrt(2.0))


def _log_noise(sde: Any, u: Tensor) -> Tensor:
    """log(σ_t/α_t) at t = training_time(u), [B]."""
    alpha_t, sigma_t = sde.marginal(sde.training_time(u))
    return tf.math.log(sigma_t) - tf.math.log(alpha_t)


def _check_normal(owner: Any, mean: float, std: float) -> None:
    if not (math.isfinite(mean) and 0 < std < math.inf):
        raise UsageError(
            f"{type(owner).__name__} expects a finite mean and std > 0; got mean={mean} and "
            f"std={std}."
        )


__all__ = [
    "AdaptiveTimes",
    "ImportanceTimes",
    "LogNormalTimes",
    "LogitNormalTimes",
    "TimeDistribution",
    "TimeSample",
    "UniformTimes",
]
