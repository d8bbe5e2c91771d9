"""lcss export and lcss import-state: out of the door, trained elsewhere, and back."""

import json

import gin
import numpy as np
import pytest

import lcss_tf
from lcss_tf.commands.export import training_arrays
from lcss_tf.training.checkpoints import Checkpoints
from tests.commands.helpers import SMALL, TABLE, lcss, trained
from tests.export.test_programs import RUNNER

STEPS = 6


@pytest.fixture(autouse=True)
def _clear():
    yield
    gin.clear_config()


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A training step with its data, and what the runner left after some steps."""
    folder = tmp_path_factory.mktemp("exported")
    flags = [f"--gin_file={SMALL}", "--what=train_step", "--with_data", f"--out={folder / 'step'}"]
    assert lcss("export", *flags) == 0
    gin.clear_config()
    data = str(folder / "step" / "data.npz")
    trainer = RUNNER.Trainer(folder / "step", data, block=STEPS // 2)
    for line in trainer.train(STEPS):
        assert "loss" in line
    RUNNER.save_state(folder / "after.npz", trainer.arrays(), trainer.step)
    RUNNER.save_state(folder / "half.npz", trainer.arrays(), trainer.step, half=True)
    return folder, trainer


@pytest.mark.slow
def test_what_was_trained_elsewhere_becomes_a_run_that_resumes(exported, tmp_path, capsys):
    folder, trainer = exported
    words = [f"--program={folder / 'step'}", f"--arrays={folder / 'after.npz'}"]
    assert lcss("import-state", *words, f"--workdir={tmp_path / 'run'}") == 0
    gin.clear_config()
    model = lcss_tf.ScoreModel.load(tmp_path / "run")
    assert model.step == STEPS
    held = {n: np.asarray(a) for n, a in trainer.arrays().items() if n.startswith("ema/")}
    for path, variable in model.state.variables()["ema"].items():
        np.testing.assert_array_equal(variable.numpy(), held[f"ema/{path}"])
    assert model.sample(3, sampler=lcss_tf.samplers.EulerMaruyama(num_steps=3)).shape == (3, 2)
    # The same command that would have trained it goes on where it stands.
    bindings = [f"fit.steps={STEPS + 2}"]
    flags = [f"--gin_file={SMALL}", f"--workdir={tmp_path / 'run'}", "--resume=force"]
    assert lcss("train", *flags, bindings=bindings) == 0
    assert Checkpoints(tmp_path / "run").paths()[-1].stem == f"step_{STEPS + 2:09d}"
    # Nor does an older state replace a newer one.
    gin.clear_config()
    assert lcss("import-state", *words, f"--workdir={tmp_path / 'run'}") == 1
    assert "another configuration" in capsys.readouterr().err


def test_the_average_alone_in_float16_is_enough_to_sample(exported, tmp_path, capsys):
    folder, trainer = exported
    words = [f"--program={folder / 'step'}", f"--arrays={folder / 'half.npz'}"]
    assert lcss("import-state", *words, f"--workdir={tmp_path / 'run'}") == 0
    assert "optimiser begins anew" in capsys.readouterr().out
    gin.clear_config()
    model = lcss_tf.ScoreModel.load(tmp_path / "run")
    name, variable = next(iter(model.state.variables()["ema"].items()))
    whole = np.asarray(trainer.arrays()[f"ema/{name}"])
    np.testing.assert_allclose(variable.numpy(), whole, rtol=1e-3, atol=1e-6)
    assert lcss("import-state", *words, f"--workdir={tmp_path / 'run'}") == 1
    assert f"checkpoint of step {STEPS} or later" in capsys.readouterr().err


def test_a_run_is_exported_with_its_weights(plane_run, tmp_path):
    flags = ["--what=score", "--batch_size=5", f"--out={tmp_path / 'score'}"]
    assert lcss("export", f"--workdir={plane_run}", *flags) == 0
    gin.clear_config()
    model = lcss_tf.ScoreModel.load(plane_run)
    x = np.random.default_rng(0).normal(size=(5, 2)).astype(np.float32)
    t = np.linspace(0.1, 0.9, 5).astype(np.float32)
    there = RUNNER.run_once(tmp_path / "score")(x=x, t=t)["score"]
    np.testing.assert_allclose(there, model.score_fn(x, t), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_run_is_exported_in_the_scaling_that_it_began_with(tmp_path, capsys):
    """The score and the sampler without its data; a training step from data as they were."""
    rows = np.random.default_rng(0).normal(size=(40, 2))
    source = tmp_path / "rows.csv"
    write = lambda values: np.savetxt(source, values, "%.9g", ",", header="a,b", comments="")
    write(rows)
    (tmp_path / "run.gin").write_text(TABLE.format(source))
    run = trained(tmp_path / "run", gin_file=tmp_path / "run.gin")
    began = lcss_tf.ScoreModel.load(run)

    def exported_as(what):
        gin.clear_config()
        out = tmp_path / f"{what} {len(list(tmp_path.iterdir()))}"
        words = [f"--workdir={run}", f"--what={what}", "--batch_size=4", f"--out={out}"]
        return out, lcss("export", *words)

    step, status = exported_as("train_step")
    assert status == 0
    write(1_000 * rows + 5)
    out, status = exported_as("sampler")
    assert status == 0
    drawn = RUNNER.run_once(out)(seed=np.array([1, 2], np.int32))
    np.testing.assert_allclose(drawn["samples"], began.info.unscale(drawn["x"]), rtol=1e-5)
    assert exported_as("train_step")[1] == 1
    assert "What changed" in capsys.readouterr().err
    source.unlink()
    assert exported_as("score")[1] == 0
    # What is imported into the run keeps its moments and its scaling.
    write(rows)
    trainer = RUNNER.Trainer(step, block=2)
    assert list(trainer.train(6))
    RUNNER.save_state(tmp_path / "after.npz", trainer.arrays(), trainer.step)
    gin.clear_config()
    words = [f"--program={step}", f"--arrays={tmp_path / 'after.npz'}", f"--workdir={run}"]
    assert lcss("import-state", *words, bindings=["fit.batch_size = 8"]) == 0
    later = lcss_tf.ScoreModel.load(run)
    assert (later.step, later.info) == (6, began.info)
    measured = began.state.score.preconditioning.measured
    for name, value in later.state.score.preconditioning.measured.items():
        np.testing.assert_array_equal(value, measured[name])


@pytest.mark.slow
def test_a_run_is_exported_as_onnx(plane_run, tmp_path):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    out = tmp_path / "plane.onnx"
    bindings = ["sample.sampler = @samplers.DDIM()", "DDIM.num_steps = 3"]
    words = [f"--workdir={plane_run}", "--what=sampler", "--format=onnx", f"--out={out}"]
    assert lcss("export", *words, bindings=bindings) == 0
    assert {path.name for path in tmp_path.iterdir()} == {"plane.onnx"}
    session = runtime.InferenceSession(str(out))
    assert [i.name for i in session.get_inputs()] == ["x_T"]
    x_T = np.random.default_rng(0).normal(size=(7, 2)).astype(np.float32)
    (samples,) = session.run(["samples"], {"x_T": x_T})
    gin.clear_config()
    model = lcss_tf.ScoreModel.load(plane_run)
    sampler = lcss_tf.samplers.DDIM(num_steps=3)
    here = sampler.sample_from(model.score_fn, model.sde, x_T, 0).x
    np.testing.assert_allclose(samples, model.denormalise(here), rtol=1e-3, atol=1e-4)


def test_images_travel_as_bytes_and_endless_data_as_many():
    digits = lcss_tf.data.Digits()
    data = training_arrays(digits)
    assert data["x"].dtype == np.uint8
    seen = data["x"] * data["multiply"] + data["add"]
    indices = np.arange(digits.size("train"))
    np.testing.assert_allclose(seen, digits.examples(indices, "train", 0), atol=1e-6)
    np.testing.assert_array_equal(data["labels"], digits.labels("train"))
    assert training_arrays(lcss_tf.data.TwoMoons())["x"].shape == (2**16, 2)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["export", "--out=x"], "Give --workdir, or --gin_file"),
        (["export", "--out=x", f"--gin_file={SMALL}", "--what=score", "--with_data"],
         "--what=train_step"),
        (["export", "--out=x", f"--gin_file={SMALL}", "--format=onnx"], "ends in .onnx"),
        (["export", "--out=x.onnx", f"--gin_file={SMALL}", "--format=onnx", "--what=train_step"],
         "--format=stablehlo"),
        (["import-state", "--program=x", "--arrays=y", "--workdir=z"], "holds no program"),
    ],
)  # fmt: skip
def test_wrong_words_say_what_is_right(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lcss(*words) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("step"), "no number of steps"),
        (lambda a: a.pop(next(n for n in a if n.startswith("ema/"))), "lacks 1 of"),
        (lambda a: a.update({n: a[n][..., :1] for n in list(a) if n == _wide(a)}), "shape"),
        (lambda a: a.update({_wide(a): np.nan * a[_wide(a)]}), "not finite"),
    ],
)
def test_a_state_that_does_not_fit_is_refused_before_anything_is_written(
    change, message, exported, tmp_path, capsys
):
    folder, _ = exported
    arrays = dict(np.load(folder / "half.npz"))
    change(arrays)
    np.savez(tmp_path / "wrong.npz", **arrays)
    words = [f"--program={folder / 'step'}", f"--arrays={tmp_path / 'wrong.npz'}"]
    assert lcss("import-state", *words, f"--workdir={tmp_path / 'run'}") == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "run" / "checkpoints").exists()


def _wide(arrays):
    return next(n for n in sorted(arrays) if n.startswith("ema/") and arrays[n].ndim == 2)


@pytest.mark.slow
def test_steps_are_timed_with_what_the_compiler_made_of_them(exported, tmp_path, capsys):
    import sys

    sys.path.insert(0, str(RUNNER.__file__).rsplit("/", 1)[0])
    import time_programs

    folder, _ = exported
    out = tmp_path / "times.json"
    words = [str(out), str(folder / "step"), str(tmp_path), "--block=2", "--rounds=2"]
    assert time_programs.main([*words, f"--trace={tmp_path / 'trace'}"]) == 1  # no program there
    printed = capsys.readouterr().out
    assert "images/s" in printed
    assert f"{tmp_path.name}: failed" in printed
    row = json.loads(out.read_text())[0]
    assert row["ms_min"] <= row["ms"] <= row["ms_max"]
    assert (tmp_path / "trace" / "step" / "optimised.hlo.gz").is_file()
