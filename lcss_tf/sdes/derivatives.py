"""Derivatives of elementwise functions, and of noise, by automatic differentiation."""

import tensorflow as tf


def with_derivatives(function, x, order):
    """[function(x), its derivative, ...] up to `order`; `function` acts on each number by itself.

    The gradient of the sum is then the derivative, of the shape of x; where the function
    does not depend on x, zeros.
    """
    if order == 0:
        return [function(x)]
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = with_derivatives(function, x, order - 1)
    derivative = tape.gradient(values[-1], x)
    return [*values, tf.zeros_like(x) if derivative is None else derivative]


def square_and_divergence(noise, x):
    """(g², ∂(g²)) of g = noise(x), broadcastable to x, for a reverse drift (Anderson 1982).

    ∂(g²) is the derivative of g_i² with respect to x_i; None where g does not depend on x.
    """
    with tf.GradientTape() as tape:
        tape.watch(x)
        square = noise(x) ** 2
        total = tf.reduce_sum(tf.broadcast_to(square, tf.shape(x)))
    return square, tape.gradient(total, x)
