"""Augmented images, with labels that say how they were changed: samples are then not augmented."""

import math
from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.around import Around
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Tensor

TRANSFORMS = ("flip_x", "flip_y", "rotate90", "scale", "rotate", "stretch", "translate")
LABELS = 9  # numbers of a label
_USUAL = ("flip_x", "flip_y", "scale", "rotate", "stretch", "translate")
_DRAWS = 18  # uniform numbers of an image: whether each transform is applied, and how


@DATASETS.register
class Augmented(Around):
    """Another dataset's images, in training changed at random, and told how (Karras et al. 2022).

    The network is given the label of the change beside x and t. Samples are drawn with the label
    0, "not changed". So augmentation holds back overfitting of small data, and does not leak into
    samples. The network takes labels by its argument `augmentation_size`, which is 9.

    Each of `transforms` is applied with `probability`, independently of the others, in this order
    (Karras et al. 2020). Coordinates are (column, row), from the centre; n are from N(0, 1).

        flip_x, flip_y   mirrored left to right, top to bottom
        rotate90         rotated by 90°, 180° or 270°; square images alone
        scale            by 2^(scale_std · n)
        rotate           by an angle from U(−π, π)
        stretch          by 2^(stretch_std · n) along a direction φ from U(−π, π), and by its
                         inverse across it
        translate        by round(shift_std · side · n) pixels along each axis

    The label is (flip_x, flip_y, n of scale, cos θ − 1, sin θ, n cos 2φ, n sin 2φ of stretch, the
    pixels of translate over shift_std · side along x and y), θ the whole rotation. Since a stretch
    along φ and one along φ + π are the same, φ is told as 2φ.

    Values between pixels are interpolated linearly; beyond the border the image is reflected.
    Flips, rotations by 90° and translations are exact. A change is a pure function of the seed and
    the position in training, which are the epoch and the index. An image among the conditions is
    changed with its example. `examples`, and so all metrics, are never changed.

    Args:
      data: the dataset, an object of `DATASETS` with images.
      probability: of each transform, in [0, 1].
      transforms: names among those above.
      scale_std: of the binary logarithm of the scale.
      stretch_std: of the binary logarithm of the stretch.
      shift_std: of a translation, as a share of the side.

    Raises:
      UsageError: data that are no images or have labels of their own changes; unknown transforms;
        rotations by 90° of images that are not square; numbers out of range.
    """

    def __init__(
        self,
        data: Any,
        probability: float = 0.12,
        transforms: Sequence[str] = _USUAL,
        scale_std: float = 0.2,
        stretch_std: float = 0.2,
        shift_std: float = 0.125,
    ) -> None:
        shape, is_dataset = tuple(data.shape), hasattr(data, "augmented")
        if not is_dataset or len(shape) != 3 or getattr(data, "augmentation_size", None):
            raise UsageError(
                "Augmented expects a dataset of images (height, width, channels) that are not "
                f"Augmented yet; got {data.name if is_dataset else type(data).__name__} of shape "
                f"{shape}. Wrap the images, once; of an array, lcss_tf.data.from_user(array)."
            )
        unknown = sorted(set(transforms) - set(TRANSFORMS))
        if unknown:
            raise UsageError(f"Augmented.transforms are among {TRANSFORMS}; got {unknown}.")
        if "rotate90" in transforms and shape[0] != shape[1]:
            raise UsageError(
                f"Augmented.transforms has 'rotate90', and the images of {data.name} have sides "
                f"{shape[:2]}: only square ones come back to themselves. Leave it out, or use "
                "'rotate'."
            )
        spreads = scale_std, stretch_std, shift_std
        if not 0 <= probability <= 1 or min(spreads) <= 0:
            raise UsageError(
                "Augmented expects a probability from 0 to 1 and positive scale_std, stretch_std "
                f"and shift_std; got {probability} and {spreads}. Leave a transform out by "
                "Augmented.transforms."
            )
        super().__init__(data)
        self.augmentation_size = LABELS
        self.probability, self.transforms = probability, tuple(transforms)
        self.scale_std, self.stretch_std, self.shift_std = spreads
        if data.condition is not None:
            self.condition = _ChangedAlike(data.condition, self)

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """The other dataset's augmented examples, changed; see `Dataset.augmented`."""
        return self.changed(self.data.augmented(indices, positions, split, seed), positions, seed)

    def augmentations(self, positions: Tensor, seed: int = 0) -> Tensor:
        """The labels of the changes at some positions of the training: float32 [B, 9]."""
        key = hashing.stream_key(seed, "augment")
        u = hashing.uniform(key, positions, _DRAWS)
        applied = dict(zip(TRANSFORMS, tf.unstack(u[:, : len(TRANSFORMS)], axis=1), strict=True))

        def where(name: str, value: Tensor, otherwise: float = 0.0) -> Tensor:
            limit = self.probability if name in self.transforms else 0.0
            return tf.where(applied[name] < limit, value, otherwise)

        quarter, angle, direction, *normals = tf.unstack(u[:, len(TRANSFORMS) :], axis=1)
        n_scale, n_stretch, *n_shift = tf.unstack(
            hashing.to_normal(tf.stack(normals, axis=1)), axis=1
        )
        turns = where("rotate90", 1.0 + tf.floor(3.0 * quarter))
        theta = where("rotate", math.pi * (2.0 * angle - 1.0))
        cos, sin = _quarter_turned(tf.cos(theta), tf.sin(theta), turns)
        double = 2.0 * math.pi * (2.0 * direction - 1.0)
        one = tf.ones_like(quarter)
        height, width = self.shape[:2]
        shifts = [self.shift_std * side for side in (width, height)]
        return tf.stack(
            [
                where("flip_x", one),
                where("flip_y", one),
                where("scale", n_scale),
                cos - 1.0,
                sin,
                where("stretch", n_stretch * tf.cos(double)),
                where("stretch", n_stretch * tf.sin(double)),
                *[
                    where("translate", tf.round(shift * n) / shift)
                    for shift, n in zip(shifts, n_shift, strict=True)
                ],
            ],
            axis=1,
        )

    def changed(self, images: Tensor, positions: Tensor, seed: int = 0) -> Tensor:
        """Images [B, H, W, C] as they are changed at some positions of the training."""
        return self.transformed(images, self.augmentations(positions, seed))

    def transformed(self, images: Tensor, labels: Tensor) -> Tensor:
        """Images [B, H, W, C], changed as labels [B, 9] say; those of the label 0 bit for bit."""
        moved = tf.reduce_any(labels != 0.0, axis=1)
        some = tf.raw_ops.ImageProjectiveTransformV3(
            images=tf.boolean_mask(images, moved),
            transforms=self._to_sources(tf.boolean_mask(labels, moved)),
            output_shape=tf.constant(self.shape[:2]),
            fill_value=0.0,
            interpolation="BILINEAR",
            fill_mode="REFLECT",
        )
        result = tf.tensor_scatter_nd_update(images, tf.where(moved), some)
        return tf.ensure_shape(result, images.shape)

    def _to_sources(self, labels: Tensor) -> Tensor:
        """Where each pixel (x, y) comes from, (a x + b y + c, d x + e y + f): [B, 8].

        The inverse of the whole change, x' = c + S R F (x − c) + shift, with the stretch and the
        scale S, the rotation R, the flips F and the centre c.
        """
        flip_x, flip_y, n, cos, sin, cos_2, sin_2, *shifts = tf.unstack(labels, axis=1)
        cos = cos + 1.0
        height, width = self.shape[:2]
        centre = (width - 1) / 2, (height - 1) / 2
        # exp(−log S) = (cosh b − sinh b [[cos 2φ, sin 2φ], [sin 2φ, −cos 2φ]]) / scale
        stretch = tf.sqrt(cos_2**2 + sin_2**2)
        b = self.stretch_std * math.log(2.0) * stretch
        over = tf.math.divide_no_nan(tf.sinh(b), stretch)
        shrink = tf.pow(2.0, -self.scale_std * n)
        inverse = [
            [tf.cosh(b) - over * cos_2, -over * sin_2],
            [-over * sin_2, tf.cosh(b) + over * cos_2],
        ]
        back = [[cos, sin], [-sin, cos]]  # by −θ
        mirrors = 1.0 - 2.0 * flip_x, 1.0 - 2.0 * flip_y
        matrix = [
            [mirrors[i] * shrink * sum(back[i][k] * inverse[k][j] for k in (0, 1)) for j in (0, 1)]
            for i in (0, 1)
        ]
        moved = [
            c + tf.round(self.shift_std * side * shift)
            for c, side, shift in zip(centre, (width, height), shifts, strict=True)
        ]
        rows = [
            [*matrix[i], centre[i] - matrix[i][0] * moved[0] - matrix[i][1] * moved[1]]
            for i in (0, 1)
        ]
        return tf.stack([*rows[0], *rows[1], tf.zeros_like(n), tf.zeros_like(n)], axis=1)


