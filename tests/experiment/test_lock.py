"""One process trains in a workdir at a time."""

import os

import pytest

from lcss_tf.config import ConfigError
from lcss_tf.experiment.lock import only_process


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    held = pytest.raises(ConfigError, match=f"trained by process {os.getpid()} on")
    with only_process(tmp_path / "run"), held, only_process(tmp_path / "run"):
        pytest.fail("not reached")
    with only_process(tmp_path / "run"):  # free again
        pass


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), only_process(tmp_path):
        raise KeyError
    with only_process(tmp_path):
        pass
