"""Registries: the named parts that gin files compose and users extend.

A part registered here is known under its class name in three places at once:

* in Python: ``lcss_tf.SDES["VPSDE"](beta_min=0.1)``;
* in gin files: ``ScoreModel.sde = @sdes.VPSDE()`` with ``VPSDE.beta_min = 0.1``;
* in the contract tests, which walk every registry.
"""

import contextlib
import difflib
import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar, overload

import gin

from lcss_tf.errors import UnknownNameError, UsageError

_Part = TypeVar("_Part", bound=Callable[..., Any])  # a class, or a function that makes an object


class Registry(Mapping[str, Any]):
    """A mapping from names to classes; look-ups ignore case.

    Args:
      module: gin module of the parts, e.g. ``"sdes"`` for ``@sdes.VPSDE()``.
      kind: what one part is called in messages, e.g. ``"SDE"``.
    """

    def __init__(self, module: str, kind: str) -> None:
        self.module = module
        self.kind = kind
        self._parts: dict[str, Any] = {}

    @overload
    def register(self, part: _Part) -> _Part: ...

    @overload
    def register(self, part: str | None = None) -> Callable[[_Part], _Part]: ...

    def register(self, part: Any = None) -> Any:
        """Registers a class or function; returns it unchanged.

        Use it bare (``@SDES.register``) or with a name
        (``@SDES.register("MySDE")``). A class that is defined again where it was defined before,
        as when a cell of a notebook is run twice, takes the place of its former self.

        Raises:
          UsageError: the name is taken by another.
        """
        if part is None or isinstance(part, str):
            return lambda target: self._add(target, part or target.__name__)
        return self._add(part, part.__name__)

    @property
    def decorator(self) -> str:
        """The name of `register` in the package: ``register_sde``."""
        return f"register_{self.kind.lower().replace(' ', '_')}"

    def _add(self, part: _Part, name: str) -> _Part:
        taken = self._find(name)
        if taken is not None and _place(self._parts[taken]) != _place(part):
            raise UsageError(
                f"The {self.kind} {name!r} is registered already, by "
                f"{self._parts[taken].__module__}. Choose another name: "
                f"@{self.decorator}('another_name')."
            )
        # gin.register, not gin.configurable: the latter replaces the class, and
        # Keras layers so replaced fail in their constructor.
        with gin.config.interactive_mode() if taken else contextlib.nullcontext():
            gin.register(name, module=self.module)(part)
        self._parts[name] = part
        return part

    def _find(self, name: object) -> str | None:
        folded = str(name).casefold()
        return next((key for key in self._parts if key.casefold() == folded), None)

    def __getitem__(self, name: str) -> Any:
        key = self._find(name)
        if key is None:
            close = difflib.get_close_matches(str(name), self._parts, n=1, cutoff=0.5)
            hint = f" Did you mean {close[0]!r}?" if close else ""
            raise UnknownNameError(
                f"No {self.kind} named {name!r}.{hint} Known: {', '.join(sorted(self._parts))}."
            )
        return self._parts[key]

    def make(self, part: Any) -> Any:
        """The object that a name or a class stands for, by its defaults; functions and objects
        stand for themselves."""
        part = self[part] if isinstance(part, str) else part
        return part() if inspect.isclass(part) else part

    def name_of(self, part: Any) -> str | None:
        """The name under which a class is registered; None where it is not.

        gin's wrappers of a class count as the class.
        """
        classes = getattr(part, "__mro__", (part,))
        return next((n for c in classes for n, own in self._parts.items() if own is c), None)

    def __contains__(self, name: object) -> bool:
        return self._find(name) is not None

    def __iter__(self) -> Iterator[str]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        return f"Registry({self.module}: {', '.join(sorted(self._parts))})"


def _place(part: Any) -> tuple[str, str]:
    """Where a class or function is defined."""
    return part.__module__, part.__qualname__


class NetworkRegistry(Registry):
    """A registry whose classes Keras can find again in a saved model."""

    def _add(self, part: _Part, name: str) -> _Part:
        import keras  # slow to import

        part = super()._add(part, name)
        if inspect.isclass(part):
            keras.saving.register_keras_serializable("lcss_tf", name)(part)
        return part


SDES = Registry("sdes", "SDE")
NETWORKS = NetworkRegistry("networks", "network")
PRECONDITIONINGS = Registry("preconditionings", "preconditioning")
AVERAGES = Registry("averages", "average")
LOSSES = Registry("losses", "loss")
TIME_DISTRIBUTIONS = Registry("times", "time distribution")
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
    AVERAGES,
    LOSSES,
    TIME_DISTRIBUTIONS,
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
register_average = AVERAGES.register
register_loss = LOSSES.register
register_time_distribution = TIME_DISTRIBUTIONS.register
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
