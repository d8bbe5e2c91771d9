"""An exported program computes what TensorFlow computes, where JAX compiles it."""

import importlib.util
import json
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf import export
from lcss_tf.errors import UsageError
from lcss_tf.export.program import Program, Value, read_manifest
from lcss_tf.inference import Sampling
from lcss_tf.training import Distribution, TrainStep
from tests.training import helpers

pytest.importorskip("jax")
ROOT = Path(__file__).parents[2]


def runner():
    spec = importlib.util.spec_from_file_location("run_program", ROOT / "tools" / "run_program.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


RUNNER = runner()


@pytest.fixture(scope="module")
def trained_images():
    """A model of 4×4 images by class whose weights are no longer those of the start."""
    network = lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(),
        num_classes=3,
    )  # fmt: skip
    model = lcss.ScoreModel(network, lcss.sdes.VPSDE())
    x = np.random.default_rng(0).integers(0, 255, (32, 4, 4, 1)).astype(np.uint8)
    data = lcss.data.from_user(x, np.arange(32) % 3)
    state, model.info = model.build(data.shape), data.info()
    state.score.preconditioning.prepare(state.sde, model.normalise(x))
    rng = np.random.default_rng(1)
    for variable in state.average.trainable_variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return model


def values_of(state):
    return {
        f"{group}/{path}": variable.numpy()
        for group, variables in state.variables().items()
        for path, variable in variables.items()
    }


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-12)


@pytest.mark.parametrize(
    ("averaging", "dtype", "tolerance"),
    [
        (None, "float32", 1e-4),
        pytest.param(lcss.averages.PowerFunction(), "float32", 1e-4, marks=pytest.mark.slow),
        pytest.param(None, "mixed_float16", 1e-2, marks=pytest.mark.slow),
    ],
)
def test_a_training_step_elsewhere_changes_every_variable_as_here(
    averaging, dtype, tolerance, tmp_path
):
    network = lcss.networks.MLP(width=16, depth=2, embedding_features=8, dtype=dtype)
    state, distribution = helpers.make_state(network=network, averaging=averaging)
    step = helpers.make_step(state, distribution, jit_compile=True)
    export.train_step(state, step, helpers.BATCH).write(tmp_path / "step")
    step = helpers.make_step(state, distribution, jit_compile=True, seed=-3)  # not that of the file
    x = np.concatenate([helpers.data(seed=s) for s in range(4)])
    np.savez(tmp_path / "data.npz", x=x, multiply=np.float32(1), add=np.float32(0))

    trainer = RUNNER.Trainer(tmp_path / "step", str(tmp_path / "data.npz"), seed=-3, block=3)
    before = values_of(state)
    order = np.random.default_rng(2**32 - 3).permutation(len(x)).astype(np.int32).reshape(4, -1)
    losses = [float(step(tf.constant(x[order[i]]), i).loss) for i in range(4)]
    told = [trainer.take_block(most) for most in (None, 1)]  # three steps and one

    shown = np.concatenate([block["loss"] for block in told])
    np.testing.assert_allclose(shown, losses, rtol=0.1 * tolerance)
    assert trainer.step == 4
    now, there = values_of(state), trainer.arrays()
    assert set(now) <= set(there)
    assert sum(relative(now[n], before[n]) > 1e-6 for n in now) > 0.8 * len(now)
    assert max(relative(there[n], now[n]) for n in now) < tolerance
    RUNNER.save_state(tmp_path / "after.npz", there, trainer.step)
    assert RUNNER.difference(now, tmp_path / "after.npz") < tolerance


def test_a_score_with_classes_is_the_models(trained_images, tmp_path):
    model = trained_images
    export.as_program(model.state, export.score(model.state, 4)).write(tmp_path)
    x = np.random.default_rng(1).normal(size=(4, 4, 4, 1)).astype(np.float32)
    t, labels = np.float32([0.1, 0.4, 0.7, 1.0]), np.int32([0, 1, 2, 3])
    there = RUNNER.run_once(tmp_path)(x=x, t=t, labels=labels)["score"]
    here = model.score_fn(x, t, tf.constant(labels))
    assert relative(there, here) < 1e-4


@pytest.mark.slow
def test_a_model_exports_itself(trained_images, tmp_path):
    model = trained_images
    model.export(tmp_path / "score", batch_size=2)
    sampler = lcss.samplers.EulerMaruyama(num_steps=2)
    model.export(tmp_path / "sampler", what="sampler", batch_size=2, sampler=sampler)
    assert read_manifest(tmp_path / "score")["what"] == "score"
    samples, labels, nfe = RUNNER.draw(tmp_path / "sampler", None, 2, 0, 1)
    assert samples.shape == (2, 4, 4, 1)
    assert labels.tolist() == [1, 1]
    assert nfe == 2
    with pytest.raises(UsageError, match="'score' or 'sampler'"):
        model.export(tmp_path, what="train_step")


