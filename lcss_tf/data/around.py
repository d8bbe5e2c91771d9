"""A dataset around another: what it does not change is the other's."""

from typing import Any

from lcss_tf.data.base import Dataset
from lcss_tf.typing import Array, Tensor


class Around(Dataset):
    """The base of datasets that change the examples, the scaling or the conditions of another.

    A subclass overrides what differs. All else is the other's, what only its class offers too.

    Args:
      data: the other dataset.
    """

    def __init__(self, data: Any) -> None:
        self.data = data
        self.name, self.shape, self.kind = data.name, data.shape, data.kind
        self.columns, self.raw_shape = data.columns, data.raw_shape
        self.condition, self.random_access = data.condition, data.random_access
        self.augmentation_size = getattr(data, "augmentation_size", None)

    def __getattr__(self, name: str) -> Any:
        if name == "data":  # not there yet: a copy that is being made
            raise AttributeError(name)
        return getattr(self.data, name)

    def size(self, split: str = "train") -> int | None:
        """See `Dataset.size`."""
        return self.data.size(split)

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """See `Dataset.examples`."""
        return self.data.examples(indices, split, seed)

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """See `Dataset.augmented`."""
        return self.data.augmented(indices, positions, split, seed)

    def labels(self, split: str = "train") -> Array | None:
        """See `Dataset.labels`."""
        return self.data.labels(split)

    def class_names(self) -> list[str]:
        """See `Dataset.class_names`."""
        return self.data.class_names()

    def fingerprint(self) -> dict[str, Any] | None:
        """See `Dataset.fingerprint`."""
        return self.data.fingerprint()

    def require(self, split: str = "train") -> None:
        """See `Dataset.require`."""
        self.data.require(split)

    def check_examples(self, indices: Tensor, split: str = "train") -> None:
        """See `Dataset.check_examples`."""
        self.data.check_examples(indices, split)

    def spread_indices(self, count: int, split: str = "train") -> Array:
        """See `Dataset.spread_indices`."""
        return self.data.spread_indices(count, split)


__all__ = ["Around"]
