"""The root `filling_error`: how far what is filled in lies from what was hidden."""

import json
from pathlib import Path

import gin
import numpy as np

from lcss_tf.control import (
    InverseProblem,
    Mask,
    NullSpace,
    PseudoinverseGuidance,
    Replacement,
    TimeTravel,
    TweedieGuidance,
)
from lcss_tf.experiment.inputs import held_out
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.restoration import Restoration
from lcss_tf.training.checkpoints import write_bytes_whole

_CANDIDATES = 50_000  # training images among which the nearest is sought, at most
_ENDLESS = 256  # held-out images of data without end
_METHODS = {
    "NullSpace": NullSpace,
    "PseudoinverseGuidance": PseudoinverseGuidance,
    "TweedieGuidance": TweedieGuidance,
    "Replacement": Replacement,
    "TimeTravel of Replacement": TimeTravel,
    "TimeTravel of PseudoinverseGuidance": lambda: TimeTravel(PseudoinverseGuidance()),
}


@gin.configurable("filling_error", denylist=["workdir", "out"])
def filling_error(
    workdir,
    out,
    masks=("half", "box", "random"),
    methods=None,
    num_images=None,
    num_samples=4,
    seed=0,
):
    """Root mean square error of hidden pixels over held-out images, for each mask and method.

    In units of the data's range (1 is black for white). Beside the methods, fills that
    need no model: the training images' mean, and the training image that is nearest on the
    visible pixels. Of each method two errors: of one reconstruction, and of the mean of
    `num_samples`. A draw from the posterior is √2 times as far as its mean, so it is the mean
    that an error judges, and one reconstruction stands beside the nearest neighbour.

    Args:
      workdir: the run's directory.
      out: the directory of the table.
      masks: as `Mask` takes them.
      methods: {name: an object of `METHODS`}; all that are shipped by default.
      num_images: of the test split; None: all.
      num_samples: reconstructions of each image.
      seed: of the reconstructions.

    Returns:
      (the table as Markdown, the paths of it and of the numbers).
    """
    recipe, state, info, distribution = restored(workdir)
    methods = methods or {name: make() for name, make in _METHODS.items()}
    count = num_images or recipe.data.size("test") or _ENDLESS
    truth = held_out(f"test:{count}", recipe.data)
    train = _training_images(recipe.data)
    rows = {}
    for mask in masks:
        problem = InverseProblem(Mask(mask), None)
        known = problem.operator.known(info.shape)
        observed = problem.operator.apply(truth).numpy()
        fills = {
            "mean of the training images": np.broadcast_to(train.mean(0), truth.shape),
            "nearest training image": train[nearest(truth, train, known)],
        }
        for name, method in methods.items():
            restoration = Restoration(state, info.shape, distribution, problem, method)
            x = restoration.reconstruct(observed, num_samples, seed, progress=False)
            fills[f"{name}, one"] = x[:, 0]
            fills[f"{name}, mean of {num_samples}"] = x.mean(1)
            print(f"{mask}: {name}, {restoration.evaluations:,.0f} evaluations")
        for name, fill in fills.items():
            rows.setdefault(name, {})[str(mask)] = _error(fill, truth, known, info)
    text = table(rows)
    Path(out).mkdir(parents=True, exist_ok=True)
    paths = [Path(out) / "filling_error.md", Path(out) / "filling_error.json"]
    write_bytes_whole(paths[0], text.encode())
    write_bytes_whole(paths[1], json.dumps({"images": len(truth), "rows": rows}, indent=1).encode())
    return text, paths


def nearest(images, candidates, known):
    """Index of the candidate nearest to each image [N, ...] on its known pixels, int [N]."""
    a, b = images[:, known].astype(np.float64), candidates[:, known].astype(np.float64)
    distances = (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    return distances.argmin(1)


def table(rows):
    """Markdown: a line for each fill, a column for each mask; ± one standard error."""
    masks = list(next(iter(rows.values())))
    lines = [["RMSE of hidden pixels", *masks], ["---"] * (1 + len(masks))]
    for name, at in rows.items():
        lines.append([name, *[f"{rmse:.3f} ± {error:.3f}" for rmse, error in at.values()]])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _error(fill, truth, known, info):
    """(RMSE, its standard error) over images, of the pixels that were hidden."""
    span = info.scaling.high - info.scaling.low
    squares = np.square((fill - truth)[:, ~known] / span).mean(axis=1)
    rmse = float(np.sqrt(squares.mean()))
    return rmse, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2.0 * rmse))


def _training_images(data):
    size = data.size("train")
    count = min(size or _CANDIDATES, _CANDIDATES)
    step = 1 if size is None else size / count
    return np.asarray(data.examples((np.arange(count) * step).astype(np.int64), "train", 0))
