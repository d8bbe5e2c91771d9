"""Which of many alike are tested by default. What is registered anew is always tested."""

from collections.abc import Iterable

import pytest

# Affine SDEs are all tested by tests/sdes/test_affine.py; VPSDE and VESDE stand for them elsewhere.
# PearsonSDE stands for those whose prior is not Gaussian; test_elementwise.py has the others.
# MixtureSDE and RotatingSDE, whose drifts couple the coordinates, have test_other.py, and the
# weights of such test_path.py.
_ALIKE = {
    *("SubVPSDE", "CosineVPSDE", "FlowMatchingSDE", "EDMSDE", "MirafzaliSDE", "LogisticSDE"),
    "MixtureSDE",
    "RotatingSDE",
    "GeneralizedNormalSDE",
    *("double well", "underdamped", "pearson", "power 4"),  # see test_path.py
}


def siblings(names: Iterable[str]) -> list:
    """The names in order; those that others stand for are marked slow."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in _ALIKE else name
        for name in sorted(names)
    ]
