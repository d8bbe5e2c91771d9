"""lcss ema: other lengths of a run's average, as files, as runs, and measured side by side."""

import gin
import numpy as np
import pytest

import lcss_tf
from lcss_tf.commands import _runs
from lcss_tf.commands.import_state import import_state
from lcss_tf.commands.train import build, planned
from lcss_tf.training.checkpoints import Checkpoints
from lcss_tf.training.snapshots import paths
from tests.commands.helpers import SMALL, lcss, load, trained

RATE = ["default_optimizer.decay = 'cosine'", "default_optimizer.learning_rate = 0.02"]
POWER = ["ScoreModel.average = @averages.PowerFunction()", "Snapshots.every = 4"]
SWEEP = ["EMASweep.metric = @metrics.SlicedWasserstein()", "SlicedWasserstein.num_samples = 64"]


@pytest.fixture(autouse=True)
def _clear():
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("ema") / "run"
    return trained(workdir, *POWER, *RATE)


def weights(model, group="ema"):
    return np.concatenate([v.numpy().ravel() for v in model.state.variables()[group].values()])


@pytest.mark.slow
def test_one_binding_decays_and_one_averages(run):
    text = (run / "operative_config.gin").read_text()
    assert "decay = 'cosine'" in text
    assert [int(path.stem[5:]) for path in paths(run / "averages")] == list(range(4, 41, 4))
    load(SMALL, *POWER, *RATE)
    model, arguments = build()
    schedule = planned(model, arguments).state.optimizer._learning_rate
    assert (schedule.decay, schedule.steps, schedule.warmup_steps) == ("cosine", 40, 4)


def test_lengths_are_written_as_model_files(run, capsys):
    assert lcss("ema", f"--workdir={run}", "--sigma_rel=0.05,0.08") == 0
    printed = capsys.readouterr().out
    assert "and 9 snapshots" in printed
    assert "| 0.05 | 2 | 0.0e+00 |" in printed
    kept = lcss_tf.ScoreModel.load(run)
    made = {s: lcss_tf.ScoreModel.load(run / "averages" / f"ema_{s}.lcss") for s in (0.05, 0.08)}
    np.testing.assert_array_equal(weights(made[0.05]), weights(kept))
    expected = lcss_tf.ScoreModel.load(run, sigma_rel=0.08)
    np.testing.assert_array_equal(weights(made[0.08]), weights(expected))
    assert np.abs(weights(made[0.08]) - weights(kept)).max() > 0


def test_a_length_becomes_a_run_that_other_commands_take(run, tmp_path, capsys):
    out = tmp_path / "made"
    assert lcss("ema", f"--workdir={run}", "--sigma_rel=0.15", f"--out={out}") == 0
    gin.clear_config()
    bindings = ["EulerMaruyama.num_steps = 2"]
    assert lcss("sample", f"--workdir={out}", "--num_samples=4", bindings=bindings) == 0
    assert "(0.15,)" in (out / "config.gin").read_text()
    model, expected = lcss_tf.ScoreModel.load(out), lcss_tf.ScoreModel.load(run, sigma_rel=0.15)
    np.testing.assert_array_equal(weights(model), weights(expected))
    gin.clear_config()
    assert lcss("ema", f"--workdir={run}", "--sigma_rel=0.2", f"--out={out}") == 1
    assert "holds a run already. Choose another --out" in capsys.readouterr().err


def test_a_sweep_measures_each(run, capsys):
    words = ["--sigma_rel=0.05,0.1,0.2", "--measure"]
    assert lcss("ema", f"--workdir={run}", *words, bindings=SWEEP) == 0
    table = (run / "averages" / "sweep.md").read_text()
    assert table in capsys.readouterr().out
    header, _, *rows = (line.strip("| ").split(" | ") for line in table.splitlines())
    assert header[0] == "relative length"
    assert header[-1] == "sliced_wasserstein_64"
    assert [float(row[0]) for row in rows] == [0.05, 0.1, 0.2]
    assert len({row[-1] for row in rows}) == 3
    values, errors = np.array([row[-1].split(" ± ") for row in rows], float).T
    assert np.all((errors > 0) & (errors < values))  # of 64 samples
    assert not list((run / "averages").glob("ema_0.2*"))  # nothing but the table


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--sigma_rel=0.05,a"], "expected numbers with commas between"),
        (["--sigma_rel=0.05,0.05"], "one length or several different ones"),
        (["--sigma_rel=0.4"], "lies from 1e-6 to 0.2887"),
        (["--sigma_rel=0.1", "--checkpoint=7"], "No checkpoint fits checkpoint=7"),
    ],
)
def test_what_cannot_be_made_is_one_message(words, message, run, capsys):
    assert lcss("ema", f"--workdir={run}", *words) == 1
    assert message in capsys.readouterr().err


def test_a_run_without_averages_says_how_to_keep_them(plane_run, capsys):
    assert lcss("ema", f"--workdir={plane_run}", "--sigma_rel=0.1") == 1
    assert "ScoreModel.average = @averages.PowerFunction()" in capsys.readouterr().err


@pytest.mark.parametrize("averaged", [False, True])
def test_what_was_trained_elsewhere_brings_all_averages(averaged, run, tmp_path):
    """By their names; of an average alone all others begin as it."""
    held = lcss_tf.ScoreModel.load(run)
    load(SMALL, *POWER, *RATE)
    model, arguments = build()
    state = planned(model, arguments).state
    Checkpoints(run).restore(state)
    arrays = {name: v.numpy() for name, v in state.variables_by_name().items()}
    assert {name.split("/")[0] for name in arrays} == {"network", "ema", "ema_0.1", "optimizer"}
    if averaged:
        arrays = {name: a for name, a in arrays.items() if name.startswith("ema/")}
    np.savez(tmp_path / "arrays.npz", step=40, **arrays)
    load(SMALL, *POWER, *RATE)
    import_state(tmp_path / "arrays.npz", tmp_path / "made")
    made = lcss_tf.ScoreModel.load(tmp_path / "made")
    assert _runs.is_run(tmp_path / "made")
    for group in ("ema", "ema_0.1"):
        expected = weights(held, "ema" if averaged else group)
        np.testing.assert_array_equal(weights(made, group), expected)
