"""Rematerialisation: a block's insides are computed again in the backward pass, not kept.

Memory for time (Chen et al. 2016): of each block only its inputs stay, and the forward pass is
run once more, about a third more work a step.
"""

import tensorflow as tf


def rematerialised(layer, inputs, join, **options):
    """layer(join(inputs), **options), whose insides are not kept for the gradient.

    Args:
      layer: a built Keras layer; a pure function of its inputs, options and weights.
      inputs: a list of tensors; gradients flow to all.
      join: inputs -> the layer's positional arguments, a tuple.
      **options: passed on; no gradient flows to them.

    Returns:
      The layer's output, a tensor. Higher derivatives exist, but keep the insides.
    """
    weights = [tf.convert_to_tensor(v) for v in layer.trainable_variables]
    fixed = [tf.convert_to_tensor(v) for v in layer.non_trainable_variables]
    count = len(inputs)

    def run(*values):
        arguments = join(list(values[:count]))
        return layer.stateless_call(list(values[count:]), fixed, *arguments, **options)[0]

    @tf.custom_gradient
    def forward(*values):
        def gradient(upstream):
            again = [_after(upstream, values[0]), *values[1:]]
            with tf.GradientTape() as tape:
                tape.watch(again)
                y = run(*again)
            return tape.gradient(
                y,
                again,
                output_gradients=upstream,
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )

        return run(*values), gradient

    return forward(*inputs, *weights)


def _after(upstream, x):
    """x, as a value that exists only once `upstream` does.

    Without this dependency the compiler sees the same computation twice, does it once, and
    keeps the result.
    """
    one = tf.reshape(upstream, [-1])[0]
    zero = tf.where(one == one, 0.0, float("nan"))  # no compiler can know that it is 0
    return x + tf.cast(zero, x.dtype)
