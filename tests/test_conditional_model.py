"""Models that are told numbers or images: exact Gaussians, guidance, files, replicas."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.control import Mask
from lcss_tf.errors import UsageError
from lcss_tf.losses import DSMLoss
from lcss_tf.samplers import ProbabilityFlowODE
from lcss_tf.training import Distribution, TrainStep
from tests.training.helpers import no_prior_check

# Jointly Gaussian: y of two numbers, x = A y + b + noise of covariance S.
A = np.array([[0.9, -0.3], [-0.6, 0.4]])
B = np.array([1.0, -2.0])
S = np.array([[0.25, 0.1], [0.1, 0.16]])
SCALE, SHIFT = np.array([30.0, 0.01]), np.array([500.0, -3.0])  # the units of y
ODE = ProbabilityFlowODE(num_steps=24)
STEPS = 700


def gaussian(count=4_096, seed=0):
    """(x, y) in the data's units."""
    random = np.random.default_rng(seed)
    y = random.normal(size=(count, 2))
    x = y @ A.T + B + random.multivariate_normal(np.zeros(2), S, count)
    return x, y * SCALE + SHIFT


def mlp(**options):
    return lcss.networks.MLP(width=48, depth=2, embedding_features=16, **options)


def quick(condition_dropout=0.1, **options):
    """A trainer whose step is not compiled."""
    step = functools.partial(TrainStep, jit_compile=False, condition_dropout=condition_dropout)
    return no_prior_check(make_step=step, **options)


def model_of(network, replicas=1):
    return lcss.ScoreModel(network, lcss.sdes.VPSDE(), distribution=Distribution(replicas))


@pytest.fixture(scope="module")
def conditional():
    x, y = gaussian()
    model = model_of(mlp(condition_size=2))
    model.fit(
        x, steps=STEPS, batch_size=512, condition=y, optimizer=keras.optimizers.Adam(4e-3),
        trainer=no_prior_check(make_step=functools.partial(TrainStep, condition_dropout=0.2)),
    )  # fmt: skip
    return model


@pytest.mark.slow
def test_conditional_means_and_covariances(conditional):
    """E[x|y] to 0.12 and Var[x|y] to 0.06; without the condition they are those of x alone."""
    draw = functools.partial(conditional.sample, 2_000, sampler=ODE, batch_size=2_000)
    for y in ([1.0, -0.5], [-1.2, 1.0]):
        samples = draw(condition=y * SCALE + SHIFT)
        np.testing.assert_allclose(samples.mean(0), A @ y + B, atol=0.12)
        np.testing.assert_allclose(np.cov(samples.T), S, atol=0.06)
    samples = draw(guidance=0)
    np.testing.assert_allclose(samples.mean(0), B, atol=0.15)
    np.testing.assert_allclose(np.cov(samples.T), A @ A.T + S, atol=0.25)
    assert np.abs(np.cov(samples.T) - S).max() > 0.3


def test_the_conditional_score_is_the_exact_one(conditional):
    """∇log p_t(x|y) of the Gaussian, in normalised units; the null score misses it."""
    x, y = gaussian(512, seed=1)
    scaling = conditional.info.scaling
    means, stds = np.array(scaling.means), np.array(scaling.stds)
    mean_0 = ((y - SHIFT) / SCALE @ A.T + B - means) / stds
    covariance_0 = S / np.outer(stds, stds)
    for t in (0.1, 0.3):
        alpha_t, sigma_t = (float(v[0]) for v in conditional.sde.marginal(tf.fill([1], t)))
        noise = np.random.default_rng(2).normal(size=x.shape)
        x_t = (alpha_t * (x - means) / stds + sigma_t * noise).astype(np.float32)
        precision = np.linalg.inv(alpha_t**2 * covariance_0 + sigma_t**2 * np.eye(2))
        exact = -(x_t - alpha_t * mean_0) @ precision
        times = np.full(512, t, np.float32)
        error = lambda score, e=exact: float(np.mean((score - e) ** 2) / np.mean(e**2))
        assert error(conditional.score_fn(x_t, times, y)) < 0.02
        assert error(conditional.score_fn(x_t, times)) > 0.08


