"""How noisy and how biased a loss's gradient is, by time."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.losses import ISMLoss
from lcss_tf.metrics.base import standard_error
from lcss_tf.score import Score
from lcss_tf.typing import Array, Network, Seed, Tensor


class BucketDiagnostics(NamedTuple):
    """Figures of the gradient of the weighted loss with respect to all weights, by t-bucket.

    buckets: [n] pairs (low, high) of times.
    variance: trace of the covariance of one example's gradient, over noise and times, [n].
    variance_error: its standard error over the draws, [n]; NaN for two draws.
    bias: ‖E g − E g_ISM‖, g_ISM the gradient with the exact trace; the square less what noise
      alone gives, so 0 where none is seen; [n], or None where d is too large.
    bias_error: its noise level: what ‖·‖ a bias of 0 would show, [n] or None.
    exact_norm: ‖E g_ISM‖, for scale, [n] or None.
    """

    buckets: list
    variance: np.ndarray
    variance_error: np.ndarray
    bias: np.ndarray | None
    bias_error: np.ndarray | None
    exact_norm: np.ndarray | None

    def figures(self) -> dict[str, list[float]]:
        """{name: list of floats} of what was measured."""
        return {
            name: [float(v) for v in values]
            for name, values in self._asdict().items()
            if name != "buckets" and values is not None
        }


class StepDiagnostics(NamedTuple):
    """Figures of the gradient of a training step, drawn as training draws it: times and all.

    variance: trace of the covariance of the batch's mean gradient, times the batch's examples.
    variance_error: its standard error over the draws; NaN for two draws.
    norm: ‖E g‖; the square less what noise alone gives, NaN where no signal is seen.
    critical_batch: variance/norm², the examples at which noise and signal are equal (the simple
      noise scale, McCandlish et al. 2018). It compares objectives of different scales; for one
      objective the variances compare.
    """

    variance: float
    variance_error: float
    norm: float
    critical_batch: float


class GradientDiagnostics:
    """Measures a loss's gradient at given weights.

    Args:
      score: a `Score`.
      loss: a `Loss`.
      num_draws: independent draws of noise and times for each bucket.
      batch_size: examples.
      num_buckets: equal parts of [t_min, T].
      exact_up_to: largest dimension of the data for which the bias is measured.

    Raises:
      ValueError: num_draws < 2, or another number below 1.
    """

    def __init__(
        self,
        score: Score,
        loss: Any,
        num_draws: int = 32,
        batch_size: int = 64,
        num_buckets: int = 5,
        exact_up_to: int = 64,
    ) -> None:
        if num_draws < 2 or batch_size < 1 or num_buckets < 1:
            raise UsageError(
                "GradientDiagnostics expects num_draws >= 2, batch_size >= 1 and num_buckets >= 1; "
                f"got {num_draws}, {batch_size} and {num_buckets}."
            )
        self.batch_size = batch_size
        self._score, self._loss = score, loss
        self._num_draws, self._num_buckets = num_draws, num_buckets
        self._exact_up_to = exact_up_to
        self._exact = ISMLoss(loss.weighting, reduction=loss.reduction)
        self._compiled: dict[tuple, Callable] = {}

    def measure(
        self, network: Network, x0: Tensor, seed: Seed, condition: Tensor | None = None
    ) -> BucketDiagnostics:
        """`BucketDiagnostics` at the weights of `network`, on examples x0 [B, ...].

        `condition` [B, ...] is that of the examples, as the network takes it; None: the null one.
        """
        sde = self._score.sde
        edges = np.linspace(sde.t_min, sde.T, self._num_buckets + 1)
        exact = self._exact if math.prod(x0.shape[1:]) <= self._exact_up_to else None
        rows = [
            self._bucket(
                network,
                (x0, condition),
                random.seed_for(seed, "diagnostics", i),
                edges[i : i + 2],
                exact,
            )
            for i in range(self._num_buckets)
        ]
        columns = [np.array(column) for column in zip(*rows, strict=True)]
        buckets = [(float(low), float(high)) for low, high in zip(edges, edges[1:], strict=False)]
        return BucketDiagnostics(buckets, *(columns if exact else [*columns, None, None, None]))

    def measure_step(
        self, network: Network, x0: Tensor, seed: Seed, condition: Tensor | None = None
    ) -> StepDiagnostics:
        """`StepDiagnostics` at the weights of `network`; arguments as of `measure`.

        The examples are in another order in each draw, as training sees them. An adaptive time
        distribution first sees as many batches as are measured.
        """
        times, seed = self._loss.times, random.seed_for(seed, "diagnostics", "step")
        state = {name: tf.constant(v) for name, v in times.initial_state().items()}
        gradient = self._step_gradient(network, len(x0), condition is None)
        for k in range(self._num_draws if state else 0):
            draw = random.seed_for(seed, "before", k)
            state = times.update(state, gradient(x0, condition, draw, state)[1])
        found = _Running()
        for k in range(self._num_draws):
            flat, _ = gradient(x0, condition, random.seed_for(seed, "draw", k), state)
            found.add(flat.numpy().astype(np.float64))
        variance = found.variance()
        square = float(np.sum(found.mean**2)) - variance / self._num_draws
        variance, norm = variance * len(x0), math.sqrt(square) if square > 0 else math.nan
        error = found.variance_error() * len(x0)
        return StepDiagnostics(variance, error, norm, variance / norm**2)

    def _step_gradient(self, network, batch, unconditional):
        """(x0, condition, seed, state) -> (the flat gradient of the batch's mean loss [P], sums)"""
        key = "step", id(network), batch, unconditional
        if key not in self._compiled:

            def gradient(x0, condition, seed, state):
                # Strata belong to rows: in a fixed order an example would always have the same.
                order = tf.argsort(random.uniform(random.fold_in(seed, "order"), (batch,)))
                x0 = tf.gather(x0, order)
                if condition is not None:
                    condition = tf.gather(condition, order)
                with tf.GradientTape() as tape:
                    score_fn = self._score.score_fn(network, batch=batch, condition=condition)
                    values = self._loss(score_fn, self._score.sde, x0, seed, batch, state=state)
                    value = tf.reduce_mean(values.per_example)
                return _flat_gradient(tape, value, network), dict(values.statistics)

            self._compiled[key] = tf.function(gradient, jit_compile=True, autograph=False)
        return self._compiled[key]

    def scalars(
        self, network: Network, x0: Tensor, seed: Seed, condition: Tensor | None = None
    ) -> dict[str, float]:
        """The figures of `measure` by TensorBoard tag: ``gradient_variance_by_t/0.0-0.2``."""
        measured = self.measure(network, x0, seed, condition)
        figures = measured.figures()
        del figures["variance_error"]  # the curve of the variance shows how it scatters
        return {
            f"gradient_{name}_by_t/{low:.1f}-{high:.1f}": value
            for name, values in figures.items()
            for (low, high), value in zip(measured.buckets, values, strict=True)
        }

    def _bucket(self, network, batch, seed, edges, exact):
        """(variance, its error), and (bias, its error, exact norm) for small data; one bucket."""
        own, gap = _Running(), _Running()
        total_exact = 0.0
        for k in range(self._num_draws):
            arguments = (network, batch, random.fold_in(seed, k), tf.constant(edges, tf.float32))
            gradient = self._gradient(self._loss, *arguments)
            own.add(gradient)
            if exact:
                # The same seed draws the same times and, in most losses, the same x_t: the
                # difference is then far less noisy than either.
                true = self._gradient(exact, *arguments)
                gap.add(gradient - true)
                total_exact = total_exact + true / self._num_draws
        variance, error = (v * len(batch[0]) for v in (own.variance(), own.variance_error()))
        if not exact:
            return variance, error
        noise = gap.variance() / self._num_draws
        bias = math.sqrt(max(0.0, float(np.sum(gap.mean**2)) - noise))
        return variance, error, bias, math.sqrt(noise), float(np.linalg.norm(total_exact))

    def _gradient(self, loss, network, batch, seed, edges):
        """The flat gradient of the batch's mean loss, times confined to `edges`: float64 [P]."""
        x0, condition = batch
        key = (id(loss), id(network), tuple(x0.shape), condition is None)
        if key not in self._compiled:

            def gradient(x0, condition, seed, edges):
                batch = x0.shape[0]
                u = (tf.range(batch, dtype=tf.float32) + random.uniform(seed, (batch,))) / batch
                t = edges[0] + (edges[1] - edges[0]) * u
                sde = self._score.sde
                with tf.GradientTape() as tape:
                    score_fn = self._score.score_fn(network, batch=batch, condition=condition)
                    terms = loss.terms(score_fn, sde, x0, t, random.fold_in(seed, "noise"))
                    per_example = loss.scale(sde, t, x0.shape) * tf.add_n(list(terms.values()))
                    value = tf.reduce_mean(per_example)
                return _flat_gradient(tape, value, network)

            self._compiled[key] = tf.function(gradient, jit_compile=True, autograph=False)
        return self._compiled[key](x0, condition, seed, edges).numpy().astype(np.float64)


def _flat_gradient(tape, value, network):
    """The gradient of a value by all trainable variables, [P]."""
    parts = tape.gradient(
        value,
        [v.value for v in network.trainable_variables],
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return tf.concat([tf.reshape(part, [-1]) for part in parts], axis=0)


class _Running:
    """Mean and total variance of vectors as they come (Welford)."""

    def __init__(self) -> None:
        self._count = 0
        self._squares: list[float] = []
        self.mean: Array = np.zeros(())

    def add(self, vector: Array) -> None:
        self._count += 1
        before = vector - self.mean
        self.mean = self.mean + before / self._count
        if self._count > 1:
            self._squares.append(float(np.sum(before * (vector - self.mean))))

    def variance(self) -> float:
        """The sum of the unbiased variances of all components."""
        return float(np.mean(self._squares))

    def variance_error(self) -> float:
        """The standard error of `variance`.

        Each vector but the first adds a square with the variance as its mean. For Gaussian vectors
        the squares are independent (Helmert); for others nearly so.
        """
        return standard_error(self._squares)
