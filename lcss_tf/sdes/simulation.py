"""Simulation of a forward SDE, for x_t without a closed form."""

import numpy as np
import tensorflow as tf

from lcss_tf import random

_PATH_STEPS = 256  # of the path along which moments are measured


def simulate(sde, x0, t, seed):
    """x_t from x_0 by the SDE's `simulation_steps` steps over [0, t], each example its own t.

    No gradient flows through it. Elementwise cost only.

    Args:
      x0: data, [B, ...].
      t: times, [B].
      seed: see `lcss_tf.random`.
    """
    num_steps, spacing = sde.simulation_steps, sde.simulation_spacing

    def step(i, x):
        k = tf.cast(i, tf.float32)
        now, after = (t * (j / num_steps) ** spacing for j in (k, k + 1.0))
        return i + 1, sde.simulation_step(x, now, after, random.fold_in(seed, i))

    _, x_t = tf.while_loop(
        lambda i, x: i < num_steps, step, (tf.constant(0), x0), maximum_iterations=num_steps
    )
    return tf.stop_gradient(x_t)


def moments_along_path(sde, x0, seed, num_steps=_PATH_STEPS):
    """Mean and variance of x_t over examples and dimensions, by one simulation.

    Returns:
      times [num_steps + 1], t_i = T (i/num_steps)², dense near 0 where the
      variance moves fastest; means and variances of the same shape.
    """
    times = sde.T * (np.arange(num_steps + 1) / num_steps) ** 2

    @tf.function(jit_compile=True)
    def run(x0, times):
        def step(i, x, means, variances):
            mean, variance = tf.nn.moments(x, axes=list(range(len(x.shape))))
            means = tf.tensor_scatter_nd_update(means, [[i]], [mean])
            variances = tf.tensor_scatter_nd_update(variances, [[i]], [variance])
            now, after = times[i], times[tf.minimum(i + 1, num_steps)]
            ones = tf.ones([x.shape[0]])
            x = sde.simulation_step(x, now * ones, after * ones, random.fold_in(seed, i))
            return i + 1, x, means, variances

        table = tf.zeros([num_steps + 1])
        return tf.while_loop(
            lambda i, *_: i <= num_steps,
            step,
            (tf.constant(0), x0, table, table),
            maximum_iterations=num_steps + 1,
        )[2:]

    means, variances = run(tf.cast(x0, tf.float32), tf.constant(times, tf.float32))
    return np.float32(times), means.numpy(), variances.numpy()
