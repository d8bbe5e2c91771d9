"""One process trains in a workdir at a time; a workdir of another model is refused."""

import errno
import os

import pytest

from lcss_tf.errors import UsageError
from lcss_tf.training import workdir
from lcss_tf.training.workdir import check_same_model, only_process, write_description


def test_the_second_is_refused_and_told_who_holds_it(tmp_path):
    held = pytest.raises(UsageError, match=f"is being used by process {os.getpid()} on")
    with only_process(tmp_path / "run"), held, only_process(tmp_path / "run"):
        pytest.fail("not reached")
    with only_process(tmp_path / "run"):  # free again
        pass


def test_the_lock_ends_with_an_error(tmp_path):
    with pytest.raises(KeyError), only_process(tmp_path):
        raise KeyError
    with only_process(tmp_path):
        pass


def test_a_file_system_without_locks_is_used_with_a_warning(tmp_path, monkeypatch, caplog):
    def none(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(workdir.fcntl, "flock", none)
    with only_process(tmp_path):
        assert "has no locks (ENOLCK)" in caplog.text
        assert "Nothing keeps a second process" in caplog.text


def test_a_workdir_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("")
    expected = pytest.raises(UsageError, match=r"file/run cannot be written.*another workdir")
    with expected, only_process(tmp_path / "file" / "run"):
        pytest.fail("not reached")


def test_a_run_of_another_model_is_told_by_what_differs(tmp_path):
    network = {"name": "mlp", "width": 16}
    description = {"network": network, "data": {"shape": [2]}}
    check_same_model(tmp_path, description)  # of nothing yet
    written = write_description(tmp_path, description)
    assert sorted(written) == ["data.json", "model.json"]
    # Keras numbers names by what the process has made before: they do not count.
    check_same_model(tmp_path, description | {"network": network | {"name": "mlp_3"}})
    with pytest.raises(UsageError, match=r"network\.width: 16 there, 32 now"):
        check_same_model(tmp_path, description | {"network": network | {"width": 32}})
