"""Random directions z with E zzᵀ = I, by name."""

from lcss_tf import random
from lcss_tf.errors import UsageError

DIRECTIONS = {"gaussian": random.normal, "sphere": random.sphere, "rademacher": random.rademacher}


def check_directions(owner, directions, num_directions):
    """Raises ValueError for an unknown name, or fewer than one direction."""
    if directions not in DIRECTIONS:
        raise UsageError(
            f"{owner}.directions must be one of {tuple(DIRECTIONS)}; got {directions!r}."
        )
    if num_directions < 1:
        raise UsageError(f"{owner} expects num_directions >= 1; got {num_directions}.")
