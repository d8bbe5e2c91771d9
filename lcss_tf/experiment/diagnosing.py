"""Gradient variance and bias in TensorBoard while training, at a rhythm."""

import numpy as np

from lcss_tf.training.diagnostics import GradientDiagnostics


class Diagnosing:
    """An action: measures the loss's gradient at the current weights; see `GradientDiagnostics`.

    Off unless ``diagnostics.every`` is bound.

    Args:
      recipe: the `Recipe`.
      state: the `TrainState`.
      summaries: `Summaries`.
    """

    def __init__(self, recipe, state, summaries):
        self._diagnostics = GradientDiagnostics(state.model, recipe.loss)
        self._recipe, self._summaries = recipe, summaries
        self.every = self._diagnostics.every

    def save(self, state):
        """Writes ``gradient_variance_by_t/…`` and, for small data, ``gradient_bias_by_t/…``."""
        data, seed = self._recipe.data, self._recipe.seed
        count, size = self._diagnostics.batch_size, data.size("train")
        # Spread over the whole set: neighbouring examples may be alike.
        spread = np.arange(count) if size is None else np.arange(count) * max(1, size // count)
        x0 = data.examples(spread if size is None else spread % size, "train", seed)
        figures = self._diagnostics.scalars(state.network, x0, seed)
        self._summaries.scalars(figures, state.step)
