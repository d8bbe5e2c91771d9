"""(network, SDE, preconditioning) -> score_fn(x, t).

Losses and samplers see the score function only. It takes x [B, ...] and times t [B] and returns
the score ∇log p_t(x), float32, of the shape of x.

A preconditioning says how the network's output becomes a score. In the words of EDM (Karras et
al. 2022), written for the score:

    S(x, t) = S_0(x, t) + c_out(x, t) F(c_in(t) (x − m_t), c_noise(t)),   c_noise = sde.noise_label

with S_0 = −c_skip(t) (x − m_t) where x_t given x_0 is Gaussian.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.arguments import Recorded
from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.registry import PRECONDITIONINGS
from lcss_tf.sdes.path import at_time, table_times
from lcss_tf.typing import Array, Network, ScoreFn, Seed, Tensor

# Of the path along which moments are measured: with 256, the variance of `RotatingSDE` at T was 6 %
# too large, for the last steps are the longest in the clock of its noise.
_PATH_STEPS = 512
_JOINT_MOMENTS = ("mean_x", "mean_u", "xx", "xu", "uu")
_SIGNAL = "signal"


class Preconditioning(Recorded):
    """Base of the preconditionings.

    Attributes:
      measured: what `prepare` measured on the data, arrays by name; None where it is missing. A
        checkpoint keeps it.
    """

    measured: Mapping[str, Array] | None = {}

    def prepare(self, sde: Any, x0: Tensor, seed: Seed = 0) -> None:
        """Measures on examples x0 [B, ...] what it needs; by default nothing."""

    def __call__(self, network: Network, sde: Any, x: Tensor, t: Tensor) -> Tensor:
        """The score at x [B, ...] and t [B], of the shape of x, from network(x, c_noise)."""
        raise NotImplementedError(f"{type(self).__name__} must define __call__.")


@PRECONDITIONINGS.register("moments")
class Moments(Preconditioning):
    """EDM's preconditioning from x_t's own mean m_t and variance v_t, for every SDE.

    With s = noise_scale(t) and c_in = 1/√v_t:

    - **Affine SDEs** (`has_marginal`): m_t and v_t from the data's mean and variance in closed
      form, S_0 = −(x − m_t)/v_t, c_out = α_t √(v_0/v_t)/s.
    - **All others**: m_t and v_t along one simulated path. S_0 is the prior's own score, made
      steeper where x_t is narrower. The factor is c_out = √(1 − r + 0.01)/s, with r = s² over the
      variance of the prior. x_t need not come to the prior at the rate of its noise: hence 0.01.

    - **States with a velocity** (`has_velocity`): the score of u alone, its S_0 that of a Gaussian
      with the state's own mean and covariance, −(u − E[u|x])/v, v = Var[u|x]. F sees x and
      u − E[u|x], standardised. c_out = ρ/s, ρ² the share of v that x_0 explains (of Gaussians
      1 − s²/v). Close to the prior it is small, and 784 pixels show their class there: a larger
      factor would add more of F's error to the score than there is to learn.

    Where the noise grows with x (`has_latent`), F sees γ(0) ψ(x) in place of x, in which the noise
    does not, and c_out is divided by γ(x)/γ(0); ψ = `to_latent`, γ = `latent_slope`.

    The moments are measured on the data once, by `prepare`.
    """

    measured = None

    def prepare(self, sde: Any, x0: Tensor, seed: Seed = 0) -> None:
        """Measures the moments from examples x0 [B, ...]."""
        if sde.has_marginal:
            mean, variance = tf.nn.moments(tf.cast(x0, tf.float32), list(range(len(x0.shape))))
            self.measured = {"mean": mean.numpy(), "variance": variance.numpy()}
        elif sde.has_velocity:
            self.measured = velocity_moments_along_path(sde, x0, seed)
        else:
            mean, variance = moments_along_path(sde, x0, seed)
            self.measured = {"mean": mean, "variance": variance}

    def __call__(self, network: Network, sde: Any, x: Tensor, t: Tensor) -> Tensor:
        if sde.has_velocity:
            return self._velocity_score(network, sde, x, t)
        m_t, v_t = (like(moment, x) for moment in self.moments(sde, t))
        s = like(sde.noise_scale(t), x)
        slope = _relative_slope(sde, x)
        c_in, c_out = tf.math.rsqrt(v_t), like(self._c(sde, t), x) / (s * slope)
        output = network(c_in * (_latent_input(sde, x) - m_t), sde.noise_label(t))
        return self.reference_score(sde, x, t) + c_out * output

    def _velocity_score(self, network: Network, sde: Any, state: Tensor, t: Tensor) -> Tensor:
        measured = self._required()
        m_x, m_u, xx, xu, uu = (
            like(at_time(measured[name], sde, t), state) for name in _JOINT_MOMENTS
        )
        x, u = tf.split(state, 2, axis=-1)
        v_t = uu - xu**2 / xx
        s = like(sde.noise_scale(t), u)
        residual = u - m_u - xu / xx * (x - m_x)
        inputs = tf.concat([(x - m_x) * tf.math.rsqrt(xx), residual * tf.math.rsqrt(v_t)], -1)
        _, output = tf.split(network(inputs, sde.noise_label(t)), 2, axis=-1)
        if _SIGNAL in measured:
            explained = like(at_time(measured[_SIGNAL], sde, t), u) + 1e-5
        else:  # runs of before it was measured
            explained = tf.maximum(1 - s**2 / v_t, 0.0) + 0.01
        c_out = tf.sqrt(explained) / s
        return tf.concat([tf.zeros_like(x), c_out * output - residual / v_t], -1)

    def moments(self, sde: Any, t: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance (m_t, v_t), each [B], of one dimension of x_t."""
        measured = self._required()
        if sde.has_marginal:
            alpha_t, sigma_t = sde.marginal(t)
            return alpha_t * measured["mean"], alpha_t**2 * measured["variance"] + sigma_t**2
        return tuple(at_time(measured[name], sde, t) for name in ("mean", "variance"))

    def reference_score(self, sde: Any, x: Tensor, t: Tensor) -> Tensor:
        """S_0, the score that the network corrects, of the shape of x.

        Without a marginal ∇log p_T(x) − κ_t (x − m_t), κ_t = max(0, 1/v_t − 1/v_T): the prior's
        own score, as steep as x_t's variance asks. Samplers so start from the exact score, and in
        the tails the probability flow never loses what holds it: a drift of |x|³ run backwards
        leaves the data for good wherever the score falls short of the prior's.
        """
        m_t, v_t = (like(moment, x) for moment in self.moments(sde, t))
        if sde.has_marginal:
            return -(x - m_t) / v_t
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prior = sde.prior_log_prob(x)
        steepness = tf.maximum(1 / v_t - 1 / sde.prior_std() ** 2, 0.0)
        return tape.gradient(log_prior, x) - steepness * (x - m_t)

    def _c(self, sde: Any, t: Tensor) -> Tensor:
        """c_out in units of the score's own scale 1/(s γ(x)/γ(0)), [B]."""
        if sde.has_marginal:
            _, v_t = self.moments(sde, t)
            return sde.marginal(t)[0] * tf.sqrt(self._required()["variance"] / v_t)
        share = tf.minimum((sde.noise_scale(t) / sde.prior_std()) ** 2, 1.0)
        return tf.sqrt(1.0 - share + 0.01)

    def _required(self) -> Mapping[str, Array]:
        if self.measured is None:
            raise UsageError(
                "The preconditioning 'moments' has not measured the data yet: call "
                "prepare(sde, x0), or restore a checkpoint."
            )
        return self.measured


