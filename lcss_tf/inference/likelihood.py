"""Log likelihoods by the probability-flow ODE (Song et al. 2021; Chen et al. 2018).

Along dx/dt = f̃(x, t), f̃ = f − ½ ∂(g²) − ½ g² ∇log p_t, the density changes by the divergence
alone, so that with x_T the point at which x arrives

    log p_0(x) = log p_T(x_T) + ∫₀ᵀ div f̃(x_t, t) dt.

The solver integrates x_t and the divergence together. This holds for every SDE: the prior and the
term ∂(g²) of multiplicative noise come from the SDE itself.
"""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.inference.runner import Runner, inputs_given, score_given
from lcss_tf.losses.classical import score_and_products, trace
from lcss_tf.losses.lcss import DIRECTIONS
from lcss_tf.ops import shape_of, sum_over_data
from lcss_tf.samplers.ode import DormandPrinceSolver, probability_flow
from lcss_tf.typing import Array, ScoreFn, Seed, Shape, Tensor

DIVERGENCES = (*DIRECTIONS, "exact")
_MOST_DIMENSIONS = 256  # of the exact trace


class LogLikelihood(NamedTuple):
    """What `Likelihood` returns.

    log_prob: log p_0(x) in nats [B], NaN where the ODE was not solved. error: the standard error
    of the divergence's estimate over the probes [B]: 0 where it is exact, NaN of a single probe.
    latent: x_T [B, ...]. nfe: int32 scalar, how often the field and its divergence were
    evaluated. failure: as in `Samples`.
    """

    log_prob: Tensor
    error: Tensor
    latent: Tensor
    nfe: Tensor
    failure: Tensor


class Likelihood:
    """log p_0(x) of a score under its SDE.

    Args:
      divergence: "rademacher", "gaussian" or "sphere": Hutchinson's estimate v·∇f̃ v with such
        v, E vvᵀ = I, held fixed over the solve; "exact": the trace, by d backward passes.
      num_probes: v's per example; they share the evaluation of the score.
      solver: a `DormandPrinceSolver`.
      t_min: the time of x; by default the SDE's `t_min`.

    Raises:
      UsageError: another divergence, or num_probes < 1.
    """

    def __init__(
        self,
        divergence: str = "rademacher",
        num_probes: int = 1,
        solver: DormandPrinceSolver | None = None,
        t_min: float | None = None,
    ) -> None:
        if divergence not in DIVERGENCES:
            raise UsageError(f"divergence must be one of {DIVERGENCES}; got {divergence!r}.")
        if num_probes < 1:
            raise UsageError(f"A likelihood expects num_probes >= 1; got {num_probes}.")
        self.divergence, self.num_probes = divergence, num_probes
        self.solver = solver or DormandPrinceSolver()
        self.t_min = t_min

    def check(self, sde: Any, example_shape: Shape) -> None:
        """Raises UsageError if the times or the dimension are out of range."""
        start, dimension = self.start(sde), math.prod(example_shape)
        if not 0 <= start < sde.T:
            raise UsageError(
                f"t_min must lie in [0, {sde.T:g}), the times of {type(sde).__name__}; "
                f"got {start:g}."
            )
        if self.divergence == "exact" and dimension > _MOST_DIMENSIONS:
            raise UsageError(
                "The exact divergence takes one backward pass for each dimension, of which there "
                f"are {dimension:,}; it takes at most {_MOST_DIMENSIONS}. Use divergence = "
                "'rademacher', with more probes if need be."
            )

    def start(self, sde: Any) -> float:
        """`t_min`, or the SDE's own."""
        return sde.t_min if self.t_min is None else self.t_min

    def __call__(self, score_fn: ScoreFn, sde: Any, x: Tensor, seed: Seed) -> LogLikelihood:
        """The `LogLikelihood` of x [B, ...]; the probes are drawn from `seed`.

        Where the SDE's state holds more than the data, the value is log p(x, u) − log q(u | x) for
        one u drawn from q: on average a lower bound of log p_0(x).

        With ``random.at_row(seed, row)`` an example's probe depends on its index in the whole
        data set, not on its batch.
        """
        state, probes = sde.to_state(x, seed), None
        if self.divergence != "exact":
            draw, seeds = DIRECTIONS[self.divergence], random.split(seed, self.num_probes)
            probes = [draw(s, shape_of(state)) for s in seeds]
        found = self.with_probes(score_fn, sde, state, probes)
        return found._replace(log_prob=found.log_prob - sde.added_log_prob(state))

    def with_probes(
        self, score_fn: ScoreFn, sde: Any, x: Tensor, probes: list[Tensor] | None
    ) -> LogLikelihood:
        """The `LogLikelihood` of states x [B, ...] by given probes, a list of [B, ...]."""
        self.check(sde, x.shape[1:])
        flow = probability_flow(score_fn, sde)
        rate = _exact(flow) if self.divergence == "exact" else _hutchinson(flow, probes)
        columns = 1 if self.divergence == "exact" else len(probes or ())
        state = [x, tf.zeros((shape_of(x)[0], columns), x.dtype)]
        solution = self.solver.solve(
            lambda t, state: rate(state[0], t), state, self.start(sde), [sde.T]
        )
        x_T, integrals = solution.state
        log_prob = sde.prior_log_prob(x_T) + tf.reduce_mean(integrals, axis=1)
        log_prob = tf.where(solution.finished, log_prob, np.nan)
        return LogLikelihood(log_prob, self._error(integrals), x_T, solution.nfe, solution.failure)

    def _error(self, integrals: Tensor) -> Tensor:
        """[B] from the integrals by each probe [B, P]."""
        count = integrals.shape[1]
        if self.divergence == "exact":
            return tf.zeros_like(integrals[:, 0])
        if count == 1:
            return tf.fill(tf.shape(integrals[:, 0]), tf.constant(np.nan, integrals.dtype))
        return tf.math.reduce_std(integrals, axis=1) / math.sqrt(count - 1)


