"""Variational dequantisation: levels become continuous as the model's likelihood likes it best.

A density p gives levels x, one unit wide, the probability P(x) = ∫ p(x + u) du over [0, 1)^d. Any
density q(u | x) gives a lower bound (Theis et al. 2016; Burda et al. 2016; Ho et al. 2019):

    log P(x) >= E_q log (1/K) Σ_k p(x + u_k)/q(u_k | x).

It rises with K, and at K = 1 falls short by KL(q ‖ p(u | x)): the better q is, the less.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.inference.runner import inputs_given, score_given
from lcss_tf.ops import sum_over_data
from lcss_tf.typing import Array, Seed, Shape, Tensor

_MARGIN = 1e-6  # of u and v from the ends of (0, 1), which float32 still resolves below 1


class Dequantiser:
    """q(u | x): coordinate by coordinate u = sigmoid(μ(x) + s(x) logit v), v uniform on (0, 1).

    μ and log s come from a network of two hidden convolutions, or for vectors two dense layers. It
    starts at μ = 0 and s = 1, where u = v is uniform.

    Args:
      shape: of one example.
      features: width of the hidden layers.
      seed: of the weights.
    """

    def __init__(self, shape: Shape, features: int = 32, seed: int = 0) -> None:
        axes = len(shape) - 1
        kinds = (keras.layers.Dense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D)
        size: dict[str, Any] = {"kernel_size": 3, "padding": "same"} if axes else {}
        start = lambda k: keras.initializers.GlorotUniform(seed=1_000 * k + seed % 1_000)
        hidden = [
            kinds[axes](features, activation="gelu", kernel_initializer=start(k), **size)
            for k in (1, 2)
        ]
        last = kinds[axes](2 * shape[-1], kernel_initializer="zeros", **size)
        self.network = keras.Sequential([keras.Input(tuple(shape)), *hidden, last])

    def __call__(self, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """(u, log q(u | x) [B]) of normalised levels x [B, ...] and v uniform, of their shape."""
        v = tf.clip_by_value(v, _MARGIN, 1.0 - _MARGIN)
        mean, log_scale = tf.split(self.network(x), 2, axis=-1)
        logit = mean + tf.exp(log_scale) * (tf.math.log(v) - tf.math.log1p(-v))
        # du/dv = s u (1 − u)/(v (1 − v)), with u (1 − u) from the logit: it loses no digits.
        log_slope = -tf.nn.softplus(logit) - tf.nn.softplus(-logit) + log_scale
        log_slope -= tf.math.log(v) + tf.math.log1p(-v)
        u = tf.clip_by_value(tf.sigmoid(logit), 0.0, 1.0 - _MARGIN)
        return u, -sum_over_data(log_slope)


def fit_dequantiser(
    model: Any,
    x: Array,
    steps: int = 500,
    batch_size: int = 64,
    seed: Seed = 0,
    condition: Any = None,
) -> Dequantiser:
    """The `Dequantiser` that makes the bound of a model large, by Adam on examples x [N, ...].

    The bound's derivative is E [∇log p(y) · ∂y/∂φ] − ∂/∂φ E log q, where y = x + u and φ are q's
    weights. For ∇log p stands the score at the SDE's t_min, where the likelihood starts: one
    function evaluation in place of an ODE, and exact where the score is the gradient of the
    model's log density. The bound holds whatever q comes out. The model stays as it is.

    Args:
      model: a `ScoreModel`.
      x: normalised examples of the training split: `model.normalise`.
      steps, batch_size: of Adam, at a rate of 0.01 that falls to 0 along a cosine.
      seed: of the weights, the batches and the noise.
      condition: of the examples, as the network takes it, [1, ...] or [N, ...]; None: the null one.

    Raises:
      UsageError: data without levels, or steps or batch_size below 1.
    """
    state, scaling = model.state, model.info.scaling
    if scaling.levels is None:
        raise UsageError(
            f"A dequantiser is for levels, and {model.info.name} does not say how many its values "
            "have. Give its scaling some: Scaling.for_images(levels=256)."
        )
    if steps < 1 or batch_size < 1:
        raise UsageError(
            f"fit_dequantiser expects steps and batch_size of at least 1; got {steps} and "
            f"{batch_size}."
        )
    seed = random.seed_for(seed, "dequantiser")
    dequantiser = Dequantiser(state.shape, seed=abs(int(seed.numpy()[0])))
    optimizer = keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(1e-2, steps))
    weights = dequantiser.network.trainable_variables
    optimizer.build(weights)
    x = np.asarray(x, np.float32)
    told = inputs_given(condition, len(x))

    @tf.function(autograph=False)
    def step(inputs: dict, seed: Tensor) -> None:
        v = random.uniform(seed, inputs["x"].shape)
        t = tf.fill([batch_size], tf.constant(state.sde.t_min, tf.float32))
        with tf.GradientTape() as tape:
            u, log_q = dequantiser(inputs["x"], v)
            y = scaling.dequantise(inputs["x"], u)
            score = tf.stop_gradient(score_given(state, inputs)(tf.stop_gradient(y), t))
            loss = tf.reduce_mean(log_q - sum_over_data(score * y))
        optimizer.apply(tape.gradient(loss, weights), weights)

    for i in range(steps):
        own = random.fold_in(seed, i)
        rows = random.uniform(random.fold_in(own, "rows"), (batch_size,)).numpy() * len(x)
        rows = rows.astype(int)
        step({"x": x[rows]} | told(rows), random.fold_in(own, "noise"))
    return dequantiser


__all__ = ["Dequantiser", "fit_dequantiser"]
