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
from lcss_tf.errors import UsageError
from lcss_tf.experiment.inputs import held_out
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.restoration import Restoration
from lcss_tf.files import write_bytes

_CANDIDATES = 50_000  # training images among which the nearest is sought, at most
_ENDLESS = 256  # held-out images of data without end
_NEAREST = "nearest training image"
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
    averages=(1, 4),
    seed=0,
):
    """Root mean square error of hidden pixels over held-out images, for each mask and method.

    In units of the data's range (1 is black for white). Beside the methods, fills that
    need no model: the training images' mean, and the training image that is nearest on the
    visible pixels. Of each method several errors: of one reconstruction, and of means of several.
    For truth and reconstructions drawn alike from p(x | y), with a variance v, the mean of n has
    the expected squared error (1 + 1/n) v: one draw twice that of the posterior's mean, to which
    a fill that minimises the squared error is to be compared.

    A second table says by how many standard errors of the difference, image by image, each fill
    is nearer (+) or farther (−) in squared error than the nearest training image.

    Args:
      workdir: the run's directory.
      out: the directory of the table.
      masks: as `Mask` takes them.
      methods: {name: an object of `METHODS`}; all that are shipped by default.
      num_images: of the test split; None: all.
      averages: of how many reconstructions of each image the means are taken; 1: of none.
      seed: of the reconstructions.

    Returns:
      (the tables as Markdown, the paths of them and of the numbers).

    Raises:
      ValueError: no averages, or one below 1; a run's data, or a mask, that do not fit.
    """
    if not averages or min(averages) < 1:
        raise UsageError(f"filling_error.averages must be numbers from 1 up; got {averages}.")
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
            _NEAREST: train[nearest(truth, train, known)],
        }
        for name, method in methods.items():
            restoration = Restoration(state, info.shape, distribution, problem, method)
            x = restoration.reconstruct(observed, max(averages), seed, progress=False)
            for n in averages:
                fills[f"{name}, {f'mean of {n}' if n > 1 else 'one'}"] = x[:, :n].mean(1)
            print(f"{mask}: {name}, {restoration.evaluations:,.0f} evaluations", flush=True)
        squares = {name: _squares(fill, truth, known, info) for name, fill in fills.items()}
        for name, values in squares.items():
            at = {"error": _error(values), "gain": _gain(squares[_NEAREST], values)}
            rows.setdefault(name, {})[str(mask)] = at
    text = table(rows)
    Path(out).mkdir(parents=True, exist_ok=True)
    paths = [Path(out) / "filling_error.md", Path(out) / "filling_error.json"]
    write_bytes(paths[0], text.encode())
    write_bytes(paths[1], json.dumps({"images": len(truth), "rows": rows}, indent=1).encode())
    return text, paths


def nearest(images, candidates, known):
    """Index of the candidate nearest to each image [N, ...] on its known pixels, int [N]."""
    a, b = images[:, known].astype(np.float64), candidates[:, known].astype(np.float64)
    distances = (b**2).sum(1)[None, :] - 2.0 * a @ b.T
    return distances.argmin(1)


def table(rows):
    """Markdown, a line for each fill and a column for each mask: the errors ± one standard error,
    and what is gained over the nearest training image."""
    errors = lambda at: f"{at['error'][0]:.3f} ± {at['error'][1]:.3f}"
    gains = lambda at: f"{at['gain']:+.1f}"
    compared = {name: at for name, at in rows.items() if name != _NEAREST}
    return "\n".join(
        [
            *_lines("RMSE of hidden pixels", rows, errors),
            "",
            *_lines(f"nearer than the {_NEAREST}, standard errors", compared, gains),
            "",
        ]
    )


def _lines(title, rows, text):
    masks = list(next(iter(rows.values())))
    lines = [[title, *masks], ["---"] * (1 + len(masks))]
    lines += [[name, *[text(at[mask]) for mask in masks]] for name, at in rows.items()]
    return ["| " + " | ".join(line) + " |" for line in lines]


def _squares(fill, truth, known, info):
    """Mean squared error of the hidden pixels of each image, in units of the data's range."""
    span = info.scaling.high - info.scaling.low
    return np.square((fill - truth)[:, ~known] / span).mean(axis=1)


def _error(squares):
    """(RMSE, its standard error) over images."""
    rmse = float(np.sqrt(squares.mean()))
    return rmse, float(squares.std(ddof=1) / np.sqrt(len(squares)) / (2.0 * rmse))


def _gain(reference, squares):
    """How much less than the reference's, in standard errors of the mean difference."""
    difference = reference - squares
    deviation = difference.std(ddof=1)
    return float(difference.mean() / deviation * np.sqrt(len(difference))) if deviation else 0.0


def _training_images(data):
    size = data.size("train")
    count = min(size or _CANDIDATES, _CANDIDATES)
    step = 1 if size is None else size / count
    return np.asarray(data.examples((np.arange(count) * step).astype(np.int64), "train", 0))
