"""Where XLA's programs begin and end: one for everything, or one for each of several clusters.

Accelerators run a whole training step fastest as one program. On CPUs, TensorFlow's own
convolutions are half as fast again as XLA's, and XLA fuses what surrounds them into loops that
compute the same values many times over. So there a network with convolutions runs as a graph with
partial compilation: each part that should be fused is a cluster (timings are in
docs/results/performance.md).

    @xla.piece                              xla.call(sde.sample_xt, x0, t, seed)
    def normalise(x, gamma): ...

Both are plain calls unless `in_pieces` is on, or where XLA compiles everything anyway.
"""

import contextlib
import contextvars
import functools
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import tensorflow as tf

from lcss_tf.errors import UsageError

_Result = TypeVar("_Result")

_IN_PIECES = contextvars.ContextVar("in_pieces", default=False)


@contextlib.contextmanager
def in_pieces(active: bool = True) -> Iterator[None]:
    """While a function is traced in this context, its clusters become programs of their own."""
    token = _IN_PIECES.set(active)
    try:
        yield
    finally:
        _IN_PIECES.reset(token)


def is_in_pieces() -> bool:
    """Whether compilation is partial: each cluster by itself."""
    return _IN_PIECES.get()


def mode(jit_compile: bool | str | None, pieces_on_cpu: bool) -> bool | str:
    """True, "pieces" or False, from a binding that may be None.

    Args:
      jit_compile: True: one program. "pieces": clusters. False: no compilation. None: clusters or
        one program, whichever suits the network and the device.
      pieces_on_cpu: whether None means clusters where there is no GPU; otherwise one program.

    Raises:
      UsageError: none of these.
    """
    if jit_compile not in (True, "pieces", False, None):
        raise UsageError(f"jit_compile must be True, 'pieces', False or None; got {jit_compile!r}.")
    if jit_compile is not None:
        return jit_compile
    on_cpu = not tf.config.list_logical_devices("GPU")
    return "pieces" if on_cpu and pieces_on_cpu else True


def piece(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """Makes a function of tensors (and of hashable options) a cluster, which XLA may compile alone.

    The function is defined at module level: all calls with the same shapes and options share one
    program.
    """
    compiled = tf.function(_whole(function), jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args: Any) -> _Result:
        return compiled(*args) if is_in_pieces() else function(*args)

    return run


def call(function: Callable[..., _Result], *args: Any) -> _Result:
    """function(*args), as one cluster if compilation is partial: for methods and closures."""
    if not is_in_pieces():
        return function(*args)
    return tf.function(_whole(function), jit_compile=True, autograph=False)(*args)


def _whole(function: Callable[..., _Result]) -> Callable[..., _Result]:
    """The function as it is traced inside a cluster: clusters do not nest."""

    @functools.wraps(function)
    def run(*args: Any) -> _Result:
        with in_pieces(False):
            return function(*args)

    return run
