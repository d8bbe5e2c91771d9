"""The root `evaluate_likelihood`: bits/dim or nats of held-out data, in batches, resumable."""

import json
import math
import zlib
from pathlib import Path

import gin
import numpy as np
import tensorflow as tf
from tqdm import tqdm

from lcss_tf import random, xla
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.experiment.recipe import restored
from lcss_tf.files import write_bytes
from lcss_tf.inference.likelihood import Likelihood, bits_per_dim
from lcss_tf.samplers import DormandPrinceSolver
from lcss_tf.training.distribution import replica_row

_FILE = "likelihood.json"
_OF_ENDLESS = 1_024  # examples taken of endless data


@gin.configurable("evaluate_likelihood", denylist=["workdir"])
def evaluate_likelihood(
    workdir,
    rtol=1e-5,
    atol=1e-5,
    divergence="rademacher",
    probes=1,
    batch_size=64,
    num_examples=None,
):
    """The mean log likelihood of held-out data under the EMA weights, with its standard error.

    Images are dequantised: each level k becomes uniform on its width, so that bits/dim are those
    of a code for the levels, and no density can be made infinite on them. Other data are given in
    nats, in their own units; where their density is known, its value stands beside.

    The noise of example i and its probes are functions of (seed, i): the figures depend on neither
    the batches nor the replicas. Each finished batch is written to ``<workdir>/likelihood.json``,
    and the same command goes on from there after a kill.

    Args:
      workdir: the run's directory.
      rtol, atol: tolerances of the ODE.
      divergence, probes: see `Likelihood`.
      batch_size: examples at a time, over all replicas.
      num_examples: of the test split, evenly spaced; by default all, or 1,024 of endless data.

    Returns:
      A dict of the figures, also in the file.

    Raises:
      ValueError: an option out of its range, or images that do not say how many levels they have.
      FloatingPointError: the ODE could not be solved; says where.
    """
    likelihood = Likelihood(divergence, probes, DormandPrinceSolver(rtol, atol))
    recipe, state, _, distribution = restored(workdir)
    data = recipe.data
    likelihood.check(recipe.sde, data.shape)
    _check(data, num_examples)
    data.require("test")
    indices = _indices(data.size("test"), num_examples)
    batches = _Batches(state, likelihood, data, distribution, batch_size)
    settings = {
        "step": state.step,
        "weights": _checksum(state.ema.network),
        "data": data.name,
        "examples": len(indices),
        "rtol": rtol,
        "atol": atol,
        "divergence": divergence,
        "probes": probes,
        "seed": recipe.seed,
    }
    results = _Results(Path(workdir) / _FILE, settings, distribution.is_chief)
    done = len(results.log_prob)
    if done:
        print(f"Going on from {results.path} at example {done:,} of {len(indices):,}.")
    with tqdm(total=len(indices), initial=done, unit=" examples") as bar:
        for first in range(done, len(indices), batch_size):
            part = indices[first : first + batch_size]
            x = data.examples(part, "test", recipe.seed)
            results.append(*batches(x, recipe.seed, first))
            bar.update(len(part))
    figures = {"step": state.step} | _figures(np.float64(results.log_prob), data)
    if hasattr(data, "log_density"):
        x = data.examples(indices, "test", recipe.seed)
        figures["nats_of_the_true_density"] = float(np.mean(data.log_density(x)))
    figures["evaluations"] = float(np.mean(results.evaluations))
    results.finish(figures)
    return figures


def report(figures):
    """The figures in a line or two, for people."""
    name, unit = ("bits_per_dim", "bits/dim") if "bits_per_dim" in figures else ("nats", "nats")
    text = (
        f"{figures[name]:.4f} ± {figures['standard_error']:.4f} {unit} "
        f"({figures['examples']:,} examples, {figures['evaluations']:.0f} evaluations each)"
    )
    if "nats_of_the_true_density" in figures:
        text += f"\n{figures['nats_of_the_true_density']:.4f} nats by the true density"
    return text