@pytest.mark.slow
def test_likelihood_and_latents_are_conditional(conditional):
    x, y = gaussian(8, seed=3)
    nats, _ = conditional.log_prob(x, condition=y)
    gap = x - (y - SHIFT) / SCALE @ A.T - B
    exact = -0.5 * np.sum(gap @ np.linalg.inv(S) * gap, 1)
    exact -= 0.5 * np.log(np.linalg.det(2 * np.pi * S))
    np.testing.assert_allclose(nats, exact, atol=0.35)
    latents = conditional.encode(x, condition=y)
    np.testing.assert_allclose(conditional.decode(latents, condition=y), x, atol=0.02)
    assert np.abs(conditional.decode(latents, condition=y[::-1]) - x).max() > 0.3


def test_guidance_between_the_null_and_the_conditional_score(conditional):
    draw = functools.partial(conditional.sample, 8, sampler=ProbabilityFlowODE(num_steps=3))
    y = gaussian(8)[1]
    plain, null = draw(condition=y), draw(condition="null")
    np.testing.assert_array_equal(draw(condition=y, guidance=1.0), plain)
    np.testing.assert_array_equal(draw(condition=y, guidance=0.0), null)
    np.testing.assert_array_equal(draw(guidance=0.0), null)
    assert np.abs(draw(condition=y, guidance=2.0) - plain).max() > 1e-2
    # One condition for all, and one for each; by name where the columns have names.
    np.testing.assert_array_equal(draw(condition=y[0]), draw(condition=np.tile(y[:1], (8, 1))))
    x, t = np.zeros((8, 2), np.float32), np.full(8, 0.4, np.float32)
    nulls = ConditionSpec("condition_size", 2).nulls(8, (2,))
    network = conditional.state.score.score_fn(conditional.state.average, condition=nulls)
    np.testing.assert_array_equal(conditional.score_fn(x, t), network(x, t))


@pytest.mark.slow
def test_the_units_of_a_condition_do_not_matter():
    """y and a·y + b give one model: the same moments taken off, the same weights."""
    x, y = gaussian(256)

    def fitted(condition):
        model = model_of(lcss.networks.MLP(width=8, depth=1, condition_size=2))
        adam = keras.optimizers.Adam(0.01)
        model.fit(x, DSMLoss(), 3, 64, adam, condition=condition, trainer=quick())
        return model

    first, second = fitted(y), fitted(7.0 * y + 1e4)
    for a, b in zip(first.network.weights, second.network.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-3, atol=1e-5)
    assert np.abs(first.network.condition_layer.kernel).max() > 0
    x, t = np.ones((4, 2), np.float32), np.full(4, 0.3, np.float32)
    scores = first.score_fn(x, t, y[:4]), second.score_fn(x, t, 7.0 * y[:4] + 1e4)
    np.testing.assert_allclose(*scores, atol=1e-4)


def test_a_saved_model_knows_its_condition(conditional, tmp_path):
    again = lcss.ScoreModel.load(
        conditional.save(tmp_path / "model.lcss"), distribution=Distribution(1)
    )
    assert again.info == conditional.info
    np.testing.assert_allclose(again.info.condition.scaling.means, SHIFT, rtol=0.05)
    y = gaussian(4)[1]
    x, t = np.ones((4, 2), np.float32), np.full(4, 0.3, np.float32)
    np.testing.assert_array_equal(again.score_fn(x, t, y), conditional.score_fn(x, t, y))


