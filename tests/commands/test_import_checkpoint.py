"""A checkpoint of score_sde's form becomes a run that samples and trains on."""

import gin
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf.commands import _gin, _runs
from lcss_tf.commands.import_checkpoint import import_checkpoint
from lcss_tf.commands.train import train
from lcss_tf.importers import score_sde, torch_file
from lcss_tf.training import Distribution
from tests.commands.helpers import load
from tests.importers.helpers import content, reference

GIN = """
ScoreModel.sde = @sdes.VPSDE()
ScoreModel.network = @networks.NCSNpp()
ScoreModel.preconditioning = "noise"
fit.loss = @losses.LCSSLoss()
fit.data = @datasets.NoiseImages()
fit.steps = 9
fit.batch_size = 2
fit.optimizer = @Adam()
Adam.learning_rate = 2e-4
NoiseImages.shape = ({size}, {size}, 3)
NoiseImages.count = 4
TrainStep.jit_compile = False
Pictures.every = 0
check_prior.num_examples = 2
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """(the checkpoint's path, the gin file's): of the reference's DDPM++."""
    meta, state, _ = reference()
    folder = tmp_path_factory.mktemp("source")
    names = {theirs: ours for theirs, ours in score_sde.OPTIONS.items() if theirs in meta}
    lines = [f"NCSNpp.{ours} = {_value(meta[theirs])!r}" for theirs, ours in names.items()]
    gin_file = folder / "imported.gin"
    gin_file.write_text(GIN.format(size=meta["image_size"]) + "\n".join(lines))
    return folder / "checkpoint.pth", gin_file


def _value(value):
    return tuple(value) if type(value) is list else value


@pytest.fixture(scope="module")
def imported(source, tmp_path_factory):
    """(the run's workdir, the checkpoint written, the model), from a real file where torch is."""
    workdir = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        _make(source[0], patch)
        load(source[1])
        path, model = import_checkpoint(source[0], workdir)
        gin.clear_config()
    return workdir, path, model


def _make(path, patch):
    """Makes the checkpoint; without torch, which is an extra, only its reader gives its content."""
    _, state, _ = reference()
    try:
        import torch
    except ModuleNotFoundError:
        patch.setattr(torch_file, "read", lambda _: content(state))
    else:
        torch.save(content(state, tensor=torch.tensor), path)


def test_the_run_holds_weights_average_moments_and_step(imported):
    _, _, arrays = reference()
    _, path, model = imported
    made = model.state
    assert path.name == "step_000000007.npz"
    assert made.step == model.step == 7
    assert int(np.asarray(made.optimizer.iterations.numpy())) == 7
    x, cond = (tf.constant(arrays[f"in.{key}"]) for key in ("x", "cond"))
    gap = np.linalg.norm(made.network(x, cond) - arrays["out.y"])
    assert gap < 1e-4 * np.linalg.norm(arrays["out.y"])
    pairs = zip(made.network.trainable_variables, made.average.trainable_variables, strict=True)
    for weight, average in pairs:
        np.testing.assert_allclose(average, 2 * weight.numpy(), rtol=1e-6)
    for weight, m, v in zip(
        made.network.trainable_variables,
        made.optimizer._momentums,
        made.optimizer._velocities,
        strict=True,
    ):
        np.testing.assert_allclose(m, 3 * weight.numpy(), rtol=1e-6)
        np.testing.assert_array_equal(v, np.full(v.shape, 4.0))


def test_the_run_is_loaded_as_any_other(imported):
    workdir, _, made = imported
    model = lcss_tf.ScoreModel.load(workdir, distribution=Distribution(1))
    assert model.step == 7
    assert model.info == made.info
    for a, b in zip(model.state.average.weights, made.state.average.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert _runs.is_run(workdir)
    assert _runs.recorded(workdir)["imports"] == []


@pytest.mark.slow
def test_the_run_samples_and_trains_on(imported, source):
    workdir, _, _ = imported
    model = lcss_tf.ScoreModel.load(workdir, distribution=Distribution(1))
    sampler = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=2)
    assert model.sample(2, sampler=sampler, batch_size=2).dtype == np.uint8
    load(source[1])
    assert train(workdir).step == 9
    assert lcss_tf.ScoreModel.load(workdir, distribution=Distribution(1)).step == 9


def test_a_workdir_with_checkpoints_is_left_alone(imported, source, monkeypatch):
    workdir, path, _ = imported
    before = path.stat().st_mtime_ns
    _make(source[0], monkeypatch)
    load(source[1])
    with pytest.raises(_gin.ConfigError, match="holds checkpoints already"):
        import_checkpoint(source[0], workdir)
    assert path.stat().st_mtime_ns == before


@pytest.mark.slow
def test_preconditioning_by_moments_is_refused(source, tmp_path, monkeypatch):
    _make(source[0], monkeypatch)
    load(source[1], "ScoreModel.preconditioning = 'moments'")
    with pytest.raises(_gin.ConfigError, match=r"'noise' .* or 'none'"):
        import_checkpoint(source[0], tmp_path / "run")
    assert not (tmp_path / "run").exists()
