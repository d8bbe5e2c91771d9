"""Reverse diffusion (Song et al. 2021): the predictor without a corrector."""

from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.pc import PredictorCorrector
from lcss_tf.samplers.predictors import ReverseDiffusionPredictor


@SAMPLERS.register
class ReverseDiffusion(PredictorCorrector):
    """`ReverseDiffusionPredictor` alone: the reversed recursion of the SDE's discretisation.

    Args:
      **options: of `Sampler`, but for the spacing.
    """

    def __init__(self, **options):
        super().__init__(ReverseDiffusionPredictor(), **options)