def test_a_posterior_may_be_told_a_condition(conditional):
    x, y = gaussian(3)
    posterior = conditional.posterior(x, Mask("half"), sampler=ProbabilityFlowODE(num_steps=3))
    each = posterior.sample(2, condition=y)
    assert each.shape == (3, 2, 2)
    assert np.abs(each - posterior.sample(2, condition=y[0]))[1:].max() > 1e-3
    np.testing.assert_array_equal(each[0], posterior.sample(2, condition=y[0])[0])
    with pytest.raises(UsageError, match="takes a condition .*none was given"):
        posterior.sample(2)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        (None, r"takes a condition \(condition_size = 2\), and none was given. Pass condition=…"),
        (np.ones(3), r"of shape \(2,\) \(condition_size = 2\); got an array of shape \(3,\). Pass"),
        (np.ones((6, 2)), "one for each; got 6 conditions for 4"),
        (np.array([1.0, np.nan]), "finite numbers; got NaN or infinity, the first in row 0"),
        ("bag", "A condition is numbers; got 'bag'"),
        ({"age": 3}, "The condition has no names; got 'age'. Pass its 2 numbers"),
    ],
)
def test_conditions_that_cannot_be(conditional, condition, message):
    with pytest.raises(UsageError, match=message):
        conditional.sample(4, condition=condition)
    x = gaussian(4)[0]
    for method in (conditional.log_prob, conditional.encode, conditional.decode):
        with pytest.raises(UsageError, match=message):
            method(x, condition=condition)


def test_labels_and_conditions_of_the_wrong_model(conditional):
    with pytest.raises(UsageError, match="label = 1 was asked of a network without classes"):
        conditional.sample(4, label=1)
    plain = model_of(mlp())
    x, y = gaussian(64)
    with pytest.raises(UsageError, match="fit was given a condition, and MLP takes none. Make it"):
        plain.fit(x, condition=y, steps=1)
    with pytest.raises(UsageError, match="has condition_size = 3. Make it with condition_size = 2"):
        model_of(mlp(condition_size=3)).fit(x, condition=y, steps=1)
    with pytest.raises(UsageError, match="has condition_size = 3, and array has no condition"):
        model_of(mlp(condition_size=3)).fit(x, steps=1)
    plain.fit(x, steps=1, batch_size=8, loss=DSMLoss(), trainer=quick())
    with pytest.raises(UsageError, match="a condition was asked of a network without"):
        plain.sample(4, condition=y[:4])
    with pytest.raises(UsageError, match="a condition was asked of a network without"):
        plain.log_prob(x[:4], condition=y[:4])


def test_classes_are_conditions_too():
    x = gaussian(64)[0]
    model = model_of(lcss.networks.MLP(width=8, depth=1, num_classes=3))
    model.fit(
        x, DSMLoss(), condition=np.arange(64) % 3, steps=2, batch_size=8, trainer=quick(0.5),
        optimizer=keras.optimizers.Adam(0.1),
    )  # fmt: skip
    assert model.state.condition == ConditionSpec("num_classes", 3)
    draw = functools.partial(model.sample, 4, sampler=ProbabilityFlowODE(num_steps=2))
    np.testing.assert_array_equal(draw(condition=2), draw(label=2))
    np.testing.assert_array_equal(draw(condition=[0, 1, 2, 0]), draw())
    assert np.abs(draw(condition="null") - draw(label=2)).max() > 0
    with pytest.raises(UsageError, match="run from 0 to 2; got label = 3"):
        draw(condition=[0, 1, 3, 0])
    with pytest.raises(UsageError, match="classes, integers from 0 to 2; got float64"):
        draw(condition=[0.5] * 4)
    with pytest.raises(UsageError, match="got label = 1 and a condition"):
        draw(label=1, condition=1)


@keras.saving.register_keras_serializable("tests")
class OneConvolution(keras.Model):
    """A network of somebody's own, which says by an attribute what it is told."""

    condition_channels = 2

    def build(self, x_shape):
        self.layer = keras.layers.Conv2D(x_shape[-1], 3, padding="same")
        self.layer.build((None, *x_shape[1:-1], x_shape[-1] + 2))

    def call(self, x, cond, condition=None):
        if condition is None:
            condition = tf.fill([tf.shape(x)[0], *x.shape[1:-1], 2], float("nan"))
        told = tf.where(tf.math.is_nan(condition), 0.0, condition)
        return self.layer(tf.concat([x, told], -1))


