"""The roots `encode_inputs` and `interpolate_inputs`: a run's latents, and ways between them."""

import numpy as np
import tensorflow as tf

from lcss_tf import images, xla
from lcss_tf.inference import latents as encoding
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.experiment.inputs import read_examples
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.sampling import output_path
from lcss_tf.samplers import DormandPrinceSolver


class Latents:
    """The probability-flow ODE of a run's EMA weights, compiled, in both directions.

    Args:
      state: the `TrainState`.
      solver: a `DormandPrinceSolver`.
    """

    def __init__(self, state, solver=None):
        self._state, self._solver = state, solver or DormandPrinceSolver()
        mode = xla.mode(None, getattr(state.network, "pieces_on_cpu", False))
        self._in_pieces = mode == "pieces"
        self._carry = tf.function(self._carry, jit_compile=mode is True or None, autograph=False)

    def encode(self, x):
        """x_T, float32 [B, ...], of examples x [B, ...].

        Raises:
          FloatingPointError: the ODE could not be solved; says where.
        """
        return self._checked(encoding.encode, x)

    def decode(self, x_T):
        """Examples [B, ...] of latents x_T [B, ...]: the inverse of `encode`."""
        return self._checked(encoding.decode, x_T)

    def _checked(self, way, x):
        carried, failure = (value.numpy() for value in self._carry(way, tf.constant(x, tf.float32)))
        if not np.isfinite(carried).all():
            raise NotFiniteError(
                f"Not all of {len(carried)} examples were carried along the ODE: "
                f"{self._solver.explain(failure)}"
            )
        return carried

    def _carry(self, way, x):
        with xla.in_pieces(self._in_pieces):
            score_fn = self._state.model.score_fn(self._state.ema.network)
            return way(score_fn, self._state.model.sde, x, self._solver)


def encode_inputs(workdir, inputs, out=None):
    """The latents of examples, and the examples that these decode to.

    Writes ``<out>.npz`` with ``latents`` and, in the data's own units, ``examples`` and
    ``decoded``; and of images ``<out>.png``: the examples above what their latents decode to.

    Args:
      workdir: the run's directory.
      inputs: names as `read_inputs` takes them.
      out: path without, or with, a suffix; by default ``<workdir>/samples/latents``.

    Returns:
      The paths written.
    """
    recipe, state, info, distribution = restored(workdir)
    x = read_examples(inputs, info, recipe.data)
    latents = Latents(state)
    x_T = latents.encode(x)
    examples, decoded = info.unscale(x), info.unscale(latents.decode(x_T))
    out = output_path(out, workdir, "latents", distribution)
    arrays = {"latents": x_T, "examples": examples, "decoded": decoded, "step": state.step}
    rows = np.concatenate([examples, decoded])
    return _written(out, arrays, rows, info, columns=len(x))


def interpolate_inputs(workdir, inputs, count=9, out=None):
    """Ways from each example to the next, on the arc between their latents.

    Writes ``<out>.npz`` with ``samples`` [pairs, count, ...] in the data's own units; and of
    images ``<out>.png``, a row for each pair. The ends are the examples themselves, decoded.

    Args:
      workdir: the run's directory.
      inputs: names as `read_inputs` takes them, of two examples or more.
      count: points of a way, its ends among them.
      out: path without, or with, a suffix; by default ``<workdir>/samples/interpolation``.

    Returns:
      The paths written.

    Raises:
      ValueError: fewer than two examples, or fewer than two points.
    """
    recipe, state, info, distribution = restored(workdir)
    x = read_examples(inputs, info, recipe.data)
    if len(x) < 2 or count < 2:
        raise UsageError(
            "A way takes two examples or more (--input=test:2, or files) and --num_samples of two "
            f"or more; got {len(x)} and {count}."
        )
    latents = Latents(state)
    x_T = latents.encode(x)
    ways = encoding.interpolate(recipe.sde, x_T[:-1], x_T[1:], np.linspace(0.0, 1.0, count))
    ways = np.moveaxis(ways, 1, 0)
    decoded = info.unscale(latents.decode(ways.reshape(-1, *info.shape)))
    arrays = {"samples": decoded.reshape(ways.shape), "step": state.step}
    out = output_path(out, workdir, "interpolation", distribution)
    return _written(out, arrays, decoded, info, columns=count)


def _written(out, arrays, pictures, info, columns):
    written = [out.with_name(out.name + ".npz")]
    np.savez(written[0], **arrays)
    if info.kind == "image":
        written.append(out.with_name(out.name + ".png"))
        images.write_png(written[1], images.grid(pictures, columns))
    return written
