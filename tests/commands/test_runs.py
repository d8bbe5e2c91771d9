"""What is recorded beside a run: configurations that differ, workdirs without a run."""

import gin
import pytest

from lcss_tf.commands import _gin, _runs
from tests.commands.helpers import SMALL, load


def claim(workdir, force=False):
    _runs.check_configuration(workdir, force)
    _runs.write_records(workdir, _runs.records())


def test_another_configuration_is_refused_with_its_keys(tmp_path):
    load(SMALL)
    claim(tmp_path / "run")
    claim(tmp_path / "run")
    load(SMALL, "fit.batch_size=32", "VPSDE.beta_max=10.0")
    with pytest.raises(_gin.ConfigError) as error:
        claim(tmp_path / "run")
    assert "fit.batch_size: 16 there, 32 now" in str(error.value)
    assert "VPSDE.beta_max: (unset) there, 10.0 now" in str(error.value)
    assert "--resume=force" in str(error.value)
    claim(tmp_path / "run", force=True)
    claim(tmp_path / "run")


def test_devices_and_what_changes_no_number_may_differ(tmp_path):
    load(SMALL)
    claim(tmp_path)
    load(SMALL, "Distribution.num_replicas = 2", "Checkpoints.every = 7", "Pictures.every = 3",
         "sample.batch_size = 2", "Evaluation.seed = 5")  # fmt: skip
    _runs.check_configuration(tmp_path)
    assert "Distribution." not in (tmp_path / "config.gin").read_text()


def test_an_unwritable_workdir(tmp_path):
    load(SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(_gin.ConfigError, match="cannot be written"):
        claim(tmp_path / "file" / "run")


def test_a_workdir_without_a_run_lists_its_neighbours(tmp_path):
    load(SMALL)
    claim(tmp_path / "good")
    with pytest.raises(FileNotFoundError, match="holds no run.*good"):
        _runs.load_configuration(tmp_path / "bad")
    gin.clear_config()
    _runs.load_configuration(tmp_path / "good", ["fit.batch_size=8"])
    assert _gin.fit()["batch_size"] == 8


def test_a_damaged_record_says_how_it_is_mended(tmp_path):
    load(SMALL)
    claim(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(_gin.ConfigError, match=r'write \{"imports": \[\]\} into it'):
        _runs.load_configuration(tmp_path)
