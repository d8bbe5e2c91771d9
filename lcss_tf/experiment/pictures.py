"""Pictures during training: of each kind of data what a person would want to see."""

import gin
import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf import plots
from lcss_tf.experiment.views import views

_SCORE_TIMES = (0.02, 0.2, 0.5)  # fractions of T at which the score field is drawn


@gin.configurable("pictures", denylist=["data", "generation", "summaries"])
class Pictures:
    """Draws samples from the EMA weights: PNGs in ``<workdir>/samples``, and in TensorBoard.

    Args:
      data: the `Dataset`.
      generation: a `Generation`.
      summaries: `Summaries`.
      every: steps between pictures; 0: none.
      num_samples: samples in an image grid; vectors and tables get 32 times as many points.
      seed: of the samples, the same every time, so that pictures can be compared.
    """

    def __init__(self, data, generation, summaries, every=5_000, num_samples=64, seed=0):
        self.every = every
        self._data = data
        self._generation = generation
        self._summaries = summaries
        self._num_samples = num_samples
        self._seed = seed
        self._draw = self._plots if data.kind == "vector" else self._views
        self._count = num_samples * (32 if data.kind == "table" else 1)
        self._beside = None

    def save(self, state):
        """Draws the pictures at the state's step."""
        try:
            pictures = self._draw(state)
        except FloatingPointError as error:  # young weights: training goes on
            logging.warning("No pictures at step %d: %s", state.step, error)
            return
        for name, picture in pictures.items():
            path = f"samples/{name}_{state.step:09d}.png"
            self._summaries.picture(f"samples/{name}", picture, state.step, path)
        self._summaries.flush()

    def _views(self, state):
        del state
        info = self._data.info()
        samples = self._generation(self._count, self._seed, progress=False)
        return views(info.unscale(samples), info, self._examples(info))

    def _examples(self, info):
        """As many training examples as samples, spread over the set; the same every time."""
        if info.kind == "image":
            return None  # grids of images show samples alone
        if self._beside is None:
            size = self._data.size("train")
            count = self._count if size is None else min(size, self._count)
            indices = np.arange(count) * (1 if size is None else size // count)
            self._beside = info.unscale(self._data.examples(indices, "train"))
        return self._beside

    def _plots(self, state):
        if self._data.shape != (2,):
            return {}
        count = 32 * self._num_samples
        samples = self._data.info().unscale(self._generation(count, self._seed, progress=False))
        log_density = self._data.log_density
        pictures = {"density": plots.density_and_samples(samples, log_density)}
        score_fn = state.model.score_fn(state.ema.network)
        points = plots.grid_points()
        for t in _SCORE_TIMES:
            times = tf.fill([len(points)], tf.constant(t * state.model.sde.T, tf.float32))
            score = score_fn(tf.constant(points), times).numpy()
            title = f"score at t = {t * state.model.sde.T:.2f}"
            pictures[f"score_t{t:.2f}"] = plots.score_field(points, score, log_density, title=title)
        return pictures
