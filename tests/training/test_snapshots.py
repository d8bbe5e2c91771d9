"""Snapshots of the averages: the same after any interruption, whole, and worth an average."""

import functools
import shutil

import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.archives import ArrayArchive
from lcss_tf.averages import PowerFunction
from lcss_tf.errors import UsageError
from lcss_tf.training import Checkpoints, Snapshots, TrainStep
from lcss_tf.training.checkpoints import CheckpointError
from lcss_tf.training.snapshots import Reconstruction, paths
from tests.processes import assert_same_end
from tests.training import helpers
from tests.training.helpers import fit

REAL = functools.partial(TrainStep, jit_compile=False)


def kept(workdir):
    """{step: arrays} of the snapshots of a run."""
    found = {}
    for path in paths(workdir / "averages"):
        with np.load(path, allow_pickle=False) as archive:
            found[int(path.stem[5:])] = {name: archive[name] for name in archive.files}
    return found


def assert_same_snapshots(one, two):
    one, two = kept(one), kept(two)
    assert one.keys() == two.keys()
    for step, arrays in one.items():
        assert arrays.keys() == two[step].keys()
        for name, value in arrays.items():
            np.testing.assert_array_equal(two[step][name], value, err_msg=f"{step} {name}")


def power(workdir, steps=helpers.STEPS, sigma_rels=(0.05, 0.10), every=None, keep=64, **options):
    snapshots = [] if every is None else [Snapshots(every, keep)]
    return fit(workdir, snapshots, steps, average=PowerFunction(sigma_rels), **options)


# What is kept ----------------------------------------------------------------------------------


def test_a_snapshot_is_a_checkpoint_of_the_averages_alone(tmp_path):
    model = power(tmp_path)
    found = kept(tmp_path)
    assert list(found) == list(range(1, helpers.STEPS + 1))  # at most 64
    groups = {name.split("/")[0] for name in found[12]}
    assert groups == {"meta", "measured", "ema", "ema_0.1"}
    for group in ("ema", "ema_0.1"):
        for name, variable in model.state.variables()[group].items():
            np.testing.assert_array_equal(found[12][f"{group}/{name}"], variable.numpy())


def test_by_default_nothing_is_kept(tmp_path):
    fit(tmp_path)
    assert not (tmp_path / "averages").exists()
    power(tmp_path / "off", every=0)
    assert not (tmp_path / "off" / "averages").exists()


@pytest.mark.parametrize(
    ("steps", "every", "keep", "expected"),
    [
        (12, 2, 64, [2, 4, 6, 8, 10, 12]),
        (12, 5, 64, [5, 10]),
        (12, 1, 4, [4, 8, 12]),  # would be 12: the interval doubles, twice
        (12, None, 5, [4, 8, 12]),  # the smallest power of two
        (9, 1, 8, [1, 2, 3, 4, 5, 6, 7, 8]),  # it doubles at the 10th
    ],
)
def test_the_folder_stays_small(steps, every, keep, expected, tmp_path):
    snapshots = Snapshots(every, keep)
    fit(tmp_path, [snapshots], steps, average=PowerFunction())
    assert list(kept(tmp_path)) == expected
    assert len(expected) <= keep


def test_what_cannot_be_kept_is_refused_before_the_first_step(tmp_path):
    with pytest.raises(UsageError, match=r"keep must be at least 2; got 1"):
        Snapshots(keep=1)
    with pytest.raises(UsageError, match=r"the run keeps no average.*PowerFunction\(\)"):
        fit(tmp_path, [Snapshots(2)])
    with pytest.raises(UsageError, match="no place to keep them. Give fit a workdir"):
        fit(None, [Snapshots(2)], average=PowerFunction())


def test_a_run_with_other_lengths_is_another_model(tmp_path):
    power(tmp_path, steps=2)
    with pytest.raises(UsageError, match=r"average.arguments.sigma_rels: \[0.05, 0.1\] there"):
        power(tmp_path, steps=4, sigma_rels=(0.05, 0.2))


