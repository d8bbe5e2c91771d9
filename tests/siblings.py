"""Which of many alike are tested by default. What is registered anew is always tested."""

from collections.abc import Iterable

import pytest

# Affine SDEs are all tested by tests/sdes/test_affine.py; VPSDE and VESDE stand for them elsewhere.
# GeneralizedNormalSDE and PearsonSDE stand for those whose prior is not Gaussian. MixtureSDE, whose
# drift couples the coordinates, has tests/sdes/test_other.py, and its weights test_path.py.
_ALIKE = {
    *("SubVPSDE", "CosineVPSDE", "FlowMatchingSDE", "EDMSDE", "MirafzaliSDE", "LogisticSDE"),
    "MixtureSDE",
    *("double well", "underdamped", "pearson"),  # a quartic potential, and the power-4 SDE
}


def siblings(names: Iterable[str]) -> list:
    """The names in order; those that others stand for are marked slow."""
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in _ALIKE else name
        for name in sorted(names)
    ]
