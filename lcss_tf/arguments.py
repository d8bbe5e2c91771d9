"""Objects that remember the arguments of their constructor, so that they can be written as JSON.

An author of a subclass writes an ordinary constructor. A subclass of `Recorded` wraps it once:

    class VPSDE(SDE):
        def __init__(self, beta_min=0.1, beta_max=20.0): ...

    VPSDE(0.2).arguments()  # {"beta_min": 0.2, "beta_max": 20.0, "simulation_steps": 200, ...}
    VPSDE(**VPSDE(0.2).arguments())  # an equal object
"""

import functools
import inspect
from collections.abc import Callable
from typing import Any


class Recorded:
    """Base of classes whose constructor's arguments are recorded.

    A subclass may name `shared_options`: keywords that every constructor of its subclasses takes,
    whether or not its author wrote them down. Their values reach `apply_shared_options`; tools
    that read the constructor's signature, such as gin, see them.
    """

    shared_options: tuple[str, ...] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" in vars(cls):
            recording = _recording(vars(cls)["__init__"], cls.shared_options)
            cls.__init__ = recording  # type: ignore[method-assign]  # the wrapped constructor

    def apply_shared_options(self, *_: Any, **options: Any) -> dict[str, Any]:
        """Takes the values of the shared options, None where not given; returns those in use."""
        return options

    def arguments(self) -> dict[str, Any]:
        """The constructor's arguments by name, defaults included: `cls(**arguments)` is equal."""
        return dict(vars(self).get("_arguments", {}))


def _recording(constructor: Callable[..., None], shared: tuple[str, ...]) -> Any:
    """The constructor, which also records its arguments and takes the shared options."""
    signature = inspect.signature(constructor)
    parameters = list(signature.parameters.values())
    # A constructor with **kwargs hands the shared options on to its base by itself.
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    added = () if takes_any else tuple(n for n in shared if n not in signature.parameters)
    keyword = [inspect.Parameter(n, inspect.Parameter.KEYWORD_ONLY, default=None) for n in added]

    def construct(self: Any, *args: Any, **kwargs: Any) -> None:
        options = {name: kwargs.pop(name, None) for name in added}
        outermost = "_arguments" not in vars(self)  # a base's constructor, called by ours, is not
        if outermost:
            bound = signature.bind(self, *args, **kwargs)
            bound.apply_defaults()
            self._arguments = _by_name(bound)
        constructor(self, *args, **kwargs)
        if outermost:
            given = {name: self._arguments.get(name, options.get(name)) for name in shared}
            self._arguments |= self.apply_shared_options(**given)

    recording: Any = functools.update_wrapper(construct, constructor)
    # gin follows __wrapped__ to the author's own signature, which lacks the shared options.
    del recording.__wrapped__
    recording.__signature__ = signature.replace(parameters=[*parameters, *keyword])
    return recording


def _by_name(bound: inspect.BoundArguments) -> dict[str, Any]:
    """{name: value} of a bound call but for self, **kwargs spread out."""
    values = dict(list(bound.arguments.items())[1:])
    for name, parameter in bound.signature.parameters.items():
        if parameter.kind is parameter.VAR_KEYWORD:
            values |= values.pop(name, {})
    return values


__all__ = ["Recorded"]
