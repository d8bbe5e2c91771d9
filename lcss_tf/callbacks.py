"""What is done at a rhythm while a model trains: pictures, diagnostics, a watched metric.

They are Keras callbacks: pass them to `ScoreModel.fit`.
"""

import dataclasses
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import files, forms, plots
from lcss_tf.display import warn
from lcss_tf.errors import NotFiniteError
from lcss_tf.inference.conditions import conditions_of, given_of
from lcss_tf.inference.sampling import Sampling
from lcss_tf.metrics import MetricSuite, References, default_metrics
from lcss_tf.random import check_seed
from lcss_tf.training.diagnostics import GradientDiagnostics
from lcss_tf.training.loop import Periodic, Run

_BEST = {"metric": forms.TEXT, "value": forms.NUMBER, "step": forms.COUNT}
_MOST_COLUMNS = 16  # classes that stand side by side in a grid
_DATA_TITLE = "Real examples"
_SCORE_TIMES = (0.02, 0.2, 0.5)  # fractions of T at which the score field is drawn


class Pictures(Periodic):
    """Draws samples: PNGs in ``<workdir>/samples``, and in TensorBoard.

    Once, real examples of the training split are drawn as well, as many and laid out alike, under
    ``data/…``; of kinds whose pictures show both they stand beside the samples.

    Args:
      every: steps between pictures; 0: none.
      num_samples: samples in an image grid; vectors and tables get 32 times as many points.
      seed: of the samples, the same every time, so that pictures can be compared.
      sampling: arguments of `Sampling`: sampler, batch_size, guidance, jit_compile.
    """

    def __init__(
        self,
        every: int = 5_000,
        num_samples: int = 64,
        seed: int = 0,
        sampling: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(every)
        check_seed(seed, "Pictures.seed")
        self._num_samples, self._seed = num_samples, seed
        self._options = dict(sampling or {})

    def begin(self, run: Run) -> None:
        """See `Periodic`."""
        super().begin(run)
        if not self.every:
            return
        self._draw = Sampling(run.state, **self._options)
        self._count = plots.num_samples(run.data.info(), self._num_samples)
        self._real: Any = None
        self._shown = False  # whether the real examples have been drawn
        self._conditions: Any = None  # of the samples
        self._given: plots.Given | None = None  # these in their own units, and the truth

    def act(self, step: int) -> None:
        """Draws the pictures."""
        summaries = self.run.summaries
        self._show_data()
        try:
            pictures = self._pictures()
        except NotFiniteError as error:  # young weights: training goes on
            warn("No pictures at step %d: %s", step, error)
            return
        for name, picture in pictures.items():
            summaries.picture(f"samples/{name}", picture, step, f"samples/{name}_{step:09d}.png")
        summaries.flush()

    def _show_data(self) -> None:
        """The picture of real examples, unless it has been drawn, by a run before this one too."""
        run = self.run
        info = run.data.info()
        if self._shown or run.workdir is None or self._is_density() or plots.shows_data(info):
            return
        self._shown = True
        titles = self._column_titles(info)
        name = "grid" if info.kind == "image" else "points"
        path = f"samples/data_{name}.png"
        if (run.workdir / path).is_file():
            return

        def draw() -> Any:
            real = info.unscale(self._real_by_class() if titles else self._some_real())
            picture = plots.main_view(real, info, columns=len(titles) or None)
            if picture is None:
                return None
            picture = plots.titled(picture, titles) if titles else picture
            return plots.titled(picture, [_DATA_TITLE])

        run.summaries.picture(f"data/{name}", draw, 0, path)

    def _some_real(self) -> Any:
        return self.run.data.some_examples(self._count, "train")

    def _real_by_class(self) -> Any:
        """Training examples whose classes come in turn, as those of the samples do."""
        data: Any = self.run.data
        labels, spec = data.labels("train"), self.run.state.condition
        if labels is None or spec is None:
            return self._some_real()
        places = [np.flatnonzero(labels == k) for k in range(spec.size)]
        if not all(map(len, places)):
            return self._some_real()
        turns = [divmod(i, spec.size) for i in range(self._count)]
        indices = [places[k][turn % len(places[k])] for turn, k in turns]
        return data.examples(np.array(indices, np.int64), "train")

    def _is_density(self) -> bool:
        """Whether the true density is known, and drawn."""
        data = self.run.data
        return getattr(data, "log_density", None) is not None and tuple(data.shape) == (2,)

    def _pictures(self) -> dict[str, Any]:
        data = self.run.data
        info, log_density = data.info(), getattr(data, "log_density", None)
        if self._conditions is None:
            network = self.run.state.network
            self._conditions = conditions_of(network, data, self._count)
            self._given = given_of(network, data, self._count)
        drawn = self._draw(self._count, self._seed, self._conditions, progress=False)
        samples = info.unscale(drawn.x)
        if not self._is_density():
            titles = self._column_titles(info)
            columns = len(titles) or None
            real = self._real_examples(info)
            pictures = plots.views(samples, info, real, columns=columns, given=self._given)
            if titles and "grid" in pictures:
                pictures["grid"] = plots.titled(pictures["grid"], titles)
            return pictures
        return {"density": plots.density_and_samples(samples, log_density)} | self._scores()

    def _column_titles(self, info: Any) -> list[str]:
        """The class of each column of a grid of samples; none where classes are many."""
        return plots.column_titles(self._class_titles(info), self._count)

    def _class_titles(self, info: Any) -> list[str]:
        """The classes of samples that come in turn; none where they are many."""
        spec = self.run.state.condition
        # Data of a user's may have no names.
        names: list[str] = getattr(self.run.data, "class_names", list)()
        if spec is None or not spec.is_class or spec.size > _MOST_COLUMNS:
            return []
        described = dataclasses.replace(info, classes=tuple(names))
        return [described.class_title(k) for k in range(min(spec.size, self._count))]

    def _real_examples(self, info: Any) -> Any:
        """As many training examples as samples, the same every time; None beside images."""
        if not plots.shows_data(info):
            return None
        if self._real is None:
            self._real = info.unscale(self._some_real())
        return self._real

    def _scores(self) -> dict[str, Any]:
        """The score of the plane at three times, over the true density."""
        state, pictures = self.run.state, {}
        log_density = getattr(self.run.data, "log_density", None)
        score_fn = state.score.score_fn(state.average)
        points = plots.grid_points()
        for t in _SCORE_TIMES:
            times = tf.fill([len(points)], tf.constant(t * state.sde.T, tf.float32))
            score = score_fn(tf.constant(points), times).numpy()
            title = f"score at t = {t * state.sde.T:.2f}"
            pictures[f"score_t{t:.2f}"] = plots.score_field(points, score, log_density, title=title)
        return pictures


class Diagnostics(Periodic):
    """Measures the variance and the bias of the loss's gradient; see `GradientDiagnostics`.

    Args:
      every: steps between measurements; 0: never.
      make: (score, loss) -> `GradientDiagnostics`, or a ``functools.partial`` of it.
    """

    def __init__(self, every: int = 0, make: Callable = GradientDiagnostics) -> None:
        super().__init__(every)
        self._make = make

    def begin(self, run: Run) -> None:
        """See `Periodic`."""
        super().begin(run)
        if self.every:
            self._diagnostics = self._make(run.state.score, run.loss)

    def act(self, step: int) -> None:
        """Writes ``gradient_variance_by_t/…`` and, for small data, ``gradient_bias_by_t/…``."""
        run, count = self.run, self._diagnostics.batch_size
        x0 = tf.convert_to_tensor(run.data.some_examples(count, "train", run.seed))
        told = run.data.some_conditions(run.state.condition, count, "train", run.seed)
        found = self._diagnostics.scalars(run.state.network, x0, run.seed, told)
        run.summaries.scalars(found, step)


class Watch(Periodic):
    """Measures a few samples, and keeps the best state so far.

    The samples come from one seed every time, so that the curve shows the weights and not the
    draw. The best checkpoint, ``checkpoints/best.npz``, is kept whatever `Checkpoints.keep` is;
    what it scored is in ``best.json`` beside it, and outlives a restart.

    Args:
      every: steps between measurements; 0: never.
      metric: an object of `METRICS` with few samples, which its name shows; by default the main
        one of `default_metrics`. Less is better, unless `more_is_better`.
      more_is_better: of a metric such as `InceptionScore`.
      seed: of the samples.
      sampling: arguments of `Sampling`: sampler, batch_size, guidance, jit_compile.
      references: (data, seed) -> `References`, or a ``functools.partial`` of it.
    """

    def __init__(
        self,
        every: int = 0,
        metric: Any = None,
        more_is_better: bool = False,
        seed: int = 2,
        sampling: Mapping[str, Any] | None = None,
        references: Callable = References,
    ) -> None:
        super().__init__(every)
        check_seed(seed, "Watch.seed")
        self._metric, self._seed = metric, seed
        self._sign = -1.0 if more_is_better else 1.0
        self._options, self._make_references = dict(sampling or {}), references

    def begin(self, run: Run) -> None:
        """See `Periodic`."""
        super().begin(run)
        if not self.every:
            return
        metric = self._metric or default_metrics(run.data.info())[0]
        self._suite = MetricSuite([metric], self._make_references(run.data, run.seed))
        self._draw = Sampling(run.state, **self._options)
        self._given = conditions_of(run.state.network, run.data, self._suite.num_samples)
        self.best()  # a record that is damaged is named before the training

    def act(self, step: int) -> None:
        """Measures, logs ``watch/<name>``, and keeps the state if it is the best."""
        run = self.run
        try:
            drawn = self._draw(self._suite.num_samples, self._seed, self._given, progress=False)
        except NotFiniteError as error:  # young weights: training goes on
            warn("Nothing is watched at step %d: %s", step, error)
            return
        values = self._suite.measure([run.data.info().unscale(drawn.x)])
        finite = {f"watch/{n}": float(v.value) for n, v in values.items() if np.isfinite(v.value)}
        run.summaries.scalars(finite, step)
        self._keep_if_best(step, *next(iter(values.items())))

    def best(self) -> dict | None:
        """{"metric", "value", "error", "step"} of the best so far; None before the first."""
        checkpoints = self.run.checkpoints
        if checkpoints is None or not checkpoints.best_path.is_file():
            return None
        remedy = "Put a good copy back, or remove it: the next measurement is then the best."
        return files.read_json(checkpoints.best_path.with_suffix(".json"), _BEST, remedy)

    def _keep_if_best(self, step: int, name: str, found: Any) -> None:
        checkpoints, best = self.run.checkpoints, self.best()
        if checkpoints is None or not self.run.state.distribution.is_chief:
            return
        # What another metric measured says nothing about this one.
        before = best["value"] if best and best["metric"] == name else self._sign * math.inf
        if not np.isfinite(found.value) or self._sign * found.value >= self._sign * before:
            return
        checkpoints.write(checkpoints.best_path, self.run.state)
        record = {"metric": name, "step": step, "value": float(found.value)}
        record["error"] = float(found.error) if np.isfinite(found.error) else None
        files.write_text(checkpoints.best_path.with_suffix(".json"), json.dumps(record, indent=2))


__all__ = ["Diagnostics", "Pictures", "Watch"]