def bits_per_dim(log_prob: Tensor, scaling: Any, shape: Shape) -> Tensor:
    """Bits/dim of dequantised examples, from their log densities [B] in nats, in normalised units.

    −log p/(D ln 2) + `scaling.bits_offset`: on average no less than the bits/dim of the levels
    themselves (Theis et al. 2016).

    Args:
      log_prob: [B].
      scaling: the `Scaling`, with levels.
      shape: of one example.
    """
    return -log_prob / (math.prod(shape) * math.log(2.0)) + scaling.bits_offset


def _hutchinson(flow, probes):
    """(x, t) -> [f̃, vᵀ ∇f̃ v for each probe [B, P]]."""

    def rate(x, t):
        field, products = score_and_products(flow, x, t, probes)
        pairs = zip(probes, products, strict=True)
        return [field, tf.stack([sum_over_data(v * p) for v, p in pairs], axis=1)]

    return rate


def _exact(flow):
    """(x, t) -> [f̃, tr ∇f̃ [B, 1]]."""

    def rate(x, t):
        axes = tf.range(math.prod(x.shape[1:]))
        return [flow(x, t), trace(flow, x, t, axes)[:, None]]

    return rate


class Nats(NamedTuple):
    """What `LikelihoodRunner` returns, of N examples: in the data's units, dequantised.

    nats: log p(x) [N]. error: of the divergence's estimate [N], see `LogLikelihood`, and of the
    mean over several samples. log_prob: nats of the normalised examples [N]. nfe: of each example
    [N], all samples together.
    """

    nats: np.ndarray
    error: np.ndarray
    log_prob: np.ndarray
    nfe: np.ndarray


