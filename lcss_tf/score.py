"""(network, SDE, preconditioning) -> score_fn(x, t).

Losses and samplers see the score function only. It takes x [N, ...] and times t
[N] and returns the score ∇log p_t(x), float32, of the shape of x.
"""

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import like
from lcss_tf.registry import PRECONDITIONINGS


@PRECONDITIONINGS.register("moments")
class Moments:
    """A score known beforehand from x_t's own mean m_t and variance v_t, plus the network.

    S(x, t) = S_0(x, t) + c(t)/s(t) · F((x − m_t)/√v_t, label(t)), s = noise_scale,
    c = `sde.network_scale`, S_0 = `sde.reference_score`: on affine SDEs −(x − m_t)/v_t, so
    that this is EDM's preconditioning (Karras et al. 2022) written for the score; on others
    the prior's own score, made steeper where x_t is narrower. Where the noise grows with x, F sees
    `sde.evened(x)` in place of x, and its output is divided by `sde.local_noise(x)`.
    The moments of x_t are measured on the data once, by `prepare`, and live in the
    checkpoint.
    """

    def __init__(self):
        self.measured = None

    def prepare(self, sde, x0, seed=0):
        """Measures the moments from examples x0 [B, ...]."""
        self.measured = {k: np.float32(v) for k, v in sde.measure_moments(x0, seed).items()}

    def __call__(self, network, sde, x, t):
        if self.measured is None:
            raise UsageError(
                "The preconditioning 'moments' does not know the data yet: call "
                "prepare(sde, x0), or restore a checkpoint."
            )
        m_t, v_t = sde.moments(t, self.measured)
        scale = sde.network_scale(t, self.measured) / sde.noise_scale(t)
        standardised = (sde.evened(x) - like(m_t, x)) * like(tf.math.rsqrt(v_t), x)
        output = network(standardised, sde.noise_label(t))
        correction = like(scale, x) / sde.local_noise(x) * output
        return sde.reference_score(x, t, self.measured) + correction


class _NothingMeasured:
    """A preconditioning that needs to know nothing of the data."""

    measured = {}

    def prepare(self, sde, x0, seed=0):
        """Nothing to do."""


@PRECONDITIONINGS.register("noise")
class Noise(_NothingMeasured):
    """S(x, t) = −F(x, label(t))/noise_scale(t), as in score_sde's VP and sub-VP."""

    def __call__(self, network, sde, x, t):
        return -network(x, sde.noise_label(t)) / like(sde.noise_scale(t), x)


@PRECONDITIONINGS.register("none")
class NoPreconditioning(_NothingMeasured):
    """S(x, t) = F(x, label(t)): the network is the score, as NCSN++ with `scale_by_sigma`."""

    def __call__(self, network, sde, x, t):
        return network(x, sde.noise_label(t))


class ScoreModel:
    """A network read as the score of an SDE's marginals.

    Args:
      sde: the forward SDE.
      preconditioning: an object of `PRECONDITIONINGS`.
    """

    def __init__(self, sde, preconditioning):
        self.sde = sde
        self.preconditioning = preconditioning

    def score_fn(self, network, seed=None, batch=None, labels=None):
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
          labels: classes [batch], for a conditional network; None: of any class. Copies of the
            batch share them.
        """
        stochastic = seed is not None and getattr(network, "stochastic", False)
        takes_copies = stochastic or getattr(network, "takes_copies", False)

        def score_fn(x, t):
            options = {"seed": seed} if stochastic else {}
            if takes_copies and batch is not None:
                options["copies"] = x.shape[0] // batch
            if labels is not None:
                options["labels"] = labels

            def call(inputs, cond):
                return tf.cast(network(inputs, cond, **options), tf.float32)

            return self.preconditioning(call, self.sde, x, t)

        return score_fn
