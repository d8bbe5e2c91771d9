"""Devices, replicas and workers. The only module that knows ``tf.distribute``."""

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.data.pipeline import fetch_in_blocks
from lcss_tf.errors import TemporaryError, UsageError
from lcss_tf.training.cluster import find_cluster, waiting_for_others
from lcss_tf.typing import Tensor


class WorkerLostError(TemporaryError, RuntimeError):
    """Another worker ended or cannot be reached; training resumes from the last checkpoint."""


class Distribution:
    """How a step is spread over devices, machines and processes.

    Args:
      num_replicas: of "mirrored"; by default one for each GPU. Without GPUs, one for each logical
        CPU device that the process has configured, mostly one. More replicas than GPUs share the
        CPU as logical devices: slower than one, but real replicas, to try things with.
      strategy: "mirrored": this machine's GPUs, or its CPU. "multi_worker": one process on each
        of several machines, as the environment describes them (`lcss_tf.training.cluster`); every
        process runs the same command, and the first, the chief, writes. "one_device": the first
        GPU, or the CPU, without copies. "tpu": the TPU that the environment names.
      start_timeout_s: how long workers wait for one another at the start, in seconds.

    Raises:
      ValueError: no such strategy, or the devices cannot be had.
    """

    def __init__(
        self,
        num_replicas: int | None = None,
        strategy: str = "mirrored",
        start_timeout_s: float = 600.0,
    ) -> None:
        if strategy not in _STRATEGIES:
            raise UsageError(
                f"Distribution.strategy must be one of {', '.join(sorted(_STRATEGIES))}; got "
                f"{strategy!r}."
            )
        if num_replicas is not None and strategy != "mirrored":
            raise UsageError(
                f"Distribution.num_replicas = {num_replicas} is for the strategy mirrored; "
                f"{strategy} takes the devices there are."
            )
        self.strategy = strategy
        self._strategy = _STRATEGIES[strategy](num_replicas, start_timeout_s)
        resolver = self._strategy.cluster_resolver if strategy == "multi_worker" else None
        self.num_workers = resolver.cluster_spec().num_tasks("worker") if resolver else 1
        self.worker = resolver.task_id if resolver else 0

    @property
    def num_replicas(self) -> int:
        """Replicas in sync, on all workers."""
        return self._strategy.num_replicas_in_sync

    @property
    def is_chief(self) -> bool:
        """Whether this process writes: checkpoints, summaries, pictures, figures."""
        return self.worker == 0

    def text(self) -> str:
        """For people: ``2 (mirrored)``."""
        workers = f", worker {self.worker} of {self.num_workers}" if self.num_workers > 1 else ""
        return f"{self.num_replicas} ({self.strategy}{workers})"

    def rows_per_replica(self, global_batch: int, what: str = "batch_size") -> int:
        """Examples that each replica gets.

        Raises:
          ValueError: the batch is not divisible by the number of replicas.
        """
        if isinstance(global_batch, bool) or int(global_batch) != global_batch or global_batch < 1:
            raise UsageError(
                f"{what} must be a whole number of examples, at least 1 for each of the "
                f"{self.num_replicas} replicas; got {global_batch!r}."
            )
        rows, rest = divmod(int(global_batch), self.num_replicas)
        if rest or not rows:
            lower = max(global_batch - rest, self.num_replicas)
            raise UsageError(
                f"{what} = {global_batch} is not divisible by the {self.num_replicas} replicas; "
                f"use {lower} or {lower + self.num_replicas}, say, or set "
                "Distribution.num_replicas."
            )
        return rows

    def scope(self) -> Any:
        """Context in which variables are created on every replica."""
        return self._strategy.scope()

    def run(self, function: Callable, *args: Any) -> Any:
        """Runs `function` on every replica; per-replica values in and out."""
        return self._strategy.run(function, args=args)

    def first(self, values: Any) -> Any:
        """The first local replica's part of a structure of per-replica values."""
        return tf.nest.map_structure(
            lambda value: self._strategy.experimental_local_results(value)[0], values
        )

    def concat(self, values: Any) -> Tensor:
        """Per-replica tensors [B, ...] joined along the batch axis, in the replicas' order.

        Those of all workers, who must all ask for it.
        """
        local = self._strategy.experimental_local_results(values)
        if self.num_workers == 1:
            return tf.concat(local, axis=0)
        shape = local[0].shape
        if 0 in shape:  # TensorFlow's collective ends the process on such
            return tf.zeros([shape[0] * self.num_replicas, *shape[1:]], local[0].dtype)
        return self._strategy.gather(values, axis=0)

    def from_chief(self, arrays: list) -> list:
        """The chief's values of a list of arrays, whose shapes and types all workers know.

        All workers must ask for it. Alone, a process gets its own back.
        """
        if self.num_workers == 1:
            return arrays
        values = [tf.convert_to_tensor(array) for array in arrays]

        @tf.function(autograph=False)
        def share(values):
            def on_replica(values):
                chiefs = tf.equal(replica_row(1), 0)
                # One by one: the strategy packs a list, and these are of several types.
                return [all_reduce_sum([tf.where(chiefs, _summable(v), 0)])[0] for v in values]

            return self.first(self.run(on_replica, values))

        shared = share(values)
        return [tf.cast(s, v.dtype).numpy() for s, v in zip(shared, values, strict=True)]

    def meet(self) -> None:
        """Waits until all workers are here."""
        self.from_chief([np.zeros(1, np.int32)])

    def batches(self, make_dataset: Callable, global_batch: int) -> Iterator:
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

        devices = self._strategy.extended.worker_devices
        if any("GPU" in device.upper() or "TPU" in device.upper() for device in devices):
            return iter(self._strategy.distribute_datasets_from_function(for_host))
        context = tf.distribute.InputContext(self.num_workers, self.worker, self.num_replicas)
        return self._host_batches(for_host(context))

    def _host_batches(self, dataset):
        """Per-replica batches without the strategy's device iterators.

        On the CPU there is nothing to copy to, and those iterators set malloc's trim
        threshold to 128 kB: every step then gives its memory back to the kernel.
        """
        parts = fetch_in_blocks(dataset)
        while True:
            yield self._strategy.experimental_distribute_values_from_function(lambda _: next(parts))

    def update(self, variable: Any, function: Callable, *args: Any) -> None:
        """Applies function(variable, *args) to a variable on each device (cross-replica)."""
        if self.num_replicas == 1:  # it may have been created outside the scope
            function(variable, *args)
        else:
            self._strategy.extended.update(variable, function, args=args, group=False)

    def owns(self, variable: Any) -> bool:
        """Whether the variable was created under the scope: every replica then has it."""
        value = getattr(variable, "value", variable)
        return self._strategy.extended.variable_created_in_scope(value)