class LikelihoodRunner:
    """A compiled likelihood under the average's weights, on all replicas.

    Images of bytes are dequantised: each level becomes uniform on its width. What is drawn for an
    example depends on (seed, its index) alone, not on batches or replicas.

    The value is then a lower bound of log P of the levels, of K samples of the noise u for each
    example (Burda et al. 2016): log (1/K) Σ_k p(x + u_k)/q(u_k | x), larger on average the larger K
    is. An example's samples share their probes, so the error of the divergence is much the same for
    all of them. It comes out of the logarithm as it is, and does not raise the mean of the
    exponentials.

    Args:
      state: as of `Sampling`.
      likelihood: a `Likelihood`.
      info: the `DataInfo`.
      batch_size: examples at a time, over all replicas.
      num_samples: K.
      dequantiser: q, a `Dequantiser`; None: uniform.

    Raises:
      UsageError: the likelihood does not fit the SDE or the dimension, images do not say how
        many levels they have, or samples or a dequantiser are asked for of data without levels.
    """

    def __init__(
        self,
        state: Any,
        likelihood: Likelihood,
        info: Any,
        batch_size: int = 64,
        num_samples: int = 1,
        dequantiser: Any = None,
    ) -> None:
        likelihood.check(state.sde, state.shape)
        if num_samples < 1:
            raise UsageError(f"A bound expects num_samples >= 1; got {num_samples}.")
        if info.scaling.levels is None and (num_samples > 1 or dequantiser is not None):
            raise UsageError(
                f"A bound of samples or a dequantiser is for levels, and {info.name} has none: "
                "leave both out, the likelihood is exact."
            )
        if (
            info.kind == "image"
            and info.scaling.levels is None
            and info.scaling.stored_dtype == "uint8"
        ):
            raise UsageError(
                f"The likelihood needs dequantised images, and {info.name} does not say how many "
                "levels its pixels have. Give its scaling some: Scaling.for_images(levels=256)."
            )
        self._state, self._likelihood, self._info = state, likelihood, info
        self._num_samples, self._dequantiser = num_samples, dequantiser
        self._dequantises = info.scaling.levels is not None
        self._runner = Runner(self._solve, state.average, state.distribution, batch_size)

    @property
    def batch_size(self) -> int:
        """Examples at a time."""
        return self._runner.batch_size

    def __call__(self, x: Any, seed: Seed = 0, first: int = 0, condition: Any = None) -> Nats:
        """`Nats` of normalised examples x [N, ...]; `first` is the index of the first of them.

        `condition`: as the network takes it, [1, ...] for all or [N, ...]; None: the null one.

        Raises:
          NotFiniteError: the ODE could not be solved; says where.
        """
        seed, parts = random.seed_for(seed, "likelihood"), []
        x = np.asarray(x, np.float32)
        told = inputs_given(condition, len(x))
        for part in self._runner.parts(len(x)):
            start = first + part.start
            samples = [
                self._sample({"x": x[part]} | told(part), seed, start, k)
                for k in range(self._num_samples)
            ]
            parts.append(_mean_of_samples(*(np.stack(c) for c in zip(*samples, strict=True))))
        log_prob, error, nfe = (np.concatenate(column) for column in zip(*parts, strict=True))
        scaling = self._info.scaling
        # One level is one unit of dequantised images; other data keep their own units.
        log_unit = math.log(scaling.level_width) if self._dequantises else scaling.log_slope
        nats = log_prob + math.prod(self._info.shape) * log_unit
        return Nats(nats, error, log_prob, nfe)

    def _sample(self, inputs: dict, seed: Seed, start: int, k: int) -> tuple:
        """(log p(x + u_k)/q(u_k), error, NFE) of a batch, each [B]."""
        if self._num_samples > 1:
            inputs = inputs | {"sample": np.full(len(inputs["x"]), k, np.int32)}
        log_prob, error, nfe, failures = self._runner(inputs, seed, start)
        bad = int((~np.isfinite(log_prob)).sum())
        if bad:
            failure = min([f for f in failures.tolist() if f[0] >= 0] or [[0, math.nan]])
            raise NotFiniteError(
                f"The likelihood of {bad} of the examples {start} to "
                f"{start + len(log_prob) - 1} is not finite: "
                f"{self._likelihood.solver.explain(failure)}"
            )
        return log_prob, error, np.full(len(log_prob), np.max(nfe))

    def _solve(self, inputs: dict, seed: Seed) -> tuple:
        x, log_q = inputs["x"], 0.0
        if self._dequantises:
            levels = random.fold_in(seed, "level")
            if "sample" in inputs:
                k = inputs["sample"][0]
                levels = tf.where(k > 0, random.fold_in(levels, k), levels)  # 0: as of one alone
            u = random.uniform(levels, x.shape)
            if self._dequantiser is not None:
                u, log_q = self._dequantiser(x, u)
            x = self._info.scaling.dequantise(x, u)
        score_fn = score_given(self._state, inputs)
        result = self._likelihood(score_fn, self._state.sde, x, random.fold_in(seed, "probe"))
        nfe = tf.cast(result.nfe, tf.float32)
        return result.log_prob - log_q, result.error, nfe[None], result.failure[None]


def _mean_of_samples(log_prob: Array, error: Array, nfe: Array) -> tuple[Array, Array, Array]:
    """(log of the mean of exponentials, its error, NFE) [B] of K samples, each [K, B]."""
    count = len(log_prob)
    if count == 1:
        return log_prob[0], error[0], nfe[0]
    largest = log_prob.max(axis=0)
    shares = np.exp(np.float64(log_prob) - largest)
    mean = shares.mean(axis=0)
    own = shares.std(axis=0, ddof=1) / (mean * math.sqrt(count))
    # The probes are shared, so that their errors do not average out.
    bound = np.asarray(largest + np.log(mean), np.float32)
    return bound, np.hypot(own, error.mean(axis=0)), nfe.sum(axis=0)


__all__ = [
    "DIVERGENCES",
    "Likelihood",
    "LikelihoodRunner",
    "LogLikelihood",
    "Nats",
    "bits_per_dim",
]
