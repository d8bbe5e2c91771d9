"""The types that pass between the parts, for annotations.

Shapes are written as in the documentation: B examples, x of shape [B, ...], t of shape [B].
"""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Tensor: TypeAlias = Any  # tf.Tensor, or what converts to one; TensorFlow ships no usable stubs
Array: TypeAlias = np.ndarray
Seed: TypeAlias = Any  # an int, or an int32 tensor [2] or [3]; see `lcss_tf.random`
Shape: TypeAlias = Sequence[int]
OpenShape: TypeAlias = Sequence[Any]  # of ints, and None where a size is open, as Keras builds on
Numbers: TypeAlias = Sequence[float] | Array
Network: TypeAlias = Any  # a keras.Model, called as network(x, cond) -> [B, ...]; see `networks`


class ScoreFn(Protocol):
    """∇log p_t(x), all that losses and samplers see of a model."""

    def __call__(self, x: Tensor, t: Tensor) -> Tensor:
        """The score at x [B, ...] and times t [B], float32, of the shape of x."""


class SDELike(Protocol):
    """What an author of an SDE writes; `lcss_tf.SDE` derives everything else from it."""

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t), of the shape of x."""

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """g(x, t), broadcastable to x."""

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """x_T of `shape` [B, ...]."""

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log p_T(x) in nats, [B]."""


class LossLike(Protocol):
    """A score-matching loss."""

    differentiates_score: bool

    def check(self, sde: Any) -> None:
        """Raises UsageError if the loss cannot train on the SDE."""

    def describe(self, sde: Any) -> str:
        """What the loss does on this SDE: a sentence for people."""

    def per_example(self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """The loss of each example before weighting, [B]."""

    def __call__(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, seed: Seed, global_batch: int | None = None
    ) -> Any:
        """Draws times, evaluates, weights and reduces: `LossValues`.

        A loss whose ``times`` have a state also takes it, by the keyword `state`.
        """


class SamplerLike(Protocol):
    """A sampler of the reverse process."""

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE lacks something that the sampler needs."""


class DatasetLike(Protocol):
    """Examples by index; see `lcss_tf.data.Dataset`."""

    name: str
    shape: tuple[int, ...]
    kind: str

    def size(self, split: str = "train") -> int | None:
        """The number of examples of a split; None where they are endless."""

    def examples(self, indices: Any, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`, scaled, float32 [B, *shape]."""

    def some_examples(self, count: int, split: str = "train", seed: int = 0) -> Tensor:
        """`count` examples spread over a split, scaled."""

    def spread_indices(self, count: int, split: str = "train") -> Array:
        """The indices of `some_examples`."""

    def require(self, split: str = "train") -> None:
        """Raises at once if a split cannot be read."""

    def check_condition(self, spec: Any, split: str = "train") -> None:
        """Raises unless a split has the conditions that a network's `ConditionSpec` asks for."""

    def conditions(self, spec: Any, split: str = "train", seed: int = 0) -> Any:
        """(indices, positions=None) -> the conditions, as the network takes them."""

    def some_conditions(
        self, spec: Any, count: int, split: str = "train", seed: int = 0
    ) -> Tensor | None:
        """The conditions of `some_examples`; None where the network takes none."""

    def info(self) -> Any:
        """The `DataInfo`."""


class OperatorLike(Protocol):
    """An operator H of an inverse problem y = H(x) + noise; see `lcss_tf.control.Operator`."""

    is_linear: bool
    selects: bool
    keeps_units: bool

    def observed_shape(self, shape: Shape) -> tuple[int, ...]:
        """The shape of one observation of an example of `shape`."""

    def check(self, y: Tensor, shape: Shape) -> None:
        """Raises UsageError unless y [B, ...] are observations of examples of `shape`."""

    def apply(self, x: Tensor) -> Tensor:
        """H(x)."""

    def shown(self, y: Tensor, shape: Shape) -> Tensor | None:
        """y as an example of `shape`; None where it is none."""

    def known(self, shape: Shape) -> Array | None:
        """Which coordinates are observed, where the operator `selects`."""


class LinearOperatorLike(OperatorLike, Protocol):
    """A linear operator A; see `lcss_tf.control.LinearOperator`."""

    def transpose(self, y: Tensor, shape: Shape) -> Tensor:
        """Aᵀ y, of shape [B, *shape]."""

    def pseudo_inverse(self, y: Tensor, shape: Shape) -> Tensor:
        """A⁺ y, of shape [B, *shape]."""

    def wiener(
        self, y: Tensor, shape: Shape, variance: float | Tensor, noise_variance: float
    ) -> Tensor:
        """v Aᵀ (v A Aᵀ + σ² I)⁻¹ y, of shape [B, *shape]."""

    def largest_gain(self, shape: Shape) -> float:
        """The largest eigenvalue of A Aᵀ."""

    def project(self, x: Tensor, y: Tensor) -> Tensor:
        """x + A⁺ (y − A x), of the shape of x."""


__all__ = [
    "Array",
    "DatasetLike",
    "LinearOperatorLike",
    "LossLike",
    "Network",
    "Numbers",
    "OpenShape",
    "OperatorLike",
    "SDELike",
    "SamplerLike",
    "ScoreFn",
    "Seed",
    "Shape",
    "Tensor",
]
