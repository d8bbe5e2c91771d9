"""Correctors: Markov chain steps that leave p_t as it is (Song et al. 2021, Alg. 4 and 5)."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import CORRECTORS
from lcss_tf.samplers.base import Step


class Corrector:
    """Base of the correctors: `num_steps` steps at each time.

    Args:
      snr: signal-to-noise ratio, which sets the step's size.
      num_steps: steps at each time.

    Raises:
      ValueError: unless snr > 0 and num_steps >= 1.
    """

    def __init__(self, snr=0.16, num_steps=1):
        if snr <= 0 or num_steps < 1:
            raise UsageError(
                f"{type(self).__name__} expects snr > 0 and num_steps >= 1; got snr={snr}, "
                f"num_steps={num_steps}."
            )
        self.snr = snr
        self.num_steps = num_steps

    @property
    def evaluations(self):
        """Network evaluations at each time."""
        return self.num_steps

    def check(self, sde, num_steps):
        """Raises ValueError if this corrector cannot go with `num_steps` steps of the SDE.

        On VP its step size has the factor 1 − β_i, which must be positive.
        """
        sde.check_discretization(num_steps)

    def step_size(self, reverse, score, t, z):
        """The step size ε [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define step_size(...).")

    def step(self, reverse, x, t, z):
        """One step x + ε score + √(2ε) z with given noise."""
        score = reverse.score_fn(x, t)
        size = like(self.step_size(reverse, score, t, z), x)
        mean = x + size * score
        return Step(mean + tf.sqrt(2.0 * size) * z, mean)

    def correct(self, reverse, x, t, seed):
        """`num_steps` steps at time t [B]."""
        step = Step(x, x)
        for i in range(self.num_steps):
            z = random.normal(random.fold_in(seed, i), shape_of(x))
            step = self.step(reverse, step.x, t, z)
        return step


def _norms(x):
    """Euclidean norm of each example, [B]."""
    return tf.sqrt(tf.reduce_sum(x**2, axis=list(range(1, len(x.shape)))))


@CORRECTORS.register
class Langevin(Corrector):
    """ε = 2α (snr ‖z‖/‖score‖)².

    Args:
      snr, num_steps: see `Corrector`.
      norms: "batch": averaged over the batch, as the reference does (a sample then
        depends on its batch); "sample": each sample's own, for data of many dimensions: in a few,
        ‖score‖ varies so much from sample to sample that the law widens.
    """

    def __init__(self, snr=0.16, num_steps=1, norms="batch"):
        super().__init__(snr, num_steps)
        if norms not in ("batch", "sample"):
            raise UsageError(f"Langevin.norms must be 'batch' or 'sample'; got {norms!r}.")
        self.norms = norms

    def step_size(self, reverse, score, t, z):
        score_norm, noise_norm = _norms(score), _norms(z)
        if self.norms == "batch":
            score_norm, noise_norm = tf.reduce_mean(score_norm), tf.reduce_mean(noise_norm)
        alpha = reverse.sde.langevin_alpha(t, reverse.num_steps)
        return 2.0 * alpha * (self.snr * noise_norm / score_norm) ** 2


@CORRECTORS.register
class AnnealedLangevin(Corrector):
    """ε = 2α (snr s(t))², s the SDE's noise scale (Song & Ermon 2019)."""

    def step_size(self, reverse, score, t, z):
        alpha = reverse.sde.langevin_alpha(t, reverse.num_steps)
        return 2.0 * alpha * (self.snr * reverse.sde.noise_scale(t)) ** 2


@CORRECTORS.register
class NoCorrector(Corrector):
    """Leaves x as it is, at no cost."""

    evaluations = 0

    def __init__(self):
        super().__init__(num_steps=1)

    def check(self, sde, num_steps):
        """It goes with all."""

    def correct(self, reverse, x, t, seed):
        return Step(x, x)
