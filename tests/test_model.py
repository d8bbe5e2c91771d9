"""ScoreModel: the front door."""

import json
import random
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.training import Distribution, Trainer
from tests.training.helpers import no_prior_check

ROOT = Path(__file__).parent.parent


def two_clusters(count=256, seed=0, center=100.0, scale=3.0):
    """Two clusters in the plane, far from the origin."""
    generator = np.random.default_rng(seed)
    sign = np.where(generator.uniform(size=(count, 1)) < 0.5, -1.0, 1.0)
    return center + scale * (2 * sign + 0.5 * generator.normal(size=(count, 2)))


def small_model(**options):
    network = lcss.networks.MLP(width=16, depth=1, embedding_features=8)
    return lcss.ScoreModel(network, lcss.sdes.VPSDE(), distribution=Distribution(1), **options)


@pytest.fixture(scope="module")
def fitted():
    x = two_clusters()
    model = small_model()
    history = model.fit(x, steps=60, batch_size=32, trainer=Trainer(log_every=20))
    return model, history, x


def test_the_passed_network_is_the_one_that_is_trained(fitted):
    model, _, _ = fitted
    assert model.network is model.state.network
    weights = np.concatenate([w.numpy().ravel() for w in model.network.weights])
    average = np.concatenate([w.numpy().ravel() for w in model.state.average.weights])
    assert np.abs(weights - average).max() > 0
    assert model.step == 60


def test_the_history_has_arrays_at_the_logging_rhythm(fitted):
    _, history, _ = fitted
    steps, loss = history.curve("loss")
    np.testing.assert_array_equal(steps, [20, 40, 60])
    assert np.isfinite(loss).all()


def test_samples_come_back_in_the_units_shape_and_dtype_of_the_data(fitted):
    model, _, x = fitted
    samples = model.sample(64, sampler=lcss.samplers.EulerMaruyama(num_steps=20))
    assert samples.shape == (64, 2)
    assert samples.dtype == x.dtype
    # Even after 60 steps the preconditioning puts them where the data are.
    assert np.abs(samples.mean(0) - x.mean(0)).max() < 2 * x.std()


