"""A checkpoint of score_sde's form becomes a run that samples and trains on.

torch is an extra: without it these are skipped.
"""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import config
from lcss_tf.experiment import import_checkpoint, sample, train
from lcss_tf.experiment.recipe import restored
from lcss_tf.importers import score_sde
from tests.importers.helpers import content, reference

torch = pytest.importorskip("torch", reason="pip install -e '.[torch]'")


@pytest.fixture
def source(tmp_path):
    meta, state, _ = reference()
    path = tmp_path / "checkpoint.pth"
    torch.save(content(state, tensor=torch.tensor), path)
    config.load(_gin_file(tmp_path, meta))
    return path


def _gin_file(folder, meta):
    names = {theirs: ours for theirs, ours in score_sde.OPTIONS.items() if theirs in meta}
    lines = [f"NCSNpp.{ours} = {_value(meta[theirs])!r}" for theirs, ours in names.items()]
    size = meta["image_size"]
    text = f"""
train.sde = @sdes.VPSDE()
train.loss = @losses.LCSSLoss()
train.data = @datasets.NoiseImages()
train.network = @networks.NCSNpp()
train.total_steps = 9
train.batch_size = 2
score.preconditioning = "noise"
NoiseImages.shape = ({size}, {size}, 3)
NoiseImages.count = 4
sample.sampler = @samplers.EulerMaruyama()
EulerMaruyama.num_steps = 2
sample.batch_size = 2
train_step.jit_compile = False
sample.jit_compile = False
pictures.every = 0
prior_check.num_examples = 2
optimizer.warmup_steps = 0
"""
    path = folder / "imported.gin"
    path.write_text(text + "\n".join(lines))
    return path


def _value(value):
    return tuple(value) if type(value) is list else value


def test_the_run_holds_weights_average_moments_and_step(source, tmp_path):
    _, state, arrays = reference()
    path, made = import_checkpoint(source, tmp_path / "run")
    assert path.name == "step_000000007.npz"
    assert made.step == 7
    assert int(np.asarray(made.optimizer.iterations.numpy())) == 7
    x, cond = (tf.constant(arrays[f"in.{key}"]) for key in ("x", "cond"))
    gap = np.linalg.norm(made.network(x, cond) - arrays["out.y"])
    assert gap < 1e-4 * np.linalg.norm(arrays["out.y"])
    pairs = zip(made.network.trainable_variables, made.ema.network.trainable_variables, strict=True)
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


@pytest.mark.slow
def test_the_run_samples_and_trains_on(source, tmp_path):
    import_checkpoint(source, tmp_path / "run")
    assert sample(tmp_path / "run", num_samples=2)
    state = train(tmp_path / "run")
    assert state.step == 9
    assert restored(tmp_path / "run")[1].step == 9


def test_a_workdir_with_checkpoints_is_left_alone(source, tmp_path):
    import_checkpoint(source, tmp_path / "run")
    with pytest.raises(config.ConfigError, match="holds checkpoints already"):
        import_checkpoint(source, tmp_path / "run")


def test_preconditioning_by_moments_is_refused(source, tmp_path):
    config.load(tmp_path / "imported.gin", ["score.preconditioning = 'moments'"])
    with pytest.raises(config.ConfigError, match=r"'noise' .* or 'none'"):
        import_checkpoint(source, tmp_path / "run")
    assert not (tmp_path / "run").exists()
