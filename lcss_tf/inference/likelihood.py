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
from lcss_tf.errors import UsageError
from lcss_tf.losses.classical import score_and_products, trace
from lcss_tf.losses.lcss import DIRECTIONS
from lcss_tf.ops import shape_of, sum_over_data
from lcss_tf.samplers.adaptive_ode import probability_flow
from lcss_tf.samplers.dormand_prince import DormandPrinceSolver
from lcss_tf.typing import ScoreFn, Seed, Shape, Tensor

DIVERGENCES = (*DIRECTIONS, "exact")
_MOST_DIMENSIONS = 256  # of the exact trace


class LogLikelihood(NamedTuple):
    """What `Likelihood` returns.

    log_prob: log p_0(x) in nats [B], NaN where the ODE was not solved. latent: x_T [B, ...].
    evaluations: int32 scalar, how often the field and its divergence were evaluated (NFE).
    failure: as in `Samples`.
    """

    log_prob: Tensor
    latent: Tensor
    evaluations: Tensor
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

        With ``random.at_row(seed, row)`` an example's probe depends on its index in the whole
        data set, not on its batch.
        """
        if self.divergence == "exact":
            return self.with_probes(score_fn, sde, x, None)
        draw, seeds = DIRECTIONS[self.divergence], random.split(seed, self.num_probes)
        return self.with_probes(score_fn, sde, x, [draw(s, shape_of(x)) for s in seeds])

    def with_probes(
        self, score_fn: ScoreFn, sde: Any, x: Tensor, probes: list[Tensor] | None
    ) -> LogLikelihood:
        """The `LogLikelihood` of x [B, ...] by given probes, a list of [B, ...]."""
        self.check(sde, x.shape[1:])
        flow = probability_flow(score_fn, sde)
        rate = _exact(flow) if self.divergence == "exact" else _hutchinson(flow, probes)
        state = [x, tf.zeros(shape_of(x)[:1], x.dtype)]
        solution = self.solver.solve(
            lambda t, state: rate(state[0], t), state, self.start(sde), [sde.T]
        )
        x_T, integral = solution.state
        log_prob = tf.where(solution.finished, sde.prior_log_prob(x_T) + integral, np.nan)
        return LogLikelihood(log_prob, x_T, solution.evaluations, solution.failure)


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
    """(x, t) -> [f̃, the mean over probes of vᵀ ∇f̃ v]."""

    def rate(x, t):
        field, products = score_and_products(flow, x, t, probes)
        pairs = zip(probes, products, strict=True)
        return [field, tf.add_n([sum_over_data(v * p) for v, p in pairs]) / len(probes)]

    return rate


def _exact(flow):
    """(x, t) -> [f̃, tr ∇f̃]."""

    def rate(x, t):
        axes = tf.range(math.prod(x.shape[1:]))
        return [flow(x, t), trace(flow, x, t, axes)]

    return rate


__all__ = ["DIVERGENCES", "Likelihood", "LogLikelihood", "bits_per_dim"]
