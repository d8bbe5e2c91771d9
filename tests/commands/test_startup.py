"""The first second: help and wrong flags without TensorFlow, and a start without its notes."""

import json
import os
import subprocess
import sys

import pytest

from lcss_tf.commands import _startup
from lcss_tf.commands.main import _MODULES, COMMANDS
from tests.commands.helpers import ROOT
from tests.processes import ENVIRONMENT

HEAVY = ("tensorflow", "keras", "matplotlib", "scipy", "sklearn", "PIL", "jinja2",
         "tensorflow_datasets", "gin", "numpy")  # fmt: skip
# Runs each line of words in a process that cannot import what is heavy: [status, output].
LIGHT = """
import contextlib, importlib.abc, io, json, os, resource, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name.split(".")[0] in {heavy}:
            raise AssertionError(f"{{name}} is imported before the work begins")

sys.meta_path.insert(0, Blocked())
os.environ.pop("TF_CPP_MIN_LOG_LEVEL", None)
from lcss_tf.commands.main import main

answers = []
for words in json.loads(sys.stdin.read()):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = main(words)
    answers.append([status, out.getvalue()])
assert "TF_CPP_MIN_LOG_LEVEL" not in os.environ
used = resource.getrusage(resource.RUSAGE_SELF)
print(json.dumps([used.ru_utime + used.ru_stime, answers]))
"""
AT_ONCE = [
    (["--help"], 0, "Usage: lcss COMMAND"),
    (["--version"], 0, "lcss_tf "),
    (["trian"], 2, "Did you mean 'train'?"),
    *(([name, "--help"], 0, "Flags:") for name in COMMANDS),
    *(([name, "--no_such_flag=3"], 2, "Unknown command line flag") for name in COMMANDS),
    *(([name, "--gin_file=lcss_digit.gin", *more], 1, "Did you mean")
      for name, more in {"train": [], "compare": [], "benchmark": [], "quality": ["--workdir=x"],
                         "import": ["--source=x", "--workdir=x"], "export": ["--out=x"]}.items()),
    *(([name], 1, "Give --") for name in ("train", "compare", "benchmark", "evaluate")),
    (["quality"], 1, "Give the --workdir"),
    (["import", "--source=x", "--workdir=x"], 1, "Give --gin_file"),
    (["export", "--out=x"], 1, "Give --workdir, or --gin_file"),
    *(([name, "--workdir=nowhere"], 1, "holds no run")
      for name in ("sample", "evaluate", "inpainting")),
    (["export", "--out=x", "--workdir=nowhere"], 1, "holds no run"),
    (["evaluate", "--samples=x.npy"], 1, "needs --reference"),
]  # fmt: skip


def test_help_and_what_is_wrong_come_before_tensorflow(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", LIGHT.format(heavy=HEAVY)], cwd=tmp_path, env=ENVIRONMENT,
        input=json.dumps([words for words, _, _ in AT_ONCE]),
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    seconds, answers = json.loads(done.stdout)
    for (words, status, said), (answered, text) in zip(AT_ONCE, answers, strict=True):
        assert answered == status, (words, text)
        assert said in text, words
    assert seconds < 2, "all of them together, in CPU time"


def test_a_command_has_its_flags_and_its_work():
    for folder in ("", "flags"):
        names = {path.stem for path in (ROOT / "lcss_tf" / "commands" / folder).glob("*.py")}
        assert {_MODULES.get(name, name) for name in COMMANDS} <= names


NOISE = {
    "WARNING: All log messages before absl::InitializeLog() is called are written to STDERR": 1,
    "I0000 00:00:1795727204.567088   13339 port.cc:153] oneDNN custom operations are on.": 1,
    "I0000 00:00:1795727204.567375   13339 cudart_stub.cc:31] Could not find cuda drivers": 1,
    "I0000 00:00:1795727204.605843   13339 cpu_feature_guard.cc:227] This TensorFlow binary": 1,
    "To enable the following instructions: AVX2 FMA, in other operations, rebuild": 1,
    "2026-01-02 03:04:05.678901: I tensorflow/core/util/port.cc:153] oneDNN": 1,
    "W0000 00:00:1795727204.567375   13339 gpu_device.cc:2341] Cannot dlopen some libraries": 2,
    "E0000 00:00:1795727208.028515   13339 cuda_platform.cc:52] failed call to cuInit: INTERNAL: "
    "CUDA error: Failed call to cuInit: UNKNOWN ERROR (303)": 2,
    "E0000 00:00:1795727208.028515   13339 cuda_fft.cc:477] Unable to register cuFFT factory": 2,
}
ERRORS = [
    "E0000 00:00:1795727208.028515   13339 gpu.cc:52] out of memory",
    "E0000 00:00:1795727208.028515   13339 cuda_platform.cc:52] failed call to cuInit: "
    "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
    "F0000 00:00:1795727208.028515   13339 cpu_feature_guard.cc:18] The TensorFlow library was "
    "compiled to use AVX512F instructions, but these aren't available on your machine.",
    "Traceback (most recent call last):",
    "ImportError: libcudart.so.12: cannot open shared object file",
    "",
]


@pytest.mark.parametrize("level", [1, 2, 3])
def test_notes_are_noise_and_errors_are_not(level):
    for line, from_level in NOISE.items():
        assert _startup.is_noise(line.encode(), level) == (level >= from_level), line
    assert not any(_startup.is_noise(line.encode(), level) for line in ERRORS)


# In a process of its own, as a command is: a module of this name stands for the real one.
START = """
import os, sys, types
from lcss_tf.commands._startup import quiet_start
with quiet_start():
    for line in {lines!r}:
        os.write(2, line.encode() + b"\\n")
    os.write(2, b"no line's end")
    {then}
os.write(2, b", and after: I0000 00:00:1 1 a.cc:1] note\\n")
os.write(2, os.environ["TF_CPP_MIN_LOG_LEVEL"].encode())
"""


@pytest.mark.parametrize("level", [None, "0", "3"])
def test_a_start_shows_errors_alone(level):
    given = {} if level is None else {"TF_CPP_MIN_LOG_LEVEL": level}
    environment = {k: v for k, v in ENVIRONMENT.items() if k != "TF_CPP_MIN_LOG_LEVEL"} | given
    lines = [*NOISE, *ERRORS]
    done = subprocess.run(
        [sys.executable, "-c", START.format(lines=lines, then="pass")],
        env=environment, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    shown = lines if level == "0" else ERRORS
    end = f"no line's end, and after: I0000 00:00:1 1 a.cc:1] note\n{level or 2}"
    assert done.stderr == "\n".join([*shown, end])


@pytest.mark.parametrize("then", ["os.abort()", "os.kill(os.getpid(), 9)", "raise OSError('why')"])
def test_what_a_start_says_before_it_dies_is_shown(then):
    done = subprocess.run(
        [sys.executable, "-c", START.format(lines=ERRORS, then=then)],
        env=ENVIRONMENT, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    assert done.stderr.startswith("\n".join([*ERRORS, "no line's end"]))
    assert ("OSError: why" in done.stderr) == then.startswith("raise")


def test_a_process_without_a_free_descriptor_starts_with_the_noise(monkeypatch, capfd):
    def none_left(_):
        raise OSError("Too many open files")

    with monkeypatch.context() as without:
        without.setattr(os, "dup", none_left)
        with _startup._filtered_stderr(2):
            os.write(2, b"I0000 00:00:1 1 a.cc:1] note\n")
    assert "note" in capfd.readouterr().err
