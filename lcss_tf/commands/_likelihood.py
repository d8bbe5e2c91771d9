"""The likelihood of held-out data: bits/dim or nats, in batches, resumable."""

import math
import zlib
from pathlib import Path
from typing import Any

import gin
import numpy as np

from lcss_tf import files, forms
from lcss_tf.commands import _gin, _runs
from lcss_tf.conditioning import spec_of
from lcss_tf.display import Bar, say, warn
from lcss_tf.errors import UsageError
from lcss_tf.inference import Likelihood, LikelihoodRunner, bits_per_dim, fit_dequantiser
from lcss_tf.model import ScoreModel
from lcss_tf.samplers import DormandPrinceSolver

_FILE = "likelihood.json"
_COLUMNS = ("log_prob", "nats", "nfe")
_FORM = {
    "settings": dict,
    "figures": forms.Optional({str: forms.NUMBER}),
    **{name: [forms.NUMBER] for name in _COLUMNS},
}
_REMEDY = "Remove it: the likelihood is measured again from the start."
_OF_ENDLESS = 1_024  # examples taken of endless data
_TO_TRAIN = 16_384  # examples by which a dequantiser is trained, at most


@gin.configurable(denylist=["model", "workdir"])
def held_out_likelihood(
    model: ScoreModel,
    workdir: str | Path,
    rtol: float = 1e-5,
    atol: float = 1e-5,
    divergence: str = "rademacher",
    num_probes: int = 1,
    batch_size: int = 64,
    num_examples: int | None = None,
    num_samples: int = 1,
    dequantiser_steps: int = 0,
) -> dict[str, Any]:
    """The mean log likelihood of held-out data under the average's weights, with its error.

    Images are dequantised: each level k becomes uniform on its width, so that bits/dim are those
    of a code for the levels, and no density can be made infinite on them. Other data are given in
    nats, in their own units; where their density is known, its value stands beside.

    The noise of example i and its probes are functions of (seed, i): the figures depend on neither
    the batches nor the replicas. A network that takes numbers or images is told those of each
    example, so that its figures are of log p(x | condition); one with classes is told none. Each
    finished batch is written to ``<workdir>/likelihood.json``,
    from which the same command resumes.

    Args:
      model: the model; the configuration of its run must be loaded.
      workdir: the run's directory.
      rtol, atol: tolerances of the ODE.
      divergence, num_probes: see `Likelihood`.
      batch_size: examples at a time, over all replicas.
      num_examples: of the test split, evenly spaced; by default all, or 1,024 of endless data.
      num_samples: K samples of the dequantisation noise for each image. They tighten the bound, and
        the time grows as K.
      dequantiser_steps: steps that train a `Dequantiser` on the training split first; 0: uniform
        noise.

    Returns:
      A dict of the figures, also in the file.

    Raises:
      UsageError: an option out of its range, or images that do not say how many levels they have.
      NotFiniteError: the ODE could not be solved; says where.
    """
    arguments = _gin.fit()
    data, seed = _runs.data_for(model, arguments["data"]), arguments["seed"]
    if num_examples is not None and num_examples < 1:
        raise UsageError(
            f"held_out_likelihood.num_examples must be at least 1; got {num_examples}."
        )
    if dequantiser_steps < 0:
        raise UsageError(
            f"held_out_likelihood.dequantiser_steps must be at least 0; got {dequantiser_steps}."
        )
    likelihood = Likelihood(divergence, num_probes, DormandPrinceSolver(rtol, atol))
    make = lambda *bound: LikelihoodRunner(
        model.state, likelihood, model.info, batch_size, *bound
    )  # fmt: skip
    run = make(num_samples) if num_samples != 1 else make()
    data.require("test")
    indices = data.spread_indices(num_examples or data.size("test") or _OF_ENDLESS, "test")
    settings = {
        "step": model.step,
        "weights": _checksum(model.state.average),
        "data": data.name,
        "examples": len(indices),
        "rtol": rtol,
        "atol": atol,
        "divergence": divergence,
        "num_probes": num_probes,
        "seed": seed,
    }
    # What is left out keeps files readable that were written without it.
    settings |= {"num_samples": num_samples} if num_samples != 1 else {}
    settings |= {"dequantiser_steps": dequantiser_steps} if dequantiser_steps else {}
    spec = spec_of(model.state.average)
    told = None if spec is None or spec.is_class else data.conditions(spec, "test", seed)
    results = _Results(Path(workdir) / _FILE, settings, model.distribution.is_chief)
    done = len(results.log_prob)
    if dequantiser_steps and done < len(indices):
        run = make(num_samples, _dequantiser(model, data, spec, dequantiser_steps, seed))
    if done:
        say(f"Resuming from {results.path} at example {done:,} of {len(indices):,}.")
    with Bar(len(indices), "likelihood", "examples", done) as bar:
        for first in range(done, len(indices), batch_size):
            part = indices[first : first + batch_size]
            x = np.asarray(data.examples(part, "test", seed))
            given = {} if told is None else {"condition": np.asarray(told(part))}
            found = run(x, seed, first, **given)
            results.append(found.log_prob, found.nats, found.nfe)
            bar.update(len(part))
    figures = {"step": model.step} | _figures(results, data)
    if hasattr(data, "log_density"):
        x = data.examples(indices, "test", seed)
        figures["nats_of_the_true_density"] = float(np.mean(data.log_density(x)))
    figures["nfe"] = float(np.mean(results.nfe))
    results.finish(figures)
    return figures


