"""Images with their own low-resolution versions as conditions, for super-resolution."""

from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data.around import Around
from lcss_tf.data.conditions import standardising
from lcss_tf.data.moments import RunningMoments
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Tensor

_MEASURED = 1_024  # images whose low-resolution versions are measured


@DATASETS.register
class LowResolution(Around):
    """Another dataset's examples, each with its means over blocks of `factor` pixels as condition.

    The condition has the sides of the example: each mean fills its block. It is in the units of the
    data: of 28-pixel images and the factor 2, ``low.repeat(2, 1).repeat(2, 2)`` makes conditions of
    images `low` [N, 14, 14, 1]. Signals and volumes are averaged along all of their sides.

    Args:
      data: the dataset, an object of `DATASETS`.
      factor: the side of a block, at least 2.

    Raises:
      UsageError: a factor that does not divide the sides, or data that have no sides.
    """

    def __init__(self, data: Any, factor: int = 2) -> None:
        sides = tuple(data.shape)[:-1]
        if factor < 2 or not sides or any(side % factor for side in sides):
            raise UsageError(
                f"LowResolution.factor must be at least 2 and divide the sides {sides} of the "
                f"examples of {data.name}; got {factor}."
            )
        super().__init__(data)
        self.factor = factor
        self.condition = self._means = _BlockMeans(data, factor)

    def pipeline(
        self,
        batches: tf.data.Dataset,
        split: str = "train",
        seed: int = 0,
        condition: ConditionSpec | None = None,
    ) -> tf.data.Dataset:
        """See `Dataset.pipeline`. The examples are read once, and averaged as they are seen."""
        if condition is None or condition.is_class:
            return super().pipeline(batches, split, seed, condition)
        self.check_condition(condition, split)
        examples = super().pipeline(batches, split, seed)

        @tf.autograph.experimental.do_not_convert  # plain Python: data may be opened in here
        def with_condition(x: Tensor) -> tuple[Tensor, Tensor]:
            return x, self._means.of_examples(x)

        return examples.map(with_condition, num_parallel_calls=tf.data.AUTOTUNE, deterministic=True)


class _BlockMeans(Around):
    """The block means of a dataset's examples, in its units, each channel standardised."""

    def __init__(self, data: Any, factor: int) -> None:
        super().__init__(data)
        self.name = f"{data.name} at 1/{factor} of its sides"
        self.columns, self.condition, self._factor = (), None, factor
        self._measured: Scaling | None = None

    @property
    def scaling(self) -> Scaling:  # type: ignore[override]  # an attribute where nothing is measured
        """Known once the data are; see `Dataset`."""
        if self._measured is None:
            with tf.init_scope():  # outside any graph that is being traced
                raw = self._raw(self.data.some_examples(_MEASURED, "train")).numpy()
                flat, moments = raw.reshape(-1, raw.shape[-1]), RunningMoments(axis=0)
                moments.add(flat.copy())
                self._measured = standardising(moments, flat, np.dtype(np.float32), self.name)
        return self._measured

    def _raw(self, examples: Tensor) -> Tensor:
        """The block means of scaled examples [B, ...], in the data's units, float64."""
        raw = self.data.scaling.invert(examples)
        sides, factor = self.shape[:-1], self._factor
        blocks = [size for side in sides for size in (side // factor, factor)]
        axes = list(range(2, 2 * len(sides) + 1, 2))
        means = tf.reduce_mean(tf.reshape(raw, [-1, *blocks, self.shape[-1]]), axes, keepdims=True)
        times = [1, *[1, factor] * len(sides), 1]
        return tf.reshape(tf.tile(means, times), [-1, *self.shape])

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """See `Dataset.examples`."""
        return self.of_examples(self.data.examples(indices, split, seed))

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """See `Dataset.augmented`: of the examples as they are augmented."""
        return self.of_examples(self.data.augmented(indices, positions, split, seed))

    def of_examples(self, examples: Tensor) -> Tensor:
        """The conditions of scaled examples [B, ...]."""
        return tf.ensure_shape(self.scaling.scale(self._raw(examples)), examples.shape)


__all__ = ["LowResolution"]