class _ChangedAlike(Around):
    """Conditions beside augmented images: images among them are changed as their examples are.

    What they are is asked on use, since it is read with them.

    Args:
      data: the conditions, a `Dataset`.
      augmented: the `Augmented`.
    """

    def __init__(self, data: Any, augmented: Augmented) -> None:
        self.data, self._images = data, augmented

    @property
    def columns(self) -> tuple[str, ...]:  # type: ignore[override]
        """See `Dataset`."""
        return self.data.columns

    @property
    def raw_shape(self) -> tuple[int, ...] | None:  # type: ignore[override]
        """See `DataInfo`."""
        return self.data.raw_shape

    def augmented(
        self, indices: Tensor, positions: Tensor, split: str = "train", seed: int = 0
    ) -> Tensor:
        """See `Dataset.augmented`."""
        values = self.data.augmented(indices, positions, split, seed)
        is_image = len(values.shape) == 4
        return self._images.changed(values, positions, seed) if is_image else values


def _quarter_turned(cos: Tensor, sin: Tensor, turns: Tensor) -> tuple[Tensor, Tensor]:
    """(cos, sin) of an angle that is larger by 0 to 3 quarter turns, without rounding."""
    for _ in range(3):
        cos, sin, turns = (
            tf.where(turns > 0, -sin, cos), tf.where(turns > 0, cos, sin), turns - 1.0
        )  # fmt: skip
    return cos, sin


__all__ = ["LABELS", "TRANSFORMS", "Augmented"]