def _dequantiser(model: Any, data: Any, spec: Any, steps: int, seed: int) -> Any:
    """A `Dequantiser` trained on examples spread over the training split."""
    say(f"Training the dequantiser by {steps:,} steps.")
    data.require("train")
    rows = data.spread_indices(min(data.size("train") or _OF_ENDLESS, _TO_TRAIN), "train")
    x = np.asarray(data.examples(rows, "train", seed))
    condition = None
    if spec is not None and not spec.is_class:
        condition = np.asarray(data.conditions(spec, "train", seed)(rows))
    return fit_dequantiser(model, x, steps, seed=seed, condition=condition)


def report(figures: dict[str, Any]) -> str:
    """The figures in a line or two, for people."""
    name, unit = ("bits_per_dim", "bits/dim") if "bits_per_dim" in figures else ("nats", "nats")
    text = (
        f"{figures[name]:.4f} ± {figures['standard_error']:.4f} {unit} "
        f"({figures['examples']:,} examples, {figures['nfe']:.0f} NFE each)"
    )
    if "nats_of_the_true_density" in figures:
        text += f"\n{figures['nats_of_the_true_density']:.4f} nats by the true density"
    return text


def read_result(path: Path) -> dict | None:
    """What ``likelihood.json`` holds; None where there is none.

    Raises:
      UsageError: it is damaged; names it.
    """
    stored = files.read_json(path, _FORM, _REMEDY)
    if stored is not None and len({len(stored[name]) for name in _COLUMNS}) > 1:
        raise UsageError(f"{path} is damaged: its columns have different lengths. {_REMEDY}")
    return stored


class _Results:
    """What is finished, in a file that is always whole."""

    def __init__(self, path: Path, settings: dict, writes: bool = True) -> None:
        self.path, self.settings, self._writes = path, settings, writes
        self.log_prob: list[float] = []
        self.nats: list[float] = []
        self.nfe: list[float] = []
        try:
            stored = read_result(path)
        except UsageError as error:  # the next batch writes it anew
            warn("%s", error)
            stored = None
        if stored is not None and stored["settings"] == settings:
            columns = (stored["log_prob"], stored["nats"], stored["nfe"])
            self.log_prob, self.nats, self.nfe = map(list, columns)

    def append(self, log_prob: Any, nats: Any, nfe: Any) -> None:
        """A batch's log p, normalised and in the data's units, and the NFE of each."""
        self.log_prob += [float(value) for value in log_prob]
        self.nats += [float(value) for value in nats]
        self.nfe += [float(value) for value in nfe]
        self._write({})

    def finish(self, figures: dict) -> None:
        """Adds the figures."""
        self._write({"figures": figures})

    def _write(self, more: dict) -> None:
        if not self._writes:
            return
        columns = {"log_prob": self.log_prob, "nats": self.nats, "nfe": self.nfe}
        files.write_json(self.path, {"settings": self.settings, **more, **columns}, indent=None)


def _figures(results: _Results, data: Any) -> dict[str, Any]:
    """The mean and its standard error, which the examples' own probes and noise enter too."""
    if data.kind == "image" and data.scaling.levels is not None:
        name = "bits_per_dim"
        values = bits_per_dim(np.asarray(results.log_prob, np.float64), data.scaling, data.shape)
    else:
        name, values = "nats", np.asarray(results.nats, np.float64)
    error = values.std(ddof=1) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    return {name: float(values.mean()), "standard_error": float(error), "examples": len(values)}


def _checksum(network: Any) -> int:
    value = 0
    for weight in network.weights:
        value = zlib.crc32(np.ascontiguousarray(weight.numpy()).tobytes(), value)
    return value