LOAD = """
import sys
sys.modules["lcss_tf"] = None  # whoever imports it fails
import numpy as np, tensorflow as tf
folder, given, out = sys.argv[1:]
run = tf.saved_model.load(folder).signatures["serving_default"]
outputs = run(**{k: tf.constant(v) for k, v in np.load(given).items()})
np.savez(out, **{k: v.numpy() for k, v in outputs.items()})
"""


def elsewhere(folder, given, tmp_path):
    """The outputs of a SavedModel in a process that cannot import this project."""
    np.savez(tmp_path / "given.npz", **given)
    words = [str(folder), str(tmp_path / "given.npz"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-c", LOAD, *words], check=True, cwd=tmp_path)
    return np.load(tmp_path / "out.npz")


@pytest.mark.slow
def test_tensorflow_alone_runs_a_saved_model(trained_images, tmp_path):
    model = trained_images
    x = np.random.default_rng(1).normal(size=(3, 4, 4, 1)).astype(np.float32)
    given = {"x": x, "t": np.float32([0.1, 0.5, 1.0]), "labels": np.int32([0, 1, 3])}
    folder = tmp_path / "score" / "1"
    assert model.export(folder, format="saved_model", batch_size=3) == [folder]
    score = elsewhere(folder, given, tmp_path)["score"]
    here = model.score_fn(x, given["t"], tf.constant(given["labels"]))
    assert relative(score, here) < 1e-5
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="holds something else"):
        model.export(tmp_path / "mine", format="saved_model")


@pytest.mark.slow
def test_a_saved_sampler_draws_the_samples_of_the_program(trained_images, tmp_path):
    model = trained_images
    options = {"batch_size": 4, "sampler": lcss.samplers.EulerMaruyama(num_steps=3)}
    model.export(tmp_path / "saved", "sampler", "saved_model", guidance=3.0, **options)
    model.export(tmp_path / "program", "sampler", guidance=3.0, **options)
    model.export(tmp_path / "plain", "sampler", **options)
    given = {"seed": np.int32([5, 6]), "labels": np.int32([0, 1, 2, 0])}
    saved = elsewhere(tmp_path / "saved", given, tmp_path)
    there = RUNNER.run_once(tmp_path / "program")(**given)
    assert saved["samples"].dtype == np.uint8
    assert relative(saved["x"], there["x"]) < 1e-4
    assert relative(RUNNER.run_once(tmp_path / "plain")(**given)["x"], there["x"]) > 1e-3


@pytest.mark.slow
def test_a_sampler_gives_images_of_bytes_that_are_the_samplers(trained_images, tmp_path):
    model = trained_images
    sampling = Sampling(model.state, lcss.samplers.EulerMaruyama(num_steps=5), 6, jit_compile=True)
    function = export.sampler(model.state, sampling, model.info)
    export.as_program(model.state, function).write(tmp_path)
    out = RUNNER.run_once(tmp_path)(seed=np.int32([1, 2]), labels=np.arange(6, dtype=np.int32) % 3)
    assert out["samples"].dtype == np.uint8
    assert out["samples"].shape == (6, *model.state.shape)
    assert float(out["nfe"]) == 5
    levels = np.abs(out["samples"].astype(int) - model.info.unscale(out["x"]).reshape(6, 4, 4, 1))
    assert levels.max() <= 1
    more = RUNNER.draw(tmp_path, None, 8, 0, None)
    assert more[0].shape[0] == 8
    np.testing.assert_array_equal(more[1], np.arange(8) % 3)


def test_a_program_is_stablehlo_alone_and_describes_itself(trained_images, tmp_path):
    model = trained_images
    program = export.as_program(model.state, export.score(model.state, 2))
    body = program.text.split("func.func", 1)[1]
    assert not re.findall(r"^\s*%\S+ = \"?(?!stablehlo|func|call)(\w+)\.", body, re.MULTILINE)
    assert "loc(" not in program.text
    program.write(tmp_path)
    manifest = read_manifest(tmp_path)
    assert [i["name"] for i in manifest["inputs"]][:3] == ["x", "t", "labels"]
    names = {i["name"] for i in manifest["inputs"] if i["role"] == "state"}
    assert names <= set(values_of(model.state))
    assert manifest["outputs"][0] == {
        "name": "score", "shape": [2, 4, 4, 1], "dtype": "float32", "role": "output",
    }  # fmt: skip
    found = RUNNER.initial(tmp_path, manifest)
    for name in names:
        np.testing.assert_array_equal(found[name], values_of(model.state)[name])


def test_described_state_has_the_spread_of_the_real_one(tmp_path):
    weights = np.random.default_rng(0).normal(2.0, 3.0, (200, 50)).astype(np.float32)
    flat = np.random.default_rng(0).uniform(-1, 1, (200, 50)).astype(np.float32)
    inputs = tuple(
        Value(name, (200, 50), "float32", "state") for name in ("a/w", "a/again", "a/zero", "a/u")
    )
    arrays = {"a/w": weights, "a/again": weights.copy(), "a/zero": 0 * weights, "a/u": flat}
    Program("score", "", inputs, (), arrays).write(tmp_path, describe=True)
    manifest = json.loads((tmp_path / "program.json").read_text())
    assert (tmp_path / "state.npz").stat().st_size < 100
    found = RUNNER.initial(tmp_path, manifest)
    assert found["a/w"].mean() == pytest.approx(2.0, abs=0.1)
    assert found["a/w"].std() == pytest.approx(3.0, rel=0.02)
    np.testing.assert_array_equal(found["a/w"], found["a/again"])
    assert not found["a/zero"].any()
    assert np.abs(found["a/u"]).max() < 1.01


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("    %3 = mhlo.copy %2 : tensor<i64>\n    %4 = stablehlo.add %3, %1 : tensor<i64>",
         "    %4 = stablehlo.add %2, %1 : tensor<i64>"),
        ("    %3 = mhlo.copy %2 : tensor<f32>\n    %5 = mhlo.copy %3 : tensor<f32>\n    return %5",
         "    return %2"),
        # A region beside it may use the same name for something else.
        ("    %3 = mhlo.copy %2 : tensor<f32>\n    %3 = stablehlo.abs %1\n    return %3",
         "    %3 = stablehlo.abs %1\n    return %3"),
        ("    ^bb0(%arg0: tensor<f32> loc(fused[#loc7, #loc1]), %arg1: tensor<f32> loc(#loc2)):",
         "    ^bb0(%arg0: tensor<f32>, %arg1: tensor<f32>):"),
        ('    %c = stablehlo.constant dense<"0x000000000100000002000000"> : tensor<1x3xui32>',
         "    %c = stablehlo.iota dim = 1 : tensor<1x3xui32>"),
        ('    %c = stablehlo.constant dense<"0x000000000100000003000000"> : tensor<1x3xui32>',
         '    %c = stablehlo.constant dense<"0x000000000100000003000000"> : tensor<1x3xui32>'),
    ],
)  # fmt: skip
def test_what_other_clients_refuse_goes(text, expected):
    from lcss_tf.export.program import _portable

    assert _portable(text) == expected