# Interruptions ---------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("every", "keep"), [(1, 64), (1, 4), (2, 3)])
def test_a_run_that_was_killed_ends_with_the_same_snapshots(every, keep, tmp_path):
    """Back to an earlier checkpoint, whose own snapshot was not written yet; later ones go."""
    whole, again = tmp_path / "whole", tmp_path / "again"
    power(whole, every=every, keep=keep)
    shutil.copytree(whole, again)
    for step in (10, 12):
        Checkpoints(again).at(step).unlink()
    for step in (5, 6):
        (again / "averages" / f"step_{step:09d}.npz").unlink(missing_ok=True)
    for path in paths(again / "averages"):  # of later steps: not trusted
        if int(path.stem[5:]) > 6:
            path.write_bytes(b"of another life")
    (again / "averages" / ".step_000000008.npz.0123456789ab.tmp").write_bytes(b"half")
    power(again, every=every, keep=keep)
    assert_same_end(whole, again)
    assert_same_snapshots(whole, again)
    assert not list((again / "averages").glob(".*.tmp"))


@pytest.mark.slow
def test_real_steps_resume_to_the_same_averages(tmp_path):
    whole, again = tmp_path / "whole", tmp_path / "again"
    power(whole, make_step=REAL, every=2)
    shutil.copytree(whole, again)
    for step in (10, 12):
        Checkpoints(again).at(step).unlink()
    power(again, make_step=REAL, every=2)
    assert_same_end(whole, again)
    assert_same_snapshots(whole, again)


def test_a_full_disk_costs_the_snapshot_and_not_the_training(tmp_path, monkeypatch):
    write = lcss.files.write_arrays

    def full(path, arrays, durable=False):
        if "averages" in str(path):
            raise OSError(28, "No space left on device")
        return write(path, arrays, durable)

    monkeypatch.setattr(lcss.files, "write_arrays", full)
    assert power(tmp_path).step == helpers.STEPS
    assert not kept(tmp_path)


# The step --------------------------------------------------------------------------------------


@pytest.mark.slow
def test_one_replica_equals_two():
    runs = {}
    for replicas in (1, 2):
        state, distribution = helpers.make_state(replicas, averaging=PowerFunction((0.1, 0.25)))
        step = helpers.make_step(state, distribution, lcss.losses.DSMLoss(), jit_compile=False)
        helpers.run(state, step, helpers.batches(distribution), 4)
        runs[replicas] = {
            group: np.concatenate([v.numpy().ravel() for v in variables.values()])
            for group, variables in state.variables().items()
            if group != "optimizer"
        }
    assert list(runs[1]) == ["network", "ema", "ema_0.25"]
    for group, one in runs[1].items():
        assert np.linalg.norm(one - runs[2][group]) < 1e-5 * np.linalg.norm(one)
    assert np.abs(runs[1]["ema"] - runs[1]["ema_0.25"]).max() > 0


@pytest.mark.slow
def test_averages_change_nothing_of_the_training(tmp_path):
    """The same network to the bit, whatever is averaged."""
    models = [fit(make_step=REAL), power(None, make_step=REAL)]
    one, two = (helpers.weights(model.network) for model in models)
    np.testing.assert_array_equal(one, two)
    assert np.abs(helpers.weights(models[0].state.average) - one).max() > 0


# Reconstruction --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of real steps that kept two averages."""
    workdir = tmp_path_factory.mktemp("posthoc")
    model = power(workdir, 60, make_step=REAL, every=2, optimizer=helpers.adam(1e-2))
    return workdir, model


def gap(one, two):
    """‖θ_1 − θ_2‖/‖θ_2‖ of two networks."""
    one, two = helpers.weights(one).astype(np.float64), helpers.weights(two).astype(np.float64)
    return np.linalg.norm(one - two) / np.linalg.norm(two)


