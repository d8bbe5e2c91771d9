"""How good a state's EMA score is: against the truth, on held-out data, by its samples."""

import numpy as np
import tensorflow as tf
from absl import logging

from lcss_tf import random
from lcss_tf.exact import ExactMixture
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.measuring import metric_figures
from lcss_tf.experiment.sampling import picture_of
from lcss_tf.ops import like

_POINTS = 4_096  # at which the score is compared, at each time
_HELD_OUT_NUMBERS = 2**21  # numbers of held-out data at each time, at most
_PICTURED = 64  # images in a grid
_REAL = "_of_training_data"
_SEED = 20_240  # of the judge's own draws: the same for every loss


class Judge:
    """Judges one state at given times.

    Args:
      contest: the `Contest`.
      recipe: the entry's `Recipe`.
      state: its `TrainState`.
      distribution: a `Distribution`.
    """

    def __init__(self, contest, recipe, state, distribution):
        self._contest, self._recipe, self._state = contest, recipe, state
        self.pictures = {}
        self._times = [float(t * recipe.sde.T) for t in contest.times]
        self._score = tf.function(
            lambda x, t: state.model.score_fn(state.ema.network)(x, t), jit_compile=True
        )
        data, sde = recipe.data, recipe.sde
        if hasattr(data, "means"):  # a mixture
            self._errors = _against_truth(data, sde, self._times)
        elif sde.has_marginal:
            self._errors = _held_out(data, sde, self._times, recipe.seed)
        else:
            self._errors = lambda score: {}
        self._generations = {
            name: Generation(state, data.shape, distribution, **({"sampler": s} if s else {}))
            for name, s in contest.samplers.items()
            if contest.all_metrics
        }

    def score_figures(self):
        """Errors by time: {"score_error@0.1": …} or {"epsilon_mse@0.1": …}, and their mean."""
        figures = self._errors(self._score)
        if figures:
            kind = next(iter(figures)).split("@")[0]
            figures[f"{kind}_mean"] = float(np.mean(list(figures.values())))
        return figures

    def sample_figures(self):
        """The metric of samples from each sampler, and of real examples: means over repeats.

        The first samples of each stay in `pictures`, as uint8 images by sampler.
        """
        draws, self.pictures = {}, {}  # none of an earlier budget
        for name, generation in self._generations.items():
            for k in range(self._contest.sample_repeats):
                for key, value in self._one_draw(name, generation, k).items():
                    draws.setdefault(key, []).append(value)
        return {name: float(np.mean(values)) for name, values in draws.items()}

    def _one_draw(self, name, generation, k):
        """Every metric of one set of samples, and of as many real examples."""
        metrics, data = self._contest.all_metrics, self._recipe.data
        try:
            count = max(metric.num_samples for metric in metrics)
            samples = generation(count, _SEED + k, progress=False)
        except FloatingPointError as error:  # young weights: the comparison goes on
            logging.warning("%s: %s", name, error)
            return {f"{metric.name} ({name})": float("nan") for metric in metrics}
        if k == 0:
            self._keep_picture(name, samples)
        figures = {}
        for metric in metrics:
            # Data that are drawn, not read, are drawn anew for every repeat.
            own = samples[: metric.num_samples]
            measured = metric_figures(metric, own, data, self._recipe.seed + k)
            for key in [key for key in measured if key.endswith(_REAL)]:
                kind = key.removesuffix(_REAL)
                figures[f"{kind} ({name})"] = measured[kind]
                figures[f"{kind} (real)"] = measured[key]
        return figures

    def _keep_picture(self, name, samples):
        info = self._recipe.data.info()
        picture = picture_of(info.unscale(samples), info, most=_PICTURED)
        if picture is not None:
            self.pictures[name] = picture


def _against_truth(data, sde, times):
    """score -> E‖S − s*‖²/E‖s*‖² at each time, at points drawn from p_t."""
    exact = ExactMixture(data, sde, times)
    x0 = data.examples(np.arange(_POINTS), "test", _SEED)
    draw = tf.function(sde.sample_xt, jit_compile=True)
    points, truths = [], []
    for i, t in enumerate(times):
        x = draw(x0, tf.fill([_POINTS], t), random.seed_for(_SEED, "points", i))
        points.append(x)
        truths.append(np.asarray(exact.score(x.numpy(), i)))

    def errors(score):
        figures = {}
        for t, x, truth in zip(times, points, truths, strict=True):
            gap = score(x, tf.fill([_POINTS], t)).numpy() - truth
            figures[f"score_error@{t:g}"] = float(np.sum(gap**2) / np.sum(truth**2))
        return figures

    return errors


def _held_out(data, sde, times, seed):
    """score -> E‖σ_t S(x_t, t) + z‖²/D at each time, on held-out data under fixed noise."""
    size = data.size("test") or _POINTS
    per_pass = max(1, _HELD_OUT_NUMBERS // (size * int(np.prod(data.shape))))
    repeats = min(16, per_pass)
    x0 = tf.cast(data.examples(np.arange(size), "test", seed), tf.float32)

    def errors(score):
        figures = {}
        for i, t in enumerate(times):
            t_batch, squares = tf.fill([size], t), []
            sigma_t = like(sde.marginal(t_batch)[1], x0)
            for k in range(repeats):
                z = random.normal(random.seed_for(_SEED, "held out", i, k), x0.shape)
                gap = sigma_t * score(sde.perturb(x0, t_batch, z), t_batch) + z
                squares.append(float(tf.reduce_mean(gap**2)))
            figures[f"epsilon_mse@{t:g}"] = float(np.mean(squares))
        return figures

    return errors
