"""Random directions z with E zzᵀ = I, by name."""

from lcss_tf import rng

DIRECTIONS = {"gaussian": rng.normal, "sphere": rng.sphere, "rademacher": rng.rademacher}


def check_directions(owner, directions, num_directions):
    """Raises ValueError for an unknown name, or fewer than one direction."""
    if directions not in DIRECTIONS:
        raise ValueError(
            f"{owner}.directions must be one of {tuple(DIRECTIONS)}; got {directions!r}."
        )
    if num_directions < 1:
        raise ValueError(f"{owner} expects num_directions >= 1; got {num_directions}.")
