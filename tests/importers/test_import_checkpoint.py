"""A checkpoint of score_sde's form becomes a run that samples and trains on; nothing is run by it.

The file is made here from the reference's weights. torch is an extra: without it these are skipped.
"""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import config
from lcss_tf.experiment import import_checkpoint, sample, train
from lcss_tf.experiment.recipe import restored
from lcss_tf.importers import score_sde, torch_file
from lcss_tf.importers.score_sde_checkpoint import checkpoint

torch = pytest.importorskip("torch", reason="pip install -e '.[torch]'")
FIXTURE = pathlib.Path(__file__).parents[1] / "fixtures" / "net_ddpmpp_vp.npz"


def reference():
    """(meta, state, the other arrays) of the reference's DDPM++."""
    with np.load(FIXTURE) as data:
        arrays = {key: data[key] for key in data.files}
    meta = json.loads(arrays.pop("meta.json").tobytes())
    state = {k.removeprefix("state."): v for k, v in arrays.items() if k.startswith("state.")}
    return meta, state, arrays


def content(state, step=7):
    """A checkpoint as score_sde saves it: the average is twice the weights, the moments 3 and 4."""
    names = [name for name in state if name != "sigmas"]
    tensor = lambda x: torch.tensor(np.asarray(x))
    moments = {
        i: {"step": step, "exp_avg": tensor(3 * state[n]), "exp_avg_sq": tensor(4 + 0 * state[n])}
        for i, n in enumerate(names)
    }
    return {
        "optimizer": {"state": moments, "param_groups": [{"lr": 2e-4, "params": [*moments]}]},
        "model": {f"module.{name}": tensor(value) for name, value in state.items()},
        "ema": {
            "decay": 0.9999,
            "num_updates": step,
            "shadow_params": [tensor(2 * state[name]) for name in names],
        },
        "step": step,
    }


@pytest.fixture
def source(tmp_path):
    meta, state, _ = reference()
    path = tmp_path / "checkpoint.pth"
    torch.save(content(state), path)
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


class _Harmful:
    """What a harmful pickle does: it names a function for its reader to call."""

    def __init__(self, path):
        self._path = path

    def __reduce__(self):
        return (pathlib.Path.touch, (self._path,))


def test_a_file_that_asks_for_code_is_refused_and_not_run(tmp_path):
    witness = tmp_path / "was_run"
    torch.save({"model": _Harmful(witness)}, tmp_path / "harmful.pth")
    with pytest.raises(ValueError, match=r"harmful.pth is refused"):
        torch_file.read(tmp_path / "harmful.pth")
    assert not witness.exists()


def test_damaged_absent_and_foreign_files_are_told_apart(tmp_path):
    with pytest.raises(FileNotFoundError, match="no checkpoint file"):
        torch_file.read(tmp_path / "absent.pth")
    (tmp_path / "damaged.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="damaged.pth is refused"):
        torch_file.read(tmp_path / "damaged.pth")
    meta, state, _ = reference()
    network = score_sde.network_from_config(meta)
    with pytest.raises(ValueError, match=r"no checkpoint of score_sde.*\['weights'\]"):
        checkpoint({"weights": {}}, network)
    short = content(state)
    short["ema"]["shadow_params"].pop()
    short = torch_file._in_numpy(short)
    with pytest.raises(ValueError, match=r"average holds \d+ tensors"):
        checkpoint(short, network)


def test_without_the_optimiser_its_moments_are_absent():
    meta, state, _ = reference()
    network = score_sde.network_from_config(meta)
    whole = torch_file._in_numpy(content(state))
    del whole["optimizer"]
    assert checkpoint(whole, network).moments is None
