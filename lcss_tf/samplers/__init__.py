"""Samplers: from the prior back to data, one per file."""

from lcss_tf.samplers.adaptive_ode import DormandPrince
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.correctors import AnnealedLangevin, Langevin, NoCorrector
from lcss_tf.samplers.dormand_prince import DormandPrinceSolver
from lcss_tf.samplers.euler_maruyama import EulerMaruyama
from lcss_tf.samplers.ode import ProbabilityFlowODE
from lcss_tf.samplers.pc import PredictorCorrector
from lcss_tf.samplers.predictors import (
    AncestralPredictor,
    EulerMaruyamaPredictor,
    ReverseDiffusionPredictor,
)
from lcss_tf.samplers.spacing import LogSNRSpacing, PowerSpacing, RhoSpacing, UniformSpacing

__all__ = [
    "AncestralPredictor",
    "AnnealedLangevin",
    "DormandPrince",
    "DormandPrinceSolver",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "LogSNRSpacing",
    "NoCorrector",
    "PowerSpacing",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "ReverseDiffusionPredictor",
    "RhoSpacing",
    "Sampler",
    "UniformSpacing",
]
