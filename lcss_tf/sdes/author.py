"""What an SDE's author wrote, asked once before any long work: shapes, and errors inside."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.typing import Shape

_BATCH = 3  # examples; no other size of a state is as likely
_BROADCAST = " Broadcast t [B] over the other axes by t[:, None] and its like."


def check_methods(sde: Any, shape: Shape) -> None:
    """Raises UsageError unless the four methods take and return the shapes that `SDE` says.

    The methods are traced, as training does it, and not run.

    Args:
      sde: the `SDE`.
      shape: of one state.
    """
    whole = (_BATCH, *shape)
    x, t = tf.TensorSpec(whole), tf.TensorSpec([_BATCH])
    matrix = [(_BATCH, shape[0], shape[0])] if len(shape) == 1 else []
    broadcast = [_BATCH, 1, *([1] * (len(shape) - 1))]
    numbers = f"{broadcast}, {list(whole)}{f' or {list(matrix[0])}' if matrix else ''}"
    _check(sde, "drift", (x, t), lambda s: s == whole, f"{list(whole)}, the shape of x")
    _check(sde, "diffusion", (x, t), lambda s: s in matrix or _fits(s, whole), numbers)
    draw = lambda: sde.prior_sample(whole, random.plain(random.as_seed(0)))
    _check(sde, "prior_sample", (), lambda s: s == whole, str(list(whole)), draw)
    log_prob = "[B]: a sum over all axes but the first"
    _check(sde, "prior_log_prob", (x,), lambda s: s == (_BATCH,), log_prob)


def _fits(shape: tuple, whole: tuple) -> bool:
    """Whether a diffusion is one number, or has the rank of x and each size is that of x or 1."""
    alike = (size in (1, other) for size, other in zip(shape, whole, strict=False))
    return math.prod(shape) == 1 or (len(shape) == len(whole) and all(alike))


def _check(
    sde: Any,
    method: str,
    specs: Sequence[tf.TensorSpec],
    right: Callable[[tuple], bool],
    expected: str,
    call: Callable | None = None,
) -> None:
    name = f"{type(sde).__name__}.{method}"
    given = ", ".join(
        f"{label} of shape {list(spec.shape)}" for label, spec in zip("xt", specs, strict=False)
    )
    given = f" for {given}" if given else ""
    call = call or getattr(sde, method)
    traced = tf.function(lambda *args: tf.convert_to_tensor(call(*args)), autograph=False)
    try:
        result = traced.get_concrete_function(*specs).structured_outputs.shape
    except UsageError:
        raise
    except Exception as error:  # the author's own: it keeps its kind and its traceback
        if "must define" in str(error):
            raise UsageError(str(error)) from error
        error.add_note(
            f"This was raised in {name}{given}. The method is compiled, so write it by "
            "TensorFlow's functions, not NumPy's; t is [B], and t[:, None] broadcasts over vectors "
            "x [B, d]."
        )
        raise
    if not result.is_fully_defined():  # it is known only when it runs
        return
    found = tuple(result)
    if not right(found):
        raise UsageError(
            f"{name} returned the shape {list(found)}{given}; expected {expected}, with B = "
            f"{_BATCH} examples here.{_BROADCAST if len(specs) > 1 else ''} See docs/sdes.md."
        )


__all__ = ["check_methods"]