class _Batches:
    """A compiled likelihood over the EMA weights, on all replicas."""

    def __init__(self, state, likelihood, data, distribution, batch_size):
        self._state, self._likelihood = state, likelihood
        self._scaling = data.scaling if data.kind == "image" else None
        self._distribution = distribution
        self._batch_size = batch_size
        self._rows = distribution.rows_per_replica(batch_size, "evaluate_likelihood.batch_size")
        jit_compile = xla.mode(None, getattr(state.network, "pieces_on_cpu", False))
        self._in_pieces = jit_compile == "pieces"
        self._solve = tf.function(
            self._solve, jit_compile=jit_compile is True or None, autograph=False
        )
        self._batch = tf.function(self._batch, autograph=False)

    def __call__(self, x, seed, first):
        """(log p [n] in nats of scaled units, evaluations) of examples first … first + n − 1."""
        count = len(x)
        padded = tf.gather(x, np.minimum(np.arange(self._batch_size), count - 1))
        seed = random.seed_for(seed, "likelihood")
        log_prob, evaluations, failures = (
            value.numpy() for value in self._batch(padded, seed, tf.constant(first))
        )
        log_prob = log_prob[:count]
        bad = np.flatnonzero(~np.isfinite(log_prob))
        if len(bad):
            failure = min([f for f in failures.tolist() if f[0] >= 0] or [[0, math.nan]])
            raise NotFiniteError(
                f"The likelihood of {len(bad)} of the examples {first} to {first + count - 1} is "
                f"not finite: {self._likelihood.solver.explain(failure)}"
            )
        return log_prob, float(np.max(evaluations))

    def _batch(self, x, seed, first):
        """log p [B]; of every replica: the evaluations [R] and failures [R, 2]."""

        def on_replica(x, seed, first):
            row = replica_row(self._rows)
            x = tf.slice(x, [row] + [0] * (len(x.shape) - 1), [self._rows, *x.shape[1:]])
            return self._solve(x, random.at_row(seed, first + row))

        parts = self._distribution.run(on_replica, x, seed, first)
        return [self._distribution.concat(part) for part in parts]

    def _solve(self, x, seed):
        with xla.in_pieces(self._in_pieces):
            if self._scaling is not None:
                x = self._scaling.dequantise(
                    x, random.uniform(random.fold_in(seed, "level"), x.shape)
                )
            score_fn = self._state.model.score_fn(self._state.ema.network)
            seed = random.fold_in(seed, "probe")
            result = self._likelihood(score_fn, self._state.model.sde, x, seed)
        return result.log_prob, result.evaluations[None], result.failure[None]


class _Results:
    """What is finished, in a file that is always whole."""

    def __init__(self, path, settings, writes=True):
        self.path, self.settings, self._writes = path, settings, writes
        self.log_prob, self.evaluations = [], []
        if path.is_file():
            try:
                stored = json.loads(path.read_text())
                if stored["settings"] == settings:
                    self.log_prob, self.evaluations = stored["log_prob"], stored["evaluations"]
            except (ValueError, KeyError, TypeError):
                pass  # nothing of ours: made anew

    def append(self, log_prob, evaluations):
        """A batch's log p, and the evaluations that each of them took."""
        self.log_prob += [float(value) for value in log_prob]
        self.evaluations += [evaluations] * len(log_prob)
        self._write({})

    def finish(self, figures):
        """Adds the figures."""
        self._write({"figures": figures})

    def _write(self, more):
        if not self._writes:
            return
        content = {
            "settings": self.settings,
            **more,
            "log_prob": self.log_prob,
            "evaluations": self.evaluations,
        }
        write_bytes(self.path, json.dumps(content).encode())


def _figures(log_prob, data):
    """The mean and its standard error, which the examples' own probes and noise enter too."""
    if data.kind == "image":
        name, values = "bits_per_dim", bits_per_dim(log_prob, data.scaling, data.shape)
    else:
        # The density of stored values, not of scaled ones.
        name = "nats"
        values = log_prob + math.prod(data.shape) * math.log(data.scaling.slope)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {name: float(values.mean()), "standard_error": float(error), "examples": len(values)}


def _check(data, num_examples):
    if num_examples is not None and num_examples < 1:
        raise UsageError(
            f"evaluate_likelihood.num_examples must be at least 1; got {num_examples}."
        )
    if data.kind == "image" and data.scaling.levels is None:
        raise UsageError(
            f"Bits/dim need dequantised images, and {data.name} does not say how many levels its "
            "pixels have. Give its scaling some: Scaling.for_images(levels=256)."
        )


def _indices(size, num_examples):
    if size is None:
        return np.arange(num_examples or _OF_ENDLESS)
    return np.linspace(0, size - 1, min(num_examples or size, size)).astype(np.int64)


def _checksum(network):
    value = 0
    for weight in network.weights:
        value = zlib.crc32(np.ascontiguousarray(weight.numpy()).tobytes(), value)
    return value
