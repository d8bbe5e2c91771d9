"""The weaker model of autoguidance: loaded, and checked to be of the same data and SDE."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.guidance import Guidance, as_guidance
from lcss_tf.data.base import DataInfo
from lcss_tf.errors import UsageError

_TIMES = 8  # at which two SDEs are compared
_REMEDY = "Take an earlier checkpoint of this run, or a smaller network trained on the same data."


def with_weaker(
    guidance: float | Guidance, load: Callable[..., Any], info: DataInfo | None = None
) -> Guidance:
    """The guidance, with what loads its weaker model where `weaker` is a path.

    Args:
      guidance: a scale, or a `Guidance`.
      load: (path, checkpoint, distribution) -> a `ScoreModel`.
      info: of the data of the main model; the weaker one must know the same. None: unchecked.
    """
    guidance = as_guidance(guidance).loading(load)
    if guidance.weaker is None or info is None:
        return guidance
    return dataclasses.replace(guidance, weaker=functools.partial(_of_same_data, guidance, info))


def weaker_state(guidance: Guidance, state: Any) -> Any:
    """The state of the weaker model beside that of the main one; None without a weaker one.

    Raises:
      UsageError: it is of examples of another shape, of another SDE, of other devices, or is told
        another kind of condition.
    """
    model = guidance.weaker_model(state.distribution)
    if model is None:
        return None
    weaker = model.state
    if tuple(weaker.shape) != tuple(state.shape):
        raise _refusal(
            f"is of examples of shape {tuple(weaker.shape)}, and the main one of "
            f"{tuple(state.shape)}"
        )
    difference = difference_of_sdes(state.sde, weaker.sde, state.shape)
    if difference:
        raise _refusal(f"has another SDE, {type(weaker.sde).__name__}: {difference}")
    mains, its = state.distribution.num_replicas, weaker.distribution.num_replicas
    if mains != its:
        raise UsageError(
            f"The weaker model is on {its} replicas, and the main one on {mains}. Load it by "
            "ScoreModel.load(path, distribution=model.distribution)."
        )
    told, main = weaker.condition, state.condition
    if told is not None and main is not None and told != main:
        raise _refusal(f"takes another condition ({told}), and the main one {main}")
    return weaker


def difference_of_sdes(sde: Any, other: Any, shape: Any) -> str | None:
    """How two SDEs differ as processes of examples of `shape`; None where they are the same.

    Their drift and diffusion are compared at samples of the prior, so that what an SDE has measured
    on its data counts too.
    """
    states = tuple(sde.state_shape(shape)), tuple(other.state_shape(shape))
    if states[0] != states[1]:
        return f"its states have the shape {states[1]}, not {states[0]}"
    if sde.T != other.T:
        return f"it ends at T = {other.T:g}, not at {sde.T:g}"
    x = sde.broadcast_prior_sample((_TIMES, *states[0]), random.as_seed(0))
    other.expect(states[0])
    t = tf.linspace(0.05 * sde.T, 0.95 * sde.T, _TIMES)
    for name in ("drift", "diffusion"):
        values, others = (np.asarray(getattr(s, name)(x, t)) for s in (sde, other))
        if values.shape != others.shape or not np.allclose(values, others, rtol=1e-4, atol=1e-6):
            return f"its {name} differs"
    return None


def _of_same_data(guidance: Guidance, info: DataInfo, distribution: Any) -> Any:
    model = guidance.weaker_model(distribution)
    its = model.info
    if its.scaling != info.scaling:
        raise _refusal(
            f"was trained on data in another scaling ({its.name}: {its.scaling}), and the main one "
            f"on {info.name}: {info.scaling}"
        )
    if its.classes and info.classes and its.classes != info.classes:
        raise _refusal(f"has the classes {', '.join(its.classes)}, not {', '.join(info.classes)}")
    beside, others = info.condition, its.condition
    if beside is not None and others is not None and beside.scaling != others.scaling:
        raise _refusal("takes conditions in another scaling")
    return model


def _refusal(difference: str) -> UsageError:
    return UsageError(f"The weaker model {difference}. {_REMEDY}")


__all__ = ["difference_of_sdes", "weaker_state", "with_weaker"]
