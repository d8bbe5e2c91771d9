"""Checkpoints: whole or absent, checked on reading, the one before where the newest is bad."""

import os
import stat

import numpy as np
import pytest

from lcss_tf.training.checkpoints import CheckpointError, Checkpoints
from tests.training import helpers


@pytest.fixture
def trained():
    """A state with its own value in every variable, as after some steps."""
    state, _ = helpers.make_state()
    random = np.random.default_rng(1)
    for group in state.variables().values():
        for variable in group.values():
            variable.assign(np.asarray(100 * random.normal(size=variable.shape), variable.dtype))
    state.step = 2
    return state


def test_a_restored_state_is_the_saved_one(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path)
    trained.nonfinite_steps = 3
    path = checkpoints.save(trained)
    other, _ = helpers.make_state(2)  # another number of replicas
    assert checkpoints.restore(other) == path
    assert other.step == 2
    assert other.nonfinite_steps == 3
    for a, b in zip(helpers.everything(trained), helpers.everything(other), strict=True):
        np.testing.assert_array_equal(a, b)
    measured = trained.score.preconditioning.measured
    for name, value in other.score.preconditioning.measured.items():
        np.testing.assert_array_equal(value, measured[name])


def test_only_the_newest_are_kept_and_no_temporary_files(trained, tmp_path):
    checkpoints = Checkpoints(tmp_path, keep=2)
    for trained.step in (5, 20, 100):
        checkpoints.save(trained)
    names = [path.name for path in (tmp_path / "checkpoints").iterdir()]
    assert sorted(names) == ["step_000000020.npz", "step_000000100.npz"]


def _truncate(content):
    return content[: len(content) // 2]


def _flip(content):
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("damage", [_truncate, _flip, lambda _: b"", lambda _: b"not a zip"])
def test_a_damaged_newest_falls_back_to_the_one_before(trained, tmp_path, damage):
    checkpoints = Checkpoints(tmp_path)
    good = checkpoints.save(trained)
    trained.step = 3
    bad = checkpoints.save(trained)
    bad.write_bytes(damage(bad.read_bytes()))
    other, _ = helpers.make_state()
    assert checkpoints.restore(other) == good
    assert other.step == 2
    good.unlink()
    with pytest.raises(CheckpointError, match=bad.name):
        checkpoints.restore(other)


def test_a_foreign_checkpoint_is_refused_with_both_shapes(trained, tmp_path):
    import lcss_tf

    Checkpoints(tmp_path).save(trained)
    network = lcss_tf.NETWORKS["MLP"](width=24, depth=2, embedding_features=8)
    other, _ = helpers.make_state(network=network)
    with pytest.raises(CheckpointError, match=r"shape .*24.* the stored one .*16"):
        Checkpoints(tmp_path).restore(other)


def test_another_format_is_refused(trained, tmp_path, monkeypatch):
    from lcss_tf.training import checkpoints

    monkeypatch.setattr(checkpoints, "FORMAT", 99)
    monkeypatch.setattr(checkpoints, "__version__", "9.9")
    Checkpoints(tmp_path).save(trained)
    monkeypatch.undo()
    message = r"of lcss_tf 9\.9, in format 99.*install that version"
    with pytest.raises(CheckpointError, match=message):
        Checkpoints(tmp_path).restore(trained)


def test_a_failed_write_leaves_the_others_alone(trained, tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    good = checkpoints.save(trained)

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(np, "savez", fail)
    trained.step = 3
    with pytest.raises(OSError, match="No space left"):
        checkpoints.save(trained)
    assert list((tmp_path / "checkpoints").iterdir()) == [good]


def test_nothing_to_restore(trained, tmp_path):
    assert Checkpoints(tmp_path).restore(trained) is None
    with pytest.raises(ValueError, match="keep >= 1"):
        Checkpoints(tmp_path, keep=0)


def test_the_umask_decides_who_may_read_a_checkpoint(trained, tmp_path):
    before = os.umask(0o077)
    try:
        path = Checkpoints(tmp_path).save(trained)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("text", ["newest", "all", "1-"])
def test_what_training_writes_meanwhile_is_tried_too(text, tmp_path):
    """With keep = 1 the one that was found first is gone when it is read."""
    checkpoints, tried = Checkpoints(tmp_path, keep=1), []
    checkpoints.directory.mkdir()
    checkpoints.at(10).touch()
    for path in checkpoints.candidates(text):
        tried.append(path)
        if len(tried) < 3:
            path.unlink()
            checkpoints.at(10 * (len(tried) + 1)).touch()
    assert tried == [checkpoints.at(10), checkpoints.at(20), checkpoints.at(30)]


def test_without_any_there_is_nothing_to_try(tmp_path):
    assert list(Checkpoints(tmp_path).candidates()) == []
    with pytest.raises(CheckpointError, match="No checkpoint fits checkpoint=4000"):
        next(Checkpoints(tmp_path).candidates("4000"))