@pytest.mark.slow
def test_two_replicas_equal_one_with_an_image_condition():
    """With a network of one's own, of which some conditions are dropped; LCSS stacks copies."""
    random = np.random.default_rng(0)
    x = random.normal(size=(16, 4, 4, 1))
    condition = np.concatenate([3 - 2 * x, random.normal(size=x.shape)], -1)

    def fitted(replicas):
        keras.utils.set_random_seed(0)
        model = model_of(OneConvolution(), replicas)
        adam = keras.optimizers.Adam(0.01)
        model.fit(x, steps=3, batch_size=8, optimizer=adam, condition=condition, trainer=quick(0.5))
        return model

    one, two = fitted(1), fitted(2)
    for a, b in zip(one.network.weights, two.network.weights, strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-3, atol=2e-5)
    x, t = np.ones((4, 4, 4, 1), np.float32), np.full(4, 0.5, np.float32)
    told = one.score_fn(x, t, condition[:4])
    np.testing.assert_allclose(told, two.score_fn(x, t, condition[:4]), atol=1e-3)
    assert np.abs(told - one.score_fn(x, t)).max() > 1e-4
    with pytest.raises(UsageError, match=r"of shape \(4, 4, 2\).*got an array of shape \(4, 2, 2"):
        one.score_fn(x, t, condition[:4, :2, :2])
    draw = functools.partial(lcss.ScoreModel.sample, sampler=ProbabilityFlowODE(num_steps=2))
    samples = [draw(m, 4, condition=condition[:4], batch_size=4) for m in (one, two)]
    np.testing.assert_allclose(*samples, atol=1e-2)


@pytest.mark.slow
def test_a_run_resumes_in_the_moments_that_it_began_with(tmp_path):
    x, y = gaussian(64)
    fit = functools.partial(
        lcss.ScoreModel.fit, batch_size=8, loss=DSMLoss(), trainer=quick(),
        optimizer=keras.optimizers.Adam(0.01),
    )  # fmt: skip
    first = model_of(mlp(condition_size=2))
    fit(first, x, condition=y, steps=2, workdir=tmp_path)
    again = lcss.ScoreModel.load(tmp_path, distribution=Distribution(1))
    assert again.info.condition == first.info.condition
    with pytest.raises(UsageError, match=r"other data.*\n.*condition\.content"):
        fit(model_of(mlp(condition_size=2)), x, condition=y + 1, steps=4, workdir=tmp_path)
    forced = model_of(mlp(condition_size=2))
    fit(
        forced, x, condition=y + 1, steps=4, workdir=tmp_path,
        trainer=quick(resume="force"),
    )  # fmt: skip
    assert forced.info.condition.scaling == first.info.condition.scaling


def test_validation_is_told_its_condition():
    x, y = gaussian(64)
    model = model_of(lcss.networks.MLP(width=8, depth=1, condition_size=1))
    history = model.fit(
        x, DSMLoss(), steps=1, batch_size=8, condition=y[:, :1],
        validation=(x[:16], y[:16, :1]), trainer=quick(log_every=1),
    )  # fmt: skip
    assert np.isfinite(history["val_loss"]).all()


@pytest.mark.parametrize(
    ("x", "condition", "expected"),
    [
        (gaussian(9)[0], gaussian(9)[1], ConditionSpec("condition_size", 2)),
        (gaussian(9)[0], gaussian(9)[1][:, 0], ConditionSpec("condition_size", 1)),
        (np.eye(16).reshape(4, 4, 4, 4), np.eye(16).reshape(4, 8, 8), None),
        (np.eye(16).reshape(4, 4, 4, 4), np.eye(4), ConditionSpec("condition_size", 4)),
        (np.eye(16).reshape(4, 8, 8), np.eye(16).reshape(4, 8, 8)[..., :2],
         ConditionSpec("condition_channels", 2)),
    ],
)  # fmt: skip
def test_the_default_network_takes_the_condition_of_the_data(x, condition, expected):
    class Built:
        """Stands for a trainer: trains nothing."""

        resume = "auto"

        def train(self, run, callbacks, model):
            return run.state.condition

    fit = functools.partial(model_of(None).fit, x, condition=condition, trainer=Built())
    if expected is None:
        with pytest.raises(
            UsageError, match=r"an image \[4, 4, channels\]; got the shape \(8, 8\)"
        ):
            fit()
    else:
        assert fit() == expected