@PRECONDITIONINGS.register("noise")
class Noise(Preconditioning):
    """S(x, t) = −F(x, c_noise)/noise_scale(t), as in score_sde's VP and sub-VP."""

    def __call__(self, network: Network, sde: Any, x: Tensor, t: Tensor) -> Tensor:
        return -network(x, sde.noise_label(t)) / like(sde.noise_scale(t), x)


@PRECONDITIONINGS.register("none")
class NoPreconditioning(Preconditioning):
    """S(x, t) = F(x, c_noise): the network is the score, as NCSN++ with `scale_by_sigma`."""

    def __call__(self, network: Network, sde: Any, x: Tensor, t: Tensor) -> Tensor:
        return network(x, sde.noise_label(t))


class Score:
    """A network read as the score of an SDE's marginals.

    Args:
      sde: the forward SDE.
      preconditioning: an object of `PRECONDITIONINGS`.
    """

    def __init__(self, sde: Any, preconditioning: Any) -> None:
        self.sde = sde
        self.preconditioning = preconditioning

    def score_fn(
        self,
        network: Network,
        seed: Seed | None = None,
        batch: int | None = None,
        condition: Tensor | None = None,
        augmentation: Tensor | None = None,
    ) -> ScoreFn:
        """score_fn(x, t) of `network`.

        Args:
          network: called as network(x, cond); where it has a true attribute `takes_copies`,
            also with copies=..., and where it has a true attribute `stochastic` (dropout),
            with seed=... and copies=....
          seed: of the dropout masks; None: no dropout.
          batch: examples in the batch. Where x and t hold several stacked copies of it, as in
            losses that compare the score at neighbouring points of the same times, they share
            the embedding of the times and the dropout masks: the difference is then one of the
            same function.
          condition: [batch, ...] as the network takes it, for a conditional one; None: of any
            condition. Copies of the batch share it.
          augmentation: [batch, K]: how the examples were augmented, for a network that is told;
            None: they were not. Copies of the batch share it.
        """
        stochastic = seed is not None and getattr(network, "stochastic", False)
        takes_copies = stochastic or getattr(network, "takes_copies", False)

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            self.sde.expect(x.shape[1:])
            options = {"seed": seed} if stochastic else {}
            if takes_copies and batch is not None:
                options["copies"] = x.shape[0] // batch
            # A network that takes no copies is told of each.
            again = 1 if takes_copies or batch is None else x.shape[0] // batch
            for name, told in (("condition", condition), ("augmentation", augmentation)):
                if told is not None:
                    options[name] = tf.concat([told] * again, 0)

            def call(inputs: Tensor, cond: Tensor) -> Tensor:
                return tf.cast(network(inputs, cond, **options), tf.float32)

            return self.sde.noisy(self.preconditioning(call, self.sde, x, t))

        return score_fn


