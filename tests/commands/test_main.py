"""The front door: `lcss`, its help, its exit statuses, and whose error it was."""

import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import lcss_tf
from lcss_tf.commands import _cli, _gin
from lcss_tf.commands.main import _MODULES, COMMANDS, main
from tests.commands.helpers import ONE, ROOT, SMALL, lcss
from tests.processes import ENVIRONMENT

QUICK = [ONE, "fit.steps = 2", "Pictures.every = 0"]
USERS_SDE = """
import tensorflow as tf
import lcss_tf
from lcss_tf.errors import UsageError


@lcss_tf.register_sde
class {name}(lcss_tf.ElementwiseSDE):
    def drift(self, x, t):
        {line}

    def diffusion(self, x, t):
        return tf.ones_like(x)

    def prior_sample(self, shape, seed):
        return tf.random.stateless_normal(shape, seed)

    def prior_log_prob(self, x):
        return -tf.reduce_sum(x**2, axis=1)
"""


def module(name):
    return importlib.import_module(f"lcss_tf.commands.{_MODULES.get(name, name)}")


# Help and flags -------------------------------------------------------------------------------


def test_lcss_says_what_commands_there_are(capsys):
    for words in (["--help"], ["-h"], ["help"]):
        assert main(words) == 0
        printed = capsys.readouterr().out
        for name, text in COMMANDS.items():
            assert f"{name:<14}{text}" in printed
    assert main([]) == 2
    assert "Usage: lcss COMMAND" in capsys.readouterr().out
    assert main(["--version"]) == 0
    assert lcss_tf.__version__ in capsys.readouterr().out


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_prints_its_flags(name, capsys):
    for word in ("--help", "-h"):
        assert main([name, word]) == 0
        printed = capsys.readouterr()
        assert module(name).__doc__.splitlines()[0] in printed.out
        for flag in module(name).FLAGS:
            assert f"--{flag}:" in printed.out or f"--[no]{flag}:" in printed.out
        assert not printed.err


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_flag_is_one_message(name, capsys):
    assert main([name, "--no_such_flag=3"]) == 2
    printed = capsys.readouterr()
    assert "Unknown command line flag 'no_such_flag'" in printed.err
    assert f"lcss {name} --help" in printed.err
    assert "Traceback" not in printed.err
    assert not printed.out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "there is no command 'trian'. Did you mean 'train'?"),
        (["zzz"], "there is no command 'zzz'.\n"),
        (["train", "--gin_fil=x.gin"], "Did you mean: gin_file"),
        (["train", "gin/lcss_digits.gin"], "takes flags alone; got 'gin/lcss_digits.gin'"),
        (["evaluate", "--workdir=x", "--follow", "False"], "takes flags alone; got 'False'"),
        (["sample"], "Flag --workdir must have a value"),
        (["sample", "--workdir=x", "--num_samples=many"], "--num_samples=many"),
        (["sample", "--workdir=x", "--task=paint"], "should be one of"),
    ],
)
def test_what_was_mistyped_is_one_message(words, message, capsys):
    assert main(words) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_a_call_knows_nothing_of_the_one_before(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lcss("train", f"--gin_file={SMALL}", "--dry_run", bindings=[*QUICK, "fit.seed = 3"]) == 0
    assert module("train").FLAGS.dry_run
    assert lcss("train") == 1
    assert "Give --gin_file" in capsys.readouterr().err
    assert module("train").FLAGS.gin_bindings == []


def test_the_files_of_bin_are_the_commands():
    found = set()
    for path in (ROOT / "bin").glob("*.py"):
        imported = path.read_text().split("commands.flags import ")[1].split()[0]
        assert f"_cli.main_of({imported})()" in path.read_text()
        found.add(imported)
    assert found == {_MODULES.get(name, name) for name in COMMANDS} - {"configs"}
    assert 'lcss = "lcss_tf.commands.main:console"' in (ROOT / "pyproject.toml").read_text()


# Configurations -------------------------------------------------------------------------------


def test_configs_are_listed_with_what_they_are(capsys):
    assert lcss("configs") == 0
    printed = capsys.readouterr().out
    for path in _gin.CONFIGS.glob("*.gin"):
        found = re.search(rf"^  {re.escape(path.name)} +(.+)$", printed, re.MULTILINE)[1]
        first = path.read_text().splitlines()[0].removeprefix("# ")
        assert found.startswith(first[:60])
        assert found.endswith((".", " …"))
    assert "quality/mixture64.gin" not in printed
    assert lcss("configs", "--all") == 0
    assert "quality/mixture64.gin" in capsys.readouterr().out


def test_a_configuration_is_planned_by_its_bare_name_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lcss("train", "--gin_file=lcss_checkerboard.gin", "--dry_run", bindings=[ONE]) == 0
    printed = capsys.readouterr().out
    assert "runs/lcss_checkerboard" in printed
    assert "VPSDE" in printed
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("train.total_steps = 3", "train.total_steps is now fit.steps."),
        ("fit.step = 3", "Did you mean fit.steps?"),
    ],
)
def test_a_wrong_key_is_one_message(binding, message, capsys, tmp_path):
    words = ["train", f"--gin_file={SMALL}", f"--workdir={tmp_path / 'run'}"]
    assert lcss(*words, bindings=[binding]) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


# Runs of earlier versions ---------------------------------------------------------------------


