"""A dataset in another scaling than its own."""

from typing import Any

import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.around import Around
from lcss_tf.data.base import DataInfo
from lcss_tf.data.pipeline import Shards
from lcss_tf.data.scaling import Scaling
from lcss_tf.typing import Tensor


def rescaled(data: Any, scaling: Scaling, condition: Scaling | None = None) -> Any:
    """The dataset, scaled by `scaling`: itself where that is its own, otherwise a `Rescaled`.

    Args:
      data: the dataset.
      scaling: of its examples.
      condition: of its conditions; None: their own.
    """
    info = data.info()
    own = None if info.condition is None else info.condition.scaling
    if info.scaling == scaling and condition in (None, own):
        return data
    return Rescaled(data, scaling, condition)


def as_described(data: Any, info: DataInfo) -> Any:
    """The dataset in the scalings of a description: of its examples, and of their conditions."""
    known = info.condition if getattr(data, "condition", None) is not None else None
    return rescaled(data, info.scaling, None if known is None else known.scaling)


class Rescaled(Around):
    """Another dataset's examples as another scaling has them.

    So a network that was trained on data of one mean and standard deviation sees later data in the
    same units, though their own mean and standard deviation differ. What else the dataset offers is
    offered here too.

    Args:
      data: the dataset.
      scaling: the other scaling, of the same features.
      condition: the other scaling of its conditions, where it has some; None: their own.
    """

    def __init__(self, data: Any, scaling: Scaling, condition: Scaling | None = None) -> None:
        super().__init__(data)
        self.scaling, self._own = scaling, data.scaling
        beside = getattr(data, "condition", None)
        known = None if beside is None else condition
        self.condition = beside if known is None else rescaled(beside, known)

    def _again(self, examples: Tensor) -> Tensor:
        return tf.ensure_shape(self.scaling.scale(self._own.invert(examples)), examples.shape)

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """See `Dataset.examples`."""
        return self._again(self.data.examples(indices, split, seed))

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """See `Dataset.augmented`."""
        return self._again(self.data.augmented(indices, positions, split, seed))

    def training_pipeline(
        self,
        global_batch: int,
        seed: int,
        start_step: int = 0,
        shards: Shards | None = None,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """See `Dataset.training_pipeline`."""
        batches = self.data.training_pipeline(global_batch, seed, start_step, shards, condition)
        beside = self.condition if condition is not None and not condition.is_class else None
        again = getattr(beside, "_again", lambda values: values)  # of conditions that are rescaled

        @tf.autograph.experimental.do_not_convert
        def scaled(x: Tensor, *conditions: Tensor) -> Any:
            return (self._again(x), *map(again, conditions)) if conditions else self._again(x)

        return batches.map(scaled)


__all__ = ["Rescaled", "as_described", "rescaled"]