def test_a_folder_without_a_program_says_so(tmp_path):
    with pytest.raises(UsageError, match="lcss export"):
        read_manifest(tmp_path)
    (tmp_path / "program.json").write_text('{"format": 99}')
    with pytest.raises(UsageError, match="format 99"):
        read_manifest(tmp_path)


@pytest.mark.slow
def test_programs_are_told_a_condition(tmp_path):
    """The score and the step of a network that is told numbers; NaN is the null condition."""
    random = np.random.default_rng(0)
    y = 1e6 + 10.0 * random.normal(size=(32, 2))
    network = lcss.networks.MLP(width=8, depth=1, embedding_features=4, condition_size=2)
    model = lcss.ScoreModel(network, distribution=Distribution(1))
    model.fit(
        y + 1.0, lcss.losses.DSMLoss(), 2, 8, condition=y, trainer=helpers.no_prior_check(),
        optimizer=keras.optimizers.Adam(0.1),
    )  # fmt: skip
    model.export(tmp_path / "score", batch_size=4)
    x, t = random.normal(size=(4, 2)).astype(np.float32), np.full(4, 0.4, np.float32)
    run = RUNNER.run_once(tmp_path / "score")
    there = run(x=x, t=t, condition=y[:4])["score"]
    np.testing.assert_allclose(there, model.score_fn(x, t, y[:4]), rtol=1e-4, atol=1e-4)
    null = run(x=x, t=t, condition=np.full((4, 2), np.nan))["score"]
    np.testing.assert_allclose(null, model.score_fn(x, t), rtol=1e-4, atol=1e-4)
    assert np.abs(null - there).max() > 1e-3

    step = TrainStep(model.state, lcss.losses.DSMLoss(), 8, 3, jit_compile=True)
    export.train_step(model.state, step, 8).write(tmp_path / "step")
    told = np.asarray(model.info.condition.scale(y))
    x = random.normal(size=(32, 2)).astype(np.float32)
    np.savez(tmp_path / "data.npz", x=x, condition=told, multiply=1.0, add=0.0)
    trainer = RUNNER.Trainer(tmp_path / "step", str(tmp_path / "data.npz"), block=2)
    order = np.random.default_rng(3).permutation(32).astype(np.int32).reshape(4, -1)
    losses = [float(step((x[order[i]], told[order[i]]), 2 + i).loss) for i in range(2)]
    np.testing.assert_allclose(trainer.take_block()["loss"], losses, rtol=1e-4)
    np.savez(tmp_path / "none.npz", x=x, multiply=1.0, add=0.0)
    with pytest.raises(SystemExit, match="takes condition, and .* holds none"):
        RUNNER.Trainer(tmp_path / "step", str(tmp_path / "none.npz"))
    with pytest.raises(SystemExit, match="--seed=2147483648 does not fit"):
        RUNNER.Trainer(tmp_path / "step", str(tmp_path / "data.npz"), seed=2**31)
