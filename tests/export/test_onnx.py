"""ONNX Runtime computes what TensorFlow computes, from one file, without this project."""

import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf import export, random
from lcss_tf.errors import MissingPackageError, UsageError
from lcss_tf.export.programs import Function, _prior_std
from lcss_tf.inference import Sampling

onnx = pytest.importorskip("onnx")
pytest.importorskip("tf2onnx")
runtime = pytest.importorskip("onnxruntime")

ROWS = 6  # the batch is free: the functions are made for another
SEED = np.int32([-3, 4])
RUN = """
import sys
for name in ("lcss_tf", "tensorflow", "keras", "jax"):
    sys.modules[name] = None  # whoever imports it fails
import numpy as np, onnxruntime
path, given, out = sys.argv[1:]
session = onnxruntime.InferenceSession(path)
names = [o.name for o in session.get_outputs()]
np.savez(out, **dict(zip(names, session.run(None, dict(np.load(given))))))
"""


def elsewhere(path, given, tmp_path):
    """The outputs in a process that can import neither this project nor TensorFlow."""
    np.savez(tmp_path / "given.npz", **given)
    words = [str(path), str(tmp_path / "given.npz"), str(tmp_path / "out.npz")]
    subprocess.run([sys.executable, "-c", RUN, *words], check=True, cwd=tmp_path)
    return np.load(tmp_path / "out.npz")


def run(path, **given):
    session = runtime.InferenceSession(str(path))
    assert {i.name for i in session.get_inputs()} == set(given)
    names = [o.name for o in session.get_outputs()]
    return dict(zip(names, session.run(None, given), strict=True))


def relative(a, b):
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-12)


def moved(model, data):
    """The model as if trained: its moments measured, its weights no longer those of the start."""
    state, model.info = model.build(data.shape), data.info()
    x = np.asarray(data.examples(np.arange(16), "train", 0))
    state.score.preconditioning.prepare(state.sde, x)
    rng = np.random.default_rng(1)
    for variable in state.average.trainable_variables:
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    return model


def plane(sde=None, **options):
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    network = lcss.networks.MLP(width=8, depth=1, **options)
    return moved(lcss.ScoreModel(network, sde), lcss.data.from_user(x))


@pytest.fixture(scope="module")
def images():
    """A model of 8×8 images by class, with attention, resampling and group normalisation."""
    network = lcss.networks.NCSNpp(
        num_features=8, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,),
        fir=True, num_classes=3,
    )  # fmt: skip
    x = np.random.default_rng(0).integers(0, 255, (32, 8, 8, 1)).astype(np.uint8)
    data = lcss.data.from_user(x, np.arange(32) % 3)
    return moved(lcss.ScoreModel(network, lcss.sdes.VESDE()), data)


@pytest.mark.slow
def test_onnxruntime_alone_draws_the_samples_of_a_deterministic_sampler(images, tmp_path):
    path = tmp_path / "digits.onnx"
    sampler = lcss.samplers.EDMHeun(num_steps=4)
    assert images.export(path, "sampler", "onnx", batch_size=2, sampler=sampler) == [path]
    x_T = 50.0 * np.random.default_rng(1).normal(size=(ROWS, 8, 8, 1)).astype(np.float32)
    labels = np.int32([0, 1, 2, 3, 1, 0])  # 3: none of the classes
    there = elsewhere(path, {"x_T": x_T, "labels": labels}, tmp_path)
    sampling = Sampling(images.state, sampler, 2)
    here = export.sampler_from(images.state, sampling, images.info)
    here = here.call(tf.constant(x_T), SEED, labels=tf.constant(labels))
    assert relative(there["x"], here["x"]) < 1e-5
    assert there["samples"].dtype == np.uint8
    assert np.abs(there["samples"].astype(int) - here["samples"].numpy()).max() <= 1
    assert there["nfe"] == 4 * 2 + 1
    notes = {p.key: p.value for p in onnx.load(path).metadata_props}
    assert (notes["what"], notes["sampler"], notes["sde"]) == ("sampler", "EDMHeun", "VESDE")
    assert float(notes["prior_std"]) == pytest.approx(images.state.sde.sigma_max, rel=1e-5)


