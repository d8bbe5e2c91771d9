"""Gin files and workdirs: clear errors, configurations that differ, users' modules."""

import gin
import pytest

from lcss_tf import config
from lcss_tf.experiment import Recipe

SMALL = "tests/small.gin"


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch):
    monkeypatch.chdir(config.PROJECT_GIN.parent)


def test_a_missing_file_names_near_matches():
    with pytest.raises(FileNotFoundError, match="Did you mean .*gin/lcss_digits.gin"):
        config.load("gin/lcss_digit.gin")
    with pytest.raises(FileNotFoundError, match="Known: .*lcss_ffhq.gin"):
        config.load("zzz.gin")


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("train.total_stps = 3", "doesn't have a parameter named 'total_stps'"),
        ("Nonsense.x = 3", "No configurable matching 'Nonsense'"),
        ("train.sde = @sdes.VPSD()", "Did you mean sdes.VPSDE"),
        ("train.sde = @sdes.Nope()", "Known: .*sdes.SubVPSDE, sdes.VESDE, sdes.VPSDE"),
        ("train.sde = = 3", "Unable to parse"),
    ],
)
def test_unknown_names_and_keys_are_fatal(binding, message):
    with pytest.raises(config.ConfigError, match=message):
        config.load(SMALL, [binding])


def test_an_unset_required_key_is_named(tmp_path):
    path = tmp_path / "bare.gin"
    path.write_text("train.sde = @sdes.VPSDE()\n")
    config.load(path)
    with pytest.raises(RuntimeError, match="network"):
        Recipe()


def test_bindings_override_and_underscores_work():
    config.load(SMALL, ["train.total_steps=2_000"])
    assert Recipe().total_steps == 2_000


def test_another_configuration_is_refused_with_its_keys(tmp_path):
    config.load(SMALL)
    config.claim_workdir(tmp_path / "run")
    config.claim_workdir(tmp_path / "run")
    config.load(SMALL, ["train.batch_size=32", "VPSDE.beta_max=10.0"])
    with pytest.raises(config.ConfigError) as error:
        config.claim_workdir(tmp_path / "run")
    assert "train.batch_size: 16 there, 32 now" in str(error.value)
    assert "VPSDE.beta_max: (unset) there, 10.0 now" in str(error.value)
    assert "--resume=force" in str(error.value)
    config.claim_workdir(tmp_path / "run", force=True)
    config.claim_workdir(tmp_path / "run")


def test_an_unwritable_workdir(tmp_path):
    config.load(SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(config.ConfigError, match="cannot be written"):
        config.claim_workdir(tmp_path / "file" / "run")


def test_a_workdir_without_a_run_lists_its_neighbours(tmp_path):
    config.load(SMALL)
    config.claim_workdir(tmp_path / "good")
    with pytest.raises(FileNotFoundError, match="holds no run.*good"):
        config.load_workdir(tmp_path / "bad")
    gin.clear_config()
    config.load_workdir(tmp_path / "good", ["train.batch_size=8"])
    assert Recipe().batch_size == 8


def test_users_modules_come_in_by_name_or_path(tmp_path, monkeypatch):
    (tmp_path / "user_part_a.py").write_text("A = 1\n")
    (tmp_path / "user_part_b.py").write_text("import not_there_at_all\n")
    config.import_user_module(str(tmp_path / "user_part_a.py"))
    monkeypatch.chdir(tmp_path)
    config.import_user_module("user_part_a")
    with pytest.raises(config.ConfigError, match="no such module"):
        config.import_user_module("user_part_c")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        config.import_user_module("user_part_b")
