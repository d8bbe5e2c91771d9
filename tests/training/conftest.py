"""An undisturbed run, to which the others are held."""

import pytest

from tests.training.helpers import fit


@pytest.fixture(scope="session")
def whole(tmp_path_factory):
    """Its workdir."""
    path = tmp_path_factory.mktemp("whole")
    fit(path)
    return path
