"""Runs a compiled function of the average's weights over batches, on all replicas.

Sampling, latents, likelihoods and inverse problems all come through here.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import cores, random, xla
from lcss_tf.training.distribution import Distribution, replica_row
from lcss_tf.typing import Network, ScoreFn, Seed


class Runner:
    """A compiled function over batches of one size.

    Args:
      function: (inputs, seed) -> a structure of tensors, each with a leading axis along which
        the replicas' parts are joined. `inputs` is a dict of this replica's rows; `seed` carries
        the index of the first of them in all of the data, so that what is drawn for a row
        depends neither on the batches nor on the replicas.
      network: says by `pieces_on_cpu` how it compiles best; None: as one program.
      distribution: a `Distribution`.
      batch_size: rows at a time, over all replicas.
      jit_compile: True: one XLA program. "pieces", False and None: as for `TrainStep`.
      what: what sets the batch size, for messages.

    Raises:
      UsageError: the batch is not divisible by the number of replicas.
    """

    def __init__(
        self,
        function: Callable,
        network: Network | None,
        distribution: Distribution,
        batch_size: int,
        jit_compile: bool | str | None = None,
        what: str = "batch_size",
    ) -> None:
        self.batch_size = batch_size
        self._function, self._distribution = function, distribution
        self._rows = distribution.rows_per_replica(batch_size, what)
        mode = xla.mode(jit_compile, getattr(network, "pieces_on_cpu", False))
        self._in_pieces = mode == "pieces"
        replicas = distribution.num_replicas // distribution.num_workers
        weights = 0
        if network is not None and mode is not False and hasattr(network, "count_params"):
            weights = network.count_params()
        self._parts = cores.parts(self._rows, weights, replicas)
        # As objects of their own: of one method's code TensorFlow counts the tracings together, and
        # would warn of retracing where a few runners are made.
        run, batch = functools.partial(self._run), functools.partial(self._batch)
        self._compiled = tf.function(run, jit_compile=mode is True or None, autograph=False)
        self._compiled_batch = tf.function(batch, autograph=False)

    def __call__(self, inputs: Mapping[str, Any], seed: Seed, first: int = 0) -> Any:
        """The function's outputs on one batch, as NumPy arrays.

        Args:
          inputs: arrays of `batch_size` rows by name; shorter ones are filled up with their last
            row, and what is computed for it is cut off again.
          seed: an int, or [2].
          first: the index of the first row in all of the data.
        """
        count = min((len(value) for value in inputs.values()), default=self.batch_size)
        filled = {name: self._filled(value) for name, value in inputs.items()}
        outputs = self._compiled_batch(filled, random.as_seed(seed)[:2], tf.constant(first))
        outputs = tf.nest.map_structure(lambda value: value.numpy(), outputs)
        cut = lambda value: value[:count] if len(value) == self.batch_size else value
        return tf.nest.map_structure(cut, outputs)

    def parts(self, count: int) -> Iterator[slice]:
        """The batches of `count` rows, as slices."""
        for first in range(0, count, self.batch_size):
            yield slice(first, min(first + self.batch_size, count))

    def _filled(self, value: Any) -> Any:
        rows = len(value)
        if rows == self.batch_size:
            return tf.convert_to_tensor(value)
        return tf.gather(value, np.minimum(np.arange(self.batch_size), rows - 1))

    def _batch(self, inputs: dict, seed: Seed, first: Any) -> Any:
        def rows_from(row, inputs, seed, first):
            size = self._rows // self._parts
            own = lambda v: tf.slice(v, [row] + [0] * (len(v.shape) - 1), [size, *v.shape[1:]])
            part = {name: own(value) for name, value in inputs.items()}
            return self._compiled(part, random.at_row(seed, first + row))

        def on_replica(inputs, seed, first):
            row = replica_row(self._rows)
            given = inputs, seed, first
            call = lambda own: rows_from(row + own.start, *given)
            found = cores.in_parts(self._parts, call, self._rows)
            return tf.nest.map_structure(lambda *values: tf.concat(values, 0), *found)

        parts = self._distribution.run(on_replica, inputs, seed, first)
        return tf.nest.map_structure(self._distribution.concat, parts)

    def _run(self, inputs: dict, seed: Seed) -> Any:
        with xla.in_pieces(self._in_pieces):
            return self._function(inputs, seed)


def inputs_given(condition: Any, count: int) -> Callable[[Any], dict[str, Any]]:
    """part, a slice or indices -> its rows' inputs, told conditions [1, ...] or [count, ...]."""
    if condition is None:
        return lambda part: {}
    rows = np.broadcast_to(condition, (count, *np.shape(condition)[1:]))
    return lambda part: {"condition": rows[part]}


def score_given(state: Any, inputs: Mapping[str, Any]) -> ScoreFn:
    """The score of the average's weights, given the ``condition`` of a runner's inputs, if any."""
    condition = inputs.get("condition")
    if condition is None:
        return state.score.score_fn(state.average)
    rows = int(condition.shape[0])  # what stacks copies of x shares the condition among them
    return state.score.score_fn(state.average, batch=rows, condition=condition)


__all__ = ["Runner", "inputs_given", "score_given"]
