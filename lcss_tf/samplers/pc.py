"""The predictor–corrector sampler (Song et al. 2021)."""

import numpy as np

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.correctors import NoCorrector
from lcss_tf.samplers.predictors import ReverseDiffusionPredictor


@SAMPLERS.register
class PredictorCorrector(Sampler):
    """At each of `num_steps` times on linspace(T, t_end): the corrector, then the predictor.

    As in the reference, each predictor step covers T/num_steps, the last one from t_end. With a
    spacing of its own, the predictor steps from each of its times to the next.

    Args:
      predictor: an object of `PREDICTORS`; reverse diffusion by default.
      corrector: an object of `CORRECTORS`; none by default.
      **options: of `Sampler`.

    Raises:
      ValueError: a spacing for a predictor of a discrete process, which has its own.
    """

    def __init__(self, predictor=None, corrector=None, **options):
        super().__init__(**options)
        self.predictor = predictor or ReverseDiffusionPredictor()
        self.corrector = corrector or NoCorrector()
        self._spaced = options.get("spacing") is not None
        if self._spaced and not self.predictor.any_times:
            raise UsageError(
                f"{type(self.predictor).__name__} steps by T/num_steps, as its discrete process "
                f"does, and takes no {type(self.spacing).__name__}: leave the spacing out, or use "
                "EulerMaruyamaPredictor, or DDIM(eta=1), the ancestral step between any times."
            )

    def check(self, sde):
        super().check(sde)
        self.predictor.check(sde, self.num_steps)
        self.corrector.check(sde, self.num_steps)

    def evaluations_per_step(self):
        return self.predictor.evaluations + self.corrector.evaluations

    def times(self, sde):
        if self._spaced:
            return super().times(sde)
        times = np.linspace(sde.T, self.end(sde), self.num_steps)
        return np.append(times, times[-1])

    def step(self, reverse, x, t, s, seed):
        x = self.corrector.correct(reverse, x, t, random.fold_in(seed, "corrector")).x
        if not self._spaced:
            s = t - reverse.sde.T / reverse.num_steps
        z = random.normal(random.fold_in(seed, "predictor"), shape_of(x))
        return self.predictor.step(reverse, x, t, s, z)
