"""Training as a person runs it: killed and resumed, with a user's SDE, reproduced."""

import json
import signal

import numpy as np
import pytest

from lcss_tf.commands.train import reproduce
from tests.commands.helpers import ONE, ROOT, SMALL, lcss
from tests.processes import assert_same_end, final, run, start, wait_for

LONG = "--gin_bindings=fit.steps=600"
OFTEN = "--gin_bindings=Checkpoints.every=50"
XLA = "--gin_bindings=TrainStep.jit_compile=True"


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_bits(tmp_path):
    """kill −9 in mid-training, run the same command again: every array equals."""
    arguments = ("--gin_file=tests/small.gin", LONG, OFTEN, XLA)
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    run("train", *arguments, f"--workdir={whole}")
    process = start(*arguments, f"--workdir={killed}")
    wait_for(lambda: list(killed.glob("checkpoints/step_000000150.npz")), process)
    process.send_signal(signal.SIGKILL)
    process.wait()
    resumed = run("train", *arguments, f"--workdir={killed}")
    assert "Resuming from" in resumed.stdout
    assert_same_end(whole, killed)
    # A finished run says so, and leaves everything as it is.
    assert "Trained already" in run("train", *arguments, f"--workdir={killed}").stdout


@pytest.mark.slow
def test_my_sde_trains_and_samples_from_its_own_file(tmp_path):
    workdir = tmp_path / "mine"
    run(
        "train", "--gin_file=examples/my_sde.gin", "--import=examples/my_sde.py",
        f"--workdir={workdir}", "--gin_bindings=fit.steps=300",
        "--gin_bindings=fit.batch_size=32", "--gin_bindings=sample.batch_size=64",
        "--gin_bindings=Pictures.every=300",
        "--gin_bindings=Pictures.num_samples=2",
    )  # fmt: skip
    assert {p.name.rsplit("_", 1)[0] for p in (workdir / "samples").glob("*.png")} == {
        "density", "score_t0.02", "score_t0.20", "score_t0.50"
    }  # fmt: skip
    # Sampling finds the user's module by itself.
    for _ in range(2):
        run("sample", f"--workdir={workdir}", "--num_samples=100", "--out", tmp_path / "out.npz")
        samples = np.load(tmp_path / "out.npz")["samples"]
        assert samples.shape == (100, 2)
        assert np.isfinite(samples).all()
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("gin_file", "bindings", "message"),
    [
        ("gin/lcss_digit.gin", [], "Did you mean"),
        (SMALL, ["ScoreModel.sde = @sdes.X()"], "Known: sdes."),
        (SMALL, ["Distribution.num_replicas = 2", "fit.batch_size = 15"],
         "batch_size = 15 is not divisible by the 2 replicas"),
        (SMALL, ["fit.steps = 0"], "fit.steps must be at least 1; got 0"),
        ("gin/lcss_ffhq.gin", [ONE], "ImageFolder.root"),
    ],
)  # fmt: skip
def test_bad_input_is_one_message_before_any_work(
    gin_file, bindings, message, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(ROOT)
    words = ["train", f"--gin_file={gin_file}", f"--workdir={tmp_path / 'run'}"]
    assert lcss(*words, bindings=bindings) == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed
    assert not list((tmp_path / "run").glob("*/*.npz"))
    assert not (tmp_path / "run" / "config.gin").exists()


def test_a_finished_run_is_left_as_it_is(plane_run, capsys):
    """Trained once more it says so; its records say what was run."""
    files = lambda: {p: p.stat().st_mtime_ns for p in plane_run.rglob("*.*") if p.suffix}
    before = files()
    words = ["train", f"--gin_file={SMALL}", f"--workdir={plane_run}"]
    assert lcss(*words, bindings=[ONE]) == 0
    printed = capsys.readouterr().out
    assert "Trained already: step 40 of 40" in printed
    assert f"Trained {plane_run} to step 40. Newest checkpoint: " in printed
    assert files() == before
    assert "fit.batch_size = 16" in (plane_run / "config.gin").read_text()
    assert "EulerMaruyama.num_steps = 30" in (plane_run / "operative_config.gin").read_text()
    record = json.loads((plane_run / "run.json").read_text())
    for key in ("lcss_tf", "commit", "python", "versions", "host", "machine", "started", "command"):
        assert key in record


SEED_3 = ("--gin_file=tests/small.gin", "--gin_bindings=fit.seed=3")


@pytest.mark.slow
def test_a_run_again_is_equal_to_the_bit(tmp_path):
    workdir, again = tmp_path / "run", tmp_path / "run_again"
    run("train", *SEED_3, "--deterministic", f"--workdir={workdir}")
    record = json.loads((workdir / "run.json").read_text())
    assert "fit.seed = 3" in (workdir / "config.gin").read_text()
    assert "TwoMoons" in (workdir / "operative_config.gin").read_text()
    # The record is of other versions: that is said, and the run is made all the same.
    record["versions"]["numpy"] = "1.0"
    (workdir / "run.json").write_text(json.dumps(record))
    done = run("train", f"--reproduce={workdir}")
    assert "numpy: 1.0 then," in done.stdout
    assert "At step 40 the weights equal those of" in done.stdout
    assert_same_end(workdir, again)


@pytest.mark.slow
def test_another_run_is_told_apart(tmp_path):
    """If what the workdir records is not what was run, the end says by how much it differs."""
    workdir = tmp_path / "run"
    run("train", *SEED_3, f"--workdir={workdir}")
    config = workdir / "config.gin"
    config.write_text(config.read_text().replace("fit.seed = 3", "fit.seed = 4"))
    done = run("train", f"--reproduce={workdir}", f"--workdir={tmp_path / 'other'}")
    assert "the weights differ from those of" in done.stdout


def test_nothing_to_reproduce(tmp_path, capsys):
    with pytest.raises(FileNotFoundError, match="holds no run"):
        reproduce(tmp_path)


def test_a_run_again_in_one_process(plane_run, tmp_path, capsys):
    """Without the flag's own kernels: equal to rounding, and compared at the last common step."""
    again = tmp_path / "again"
    difference = reproduce(plane_run, again, [ONE])
    assert difference < 1e-4
    printed = capsys.readouterr().out
    assert f"Running {plane_run} of " in printed
    assert "At step 40 the weights " in printed
    (_, expected), (_, actual) = final(plane_run), final(again)
    for key in (key for key in expected if key.startswith("network/")):
        scale = max(float(np.abs(expected[key]).max()), 1e-30)
        np.testing.assert_allclose(actual[key], expected[key], rtol=0, atol=1e-3 * scale)