@pytest.mark.slow
def test_an_average_is_that_of_a_run_which_kept_it(run):
    """σ_rel = 0.07 of a run that kept 0.05 and 0.10, against direct averaging."""
    workdir, model = run
    direct = power(None, 60, (0.07,), make_step=REAL, optimizer=helpers.adam(1e-2))
    np.testing.assert_array_equal(*(helpers.weights(m.network) for m in (model, direct)))
    made = lcss.ScoreModel.load(workdir, sigma_rel=0.07)
    expected = direct.state.average
    assert gap(made.state.average, expected) < 1e-4
    assert gap(model.state.average, expected) > 30 * gap(made.state.average, expected)
    assert made.average.arguments() == {"sigma_rels": [0.07]}
    assert list(made.state.variables()) == ["network", "ema"]


def test_a_length_that_was_kept_comes_back_to_the_bit(run):
    workdir, model = run
    for sigma_rel, group in ((0.05, "ema"), (0.10, "ema_0.1")):
        made = lcss.ScoreModel.load(workdir, sigma_rel=sigma_rel)
        for name, variable in made.state.variables()["ema"].items():
            np.testing.assert_array_equal(
                variable.numpy(), model.state.variables()[group][name].numpy()
            )
    # And at an earlier checkpoint: its snapshots of later steps have no part in it.
    earlier = lcss.ScoreModel.load(workdir, checkpoint="50", sigma_rel=0.10)
    assert earlier.step == 50
    for name, variable in earlier.state.variables()["ema"].items():
        np.testing.assert_array_equal(variable.numpy(), kept(workdir)[50][f"ema_0.1/{name}"])


@pytest.mark.slow
def test_a_reconstruction_is_saved_and_read_as_any_model(run, tmp_path):
    workdir, _ = run
    made = lcss.ScoreModel.load(workdir, sigma_rel=0.08)
    made.save(tmp_path / "made.lcss")
    again = lcss.ScoreModel.load(tmp_path / "made.lcss")
    assert gap(again.state.average, made.state.average) == 0
    assert again.average.sigma_rels == (0.08,)
    assert again.sample(3, sampler=lcss.samplers.EulerMaruyama(num_steps=2)).shape == (3, 2)


@pytest.mark.parametrize("content", [b"", b"no archive", None])
def test_a_damaged_snapshot_is_left_out(content, run, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(run[0], workdir)
    path = paths(workdir / "averages")[20]
    whole = path.read_bytes()
    if content is None:  # one bit in the numbers, which only reading them finds
        with ArrayArchive(path) as archive:
            name = next(name for name in archive.names if name.startswith("ema/"))
            claim = archive.claim(name)
        place = claim.member.offset + claim.header + 2
        content = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    path.write_bytes(content)
    made = lcss.ScoreModel.load(workdir, sigma_rel=0.07)
    assert f"{path} cannot be used" in caplog.text
    better = lcss.ScoreModel.load(run[0], sigma_rel=0.07)
    assert 0 < gap(made.state.average, better.state.average) < 1e-3


def test_too_few_snapshots_are_said_to_be(run, tmp_path, caplog):
    workdir = tmp_path / "run"
    shutil.copytree(run[0], workdir)
    shutil.rmtree(workdir / "averages")
    lcss.ScoreModel.load(workdir, sigma_rel=0.25)
    assert "made of 1 snapshots, and its profile is off by" in caplog.text
    newest = Checkpoints(workdir).paths()[-1]
    assert Reconstruction(newest, 0.25).combination().error > 0.05


def test_what_cannot_be_reconstructed_is_refused(run, tmp_path):
    fit(tmp_path, steps=2)
    with pytest.raises(UsageError, match=r"is of a run without averages.*PowerFunction\(\)"):
        lcss.ScoreModel.load(tmp_path, sigma_rel=0.1)
    with pytest.raises(UsageError, match="lies from 1e-6 to 0.2887"):
        lcss.ScoreModel.load(run[0], sigma_rel=0.0)
    with pytest.raises(CheckpointError, match="No checkpoint fits"):
        lcss.ScoreModel.load(run[0], checkpoint="7", sigma_rel=0.1)