def moments_along_path(
    sde: Any, x0: Tensor, seed: Seed, num_steps: int = _PATH_STEPS
) -> tuple[Array, Array]:
    """Mean and variance of x_t over examples and dimensions, by one simulation.

    Returns:
      Means and variances, float32 [num_steps + 1], at `lcss_tf.sdes.path.table_times`.
    """
    states = sde.states_along_path(tf.cast(x0, tf.float32), table_times(sde, num_steps), seed)
    rows = [(tf.reduce_mean(x), tf.math.reduce_variance(x)) for x in states]
    means, variances = np.asarray(rows, np.float32).T
    return means, variances


def velocity_moments_along_path(sde: Any, x0: Tensor, seed: Seed) -> dict[str, Array]:
    """As `moments_along_path`, of states (x, u), by name.

    Means, variances and covariance; "signal", the share of Var[u|x] that x_0 explains: the squared
    correlation of u and x_0 once the line in x is taken from both; 1 at time 0.
    """
    x0 = tf.cast(x0, tf.float32)
    state = sde.to_state(x0, seed)
    rows = [
        _joint_moments(state, x0)
        for state in sde.states_along_path(state, table_times(sde, _PATH_STEPS), seed)
    ]
    columns = np.asarray(rows, np.float32).T
    return dict(zip((*_JOINT_MOMENTS, _SIGNAL), columns, strict=True))


def _joint_moments(state: Tensor, x0: Tensor) -> list[Tensor]:
    mean = tf.reduce_mean
    x, u = tf.split(state, 2, axis=-1)
    m_x, m_u = mean(x), mean(u)
    x, u, x0 = x - m_x, u - m_u, x0 - mean(x0)
    xx, xu, uu = mean(x**2), mean(x * u), mean(u**2)
    known = mean(x0**2)
    u, x0 = u - xu / xx * x, x0 - mean(x0 * x) / xx * x
    rest = mean(x0**2)
    signal = mean(u * x0) ** 2 / (mean(u**2) * rest)
    # At first x is x_0 but for rounding, and what is left of x_0 says nothing.
    return [m_x, m_u, xx, xu, uu, tf.where(rest > 1e-12 * known, signal, 1.0)]


def _latent_input(sde: Any, x: Tensor) -> Tensor:
    """γ(0) ψ(x), of the shape of x: a coordinate whose noise does not grow with x; near 0, x."""
    return sde.latent_slope(tf.zeros([])) * sde.to_latent(x) if sde.has_latent else x


def _relative_slope(sde: Any, x: Tensor) -> Tensor:
    """γ(x)/γ(0), the noise at x over that at 0, broadcastable to x."""
    if not sde.has_latent:
        return tf.ones([])
    return sde.latent_slope(x) / sde.latent_slope(tf.zeros([]))


__all__ = [
    "Moments",
    "NoPreconditioning",
    "Noise",
    "Preconditioning",
    "Score",
    "moments_along_path",
    "velocity_moments_along_path",
]
