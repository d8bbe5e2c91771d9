"""Samplers: from the prior back to data, one per file."""

from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.correctors import AnnealedLangevin, Langevin, NoCorrector
from lcss_tf.samplers.euler_maruyama import EulerMaruyama
from lcss_tf.samplers.ode import ProbabilityFlowODE
from lcss_tf.samplers.pc import PredictorCorrector
from lcss_tf.samplers.predictors import (
    AncestralPredictor,
    EulerMaruyamaPredictor,
    ReverseDiffusionPredictor,
)

__all__ = [
    "AncestralPredictor",
    "AnnealedLangevin",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "NoCorrector",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "ReverseDiffusionPredictor",
    "Sampler",
]
