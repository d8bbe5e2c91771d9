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
