"""A network that is told how its examples were augmented: trained, resumed, sampled as if not."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.errors import UsageError
from lcss_tf.training import Distribution, TrainStep
from tests.training.helpers import no_prior_check

IMAGES = np.random.default_rng(0).integers(0, 256, (24, 4, 4, 1), dtype=np.uint8)


def data(**options):
    raw = lcss.data.from_user(IMAGES, np.arange(24) % 3)
    return lcss.data.Augmented(raw, **{"probability": 0.5} | options)


def model_of(**options):
    network = lcss.networks.DiT(width=8, depth=1, num_heads=2, num_classes=3, **options)
    return lcss.ScoreModel(network, distribution=Distribution(1))


def fit(model, steps, workdir=None, images=None):
    make_step = functools.partial(TrainStep, jit_compile=False)
    model.fit(
        images or data(), steps=steps, batch_size=8, optimizer=keras.optimizers.Adam(0.02),
        workdir=workdir, trainer=no_prior_check(make_step=make_step),
    )  # fmt: skip
    return model


@pytest.mark.slow
def test_a_class_and_an_augmentation_train_together_and_samples_are_told_nothing():
    model = fit(model_of(augmentation_size=9), 6)
    network = model.state.average
    assert np.abs(network.augmentation_layer.kernel.numpy()).max() > 1e-3
    # Nothing is the label 0, bit for bit.
    x, t = tf.constant(np.float32(IMAGES[:4] / 99)), tf.fill([4], 0.3)
    labels = tf.constant([0, 1, 2, 3])
    score = model.state.score.score_fn
    told = lambda a: score(network, condition=labels, augmentation=a)(x, t).numpy()
    np.testing.assert_array_equal(model.score_fn(x, t, labels), told(tf.zeros([4, 9])))
    assert np.abs(told(tf.ones([4, 9])) - told(tf.zeros([4, 9]))).max() > 1e-4


@pytest.mark.slow
def test_a_run_of_augmented_images_resumes_exactly(tmp_path):
    whole = fit(model_of(augmentation_size=9), 9)
    fit(model_of(augmentation_size=9), 4, tmp_path)
    again = fit(model_of(augmentation_size=9), 9, tmp_path)
    for expected, found in zip(whole.network.weights, again.network.weights, strict=True):
        np.testing.assert_array_equal(found, expected)
    loaded = lcss.ScoreModel.load(tmp_path, distribution=Distribution(1))
    x, t = tf.constant(np.float32(IMAGES[:4] / 99)), tf.fill([4], 0.3)
    labels = tf.constant([0, 1, 2, 3])
    np.testing.assert_array_equal(loaded.score_fn(x, t, labels), again.score_fn(x, t, labels))


def test_copies_share_their_augmentation():
    network = lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, init_scale=1.0,
        num_classes=3, augmentation_size=9, dropout=0.0,
    )  # fmt: skip
    network.build((None, 4, 4, 1))
    random = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(weight + 0.3 * random.normal(size=weight.shape))
    x, cond = random.normal(size=(4, 4, 4, 1)).astype(np.float32), tf.ones([4])
    given = {"condition": np.array([0, 2]), "augmentation": random.normal(size=(2, 9))}
    twice = {name: np.concatenate([value] * 2) for name, value in given.items()}
    stacked, each = network(x, cond, copies=2, **given), network(x, cond, **twice)
    np.testing.assert_allclose(stacked, each, rtol=1e-4, atol=1e-5)
    none = network(x, cond, condition=twice["condition"])
    assert (np.abs(none - each).reshape(4, -1).max(axis=1) > 1e-3).all()
    zero = network(x, cond, condition=twice["condition"], augmentation=np.zeros((4, 9)))
    np.testing.assert_array_equal(zero, none)


def test_the_default_network_is_told():
    model = lcss.ScoreModel(distribution=Distribution(1))
    network = lcss.networks.network_for(data(), model.sde)
    assert (network.augmentation_size, network.num_classes) == (9, 3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(UsageError, match="Make it with augmentation_size = 9"):
        fit(model_of(), 1)
    with pytest.raises(UsageError, match="has augmentation_size = 4"):
        fit(model_of(augmentation_size=4), 1)
    with pytest.raises(UsageError, match="at least 1, or None; got 0"):
        model_of(augmentation_size=0).build((4, 4, 1))
    with pytest.raises(UsageError, match="augmentation_size needs conditional=True"):
        lcss.networks.NCSNpp(augmentation_size=9, conditional=False)
    network = lcss.networks.DiT(width=8, depth=1, num_heads=2)
    network.build((None, 4, 4, 1))
    x, cond = tf.zeros([2, 4, 4, 1]), tf.ones([2])
    with pytest.raises(UsageError, match="not told how examples were augmented"):
        network(x, cond, augmentation=tf.zeros([2, 9]))
    network = lcss.networks.DiT(width=8, depth=1, num_heads=2, augmentation_size=9)
    network.build((None, 4, 4, 1))
    with pytest.raises(UsageError, match=r"augmentation_size = 9\); got the shape \(2, 4\)"):
        network(x, cond, augmentation=tf.zeros([2, 4]))
