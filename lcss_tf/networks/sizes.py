"""Which shapes of x a U-shaped network takes."""

from lcss_tf.errors import UsageError


def check_shape(shape, num_levels, like=None):
    """Raises a ValueError unless x of this shape fits the levels, and what was built.

    Args:
      shape: of x, [N, ..., C].
      num_levels: resolutions; each after the first halves every spatial axis.
      like: the shape for which the network was built; None before.
    """
    if not 3 <= len(shape) <= 5 or None in shape[1:]:
        raise UsageError(
            "NCSNpp takes x of shape [N, ..., C] with 1, 2 or 3 spatial axes of known size; "
            f"got {tuple(shape)}. For vectors [N, d] use the MLP."
        )
    divisor = 2 ** (num_levels - 1)
    if any(size % divisor or size == 0 for size in shape[1:-1]):
        raise UsageError(
            f"NCSNpp with {num_levels} levels halves every spatial axis {num_levels - 1} times, "
            f"so sizes must be multiples of {divisor}; got {tuple(shape[1:-1])}. Pad or crop the "
            "data, or give fewer channel_multipliers."
        )
    if like is not None and (len(shape), shape[-1]) != (len(like), like[-1]):
        raise UsageError(
            f"This NCSNpp was built for x of shape {like}; got {tuple(shape)}. The number of axes "
            "and of channels is fixed: make another network."
        )