@contextlib.contextmanager
def watching_workers() -> Iterator[None]:
    """Says what it means if the other workers cannot be reached any more in the block.

    Raises:
      WorkerLostError: one was lost.
    """
    try:
        yield
    except _LOST as error:
        if not _joined:  # alone: the error is about something else
            raise
        cluster = _joined[0]
        raise WorkerLostError(
            f"Worker {cluster.index} of {len(cluster.workers)} lost the others "
            f"({type(error).__name__}: {_reason(error)}). Nothing before the last checkpoint is "
            "lost: start all workers again by the same command, or run each with "
            "--max_restarts=10, which does so by itself."
        ) from error


_joined: list[Any] = []  # the cluster that this process is a worker of, once it is
# What a collective raises if another worker is gone.
_LOST = (
    tf.errors.UnavailableError,
    tf.errors.CancelledError,
    tf.errors.AbortedError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.FailedPreconditionError,
)


def _reason(error):
    """The line of TensorFlow's message that says most."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    telling = [line for line in lines if "abort" in line or "closed" in line or "task" in line]
    return (telling or lines or [""])[0][:200]


def replica_row(rows: int) -> Tensor:
    """In a replica: index in the global batch of its first example, with `rows` per replica."""
    return tf.distribute.get_replica_context().replica_id_in_sync_group * rows


def all_reduce_sum(tensors: list) -> list:
    """In a replica: the sum over all replicas of each tensor of a list."""
    return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, tensors)


def _summable(value):
    """In a type that collectives add, without loss."""
    if value.dtype in (tf.float32, tf.float64, tf.int32, tf.int64):
        return value
    return tf.cast(value, tf.float32 if value.dtype.is_floating else tf.int64)


def device_names(num_replicas: int | None) -> tuple[str, ...] | None:
    """Device names, or None for the strategy's own choice; see `Distribution`.

    Raises:
      ValueError: there are not as many.
    """
    gpus = tf.config.list_physical_devices("GPU")
    cpu = tf.config.list_physical_devices("CPU")[0]
    if num_replicas is None:
        logical = tf.config.get_logical_device_configuration(cpu) or [None]
        return None if gpus else tuple(f"/cpu:{i}" for i in range(len(logical)))
    if num_replicas < 1:
        raise UsageError(f"Distribution.num_replicas must be at least 1; got {num_replicas}.")
    if num_replicas <= len(gpus):
        return tuple(f"/gpu:{i}" for i in range(num_replicas))
    try:
        if tf.config.get_logical_device_configuration(cpu) is None:
            tf.config.set_logical_device_configuration(
                cpu, [tf.config.LogicalDeviceConfiguration()] * num_replicas
            )
    except RuntimeError:  # the devices are initialised already: use those there are
        pass
    cpus = tf.config.list_logical_devices("CPU")
    if len(cpus) < num_replicas:
        raise UsageError(
            f"Distribution.num_replicas = {num_replicas}, but this machine has {len(gpus)} GPUs "
            f"and {len(cpus)} logical CPU devices. Use at most {max(len(gpus), len(cpus))}."
        )
    return tuple(f"/cpu:{i}" for i in range(num_replicas))


@functools.cache
def _mirrored(devices):
    """One strategy for each set of devices: two of them in a process would number their
    collectives alike, and mix them up."""
    return tf.distribute.MirroredStrategy(devices)


@functools.cache
def _multi_worker(start_timeout_seconds):
    """The strategy waits for all workers: it must be made before anything is computed."""
    cluster = find_cluster(os.environ)
    os.environ["TF_CONFIG"] = cluster.tf_config()
    with waiting_for_others(cluster, start_timeout_seconds):
        try:
            strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except tf.errors.UnknownError as error:
            if "gRPC server" not in str(error):
                raise
            raise UsageError(
                f"Worker {cluster.index} cannot listen at {cluster.workers[cluster.index]} "
                f"({error.message}): another process has the port, or the address is not this "
                "machine's. End that process, or name another port to all workers: LCSS_TF_PORT "
                "under Slurm and Kubernetes, TF_CONFIG elsewhere. bin/launch.py takes free ports: "
                "start it again."
            ) from error
    _joined.append(cluster)
    return strategy


@functools.cache
def _one_device():
    device = "/gpu:0" if tf.config.list_physical_devices("GPU") else "/cpu:0"
    return tf.distribute.OneDeviceStrategy(device)


@functools.cache
def _tpu():
    try:
        resolver = tf.distribute.cluster_resolver.TPUClusterResolver.connect()
    except (ValueError, RuntimeError, tf.errors.OpError) as error:
        raise UsageError(
            f"The strategy tpu found no TPU ({str(error).splitlines()[0][:200]}). On a TPU VM set "
            "TPU_NAME=local; elsewhere the TPU's name. On GPUs use the strategy mirrored."
        ) from error
    return tf.distribute.TPUStrategy(resolver)


_STRATEGIES = {  # of (num_replicas, start_timeout_s)
    "mirrored": lambda num_replicas, _: _mirrored(device_names(num_replicas)),
    "multi_worker": lambda _, start_timeout_s: _multi_worker(start_timeout_s),
    "one_device": lambda *_: _one_device(),
    "tpu": lambda *_: _tpu(),
}
