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
        x0 = data.examples(np.arange(self._diagnostics.batch_size), "train", seed)
        figures = self._diagnostics.scalars(state.network, x0, seed)
        self._summaries.scalars(figures, state.step)