@pytest.mark.slow
def test_a_score_with_classes_is_the_models(images, tmp_path):
    images.export(tmp_path / "score.onnx", format="onnx", batch_size=2)
    x = np.random.default_rng(1).normal(size=(ROWS, 8, 8, 1)).astype(np.float32)
    t, labels = np.linspace(0.01, 1, ROWS, dtype=np.float32), np.int32([0, 1, 2, 3, 0, 1])
    there = run(tmp_path / "score.onnx", x=x, t=t, labels=labels)["score"]
    assert relative(there, images.score_fn(x, t, tf.constant(labels))) < 1e-5


@pytest.mark.slow
def test_a_stochastic_sampler_draws_the_same_noise_from_a_seed(tmp_path):
    """With x_T of the same seed the samples are those of the whole sampler from it."""
    model = plane()
    sampler = lcss.samplers.EulerMaruyama(num_steps=20)
    model.export(tmp_path / "plane.onnx", "sampler", "onnx", batch_size=2, sampler=sampler)
    sampling = Sampling(model.state, sampler, ROWS + 2)
    x_T = model.state.sde.broadcast_prior_sample((ROWS + 2, 2), random.fold_in(SEED, "prior"))
    there = run(tmp_path / "plane.onnx", x_T=x_T.numpy(), seed=SEED)
    here = export.sampler(model.state, sampling, model.info).call(seed=tf.constant(SEED))
    assert relative(there["samples"], here["samples"]) < 1e-4
    other = run(tmp_path / "plane.onnx", x_T=x_T.numpy(), seed=SEED + 1)
    assert relative(other["samples"], here["samples"]) > 0.1


S = lcss.samplers


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sampler", "sde"),
    [
        (S.DDIM(num_steps=6), None),
        (S.DDIM(num_steps=6, eta=1.0), lcss.sdes.SubVPSDE()),
        (S.DPMSolverPP(num_steps=6), lcss.sdes.FlowMatchingSDE()),
        (S.DPMSolverPP(num_steps=6, stochastic=True), lcss.sdes.EDMSDE()),
        (S.EDMHeun(num_steps=6, s_churn=2.0), lcss.sdes.CosineVPSDE()),
        (S.ProbabilityFlowODE(num_steps=6), lcss.sdes.MirafzaliSDE()),
        (S.StochasticHeun(num_steps=12), lcss.sdes.PearsonSDE()),
        (S.PredictorCorrector(corrector=S.Langevin(), num_steps=30), None),
        (S.DormandPrince(num_steps=200), None),
    ],
    ids=lambda part: type(part).__name__,
)
def test_every_sampler_is_that_of_tensorflow(sampler, sde, tmp_path):
    model = plane(sde)  # with derivatives of the SDE the batch is not free
    sampling = Sampling(model.state, sampler, ROWS, jit_compile=False)
    function = export.sampler_from(model.state, sampling, model.info)
    export.write_onnx(tmp_path / "a.onnx", function)
    inputs = {"x_T": np.random.default_rng(1).normal(size=(ROWS, 2)), "seed": SEED}
    inputs["x_T"] = inputs["x_T"].astype(np.float32)  # not of the prior, whose tails may be heavy
    draw = lambda seed: function.call(tf.constant(inputs["x_T"]), seed)["samples"].numpy()
    here = draw(tf.constant(SEED))
    takes = {i.name for i in onnx.load(tmp_path / "a.onnx").graph.input}
    there = run(tmp_path / "a.onnx", **{k: v for k, v in inputs.items() if k in takes})
    assert np.isfinite(here).all()
    # Adaptive steps differ by rounding: as much between TensorFlow with XLA and without.
    assert relative(there["samples"], here) < (1e-3 if sampler.fixed_steps else 1e-2)
    assert ("seed" in takes) != np.array_equal(draw(tf.constant(SEED + 1)), here)


@pytest.mark.slow
def test_a_condition_in_the_units_of_the_data(tmp_path):
    rng = np.random.default_rng(0)
    y = 1e6 + 10.0 * rng.normal(size=(32, 2))
    x = rng.normal(size=(32, 2)).astype(np.float32)
    network = lcss.networks.MLP(width=8, depth=1, condition_size=2)
    model = moved(lcss.ScoreModel(network), lcss.data.from_user(x, condition=y))
    model.export(tmp_path / "score.onnx", format="onnx")
    t = np.linspace(0.1, 1, 4, dtype=np.float32)
    there = run(tmp_path / "score.onnx", x=x[:4], t=t, condition=y[:4])["score"]
    assert relative(there, model.score_fn(x[:4], t, y[:4])) < 1e-4
    null = run(tmp_path / "score.onnx", x=x[:4], t=t, condition=np.full((4, 2), np.nan))["score"]
    assert relative(null, model.score_fn(x[:4], t)) < 1e-4
    assert relative(null, there) > 1e-3


