"""Where XLA's programs begin and end: one for everything, or pieces in a graph.

One program for a whole training step is what accelerators want. On CPUs, TensorFlow's own
convolutions are half as fast again as XLA's, and XLA fuses what surrounds them into loops that
compute the same values many times over; so there a network with convolutions runs as a graph,
and what should be fused is compiled piece by piece (docs/performance.md has the figures):

    @xla.piece                              xla.call(sde.sample_xt, x0, t, seed)
    def normalise(x, gamma): ...

Both are plain calls unless `in_pieces` is on, or where XLA compiles everything anyway.
"""

import contextlib
import contextvars
import functools

import tensorflow as tf

from lcss_tf.errors import UsageError

_IN_PIECES = contextvars.ContextVar("in_pieces", default=False)


@contextlib.contextmanager
def in_pieces(active=True):
    """While a function is traced in this context, its pieces become programs of their own."""
    token = _IN_PIECES.set(active)
    try:
        yield
    finally:
        _IN_PIECES.reset(token)


def is_in_pieces():
    """Whether pieces are compiled each by itself."""
    return _IN_PIECES.get()


def mode(jit_compile, pieces_on_cpu):
    """True, "pieces" or False, from a binding that may be None.

    Args:
      jit_compile: True, "pieces", False or None.
      pieces_on_cpu: what None means where there is no GPU: pieces, or one program.

    Raises:
      ValueError: none of these.
    """
    if jit_compile not in (True, "pieces", False, None):
        raise UsageError(f"jit_compile must be True, 'pieces', False or None; got {jit_compile!r}.")
    if jit_compile is not None:
        return jit_compile
    on_cpu = not tf.config.list_logical_devices("GPU")
    return "pieces" if on_cpu and pieces_on_cpu else True


def piece(function):
    """A function of tensors (and of hashable options) that XLA may compile by itself.

    It must be a module's: all calls with the same shapes and options share one program.
    """
    compiled = tf.function(_whole(function), jit_compile=True, autograph=False)

    @functools.wraps(function)
    def run(*args):
        return compiled(*args) if is_in_pieces() else function(*args)

    return run


def call(function, *args):
    """function(*args), compiled as one piece if pieces are on: for methods and closures."""
    if not is_in_pieces():
        return function(*args)
    return tf.function(_whole(function), jit_compile=True, autograph=False)(*args)


def _whole(function):
    """The function as it is traced inside of a piece: there are no pieces within pieces."""

    @functools.wraps(function)
    def run(*args):
        with in_pieces(False):
            return function(*args)

    return run
