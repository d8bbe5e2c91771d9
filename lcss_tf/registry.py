"""Registries: the named parts that gin files compose and users extend.

A part registered here is known under its class name in three places at once:

* in Python: ``lcss_tf.SDES["VPSDE"](beta_min=0.1)``;
* in gin files: ``ScoreModel.sde = @sdes.VPSDE()`` with ``VPSDE.beta_min = 0.1``;
* in the contract tests, which walk every registry.
"""

import difflib
from collections.abc import Mapping

import gin

from lcss_tf.errors import UnknownNameError, UsageError


class Registry(Mapping):
    """A mapping from names to classes; look-ups ignore case.

    Args:
      module: gin module of the parts, e.g. ``"sdes"`` for ``@sdes.VPSDE()``.
      kind: what one part is called in messages, e.g. ``"SDE"``.
    """

    def __init__(self, module, kind):
        self.module = module
        self.kind = kind
        self._parts = {}

    def register(self, part=None):
        """Registers a class or function; returns it unchanged.

        Use it bare (``@SDES.register``) or with a name
        (``@SDES.register("MySDE")``).

        Raises:
          ValueError: the name is taken.
        """
        if part is None or isinstance(part, str):
            return lambda target: self._add(target, part or target.__name__)
        return self._add(part, part.__name__)

    def _add(self, part, name):
        taken = self._find(name)
        if taken is not None:
            raise UsageError(
                f"The {self.kind} {name!r} is registered already, by "
                f"{self._parts[taken].__module__}. Choose another name: "
                f"@register_{self.kind.lower()}('another_name')."
            )
        # gin.register, not gin.configurable: the latter replaces the class, and
        # Keras layers so replaced fail in their constructor.
        gin.register(name, module=self.module)(part)
        self._parts[name] = part
        return part

    def _find(self, name):
        folded = str(name).casefold()
        return next((key for key in self._parts if key.casefold() == folded), None)

    def __getitem__(self, name):
        key = self._find(name)
        if key is None:
            close = difflib.get_close_matches(str(name), self._parts, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(
                f"No {self.kind} named {name!r}.{hint} Known: {', '.join(sorted(self._parts))}."
            )
        return self._parts[key]

    def name_of(self, part):
        """The name under which a class is registered; None where it is not.

        gin's wrappers of a class count as the class.
        """
        classes = getattr(part, "__mro__", (part,))
        return next((n for c in classes for n, own in self._parts.items() if own is c), None)

    def __contains__(self, name):
        return self._find(name) is not None

    def __iter__(self):
        return iter(self._parts)

    def __len__(self):
        return len(self._parts)

    def __repr__(self):
        return f"Registry({self.module}: {', '.join(sorted(self._parts))})"


SDES = Registry("sdes", "SDE")
NETWORKS = Registry("networks", "network")
PRECONDITIONINGS = Registry("preconditionings", "preconditioning")
LOSSES = Registry("losses", "loss")
WEIGHTINGS = Registry("weightings", "weighting")
SAMPLERS = Registry("samplers", "sampler")
SCHEDULES = Registry("schedules", "schedule")
PREDICTORS = Registry("predictors", "predictor")
CORRECTORS = Registry("correctors", "corrector")
OPERATORS = Registry("operators", "operator")
METHODS = Registry("methods", "method")
DATASETS = Registry("datasets", "dataset")
EXTRACTORS = Registry("features", "extractor")
METRICS = Registry("metrics", "metric")

ALL_REGISTRIES = (
    SDES,
    NETWORKS,
    PRECONDITIONINGS,
    LOSSES,
    WEIGHTINGS,
    SAMPLERS,
    SCHEDULES,
    PREDICTORS,
    CORRECTORS,
    OPERATORS,
    METHODS,
    DATASETS,
    EXTRACTORS,
    METRICS,
)

register_sde = SDES.register
register_network = NETWORKS.register
register_preconditioning = PRECONDITIONINGS.register
register_loss = LOSSES.register
register_weighting = WEIGHTINGS.register
register_sampler = SAMPLERS.register
register_schedule = SCHEDULES.register
register_predictor = PREDICTORS.register
register_corrector = CORRECTORS.register
register_operator = OPERATORS.register
register_method = METHODS.register
register_dataset = DATASETS.register
register_extractor = EXTRACTORS.register
register_metric = METRICS.register