def write(tmp_path, call, **arguments):
    path = tmp_path / "function.onnx"
    export.write_onnx(path, Function("function", call, arguments, {}))
    return path


@pytest.mark.parametrize(
    ("name", "exact"), [("expm1", np.expm1), ("log1p", np.log1p)], ids=["expm1", "log1p"]
)
def test_what_schedules_are_made_of_is_exact_to_rounding(name, exact, tmp_path):
    small = np.logspace(-30, 1, 2_000)
    x = np.float32(np.concatenate([small, -small[small < 0.9], [0.0]]))
    x = np.append(x, np.float32([-20, -100])) if name == "expm1" else x
    function = getattr(tf.math, name)
    there = run(write(tmp_path, lambda x: {"y": function(x)}, x=x), x=x)["y"]
    expected = exact(x.astype(np.float64))
    np.testing.assert_allclose(there, expected, rtol=5e-7, atol=0)


def test_nan_is_chosen_against_and_derivatives_are_known(tmp_path):
    def function(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = tf.sqrt(x) + tf.tanh(x) + tf.sigmoid(x) + tf.math.rsqrt(x) + tf.math.log1p(x)
        return {"y": tf.where(x > 1, tf.zeros_like(x), tape.gradient(y, x))}

    x = np.float32([0.01, 0.5, 1.0, np.inf, np.nan])
    expected = function(tf.constant(x))["y"]
    there = run(write(tmp_path, function, x=x), x=x)["y"]
    np.testing.assert_allclose(there, expected, rtol=1e-5)
    assert there[3] == 0


def test_random_words_are_the_same_to_the_bit(tmp_path):
    def words(seed, x):
        return {"z": tf.stack(random._words(random.fold_in(seed, 7), (64, 3))), "y": x + 1.0}

    path = write(tmp_path, words, seed=np.zeros(2, np.int32), x=np.zeros(1, np.float32))
    there = run(path, seed=SEED, x=np.zeros(2, np.float32))["z"]
    here = words(tf.constant(SEED), 0.0)["z"]
    assert there.dtype == np.uint32
    np.testing.assert_array_equal(there, here)


def test_a_part_that_needs_the_size_of_the_batch_fixes_it(tmp_path):
    x = np.ones((3, 2), np.float32)
    path = write(tmp_path, lambda x: {"y": x * tf.ones([x.shape[0], 1])}, x=x)
    assert run(path, x=x)["y"].shape == (3, 2)
    with pytest.raises(Exception, match="invalid dimensions"):
        run(path, x=np.ones((4, 2), np.float32))


def test_what_onnx_lacks_is_named(tmp_path):
    x = np.ones((3, 2), np.float32)
    with pytest.raises(UsageError, match=r"ONNX lacks: Igamma\. .*stablehlo"):
        write(tmp_path, lambda x: {"y": tf.math.igamma(x, x)}, x=x)
    with pytest.raises(UsageError, match=r"ends in \.onnx"):
        plane().export(tmp_path / "folder", format="onnx")


def test_what_the_converter_cannot_follow_is_named(tmp_path):
    restart = lcss.samplers.Restart(num_steps=4)
    with pytest.raises(UsageError, match=r"tf2onnx cannot convert the sampler .*stablehlo"):
        plane().export(tmp_path / "r.onnx", "sampler", "onnx", 2, restart)
    assert not (tmp_path / "r.onnx").exists()


def test_without_the_packages_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    with pytest.raises(MissingPackageError, match=r"lcss_tf\[onnx\]"):
        plane().export(tmp_path / "score.onnx", format="onnx")


def test_how_x_T_is_drawn_is_noted_of_normal_priors_alone():
    sdes = lcss.sdes
    std = lambda sde, *shape: _prior_std(sde, shape)
    assert std(sdes.VPSDE(), 2) == pytest.approx(1)
    assert std(sdes.VESDE(sigma_max=50.0), 8, 8, 3) == pytest.approx(50, rel=1e-4)
    assert std(sdes.FlowMatchingSDE(), 4) == pytest.approx(sdes.FlowMatchingSDE().T)
    assert std(sdes.PearsonSDE(), 4) is None
    assert std(sdes.MirafzaliSDE(), 4) is None
