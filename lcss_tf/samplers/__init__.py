"""Samplers: from the prior back to data.

`base` has the loop and the contract, `schedules` the times, `stochastic` the samplers of the
reverse SDE, `affine`, `multistep` and `restart` those for affine SDEs, `ode` those of the
probability-flow ODE. The number of function evaluations (NFE) is the number of calls of the network
for one sample.
"""

from lcss_tf.samplers.affine import (
    DDIM,
    AffineSampler,
    Ancestral,
    AncestralPredictor,
    EDMHeun,
)
from lcss_tf.samplers.base import Reverse, Sampler, Samples, Step
from lcss_tf.samplers.kinetic import SymmetricSplitting
from lcss_tf.samplers.multistep import DEIS, DPMSolverPP, Multistep, UniPC
from lcss_tf.samplers.ode import (
    DormandPrince,
    DormandPrinceSolver,
    ProbabilityFlowODE,
    probability_flow,
)
from lcss_tf.samplers.restart import Restart
from lcss_tf.samplers.schedules import (
    LogSNRSchedule,
    PowerSchedule,
    RhoSchedule,
    Schedule,
    UniformSchedule,
)
from lcss_tf.samplers.stochastic import (
    AnnealedLangevin,
    Corrector,
    EulerMaruyama,
    EulerMaruyamaPredictor,
    Langevin,
    NoCorrector,
    Predictor,
    PredictorCorrector,
    ReverseDiffusion,
    ReverseDiffusionPredictor,
    StochasticHeun,
)

__all__ = [
    "DDIM",
    "DEIS",
    "AffineSampler",
    "Ancestral",
    "AncestralPredictor",
    "AnnealedLangevin",
    "Corrector",
    "DPMSolverPP",
    "DormandPrince",
    "DormandPrinceSolver",
    "EDMHeun",
    "EulerMaruyama",
    "EulerMaruyamaPredictor",
    "Langevin",
    "LogSNRSchedule",
    "Multistep",
    "NoCorrector",
    "PowerSchedule",
    "Predictor",
    "PredictorCorrector",
    "ProbabilityFlowODE",
    "Restart",
    "Reverse",
    "ReverseDiffusion",
    "ReverseDiffusionPredictor",
    "RhoSchedule",
    "Sampler",
    "Samples",
    "Schedule",
    "Step",
    "StochasticHeun",
    "SymmetricSplitting",
    "UniPC",
    "UniformSchedule",
    "probability_flow",
]
