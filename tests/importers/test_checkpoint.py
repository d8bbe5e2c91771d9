"""score_sde's checkpoint files: read without running code, sorted by parameter, filled in.

The files are made here from the reference's weights. torch is an extra: without it the tests that
read files are skipped.
"""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.importers import score_sde, torch_file
from lcss_tf.importers.score_sde import checkpoint
from tests.importers.helpers import content, reference


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="pip install -e '.[torch]'")


@pytest.fixture(scope="module")
def whole():
    """(network, content, state, arrays) of the reference's DDPM++."""
    meta, state, arrays = reference()
    network = score_sde.network_from_config(meta)
    return network, content(state), state, arrays


def test_weights_average_moments_and_step_are_filled_in(whole):
    network, parts, _, arrays = whole
    average = type(network).from_config(network.get_config())
    average.build_from_config(network.get_build_config())
    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    source = checkpoint(parts, network)
    assert source.step == 7
    assert score_sde.fill(source, network, average, optimizer)
    assert int(optimizer.iterations.numpy()) == 7
    x, cond = (tf.constant(arrays[f"in.{key}"]) for key in ("x", "cond"))
    gap = np.linalg.norm(network(x, cond) - arrays["out.y"])
    assert gap < 1e-4 * np.linalg.norm(arrays["out.y"])
    trained = [network.trainable_variables, average.trainable_variables]
    for w, mean, m, v in zip(*trained, optimizer._momentums, optimizer._velocities, strict=True):
        np.testing.assert_allclose(mean, 2 * w.numpy(), rtol=1e-6)
        np.testing.assert_allclose(m, 3 * w.numpy(), rtol=1e-6)
        np.testing.assert_array_equal(v, np.full(v.shape, 4.0))


def test_another_optimizer_starts_with_its_own_state(whole):
    network, parts, _, _ = whole
    optimizer = keras.optimizers.SGD()
    optimizer.build(network.trainable_variables)
    assert not score_sde.fill(checkpoint(parts, network), network, optimizer=optimizer)
    assert int(optimizer.iterations.numpy()) == 7


class _Harmful:
    """What a harmful pickle does: it names a function for its reader to call."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self._path,))


def test_a_file_that_asks_for_code_is_refused_and_not_run(tmp_path, torch):
    witness = tmp_path / "was_run"
    torch.save({"model": _Harmful(witness)}, tmp_path / "harmful.pth")
    with pytest.raises(ValueError, match=r"harmful.pth is refused"):
        torch_file.read(tmp_path / "harmful.pth")
    assert not witness.exists()


def test_damaged_and_absent_files_are_refused(tmp_path, torch):
    with pytest.raises(FileNotFoundError, match="no checkpoint file"):
        torch_file.read(tmp_path / "absent.pth")
    (tmp_path / "damaged.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged.pth is refused"):
        torch_file.read(tmp_path / "damaged.pth")


def test_a_file_is_read_as_arrays(tmp_path, torch, whole):
    network, parts, state, _ = whole
    torch.save(content(state, tensor=torch.tensor), tmp_path / "checkpoint.pth")
    source = checkpoint(torch_file.read(tmp_path / "checkpoint.pth"), network)
    expected = checkpoint(parts, network)
    assert source.step == expected.step
    for name, value in expected.average.items():
        np.testing.assert_array_equal(source.average[name], value)


def test_foreign_and_incomplete_contents_are_refused(whole):
    network, parts, _, _ = whole
    with pytest.raises(ValueError, match=r"no checkpoint of score_sde.*\['weights'\]"):
        checkpoint({"weights": {}}, network)
    with pytest.raises(ValueError, match="no dict"):
        checkpoint([1.0], network)
    short = {**parts, "ema": {"shadow_params": parts["ema"]["shadow_params"][:-1]}}
    with pytest.raises(ValueError, match=r"average holds \d+ tensors"):
        checkpoint(short, network)


def test_without_the_optimiser_its_moments_are_absent(whole):
    network, parts, _, _ = whole
    parts = {key: part for key, part in parts.items() if key != "optimizer"}
    source = checkpoint(parts, network)
    assert source.moments is None
    optimizer = keras.optimizers.Adam()
    optimizer.build(network.trainable_variables)
    assert not score_sde.fill(source, network, optimizer=optimizer)