def test_log_prob_integrates_to_one(fitted):
    """The density is in the data's own units: over a grid of the plane it sums to one."""
    model, _, x = fitted
    low, high = x.min(0) - 12, x.max(0) + 12
    axes = [np.linspace(low[i], high[i], 41) for i in range(2)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    nats, error = model.log_prob(grid, rtol=1e-3, atol=1e-3, batch_size=512)
    cell = np.prod([(high[i] - low[i]) / 40 for i in range(2)])
    assert np.exp(nats).sum() * cell == pytest.approx(1.0, abs=0.03)
    np.testing.assert_array_equal(error, 0.0)  # the divergence is exact in two dimensions


@pytest.mark.slow
def test_hutchinson_s_error_covers_the_exact_value(fitted):
    model, _, x = fitted
    exact, _ = model.log_prob(x[:16])
    estimate, error = model.log_prob(x[:16], divergence="rademacher", num_probes=16)
    assert (error > 0).any()
    assert np.abs(estimate - exact).max() < 5 * error.max() + 1e-3


def test_log_prob_is_in_the_units_of_the_data_of_the_last_fit(monkeypatch):
    """The same weights, and data ten times as wide: nats differ by d ln 10."""
    made = []

    class Runner:
        def __init__(self, state, likelihood, info, *options):
            self.info = info
            made.append(self)

        def __call__(self, x, seed):
            return SimpleNamespace(nats=np.zeros(len(x)), error=np.zeros(len(x)))

    monkeypatch.setattr("lcss_tf.model.LikelihoodRunner", Runner)
    x, model = two_clusters(64, center=0.0, scale=1.0), small_model()
    options = {"steps": 1, "batch_size": 16, "trainer": no_prior_check()}
    for data in (x, 10 * x):
        model.fit(data, **options)
        model.log_prob(data[:4]), model.log_prob(data[:4])
    assert len(made) == 2, "once for the same data"
    ends = [runner.info.unscale(np.array([[0.0, 0.0], [1.0, 1.0]])) for runner in made]
    np.testing.assert_allclose(np.diff(ends[1], axis=0), 10 * np.diff(ends[0], axis=0), rtol=1e-5)


@pytest.mark.slow
def test_an_sde_is_fitted_to_the_data_whatever_the_preconditioning(capsys):
    sde = lcss.sdes.MixtureSDE(num_components=2)
    model = lcss.ScoreModel(
        lcss.networks.MLP(width=16, depth=1, embedding_features=8), sde, "noise",
        distribution=Distribution(1),
    )  # fmt: skip
    x = two_clusters(64, center=0.0)
    model.fit(x, steps=1, batch_size=16, trainer=no_prior_check())
    means = np.sort(np.asarray(sde.measured["mixture_means"])[:, 0])
    normalised = np.asarray(model.normalise(x))
    clusters = np.sort([normalised[x[:, 0] * s > 0, 0].mean() for s in (-1, 1)])
    np.testing.assert_allclose(means, clusters, atol=0.1)
    said = capsys.readouterr()
    assert "path smoothing by 50 simulated steps" in said.out + said.err
    measured = dict(sde.measured)
    model.fit(5 * x, steps=1, batch_size=16, trainer=no_prior_check())
    assert all(sde.measured[name] is measured[name] for name in measured), "as the weights are"


def test_encode_and_decode_are_inverse(fitted):
    model, _, x = fitted
    again = model.decode(model.encode(x[:8]))
    assert again.dtype == x.dtype
    np.testing.assert_allclose(again, x[:8], atol=0.02 * x.std())


def test_times_in_seconds_since_1970_keep_their_digits(fitted):
    model, _, x = fitted
    near, model.info = model.info, lcss.data.from_user(1.7e9 + x).info()
    try:
        again = model.decode(model.encode(1.7e9 + x[:8]))
        samples = model.sample(64, sampler=lcss.samplers.EulerMaruyama(num_steps=4))
    finally:
        model.info = near
    np.testing.assert_allclose(again - 1.7e9, x[:8], atol=0.02 * x.std())
    assert len(np.unique(samples)) == samples.size


def test_score_fn_is_that_of_the_average(fitted):
    model, _, x = fitted
    points = tf.constant(model.normalise(x[:4]))
    t = tf.fill([4], 0.3)
    expected = model.state.score.score_fn(model.state.average)(points, t)
    np.testing.assert_array_equal(model.score_fn(points, t), expected)


def test_save_and_load_give_the_same_samples(fitted, tmp_path):
    model, _, _ = fitted
    path = model.save(tmp_path / "moons.lcss")
    again = lcss.ScoreModel.load(path, distribution=Distribution(1))
    sampler = lcss.samplers.EulerMaruyama(num_steps=10)
    np.testing.assert_array_equal(model.sample(8, 1, sampler), again.sample(8, 1, sampler))
    assert again.step == 60
    with pytest.raises(ValueError, match="exists"):
        model.save(path, overwrite=False)


def test_a_saved_model_loads_on_several_replicas(fitted, tmp_path):
    """Its weights are created in their scope; the caller's generator is left alone."""
    model, _, _ = fitted
    path = model.save(tmp_path / "moons.lcss")
    before = random.getstate()
    again = lcss.ScoreModel.load(path, distribution=Distribution(2))
    assert random.getstate() == before
    assert again.state.distribution.num_replicas == 2
    for group in ("network", "ema"):
        expected, actual = (m.state.variables()[group] for m in (model, again))
        for name, value in expected.items():
            np.testing.assert_array_equal(actual[name].numpy(), value.numpy(), err_msg=name)


@pytest.mark.slow
def test_a_velocity_is_the_model_s_own_business(tmp_path):
    """Data in, data out: the network sees (x, u), and nobody else has to know of u."""
    x = np.float32(two_clusters(center=0.0, scale=1.0))
    model = lcss.ScoreModel(
        lcss.networks.MLP(width=16, depth=1, embedding_features=8),
        lcss.sdes.KineticSDE(friction=1, simulation_steps=8),
        distribution=Distribution(1),
    )
    model.fit(x, steps=20, batch_size=32, trainer=no_prior_check())
    assert model.state.state_shape == (4,)
    sampler = lcss.samplers.SymmetricSplitting(num_steps=30)
    samples = model.sample(16, sampler=sampler, seed=3)
    assert samples.shape == (16, 2)
    path = model.save(tmp_path / "kinetic.lcss")
    again = lcss.ScoreModel.load(path, distribution=Distribution(1))
    for a, b in zip(again.network.weights, model.network.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert again.sde.measured.keys() == model.sde.measured.keys() != set()


def test_a_damaged_file_is_refused_by_name(fitted, tmp_path):
    model, _, _ = fitted
    path = model.save(tmp_path / "moons.lcss")
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"moons\.lcss"):
        lcss.ScoreModel.load(path)
    with pytest.raises(FileNotFoundError, match="no model"):
        lcss.ScoreModel.load(tmp_path / "absent.lcss")


def test_fit_with_a_workdir_resumes_to_the_same_bits(tmp_path):
    x = two_clusters()
    trainer = no_prior_check(log_every=10)
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    optimizer = lambda: keras.optimizers.Adam(1e-3)
    one = small_model()
    one.fit(x, steps=20, batch_size=16, optimizer=optimizer(), workdir=whole, trainer=trainer)
    for steps in (12, 20):
        model = small_model()
        model.fit(
            x, steps=steps, batch_size=16, optimizer=optimizer(), workdir=parts, trainer=trainer
        )
    for a, b in zip(one.network.weights, model.network.weights, strict=True):
        np.testing.assert_array_equal(a, b)
    loaded = lcss.ScoreModel.load(parts, distribution=Distribution(1))
    assert loaded.step == 20
    assert any(parts.glob("events.out.tfevents.*"))
    assert json.loads((parts / "model.json").read_text())["sde"]["class"] == "VPSDE"


def test_a_fitted_model_begins_a_new_run_in_an_empty_workdir(tmp_path):
    """As many steps again, not none: what was done without a workdir is no part of the run."""
    x, trainer, model = two_clusters(), no_prior_check(), small_model()
    model.fit(x, steps=3, batch_size=16, trainer=trainer)
    before = [np.array(w) for w in model.network.weights]
    model.fit(x, steps=3, batch_size=16, workdir=tmp_path / "run", trainer=trainer)
    assert model.step == 3
    assert any((np.array(w) != b).any() for w, b in zip(model.network.weights, before, strict=True))
    loaded = lcss.ScoreModel.load(tmp_path / "run", distribution=Distribution(1))
    model.fit(x, steps=5, batch_size=16, workdir=tmp_path / "run", trainer=trainer)  # resumes
    assert (loaded.step, model.step) == (3, 5)


def test_a_workdir_of_another_model_is_refused(tmp_path):
    x, trainer = two_clusters(), no_prior_check()
    small_model().fit(x, steps=2, batch_size=16, workdir=tmp_path, trainer=trainer)
    other = small_model()
    other.sde = lcss.sdes.VPSDE(beta_max=10.0)
    before = sorted((p.name, p.read_bytes()) for p in tmp_path.glob("*.json"))
    with pytest.raises(ValueError, match=r"sde.arguments.beta_max: 20.0 there, 10.0 now"):
        other.fit(x, steps=4, batch_size=16, workdir=tmp_path, trainer=trainer)
    assert sorted((p.name, p.read_bytes()) for p in tmp_path.glob("*.json")) == before


def test_the_caller_s_generators_are_left_alone():
    import random

    def draws():
        random.seed(3)
        np.random.seed(3)  # noqa: NPY002
        tf.random.set_seed(3)
        small_model().build((2,))
        return random.random(), np.random.rand(), float(tf.random.normal([]))  # noqa: NPY002

    random.seed(3)
    np.random.seed(3)  # noqa: NPY002
    tf.random.set_seed(3)
    network = lcss.networks.MLP(width=16, depth=1, embedding_features=8)  # draws its own seeds
    expected = random.random(), np.random.rand(), float(tf.random.normal([]))  # noqa: NPY002
    del network
    assert draws() == expected


def test_weights_are_a_function_of_the_seed():
    first, again, other = (small_model().build((2,), seed) for seed in (5, 5, 6))
    values = [np.concatenate([w.numpy().ravel() for w in s.network.weights])
              for s in (first, again, other)]  # fmt: skip
    np.testing.assert_array_equal(values[0], values[1])
    assert np.abs(values[0] - values[2]).max() > 0


class Recorder(keras.callbacks.Callback):
    """What was called, with the names of the logs."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.calls, self.stop_at = [], stop_at

    def on_train_begin(self, logs=None):
        self.calls.append("begin")

    def on_train_batch_end(self, batch, logs=None):
        self.calls.append((batch + 1, "loss" in logs))
        if self.stop_at and batch + 1 >= self.stop_at:
            self.model.stop_training = True

    def on_train_end(self, logs=None):
        self.calls.append("end")


def test_keras_callbacks_are_called_and_can_stop(tmp_path):
    recorder = Recorder(stop_at=20)
    csv = tmp_path / "log.csv"
    board = keras.callbacks.TensorBoard(tmp_path / "board", write_graph=False)
    model = small_model()
    model.fit(
        two_clusters(), steps=50, batch_size=16, trainer=no_prior_check(log_every=10),
        callbacks=[recorder, keras.callbacks.CSVLogger(str(csv)), board],
    )  # fmt: skip
    assert recorder.calls == ["begin", (10, True), (20, True), "end"]
    assert model.step == 20
    lines = csv.read_text().splitlines()
    assert len(lines) == 3
    assert "loss" in lines[0].split(",")
    assert list((tmp_path / "board").rglob("events.out.tfevents.*"))


def test_a_callback_that_raises_ends_the_training_by_its_own_error():
    class Broken(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise RuntimeError("of my own")

    model = small_model()
    with pytest.raises(RuntimeError, match="of my own"):
        model.fit(two_clusters(), steps=20, batch_size=16, callbacks=[Broken()],
                  trainer=no_prior_check(log_every=5))  # fmt: skip
    assert model.step == 5


def test_keras_schedules_and_the_validation_loss():
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, 30)
    history = small_model().fit(
        two_clusters(), steps=30, batch_size=16, optimizer=keras.optimizers.AdamW(schedule),
        validation=two_clusters(64, seed=1), trainer=no_prior_check(log_every=10),
    )  # fmt: skip
    _, rates = history.curve("learning_rate")
    assert rates[0] > rates[-1]
    assert np.isfinite(history.curve("val_loss")[1]).all()


@pytest.mark.slow
def test_two_logical_devices_are_two_replicas_by_themselves():
    """This process has two logical CPU devices: `Distribution()` takes both."""
    network = lcss.networks.MLP(width=16, depth=1, embedding_features=8)
    model = lcss.ScoreModel(network)
    assert model.distribution.num_replicas == 2
    x = two_clusters()
    options = {"steps": 5, "batch_size": 16, "optimizer": None, "trainer": no_prior_check()}
    model.fit(x, **options)
    one = small_model()
    one.fit(x, **options)
    for a, b in zip(one.network.weights, model.network.weights, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_a_tf_dataset_trains_as_its_array_does():
    x = np.float32(two_clusters())
    dataset = tf.data.Dataset.from_tensor_slices(x)
    model = small_model()
    model.fit(dataset, steps=5, batch_size=16, trainer=no_prior_check())
    samples = model.sample(4, sampler=lcss.samplers.EulerMaruyama(num_steps=5))
    assert samples.shape == (4, 2)
    assert samples.dtype == np.float32


@pytest.mark.slow
def test_labels_make_the_default_network_conditional():
    x = two_clusters()
    labels = (x[:, 0] > 100).astype(int)
    model = lcss.ScoreModel(
        lcss.networks.MLP(width=16, depth=1, embedding_features=8, num_classes=2),
        distribution=Distribution(1),
    )
    model.fit((x, labels), steps=5, batch_size=16, trainer=no_prior_check())
    sampler = lcss.samplers.EulerMaruyama(num_steps=5)
    assert model.sample(4, label=1, guidance=2.0, sampler=sampler).shape == (4, 2)
    with pytest.raises(ValueError, match="label = 2"):
        model.sample(4, label=2, sampler=sampler)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m, x: m.fit(x, steps=0), "fit.steps must be a whole number, at least 1"),
        (lambda m, x: m.fit(x[:0]), "example"),
        (lambda m, x: m.fit(np.full_like(x, 7.0)), "nothing to learn|constant|same"),
        (lambda m, x: m.fit(np.where(np.arange(len(x))[:, None] == 3, np.nan, x)), "NaN|finite"),
        (lambda m, x: m.sample(3), "knows no data yet"),
        (lambda m, x: m.log_prob(x), "knows no data yet"),
    ],
)
def test_what_cannot_work_is_said_before_any_work(call, message):
    with pytest.raises(ValueError, match=message):
        call(small_model(), two_clusters(64))
