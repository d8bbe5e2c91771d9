"""The root `restore`: inpainting, colourisation and super-resolution with a run's weights."""

import numpy as np

from lcss_tf import images
from lcss_tf.experiment.inputs import read_inputs
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.restoration import Restoration
from lcss_tf.experiment.sampling import output_path, picture_of

_HIDDEN = (88, 122, 158)  # the colour of what is hidden: no grey level
_GAP = 10  # pixels between what is given and what is drawn


def restore(workdir, problem, inputs, num_samples=4, out=None, seed=0, label=None):
    """Reconstructions of observed examples; the configuration must be loaded.

    Writes ``<out>.npz`` with ``samples`` [N, num_samples, ...], ``observed`` and, where it is
    known, ``truth``, in the data's own units; and of images ``<out>.png``, a row for each input:
    truth, what is observed, and the reconstructions.

    Args:
      workdir: the run's directory.
      problem: an `InverseProblem`; its y is not used.
      inputs: names as `read_inputs` takes them.
      num_samples: reconstructions of each input.
      out: path without, or with, a suffix; by default ``<workdir>/samples/<operator>_seed_<seed>``.
      seed: of the reconstructions.
      label: their class, of a network with classes; None: any.

    Returns:
      The paths written.
    """
    recipe, state, info, distribution = restored(workdir)
    restoration = Restoration(state, info.shape, distribution, problem)
    given = read_inputs(inputs, info, recipe.data, problem, seed)
    name = f"{type(problem.operator).__name__.lower()}_seed_{seed}"
    out = output_path(out, workdir, name, distribution)
    x = restoration.reconstruct(given.observed, num_samples, seed, label=label)
    samples, observed = info.unscale(x), info.unscale(given.observed)
    truth = None if given.truth is None else info.unscale(given.truth)
    written = [out.with_name(out.name + ".npz")]
    arrays = {"samples": samples, "observed": observed, "step": state.step, "seed": seed}
    np.savez(written[0], **arrays, **({} if truth is None else {"truth": truth}))
    picture = rows_of(truth, shown(given.observed, problem.operator, info), samples, info)
    if picture is not None:
        written.append(out.with_name(out.name + ".png"))
        images.write_png(written[1], picture)
    return written


def shown(observed, operator, info):
    """Observations as uint8 RGB images of the data's size, or as examples that are no images."""
    if info.kind != "image":
        return observed
    pictures = _rgb(info.unscale(operator.shown(observed, info.shape)))
    known = operator.known(info.shape)
    if known is not None:
        pictures = np.where(known.any(axis=-1, keepdims=True), pictures, np.uint8(_HIDDEN))
    return pictures


def rows_of(truth, observed, samples, info):
    """Two grids side by side with a row for each input: what is given, and what is drawn.

    Of 2-D vectors a scatter plot; of other data None.
    """
    if info.kind != "image":
        return picture_of(samples.reshape(-1, *info.shape), info)
    given = _grid([observed] if truth is None else [_rgb(truth), observed])
    drawn = _grid([_rgb(samples[:, i]) for i in range(samples.shape[1])])
    gap = np.full((len(given), _GAP, 3), 255, np.uint8)
    return np.concatenate([given, gap, drawn], axis=1)


def _grid(columns):
    cells = np.stack(columns, axis=1)
    return images.grid(cells.reshape(-1, *cells.shape[2:]), columns=cells.shape[1])


def _rgb(pictures):
    channels = pictures.shape[-1]
    return np.repeat(pictures, 3, axis=-1) if channels == 1 else pictures[..., :3]
