"""lcss_tf: score-based diffusion models by local curvature smoothing with Stein's identity.

    import lcss_tf as lcss

    model = lcss.ScoreModel(lcss.networks.MLP(width=128), lcss.sdes.VPSDE())
    history = model.fit(x, steps=3_000, batch_size=256)
    samples = model.sample(1_000)

`ScoreModel` joins an SDE and a network. The registries `SDES`, `NETWORKS`, `LOSSES`, … list the
parts; ``@lcss.register_sde`` and its siblings add to them. Parts are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from lcss_tf._version import __version__

if TYPE_CHECKING:
    from lcss_tf.model import ScoreModel
    from lcss_tf.registry import (
        AVERAGES,
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
        TIME_DISTRIBUTIONS,
        WEIGHTINGS,
        register_average,
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
        register_time_distribution,
        register_weighting,
    )
    from lcss_tf.sdes import SDE, AffineSDE, ElementwiseSDE, KineticSDE

# Importing these fills the registries.
_PARTS = (
    "sdes", "score", "averages", "networks", "losses", "samplers", "control", "data", "metrics",
)  # fmt: skip
_MODULES = (
    *_PARTS,
    "callbacks",
    "errors",
    "exact",
    "files",
    "hub",
    "importers",
    "inference",
    "model",
    "ops",
    "plots",
    "random",
    "registry",
    "training",
    "typing",
    "xla",
)
_HOMES = {
    "ScoreModel": "model",
    "SDE": "sdes",
    "AffineSDE": "sdes",
    "ElementwiseSDE": "sdes",
    "KineticSDE": "sdes",
    "UsageError": "errors",
}

__all__ = [
    "AVERAGES",
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
    "SCHEDULES",
    "SDE",
    "SDES",
    "TIME_DISTRIBUTIONS",
    "WEIGHTINGS",
    "AffineSDE",
    "ElementwiseSDE",
    "KineticSDE",
    "ScoreModel",
    "__version__",
    "register_average",
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
    "register_schedule",
    "register_sde",
    "register_time_distribution",
    "register_weighting",
]


def __getattr__(name: str) -> Any:
    """Imports on demand: ``lcss_tf.sdes``, ``lcss_tf.ScoreModel``, ``lcss_tf.SDES``."""
    if name in _MODULES:
        return importlib.import_module(f"lcss_tf.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(f"lcss_tf.{_HOMES[name]}"), name)
    if name in __all__:
        registry = importlib.import_module("lcss_tf.registry")
        for part in _PARTS:  # so that a registry is full, and refuses the names that are taken
            importlib.import_module(f"lcss_tf.{part}")
        return getattr(registry, name)
    raise AttributeError(f"module 'lcss_tf' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})
