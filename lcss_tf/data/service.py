"""Decoding on other hosts, by tf.data service: the same batches in the same order."""

import socket
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.around import Around
from lcss_tf.data.pipeline import Shards, index_batches
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.texts import visible
from lcss_tf.typing import Tensor

_CONNECT_S = 5.0  # in which a dispatcher must answer


@DATASETS.register
class DataService(Around):
    """Another dataset, whose training batches are read and decoded by tf.data service.

    **Order.** Of K services, service k makes the batches k, k + K, k + 2K, …, and they are taken in
    turn. Each batch carries its number, which is checked: the batches are those without a service,
    bit for bit, and resuming is a jump; a batch that is lost, doubled or late ends the run with an
    error, and the run resumes. Of the service's modes only ``ShardingPolicy.OFF`` with one worker
    for each dispatcher keeps the order: dynamic sharding and several workers do not, and are not
    offered. For more hosts give more services.

    **Workers** read the files themselves, under the same paths, and run TensorFlow's operations
    alone. What Python decodes (members of ZIP archives, Parquet, rare formats of images) is not
    for them. Held-out examples, metrics and pictures are read here.

    Args:
      data: the dataset, an object of `DATASETS`; of images with ``cache_mib = 0``, for what is
        cached is sent to the workers.
      service: the address of a dispatcher, as ``"grpc://host:5000"``, or several.

    Raises:
      UsageError: no address, or data whose examples have no index.
    """

    def __init__(self, data: Any, service: str | Sequence[str]) -> None:
        super().__init__(data)
        self.services = [service] if isinstance(service, str) else list(service)
        for place in self.services:
            protocol, _, address = place.partition("://")
            if not protocol or not address.rpartition(":")[2].isdigit():
                raise UsageError(
                    "DataService.service is the address of a dispatcher, as grpc://host:5000, or "
                    f"several; got {visible(place)!r}."
                )
        if not self.services or len(set(self.services)) < len(self.services):
            raise UsageError(
                "DataService.service names one dispatcher or several different ones; got "
                f"{self.services}."
            )
        if not self.random_access:
            raise UsageError(
                f"{data.name} is a tf.data.Dataset, whose order is its own. Call its own "
                ".apply(tf.data.experimental.service.distribute(…)), or pass files or arrays."
            )

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`; of the training split the dispatchers must answer.

        Raises:
          UsageError: one does not.
        """
        super().require(split)
        if split == "train":
            for place in self.services:
                _check_answers(place)

    def training_pipeline(
        self,
        global_batch: int,
        seed: int,
        start_step: int = 0,
        shards: Shards | None = None,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """See `Dataset.training_pipeline`."""
        self.require("train")
        count = len(self.services)
        indices = index_batches(self.size("train"), global_batch, seed, start_step, shards)
        numbers = tf.data.Dataset.range(tf.int64.max)
        parts = []
        for k, place in enumerate(self.services):
            batches = self.data.pipeline(indices.shard(count, k), "train", seed, condition)
            numbered = tf.data.Dataset.zip((numbers.shard(count, k), batches))
            parts.append(
                numbered.apply(
                    tf.data.experimental.service.distribute(
                        tf.data.experimental.service.ShardingPolicy.OFF, place
                    )
                )
            )
        merged = parts[0]
        if count > 1:
            turns = tf.data.Dataset.range(count).repeat()
            merged = tf.data.Dataset.choose_from_datasets(parts, turns)

        @tf.autograph.experimental.do_not_convert
        def checked(expected: Tensor, numbered: tuple[Tensor, Any]) -> Any:
            number, batch = numbered
            message = (
                "tf.data service gave another batch than expected: one was lost or doubled. Give "
                "each dispatcher one worker, and start again: training resumes."
            )
            alike = tf.debugging.assert_equal(number, expected, message)
            with tf.control_dependencies([alike] if alike is not None else []):
                return tf.nest.map_structure(tf.identity, batch)

        return tf.data.Dataset.zip((numbers, merged)).map(checked)


def _check_answers(service: str) -> None:
    host, _, port = service.partition("://")[2].rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        raise UsageError(
            f"No dispatcher of tf.data service answers at {visible(service)} ({error}). Start one, "
            "tf.data.experimental.service.DispatchServer, and a worker, or set "
            "DataService.service to its address."
        ) from error


__all__ = ["DataService"]
