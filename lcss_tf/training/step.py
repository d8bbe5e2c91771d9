"""One training step: loss and gradients under XLA, their sum over replicas, the update.

On one replica the whole step may be one program of XLA. On several its boundary is the
loss and gradients of one replica; the all-reduce, the clipping and the optimiser stay
outside, since XLA takes no collective of the strategy.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from lcss_tf import cores, random, xla
from lcss_tf.errors import UsageError
from lcss_tf.training.distribution import all_reduce_sum, replica_row
from lcss_tf.training.optimizers import has_kernel
from lcss_tf.training.state import TrainState
from lcss_tf.typing import LossLike, Seed, Tensor

_TIMES = "times/"  # before the names of what the time distribution keeps of a batch
NUM_BUCKETS = 10  # equal parts of [t_min, T] over which the loss is reported


class StepReport(NamedTuple):
    """What a step tells, all over the global batch; tensors on the first device.

    loss: weighted, reduced. terms: its parts by name. bucket_sums, bucket_counts: loss and
    examples by t-bucket, [NUM_BUCKETS], both with the importance weights of the times, so that
    their ratio is the mean loss there. gradient_norm: before clipping. learning_rate: used.
    finite: whether loss and gradients were, that is whether the step was taken.
    requests: how many replicas were asked to stop.
    scaling: of a network in float16: "scale", that of the loss in this step, and "overflowed",
    whether the step was skipped because that was too large (`LossScale`); empty of others.
    """

    loss: tf.Tensor
    terms: dict
    bucket_sums: tf.Tensor
    bucket_counts: tf.Tensor
    gradient_norm: tf.Tensor
    learning_rate: tf.Tensor
    finite: tf.Tensor
    requests: tf.Tensor
    scaling: dict = {}  # never changed


class TrainStep:
    """A compiled function: (per-replica batch, step number, stop) -> `StepReport`.

    `stop` says that this worker was asked to stop; the report tells it to all of them. `several`
    takes several steps in one call.

    Args:
      state: the `TrainState` that it updates.
      loss: a `Loss`.
      batch_size: examples per step over all replicas.
      seed: of all noise; the noise is a pure function of (seed, step, row).
      jit_compile: True: loss and gradients are one XLA program, on one replica the whole step.
        "pieces": a graph, of which XLA compiles what should be fused (see `lcss_tf.xla`). False:
        a graph. None: pieces on CPUs for a network that says `pieces_on_cpu`, else True. Where
        all cores share an operation, True too if the loss differentiates the score: the second
        derivative of the pieces is slow.
      clip_norm: the global norm of the summed gradients is clipped to it; None: never.
      condition_dropout: share of the conditions that become the null one, for a network that takes
        conditions; batches are then pairs (examples, conditions). For a network that takes labels
        of augmented examples, batches, pairs or not, are pairs with these.
      accumulation_steps: parts of each replica's batch that go through the network one after
        another: less memory, and the same step up to rounding, since noise and times belong to
        the rows of the global batch.

    Raises:
      ValueError: a replica's batch does not divide into as many parts.
    """

    def __init__(
        self,
        state: TrainState,
        loss: LossLike,
        batch_size: int,
        seed: int,
        jit_compile: bool | str | None = None,
        clip_norm: float | None = 1.0,
        condition_dropout: float = 0.1,
        accumulation_steps: int = 1,
    ) -> None:
        distribution = state.distribution
        self._state = state
        self._loss = loss
        state.attach_times(loss)
        self._distribution = distribution
        self._batch_size = batch_size
        self._rows = distribution.rows_per_replica(batch_size, "fit.batch_size")
        rows, rest = divmod(self._rows, max(accumulation_steps, 1))
        if accumulation_steps < 1 or rest:
            raise UsageError(
                f"TrainStep.accumulation_steps = {accumulation_steps} must divide the "
                f"{self._rows} examples of a replica."
            )
        # Parts that go through the network at the same time, and the rows of one of them.
        self.parts_at_once = 1
        if jit_compile is not False:
            replicas = distribution.num_replicas // distribution.num_workers
            self.parts_at_once = cores.parts(rows, state.num_parameters(), replicas)
        self.part_rows = rows // self.parts_at_once
        self.seed = seed
        self._clip_norm = clip_norm
        if not 0 <= condition_dropout <= 1:
            raise UsageError(
                f"TrainStep.condition_dropout is a share from 0 to 1; got {condition_dropout}."
            )
        self._spec = state.condition
        self._condition_dropout = condition_dropout
        self._variables = state.network.trainable_variables
        willing = getattr(state.network, "pieces_on_cpu", False)
        in_parts = self.parts_at_once > 1
        in_pieces = willing and (in_parts or not loss.differentiates_score)
        jit_compile = xla.mode(jit_compile, in_pieces)
        whole = jit_compile is True
        self._in_pieces = jit_compile == "pieces"
        # On one replica there is no collective in between: the update may be compiled as well. As a
        # program of its own it would keep one core busy alone, where an optimiser's kernels, one a
        # variable, keep all of them, and need no compiling.
        alone = distribution.num_replicas == 1
        kernel = (self._in_pieces or in_parts) and has_kernel(state.optimizer)
        self.many_workers = distribution.num_workers > 1
        self._compiled_gradients = tf.function(
            self.loss_and_gradients, jit_compile=whole or None, autograph=False
        )
        self.compiles_update = bool(jit_compile) and alone and not kernel
        self._compiled_update = tf.function(
            self._update, jit_compile=self.compiles_update or None, autograph=False
        )
        # Parts at the same time are programs of their own.
        step_whole = (whole and alone and not in_parts) or None
        self._compiled_step = tf.function(self.traced, jit_compile=step_whole, autograph=False)
        self._compiled_several = tf.function(
            self._traced_several, jit_compile=step_whole, autograph=False
        )

    def __call__(self, batch: Any, step: int, stop: bool = False) -> StepReport:
        """Takes step number `step`, from 0."""
        return self._compiled_step(batch, tf.constant(step, tf.int64), tf.constant(float(stop)))

    def several(self, batches: Sequence[Any], step: int, count: int) -> StepReport:
        """Takes the steps number `step`, `step` + 1, … in one call: the same as one by one.

        Args:
          batches: one for each step; those from `count` on are not used. Every length is compiled
            for itself.
          step: the number of the first, from 0.
          count: how many steps are taken, at most as many as there are batches.

        Returns:
          The steps' reports, in a first axis as long as `batches`; zeros from `count` on.
        """
        step, count = tf.constant(step, tf.int64), tf.constant(count)
        return self._compiled_several(tuple(batches), step, count)

    def _traced_several(self, batches, step, count):
        distribution, example = self._distribution, []

        def stack(*parts):
            return tf.nest.map_structure(lambda *values: tf.stack(values), *parts)

        stacked = distribution.run(stack, *batches)

        def take(i, reports):
            at = lambda values: tf.nest.map_structure(lambda value: value[i], values)
            batch = distribution.run(at, stacked)
            report = self.traced(batch, step + tf.cast(i, tf.int64), tf.constant(0.0))
            example[:] = [report]
            return i + 1, reports.write(i, _as_vector(report))

        reports = tf.TensorArray(tf.float32, len(batches))
        _, reports = tf.while_loop(
            lambda i, _: i < count, take, (tf.constant(0), reports), parallel_iterations=1
        )
        return _from_vectors(reports.stack(), example[0])

    def traced(
        self, batch: Any, step: Tensor, stop: Tensor, seed: Seed | None = None
    ) -> StepReport:
        """The step's operations, for a function that somebody else compiles.

        Args:
          batch, step, stop: see `TrainStep`.
          seed: of all noise, in place of the step's own.
        """
        with xla.in_pieces(self._in_pieces):
            seed = self.seed if seed is None else seed
            seed = random.seed_for(seed, "train", tf.cast(step, tf.int32))
        report, gradients, statistics = self._distribution.run(
            self._replica_step, batch, seed, stop
        )
        report, statistics = self._distribution.first((report, statistics))
        learning_rate = tf.identity(self._state.optimizer.learning_rate)
        overflowed = report["scaling"].get("overflowed")
        self._compiled_update(gradients, statistics, report["finite"], overflowed)
        return StepReport(learning_rate=learning_rate, **report)

    def _update(self, gradients, statistics, finite, overflowed):
        """The step of optimiser, averages and times, if the gradients are finite."""
        state = self._state

        def take():
            state.apply(gradients)
            state.ema.update(self._distribution, state.optimizer.iterations)
            if state.times:
                state.update_times(self._loss.times, statistics)
            return tf.constant(0)

        tf.cond(finite, take, lambda: tf.constant(0))
        if state.loss_scale is not None:
            state.loss_scale.update(self._distribution, finite, overflowed)

    def _replica_step(self, batch, seed, stop):
        """One replica's part: the report, the clipped gradients and what the times keep.

        All are summed over replicas.
        """
        sums, gradients = self._accumulated(batch, seed, replica_row(self._rows))
        sums["requests"] = stop[None]
        names = list(sums)
        sizes = [sums[name].shape[0] for name in names]
        packed = tf.concat([sums[name] for name in names], axis=0)
        *gradients, packed = all_reduce_sum([*gradients, packed])
        sums = dict(zip(names, tf.split(packed, sizes), strict=True))
        norm = tf.linalg.global_norm(gradients)
        loss = sums.pop("loss")[0]
        if self._clip_norm is not None:
            gradients, _ = tf.clip_by_global_norm(gradients, self._clip_norm, use_norm=norm)
        statistics = {name: sums.pop(f"{_TIMES}{name}") for name in self._state.times}
        report = {
            "loss": loss,
            "bucket_sums": sums.pop("bucket_sums"),
            "bucket_counts": sums.pop("bucket_counts"),
            "requests": sums.pop("requests")[0],
            "terms": {name: value[0] for name, value in sums.items()},
            "gradient_norm": norm,
            "finite": tf.math.is_finite(norm) & tf.math.is_finite(loss),
            "scaling": self._scaling(loss, norm),
        }
        return report, gradients, statistics

    def _scaling(self, loss, norm):
        """The report's `scaling`."""
        loss_scale = self._state.loss_scale
        if loss_scale is None:
            return {}
        overflowed = loss_scale.overflowed(loss, norm)
        return {"scale": tf.identity(loss_scale.scale), "overflowed": overflowed}

    def _accumulated(self, batch, seed, row):
        """`loss_and_gradients` of this replica's batch, whose first row is `row`, by parts."""

        def part(start):
            size = self.part_rows
            examples = tf.nest.map_structure(
                lambda x: tf.slice(x, [start, *[0] * (len(x.shape) - 1)], [size, *x.shape[1:]]),
                batch,
            )
            return self._compiled_gradients(examples, random.at_row(seed, row + start))

        if self.part_rows == self._rows:
            return self._compiled_gradients(batch, random.at_row(seed, row))
        rows = self.part_rows * self.parts_at_once

        def parts_from(start):
            found = cores.in_parts(self.parts_at_once, lambda own: part(start + own.start), rows)
            return tf.nest.map_structure(lambda *values: tf.add_n(values), *found)

        if rows == self._rows:
            return parts_from(0)
        count = self._rows // rows
        add = lambda i, total: (i + 1, tf.nest.map_structure(tf.add, total, parts_from(i * rows)))
        return tf.while_loop(
            lambda i, _: i < count, add, (tf.constant(1), parts_from(0)), parallel_iterations=1
        )[1]

    def loss_and_gradients(self, batch: Any, seed: Seed) -> tuple[dict, list]:
        """This replica's share of the sums over the global batch, and of the gradients.

        Args:
          batch: this replica's examples, or a part of them.
          seed: with the row of the first.
        """
        with xla.in_pieces(self._in_pieces):  # here: each replica is traced in a thread of its own
            return self._sums_and_gradients(batch, seed)

    def _sums_and_gradients(self, batch, seed):
        state, share = self._state, 1.0 / self._batch_size
        augmentation = None
        if state.augmentation_size is not None:
            batch, augmentation = batch
        x0, condition = self._examples_and_conditions(batch, seed)
        loss_scale = state.loss_scale
        scale = None if loss_scale is None else tf.identity(loss_scale.scale)
        with tf.GradientTape() as tape:
            score_fn = state.score.score_fn(
                state.network,
                random.fold_in(seed, "dropout"),
                batch=self.part_rows,
                condition=condition,
                augmentation=augmentation,
            )
            # A loss of a user's may know no state.
            told = {"state": {k: v.value for k, v in state.times.items()}} if state.times else {}
            values = self._loss(score_fn, state.sde, x0, seed, self._batch_size, **told)
            loss = share * tf.reduce_sum(values.per_example)
            scaled = loss if scale is None else scale * loss
        gradients = tape.gradient(
            scaled,
            [v.value for v in self._variables],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        if scale is not None:  # a power of two: no bit is lost
            gradients = [gradient / scale for gradient in gradients]
        sde = state.sde
        bucket = (values.t - sde.t_min) * (NUM_BUCKETS / (sde.T - sde.t_min))
        bucket = tf.clip_by_value(tf.cast(bucket, tf.int32), 0, NUM_BUCKETS - 1)
        in_bucket = tf.one_hot(bucket, NUM_BUCKETS)
        # Not a matrix product: 0 · NaN would spread one bad example over all buckets.
        per_example = tf.where(in_bucket > 0, values.per_example[:, None], 0.0)
        sums = {
            "loss": loss[None],
            "bucket_sums": tf.reduce_sum(per_example, axis=0),
            "bucket_counts": tf.reduce_sum(in_bucket * tf.reshape(values.weight, [-1, 1]), axis=0),
        }
        sums |= {f"{_TIMES}{name}": values.statistics[name] for name in state.times}
        for name, value in values.terms.items():
            sums[name] = share * tf.reduce_sum(value)[None]
        return sums, gradients

    def _examples_and_conditions(self, batch, seed):
        """x0, and the conditions, some of them null; None for a network without any."""
        if self._spec is None:
            return batch, None
        x0, condition = batch
        draws = random.uniform(random.fold_in(seed, "condition"), (self.part_rows,))
        return x0, self._spec.dropped(condition, draws < self._condition_dropout)


def _as_vector(report: StepReport) -> Tensor:
    """All numbers of a report in one vector: a loop need not know what terms a loss has."""
    values = [tf.reshape(tf.cast(v, tf.float32), [-1]) for v in tf.nest.flatten(report)]
    return tf.concat(values, axis=0)


def _from_vectors(vectors: Tensor, example: StepReport) -> StepReport:
    """`_as_vector` undone for a matrix of them: the fields of `example`, with a first axis."""
    parts = tf.nest.flatten(example)
    columns = tf.split(vectors, [v.shape.num_elements() for v in parts], axis=1)
    fields = [
        tf.cast(tf.reshape(column, [-1, *part.shape]), part.dtype)
        for column, part in zip(columns, parts, strict=True)
    ]
    return tf.nest.pack_sequence_as(example, fields)
