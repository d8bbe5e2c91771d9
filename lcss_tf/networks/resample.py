"""Resampling by two along every spatial axis: a FIR filter, or nearest and average.

A FIR filter [k_0, ..., k_{K-1}]/Σk acts axis by axis, as a sum of K shifted slices. It equals a
depthwise convolution with the outer product of the taps (StyleGAN2's `upfirdn`), with zeros beyond
the border. XLA's CPU backend has no fast depthwise convolution: the sums run many times faster.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from lcss_tf import xla
from lcss_tf.networks.layers import Block, Conv, feature_shape, register
from lcss_tf.typing import OpenShape, Tensor


def _spatial_axes(x):
    return range(1, x.shape.rank - 1)


def _taps(kernel, gain=1.0):
    """The normalised taps in the order of a correlation."""
    total = sum(kernel)
    return [gain * tap / total for tap in reversed(kernel)]


def _along(axis, rank, part):
    """An index that takes `part` of one axis and everything of the others."""
    return tuple(part if i == axis else slice(None) for i in range(rank))


def _pad(x, axis, before, after):
    """Zeros before and after along an axis; negative numbers cut off."""
    size = x.shape[axis]
    x = x[_along(axis, x.shape.rank, slice(max(0, -before), size - max(0, -after)))]
    pads = [(max(0, before), max(0, after)) if i == axis else (0, 0) for i in range(x.shape.rank)]
    return tf.pad(x, pads)


def _filter(x, axis, taps, before, after, stride=1):
    """Σ_j taps[j] x[stride·m + j − before] along an axis."""
    size = x.shape[axis] + before + after - len(taps) + 1
    x = _pad(x, axis, before, after)
    rank = x.shape.rank
    return sum(
        tap * x[_along(axis, rank, slice(j, j + size, stride))] for j, tap in enumerate(taps)
    )


def _filter_upsampled(x, axis, taps, before, extra=0):
    """Filters the sequence x_0, 0, x_1, 0, ... along an axis; 2·(size + extra) values result.

    Value 2n + r takes the taps j with j + r − before even, at place n + (j + r − before)/2 of
    x. Both phases are made in one broadcast sum over an axis of size two behind `axis`.
    """
    size = x.shape[axis] + extra
    weights = {}
    for j, tap in enumerate(taps):
        for phase in (0, 1):
            offset, odd = divmod(j + phase - before, 2)
            if not odd:
                weights.setdefault(offset, [0.0, 0.0])[phase] = tap
    first, last = min(weights), max(weights)
    padded = tf.expand_dims(_pad(x, axis, -first, last + extra), axis + 1)
    rank = padded.shape.rank
    phases = [2 if i == axis + 1 else 1 for i in range(rank)]
    y = sum(
        tf.reshape(tf.constant(pair, x.dtype), phases)
        * padded[_along(axis, rank, slice(offset - first, offset - first + size))]
        for offset, pair in weights.items()
    )
    return _merge(y, axis)


def _merge(x, axis):
    """Merges axes `axis` and `axis` + 1; only the batch may be unknown."""
    shape = x.shape.as_list()
    return tf.reshape(x, [-1, *shape[1:axis], shape[axis] * shape[axis + 1], *shape[axis + 2 :]])


def _fir_up(x, kernel):
    for axis in _spatial_axes(x):
        x = _filter_upsampled(x, axis, _taps(kernel, gain=2.0), before=(len(kernel) - 1) // 2 + 1)
    return x


def _fir_up_for_conv(x, kernel):
    """One value more at either end: what a convolution without padding takes off."""
    before = (len(kernel) - 3) // 2 + 3
    for axis in _spatial_axes(x):
        x = _filter_upsampled(x, axis, _taps(kernel, gain=2.0), before, extra=1)
    return x


def _fir_down(x, kernel):
    spare = len(kernel) - 2
    for axis in _spatial_axes(x):
        x = _filter(x, axis, _taps(kernel), (spare + 1) // 2, spare // 2, stride=2)
    return x


def _fir_for_strided_conv(x, kernel):
    spare = len(kernel)
    for axis in _spatial_axes(x):
        x = _filter(x, axis, _taps(kernel), math.ceil(spare / 2), spare // 2)
    return x


_FILTERS = {
    "up": _fir_up,
    "up for conv": _fir_up_for_conv,
    "down": _fir_down,
    "for strided conv": _fir_for_strided_conv,
}


def _filtered(x: Tensor, name: str, kernel: tuple[float, ...]) -> Tensor:
    """A linear map of x. It and its transpose, which is its gradient, are one cluster each."""

    @tf.custom_gradient
    def forward(x: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return _apply(x, name, kernel), lambda upstream: transposed(upstream)

    @tf.custom_gradient
    def transposed(y: Tensor) -> tuple[Tensor, Callable[[Tensor], Tensor]]:
        return _apply_transposed(y, tuple(x.shape[1:]), name, kernel), lambda v: forward(v)

    return forward(x)


@xla.piece
def _apply(x, name, kernel):
    return _FILTERS[name](x, kernel)


@xla.piece
def _apply_transposed(y, shape, name, kernel):
    x = tf.zeros([tf.shape(y)[0], *shape], y.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        mapped = _FILTERS[name](x, kernel)
    return tape.gradient(mapped, x, output_gradients=y)


def fir_upsample(x: Tensor, kernel: Sequence[float]) -> Tensor:
    """Twice the size along every spatial axis by a FIR filter of gain 2 per axis.

    [N, ..., C] -> [N, 2·..., C]; `kernel` holds the taps.
    """
    return _filtered(x, "up", tuple(kernel))


def fir_downsample(x: Tensor, kernel: Sequence[float]) -> Tensor:
    """Half the size along every spatial axis by a FIR filter: [N, 2·..., C] -> [N, ..., C]."""
    return _filtered(x, "down", tuple(kernel))


def nearest_upsample(x: Tensor) -> Tensor:
    """Every value twice along every spatial axis."""
    for axis in _spatial_axes(x):
        x = tf.repeat(x, 2, axis=axis)
    return x


def average_downsample(x: Tensor) -> Tensor:
    """The mean of every pair along every spatial axis."""
    # Axis by axis: TensorFlow's gradient of one sum over all pairs ends at rank 2.
    for axis in _spatial_axes(x):
        shape = x.shape.as_list()
        pairs = tf.reshape(x, [-1, *shape[1:axis], shape[axis] // 2, 2, *shape[axis + 1 :]])
        x = tf.reduce_mean(pairs, axis=axis + 1)
    return x


def upsample(x: Tensor, fir_kernel: Sequence[float] | None = None) -> Tensor:
    """Twice the size: by the FIR filter, or nearest neighbours if it is None."""
    return fir_upsample(x, fir_kernel) if fir_kernel else nearest_upsample(x)


def downsample(x: Tensor, fir_kernel: Sequence[float] | None = None) -> Tensor:
    """Half the size: by the FIR filter, or averages if it is None."""
    return fir_downsample(x, fir_kernel) if fir_kernel else average_downsample(x)


class _Resample(Block):
    """Resampling with a 3-tap convolution.

    Args:
      features: output channels; None means as many as the input has.
      fir_kernel: taps of the FIR filter, e.g. (1, 3, 3, 1); None means none.
    """

    def __init__(
        self,
        features: int | None = None,
        *,
        fir_kernel: Sequence[float] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.keep(features=features, fir_kernel=fir_kernel and tuple(fir_kernel))

    def _build_conv(self, x_shape, **options):
        features = self.features or x_shape[-1]
        self.conv = self.add(
            Conv, [feature_shape(x_shape, x_shape[-1])], features, name="conv", **options
        )


@register
class UpsampleConv(_Resample):
    """Twice the size, then a convolution: [N, ..., C] -> [N, 2·..., features].

    With a filter it equals NCSN++'s and StyleGAN2's transposed convolution followed by the FIR
    filter. The two commute, given enough values beyond the border, and so the filter runs first.
    """

    def build(self, x_shape: OpenShape) -> None:
        self._build_conv(x_shape, padding="valid" if self.fir_kernel else "same")

    def call(self, x: Tensor) -> Tensor:
        if not self.fir_kernel:
            return self.conv(nearest_upsample(x))
        return self.conv(_filtered(x, "up for conv", self.fir_kernel))


@register
class DownsampleConv(_Resample):
    """A convolution of stride two: [N, 2·..., C] -> [N, ..., features].

    The FIR filter runs before it. Without one, every axis is padded by a zero at its end.
    """

    def build(self, x_shape: OpenShape) -> None:
        self._build_conv(x_shape, padding="valid", strides=2)

    def call(self, x: Tensor) -> Tensor:
        if self.fir_kernel:
            return self.conv(_filtered(x, "for strided conv", self.fir_kernel))
        for axis in _spatial_axes(x):
            x = _pad(x, axis, 0, 1)
        return self.conv(x)


__all__ = [
    "DownsampleConv",
    "UpsampleConv",
    "average_downsample",
    "downsample",
    "fir_downsample",
    "fir_upsample",
    "nearest_upsample",
    "upsample",
]
