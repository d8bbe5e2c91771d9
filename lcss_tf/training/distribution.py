"""Devices and replicas. The only module that knows ``tf.distribute``."""

import functools

import gin
import tensorflow as tf

from lcss_tf.data.handing import handed_over


@gin.configurable("distribution")
class Distribution:
    """A MirroredStrategy over this machine's devices.

    Args:
      num_replicas: by default one for each GPU, or one on the CPU. On a machine without
        enough GPUs, more replicas share the CPU as logical devices: slower than one, but
        real replicas, to try things with.

    Raises:
      ValueError: the devices cannot be had.
    """

    def __init__(self, num_replicas=None):
        devices = _devices(num_replicas)
        self._strategy = _mirrored(devices)
        self._on_gpus = not devices or "gpu" in devices[0]

    @property
    def num_replicas(self):
        """Replicas in sync."""
        return self._strategy.num_replicas_in_sync

    def rows_per_replica(self, global_batch, what="batch_size"):
        """Examples that each replica gets.

        Raises:
          ValueError: the batch is not divisible by the number of replicas.
        """
        rows, rest = divmod(global_batch, self.num_replicas)
        if rest or not rows:
            lower = max(global_batch - rest, self.num_replicas)
            raise ValueError(
                f"{what} = {global_batch} is not divisible by the {self.num_replicas} replicas; "
                f"use {lower} or {lower + self.num_replicas}, say, or set "
                "distribution.num_replicas."
            )
        return rows

    def scope(self):
        """Context in which variables are created on every replica."""
        return self._strategy.scope()

    def run(self, function, *args):
        """Runs `function` on every replica; per-replica values in and out."""
        return self._strategy.run(function, args=args)

    def first(self, values):
        """The first local replica's part of a structure of per-replica values."""
        return tf.nest.map_structure(
            lambda value: self._strategy.experimental_local_results(value)[0], values
        )

    def concat(self, values):
        """Per-replica tensors [B, ...] joined along the batch axis, in the replicas' order."""
        return tf.concat(self._strategy.experimental_local_results(values), axis=0)

    def batches(self, make_dataset, global_batch):
        """An iterator of per-replica batches.

        Args:
          make_dataset: shards -> tf.data.Dataset; `shards` are the parts (first_row, rows)
            of the global batch that this host delivers in turn at every step.
          global_batch: examples per step over all replicas.
        """
        rows = self.rows_per_replica(global_batch)

        def for_host(context):
            local = self.num_replicas // context.num_input_pipelines
            first = context.input_pipeline_id * local
            return make_dataset(tuple(((first + i) * rows, rows) for i in range(local)))

        if self._on_gpus:
            return iter(self._strategy.distribute_datasets_from_function(for_host))
        return self._host_batches(for_host(tf.distribute.InputContext()))

    def _host_batches(self, dataset):
        """Per-replica batches without the strategy's device iterators.

        On the CPU there is nothing to copy to, and those iterators set malloc's trim
        threshold to 128 kB: every step then gives its memory back to the kernel.
        """
        parts = handed_over(dataset)
        while True:
            yield self._strategy.experimental_distribute_values_from_function(lambda _: next(parts))

    def update(self, variable, function, *args):
        """Applies function(variable, *args) to a variable on each device (cross-replica)."""
        self._strategy.extended.update(variable, function, args=args, group=False)


def replica_row(rows):
    """In a replica: index in the global batch of its first example, with `rows` per replica."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group * rows


def all_reduce_sum(tensors):
    """In a replica: the sum over all replicas of each tensor of a list."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


@functools.cache
def _mirrored(devices):
    """One strategy for each set of devices: two of them in a process would number their
    collectives alike, and mix them up."""
    return tf.distribute.MirroredStrategy(devices)


def _devices(num_replicas):
    """Device names, or None for the strategy's own choice."""
    gpus = tf.config.list_physical_devices("GPU")
    if num_replicas is None:
        return None if gpus else ("/cpu:0",)
    if num_replicas < 1:
        raise ValueError(f"distribution.num_replicas must be at least 1; got {num_replicas}.")
    if num_replicas <= len(gpus):
        return tuple(f"/gpu:{i}" for i in range(num_replicas))
    cpu = tf.config.list_physical_devices("CPU")[0]
    try:
        if tf.config.get_logical_device_configuration(cpu) is None:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas
            )
    except RuntimeError:  # the devices are initialised already: use those there are
        pass
    cpus = tf.config.list_logical_devices("CPU")
    if len(cpus) < num_replicas:
        raise ValueError(
            f"distribution.num_replicas = {num_replicas}, but this machine has {len(gpus)} GPUs "
            f"and {len(cpus)} logical CPU devices. Use at most {max(len(gpus), len(cpus))}."
        )
    return tuple(f"/cpu:{i}" for i in range(num_replicas))