@pytest.fixture
def old_run(tmp_path):
    """A workdir as 0.1.0 left it, as far as it is read."""
    workdir = tmp_path / "old"
    workdir.mkdir()
    (workdir / "config.gin").write_text(
        "# Parameters for train:\n# =======\ntrain.batch_size = 16\n"
        "train.network = @networks.MLP()\ntrain.sde = \\\n    @sdes.VPSDE()\n"
    )
    (workdir / "run.json").write_text(json.dumps({"lcss_tf": "0.1.0", "imports": []}))
    return workdir


@pytest.mark.parametrize(
    "words", [["train", f"--gin_file={SMALL}"], ["sample"], ["evaluate"], ["quality"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_run_of_an_earlier_version_is_refused_with_the_new_keys(old_run, words, capsys):
    assert lcss(*words, f"--workdir={old_run}") == 1
    printed = capsys.readouterr().err
    assert f"holds a run of lcss_tf 0.1.0; this is {lcss_tf.__version__}" in printed
    assert "train.sde is now ScoreModel.sde." in printed
    assert "train.batch_size is now fit.batch_size." in printed
    assert "Traceback" not in printed


@pytest.mark.parametrize("words", [["train", f"--gin_file={SMALL}"], ["sample"]], ids=["t", "s"])
def test_checkpoints_of_another_format_are_refused_with_their_version(
    plane_run, words, tmp_path, capsys
):
    workdir = tmp_path / "run"
    shutil.copytree(plane_run, workdir)
    for path in workdir.glob("checkpoints/step_*.npz"):
        with np.load(path) as held:
            arrays = dict(held)
        meta = json.loads(bytes(arrays["meta"])) | {"format": 1, "lcss_tf": "0.1.0"}
        arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
        np.savez(path, **arrays)
    assert lcss(*words, f"--workdir={workdir}", bindings=[ONE]) == 1
    printed = capsys.readouterr().err
    assert "it is of lcss_tf 0.1.0, in format 1; this is" in printed
    assert "Traceback" not in printed


# Whose error it was ---------------------------------------------------------------------------


def users_sde(folder, name, line):
    """The path of a user's module with an SDE, and the number of the line in its drift."""
    text = USERS_SDE.format(name=name, line=line)
    path = folder / f"{name.lower()}.py"
    path.write_text(text)
    return path, text.splitlines().index(f"        {line}") + 1


@pytest.fixture
def train_on(tmp_path):
    """A function (line of the drift) that trains on such an SDE: (path, line, status)."""
    names = []

    def train_on(line):
        name = f"UsersSDE{len(lcss_tf.SDES)}{abs(hash(line))}"
        names.append(name)
        path, number = users_sde(tmp_path, name, line)
        words = ["train", f"--gin_file={SMALL}", f"--import={path}", f"--workdir={tmp_path / 'w'}"]
        bindings = [*QUICK, f"ScoreModel.sde = @sdes.{name}()"]
        return path, number, lambda: lcss(*words, bindings=bindings)

    yield train_on
    for name in names:
        lcss_tf.SDES._parts.pop(name, None)


@pytest.mark.parametrize(
    ("line", "error"),
    [("raise ValueError('my own')", ValueError), ("return {}['my own']", KeyError),
     ("return x * undefined", NameError), ("return tf.reshape(x, (1_009,))", Exception)],
)  # fmt: skip
def test_an_error_in_a_user_s_own_part_says_where_to_look(train_on, line, error, capsys):
    path, number, run = train_on(line)
    with pytest.raises(error) as caught:  # the process then ends with its traceback
        run()
    printed = capsys.readouterr().err
    said = f"The error comes from a part of your own: look at {path}, line {number}, in drift."
    assert printed.count(said) == 1
    assert any(str(entry.path) == str(path) for entry in caught.traceback)


def test_what_a_user_s_part_says_to_people_is_one_message(train_on, capsys):
    _, _, run = train_on("raise UsageError('beta must be above 0; got -1.')")
    assert run() == 1
    printed = capsys.readouterr().err
    assert "error: beta must be above 0; got -1." in printed
    assert "Traceback" not in printed
    assert "part of your own" not in printed


@pytest.mark.slow
def test_the_traceback_stands_under_the_line(tmp_path):
    path, number = users_sde(tmp_path, "BrokenSDE", "raise KeyError('my own')")
    words = ["train", f"--gin_file={SMALL}", f"--import={path}", f"--workdir={tmp_path / 'w'}"]
    words += ["--gin_bindings=ScoreModel.sde=@sdes.BrokenSDE()"]
    done = subprocess.run(
        [sys.executable, "-m", "lcss_tf", *words],
        capture_output=True, text=True, cwd=tmp_path, env=ENVIRONMENT, timeout=300,
    )  # fmt: skip
    assert done.returncode == 1
    said = f"The error comes from a part of your own: look at {path}, line {number}, in drift."
    before, after = done.stderr.split(said)
    assert "Traceback" not in before
    assert "Traceback (most recent call last)" in after
    assert after.rstrip().splitlines()[-1].startswith("KeyError: 'my own'")


@pytest.mark.parametrize(
    "path", [Path(lcss_tf.__file__).parent / "model.py", Path(os.__file__), Path(np.__file__)]
)
def test_a_bug_of_a_library_blames_no_user(path):
    space = {}
    exec(compile("def f():\n    raise ValueError", str(path), "exec"), space)
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        space["f"]()
    error = caught.value
    assert _cli._own_part(error.with_traceback(error.__traceback__.tb_next)) is None
