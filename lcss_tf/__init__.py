"""lcss_tf: score-based diffusion models by local curvature smoothing with Stein's identity.

Importing the package fills the registries; `SDES`, `NETWORKS`, `LOSSES`, ... list them.
"""

import importlib.util  # noqa: F401  gin's search paths expect it to be imported
import os

# Before TensorFlow is imported: its start-up notes hide the lines that people look for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

from lcss_tf import random  # isort: skip
from lcss_tf.registry import (
    CORRECTORS,
    DATASETS,
    EXTRACTORS,
    LOSSES,
    METHODS,
    METRICS,
    NETWORKS,
    OPERATORS,
    PRECONDITIONINGS,
    PREDICTORS,
    SAMPLERS,
    SCHEDULES,
    SDES,
    WEIGHTINGS,
    register_corrector,
    register_dataset,
    register_extractor,
    register_loss,
    register_method,
    register_metric,
    register_network,
    register_operator,
    register_preconditioning,
    register_predictor,
    register_sampler,
    register_schedule,
    register_sde,
    register_weighting,
)
from lcss_tf.sdes import SDE, AffineSDE, ElementwiseSDE

from lcss_tf import (  # isort: skip
    control,
    data,
    exact,
    features,
    losses,
    metrics,
    networks,
    samplers,
    score,
)

__version__ = "0.1.0"

__all__ = [
    "CORRECTORS",
    "DATASETS",
    "EXTRACTORS",
    "LOSSES",
    "METHODS",
    "METRICS",
    "NETWORKS",
    "OPERATORS",
    "PRECONDITIONINGS",
    "PREDICTORS",
    "SAMPLERS",
    "SDE",
    "SDES",
    "SCHEDULES",
    "WEIGHTINGS",
    "AffineSDE",
    "ElementwiseSDE",
    "control",
    "data",
    "exact",
    "features",
    "losses",
    "metrics",
    "networks",
    "register_corrector",
    "register_dataset",
    "register_extractor",
    "register_loss",
    "register_method",
    "register_metric",
    "register_network",
    "register_operator",
    "register_preconditioning",
    "register_predictor",
    "register_sampler",
    "register_sde",
    "register_schedule",
    "register_weighting",
    "random",
    "samplers",
    "score",
]
