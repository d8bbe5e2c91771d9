"""One loss of a comparison: trained until both budgets are spent, judged at both."""

import json
import sys
import time

import numpy as np
from tqdm import tqdm

from lcss_tf import images
from lcss_tf.compare.contest import RESULT, entry_workdir, slug
from lcss_tf.compare.judge import Judge
from lcss_tf.errors import NotFiniteError
from lcss_tf.experiment.batches import training_batches
from lcss_tf.experiment.recipe import measure, new_state, write_data_info
from lcss_tf.files import write_bytes
from lcss_tf.memory import PeakMemory
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.step import TrainStep

_PROGRESS = "progress.json"
_BLOCK = 10  # steps between two looks at the clock
_SAVE_SECONDS = 60.0  # training seconds between checkpoints


class Entry:
    """Trains and judges one loss of a `Contest` in its own folder; resumes by itself.

    Args:
      contest: the `Contest`.
      name: of the loss.
      workdir: the comparison's.
    """

    def __init__(self, contest, name, workdir):
        self._contest, self._name = contest, name
        self._directory = entry_workdir(workdir, name)
        self._directory.mkdir(parents=True, exist_ok=True)
        self._memory = PeakMemory()
        self._recipe = contest.recipe(name)
        distribution = Distribution()
        self._recipe.data.require("train")
        self._state = new_state(self._recipe, distribution, self._recipe.data.shape)
        self._checkpoints = Checkpoints(self._directory)
        self._record = {"seconds": 0.0, "block_ms": [], "curve": [], "budgets": {}, "peak_mib": 0.0}
        if self._checkpoints.restore(self._state) is None:
            measure(self._recipe, self._state)
            write_data_info(self._directory, self._recipe.data)
        else:
            self._record = self._recorded(self._state.step)
        self._judge = Judge(contest, self._recipe, self._state, distribution)
        self._step = TrainStep(
            self._state,
            self._recipe.loss,
            distribution,
            self._recipe.batch_size,
            self._recipe.seed,
        )
        self._batches = training_batches(self._recipe, distribution, self._state.step)

    def run(self):
        """Trains on, judges, and writes ``result.json``."""
        record, total = self._record, self._recipe.total_steps
        saved = record["seconds"]
        marks = np.linspace(0, 1, self._contest.curve_points + 1)[1:]
        layout = "{desc} |{bar}| {percentage:3.0f}% {postfix} [{elapsed}, {remaining} left]"
        often = 0.25 if sys.stderr.isatty() else 20.0  # seconds between two looks of the line
        with tqdm(
            total=1.0, desc=self._name, bar_format=layout, dynamic_ncols=True, mininterval=often
        ) as bar:
            warm = 1  # the first step of a process compiles: it counts as a step, not as time
            while not self._done():
                loss = self._block(warm)
                warm = 0
                fraction = min(self._state.step / total, self._share(), 1.0)
                figures = f"loss {loss:.4f}, {self.ms_per_step():.1f} ms/step"
                bar.set_postfix_str(figures, refresh=False)
                bar.update(fraction - bar.n)
                if not np.isfinite(loss):
                    raise NotFiniteError(
                        f"{self._name}: the loss is {loss} at step {self._state.step}."
                    )
                self._judge_if_due(marks, total)
                if record["seconds"] - saved > _SAVE_SECONDS:
                    self._save()
                    saved = record["seconds"]
        self._save()
        write_bytes(self._directory / RESULT, json.dumps(self._result(), indent=1).encode())

    def ms_per_step(self):
        """Median over blocks."""
        return float(np.median(self._record["block_ms"])) if self._record["block_ms"] else 0.0

    def _done(self):
        return {"steps", "seconds"} <= set(self._record["budgets"])

    def _share(self):
        budget = self._contest.seconds
        return self._record["seconds"] / budget if budget else 1.0

    def _block(self, warm):
        """A few steps; the time of all but `warm` first ones counts."""
        left = self._recipe.total_steps - self._state.step
        steps = min(_BLOCK, left) if left > 0 else _BLOCK
        for i in range(max(steps, warm)):
            if i == warm:
                start = time.perf_counter()
            report = self._step(next(self._batches), self._state.step)
            self._state.step += 1
            if i < warm:
                report.loss.numpy()
        loss = float(report.loss.numpy())
        if steps > warm:
            seconds = time.perf_counter() - start
            self._record["seconds"] += seconds
            self._record["block_ms"].append(round(1e3 * seconds / (steps - warm), 4))
        if warm:
            self._memory.restart()
        else:
            self._record["peak_mib"] = max(self._record["peak_mib"], self._memory.peak())
        return loss

    def _judge_if_due(self, marks, total):
        record, step = self._record, self._state.step
        reached = {"steps": step >= total, "seconds": self._share() >= 1.0}
        new = [name for name, is_reached in reached.items() if is_reached]
        new = [name for name in new if name not in record["budgets"]]
        done = len(record["curve"])
        shares = min(step / total, 1.0) if not self._contest.seconds else self._share()
        on_curve = done < len(marks) and shares >= marks[done]
        if not new and not on_curve:
            return
        figures = self._judge.score_figures()
        place = {"step": step, "seconds": record["seconds"]}
        while done < len(marks) and shares >= marks[done]:
            done += 1
        record["curve"] += [place | figures] * (done - len(record["curve"]))
        if new:
            samples = self._judge.sample_figures()
            for name in new:
                record["budgets"][name] = place | figures | samples
                for sampler, picture in self._judge.pictures.items():
                    path = self._directory / f"equal_{name}_{slug(sampler)}.png"
                    images.write_png(path, picture)
            self._save()
        self._memory.restart()  # the judge's memory is not the loss's

    def _save(self):
        # The record first, under its step: whichever checkpoint is restored finds its own.
        path = self._directory / _PROGRESS
        records = json.loads(path.read_text()) if path.is_file() else {}
        records[str(self._state.step)] = self._record
        kept = dict(sorted(records.items(), key=lambda item: int(item[0]))[-4:])
        write_bytes(path, json.dumps(kept).encode())
        self._checkpoints.save(self._state)

    def _recorded(self, step):
        records = json.loads((self._directory / _PROGRESS).read_text())
        return records[str(step)]

    def _result(self):
        recipe = self._recipe
        return {
            "name": self._name,
            "loss": type(recipe.loss).__name__,
            "sde": type(recipe.sde).__name__,
            "parameters": self._state.num_parameters(),
            "batch_size": recipe.batch_size,
            "ms_per_step": self.ms_per_step(),
            "peak_mib": self._record["peak_mib"],
            "curve": self._record["curve"],
            "budgets": self._record["budgets"],
        }
