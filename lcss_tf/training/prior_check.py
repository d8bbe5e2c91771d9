"""Does the forward SDE end where sampling starts? x_T of the training data against the prior."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import plots, random
from lcss_tf.display import warn
from lcss_tf.errors import UsageError
from lcss_tf.metrics.distances import random_directions
from lcss_tf.typing import DatasetLike

_NUMBERS = 2**17  # of x_T that are simulated
_MOST_EXAMPLES = 2**15
_PROJECTABLE = 256  # examples below which projections are too noisy to compare
_ENOUGH = 512  # examples that are wanted even if they are up to 2²⁰ numbers
_POOLED = 2**20  # numbers of the pooled sample that are sorted, about
_LEVELS = 0.005 + 0.99 * (np.arange(200) + 0.5) / 200  # of the quantiles compared
_DENSITY_NUMBERS, _FEWEST, _STEIN = 2**17, 16, 0.1  # drawn to check the density; what passes
_PRIOR_DRAWS = 3  # independent samples of the prior, as large as that of x_T


class Gap(NamedTuple):
    """W₂ between x_T and the prior, in units of the prior's standard deviation, without noise.

    distance: √(d² − noise²), 0 where the noise is larger.
    noise: the distance of two samples of the prior.
    """

    distance: float
    noise: float


class PriorCheck(NamedTuple):
    """What `check_prior` found.

    pooled: the `Gap` between all coordinates of x_T as one sample and those of the prior.
    sliced: likewise, the mean of the squares over random directions, where correlations show;
      None for few examples.
    threshold: the largest distance that passes.
    num_examples: examples of x_T.
    quantiles: what was compared, at 200 levels: {"pooled": (x_T's, the prior's)} and, along the
      random direction where they differ most, {"direction": (…, …)}; empty if not finite.
    """

    pooled: Gap
    sliced: Gap | None
    threshold: float
    num_examples: int
    quantiles: dict

    @property
    def distance(self) -> float:
        """The larger of the two distances; infinite if x_T or the prior is not finite."""
        return max(gap.distance for gap in self._gaps())

    @property
    def noise(self) -> float:
        """The sampling noise of the larger of the two."""
        return max(self._gaps()).noise

    @property
    def passed(self) -> bool:
        """Whether both are within the threshold, or no more than sampling noise may give."""
        return all(gap.distance <= max(self.threshold, 1.5 * gap.noise) for gap in self._gaps())

    def _gaps(self):
        return [gap for gap in (self.pooled, self.sliced) if gap is not None]


def check_prior(
    sde: Any,
    data: DatasetLike,
    seed: int,
    num_examples: int | None = None,
    threshold: float = 0.04,
) -> PriorCheck:
    """Compares x_T, simulated from training examples, with the prior.

    Sampling starts from the prior and reverses an SDE that ends in p_T: a distance between the
    two is an error of the samples that no training removes. It is W₂ of one-dimensional
    distributions, between their quantiles of 0.5 % and 99.5 % and in units of the prior's standard
    deviation between the same, so that heavy tails neither drown the rest nor raise alarms.

    Measured on two moons, a checkerboard and digits: below 0.01 where the prior is right, 0.02
    to 0.03 where it is but Euler–Maruyama's 200 steps are not exact (LogisticSDE as a plain
    SDE); 0.02 (checkerboard), 0.06 (moons) and 0.4 (digits) for VP with beta_max = 2, 0.16 for
    a prior too wide by a factor of 1.2, 0.4 or more for VE with sigma_max = 1.

    Args:
      sde: the forward SDE.
      data: the `Dataset`.
      seed: an int.
      num_examples: of x_T; by default as many as make 2¹⁷ numbers, at most 32,768, and at least
        512 if these are no more than 2²⁰ numbers. Small sets are gone through several times.
      threshold: the distance above which the prior is called wrong.

    Returns:
      A `PriorCheck`.
    """
    count, chunk = _sizes(math.prod(sde.state_shape(data.shape)), num_examples)
    x_T = np.concatenate(list(_simulated(sde, data, seed, count, chunk)))
    priors = [
        sde.broadcast_prior_sample(x_T.shape, random.seed_for(seed, "prior check", "prior", i))
        for i in range(_PRIOR_DRAWS)
    ]
    x_T, *priors = (np.asarray(x, np.float32).reshape(count, -1) for x in (x_T, *priors))
    if not all(np.isfinite(x).all() for x in (x_T, *priors)):
        return PriorCheck(Gap(math.inf, 0.0), None, threshold, count, {})
    pooled = [_quantiles(_thinned(x))[:, None] for x in (x_T, *priors)]
    std = np.std(pooled[1:])
    sliced, quantiles = None, {"pooled": (pooled[0][:, 0], pooled[1][:, 0])}
    if count >= _PROJECTABLE:
        dimension = x_T.shape[1]
        directions = np.float32(random_directions(dimension, min(64, 8 * dimension)))
        along = [_quantiles(x @ directions) for x in (x_T, *priors)]
        worst = np.argmax(np.mean((along[0] - along[1]) ** 2, axis=0))
        sliced = _gap(along, std)
        quantiles["direction"] = (along[0][:, worst], along[1][:, worst])
    return PriorCheck(_gap(pooled, std), sliced, threshold, count, quantiles)


def density_doubt(sde: Any, shape: Sequence[int], seed: int) -> str | None:
    """A sentence if `prior_log_prob` is not the density of `prior_sample`; None if it seems so.

    For every density p that vanishes at its edges, E[f'(z) + σ f(z) ∂ log p(x)] = 0 over its own
    samples, z = (x − E x)/σ, for each coordinate (Stein's identity). It is asked for f(z) = z and
    f(z) = sin z. A constant in log p is not seen, nor a density whose gradient is 0, such as a
    uniform one. States of more than 65,536 numbers are not asked.

    Args:
      sde: the forward SDE.
      shape: of one state.
      seed: an int.
    """
    dimension = math.prod(shape)
    if _FEWEST * dimension > _POOLED:
        return None  # it would take seconds
    count = int(np.clip(_DENSITY_NUMBERS // dimension, _FEWEST, 4_096))
    place = random.seed_for(seed, "prior check", "density")
    x = sde.broadcast_prior_sample((count, *shape), place)
    with tf.GradientTape() as tape:
        tape.watch(x)
        log_prob = sde.prior_log_prob(x)
    slope = tape.gradient(log_prob, x)
    if slope is None or not np.any(slope):
        return None
    x, slope = (np.float64(part).reshape(count, -1) for part in (x, slope))
    std = x.std(axis=0)
    z, slope = (x - x.mean(axis=0)) / std, std * slope
    gaps = [np.mean(1 + z * slope, axis=1), np.mean(np.cos(z) + np.sin(z) * slope, axis=1)]
    gap = max(gaps, key=lambda gap: abs(gap.mean()))
    mean, error = gap.mean(), gap.std() / math.sqrt(count)
    if abs(mean) <= max(_STEIN, 5 * error):
        return None
    name = type(sde).__name__
    return (
        f"{name}.prior_log_prob does not look like the density of {name}.prior_sample: Stein's "
        f"identity, which a density keeps over its own samples, is missed by {mean:.2f}. "
        "Likelihoods would be wrong. Check both methods."
    )


def report_prior(
    sde: Any, data: DatasetLike, seed: int, summaries: Any, check: Callable = check_prior
) -> PriorCheck:
    """Checks the prior; warns if it is wrong, and shows both distributions.

    The picture goes to ``<workdir>/prior_check.png`` and TensorBoard, the distance to
    TensorBoard as well.

    Returns:
      The `PriorCheck`.

    Raises:
      UsageError: x_T or the prior is not finite: training would be in vain.
    """
    result = check(sde, data, seed)
    if not result.quantiles:
        raise UsageError(warning_text(result, type(sde).__name__, data.name))
    if not result.passed:
        warn("%s", warning_text(result, type(sde).__name__, data.name))
    doubt = density_doubt(sde, sde.state_shape(data.shape), seed)
    if doubt:
        warn("%s", doubt)
    summaries.scalars({"prior_check/distance": result.distance}, 0)
    verdict = "tolerated" if result.passed else "too far"
    title = f"distance {result.distance:.3f} prior stds: {verdict}"
    draw = lambda: plots.distributions(result.quantiles, ("x_T of the data", "the prior"), title)
    summaries.picture("prior_check", draw, 0, "prior_check.png")
    return result


def warning_text(result: PriorCheck, sde_name: str, data_name: str) -> str:
    """What a failed `PriorCheck` means, and what to do."""
    if not result.quantiles:
        return (
            f"The prior check found NaN or infinity in x_T of {data_name} under {sde_name}, or in "
            f"its prior. Look at {sde_name}.drift and .diffusion for large x, take more "
            f"simulation_steps, and look at {sde_name}.prior_sample."
        )
    where = "" if result.distance == result.pooled.distance else " along random directions"
    return (
        f"{sde_name} does not end in its prior on {data_name}: the distance between x_T and "
        f"prior_sample is {result.distance:.3f} of the prior's standard deviation{where} "
        f"(threshold {result.threshold:g}, sampling noise {result.noise:.3f}, "
        f"{result.num_examples:,} examples). Sampling starts from the prior, so samples will be "
        "wrong by about as much, however well the score is learnt. Remedies: more noise by time T "
        "(a larger beta_max or T, or a sigma_max of about the largest distance between two "
        "examples), or a prior_sample and prior_log_prob that give the distribution of x_T. A "
        "run in a workdir keeps prior_check.png; check_prior.threshold sets what is tolerated."
    )


def _sizes(dimension, num_examples):
    """(examples, a multiple of the examples simulated at a time; these)."""
    most = max(_NUMBERS // dimension, min(_ENOUGH, 8 * _NUMBERS // dimension))
    count = num_examples or max(2, min(_MOST_EXAMPLES, most))
    chunk = max(1, min(count, _NUMBERS // dimension))
    return -(-count // chunk) * chunk, chunk


def _simulated(sde, data, seed, count, chunk):
    """x_T of `count` training examples spread over the set, in float32 arrays of `chunk`."""
    chosen = data.spread_indices(count, "train")
    indices = np.resize(chosen, count)  # a small set is gone through again, with other noise
    draw = tf.function(sde.sample_xt, jit_compile=True, autograph=False)
    times = tf.fill([chunk], tf.constant(sde.T, tf.float32))
    for i, part in enumerate(np.split(indices, range(chunk, count, chunk))):
        x0 = tf.cast(data.examples(part, "train", seed), tf.float32)
        yield draw(x0, times, random.seed_for(seed, "prior check", "x_T", i)).numpy()


def _thinned(x):
    """About 2²⁰ of an array's numbers at most; an odd stride meets every channel and column."""
    return x.reshape(-1)[:: x.size // _POOLED | 1]


def _quantiles(x):
    return np.quantile(x, _LEVELS, axis=0).astype(np.float64)


def _gap(quantiles, std):
    """The `Gap` of columns of quantiles [200, K], x_T's first, then the priors'."""
    x, *priors = quantiles
    squared = lambda a, b: np.mean((a - b) ** 2) / std**2
    distance = np.mean([squared(x, p) for p in priors])
    noise = np.mean([squared(p, q) for i, p in enumerate(priors) for q in priors[:i]])
    return Gap(math.sqrt(max(0.0, distance - noise)), math.sqrt(noise))
