"""Ancestral sampling (Ho et al. 2020): the predictor without a corrector."""

from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.pc import PredictorCorrector
from lcss_tf.samplers.predictors import AncestralPredictor


@SAMPLERS.register
class Ancestral(PredictorCorrector):
    """`AncestralPredictor` alone (Ho et al. 2020): affine SDEs only.

    Args:
      **options: of `Sampler`, but for the spacing.
    """

    def __init__(self, **options):
        super().__init__(AncestralPredictor(), **options)
