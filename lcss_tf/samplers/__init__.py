"""Samplers: from the prior back to data, one per file."""

from lcss_tf.samplers.adaptive_ode import DormandPrince
from lcss_tf.samplers.ancestral import Ancestral
from lcss_tf.samplers.base import Sampler
from lcss_tf.samplers.correctors import AnnealedLangevin, Langevin, NoCorrector
from lcss_tf.samplers.ddim import DDIM
from lcss_tf.samplers.dormand_prince import DormandPrinceSolver
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
from lcss_tf.samplers.spacing import LogSNRSchedule, PowerSchedule, RhoSchedule, UniformSchedule
from lcss_tf.samplers.stochastic_heun import StochasticHeun

__all__ = [
    "Ancestral",
    "AncestralPredictor",
    "AnnealedLangevin",
    "DDIM",
    "DPMSolverPP",
    "EDMHeun",
    "DormandPrince",
    "DormandPrinceSolver",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "LogSNRSchedule",
    "NoCorrector",
    "PowerSchedule",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "ReverseDiffusion",
    "ReverseDiffusionPredictor",
    "RhoSchedule",
    "Sampler",
    "StochasticHeun",
    "UniformSchedule",
]
