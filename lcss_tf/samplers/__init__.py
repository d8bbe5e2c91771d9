"""Samplers: from the prior back to data, one per file."""

from lcss_tf.samplers.ancestral import Ancestral
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.correctors import AnnealedLangevin, Langevin, NoCorrector
from lcss_tf.samplers.ddim import DDIM
from lcss_tf.samplers.dpm_solver import DPMSolverPP
from lcss_tf.samplers.edm import EDMHeun
from lcss_tf.samplers.euler_maruyama import EulerMaruyama
from lcss_tf.samplers.ode import ProbabilityFlowODE
from lcss_tf.samplers.pc import PredictorCorrector
from lcss_tf.samplers.predictors import (
    AncestralPredictor,
    EulerMaruyamaPredictor,
    ReverseDiffusionPredictor,
)
from lcss_tf.samplers.reverse_diffusion import ReverseDiffusion
from lcss_tf.samplers.spacing import LogSNRSpacing, PowerSpacing, RhoSpacing, UniformSpacing
from lcss_tf.samplers.stochastic_heun import StochasticHeun

__all__ = [
    "Ancestral",
    "AncestralPredictor",
    "AnnealedLangevin",
    "DDIM",
    "DPMSolverPP",
    "EDMHeun",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "LogSNRSpacing",
    "NoCorrector",
    "PowerSpacing",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "ReverseDiffusion",
    "ReverseDiffusionPredictor",
    "RhoSpacing",
    "Sampler",
    "StochasticHeun",
    "UniformSpacing",
]
