"""Networks come back from .keras files, from weights files, and from their JSON descriptions."""

import json
import os
import pathlib
import random
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.networks import MLP, DiT, NCSNpp, deserialize, serialize

ROOT = pathlib.Path(__file__).parents[2]

RELOAD = """
import sys
import keras, numpy as np
import lcss_tf.networks
folder = sys.argv[1]
for name in sys.argv[2:]:
    network = keras.saving.load_model(f"{folder}/{name}.keras")
    data = np.load(f"{folder}/{name}.npz")
    np.testing.assert_allclose(network(data["x"], data["cond"]), data["y"], rtol=1e-5, atol=1e-6)
    assert network.get_config()["name"] == name
print("equal")
"""

NETWORKS = {
    "ncsnpp": (
        NCSNpp(
            num_features=8,
            channel_multipliers=(1, 2),
            num_res_blocks=1,
            attention_resolutions=(4,),
            embedding="fourier",
            fir=True,
            progressive_output="output_skip",
            progressive_input="input_skip",
            init_scale=1.0,
            name="ncsnpp",
        ),
        (2, 8, 4, 3),
    ),
    "volume": (
        NCSNpp(
            num_features=4,
            channel_multipliers=(1, 1),
            num_res_blocks=1,
            init_scale=1.0,
            resblock="ddpm",
            name="volume",
        ),
        (2, 4, 4, 2, 1),
    ),
    "mlp": (MLP(width=16, depth=2, name="mlp"), (2, 5)),
    "dit": (DiT(width=16, depth=2, num_heads=2, patch_size=(2, 1), name="dit"), (2, 8, 4, 3)),
}


@pytest.mark.slow
def test_reload_in_another_process(tmp_path):
    for name, (network, shape) in NETWORKS.items():
        x = tf.random.stateless_normal(shape, [0, 1])
        cond = tf.constant([0.5, 30.0])
        network(x, cond)
        rng = np.random.default_rng(0)
        network.set_weights([w + 0.1 * rng.normal(size=w.shape) for w in network.get_weights()])
        network.save(tmp_path / f"{name}.keras")
        np.savez(tmp_path / f"{name}.npz", x=x, cond=cond, y=network(x, cond))
    result = subprocess.run(
        [sys.executable, "-c", RELOAD, str(tmp_path), *NETWORKS],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.strip() == "equal", result.stderr[-3000:]


@pytest.mark.parametrize("name", ["ncsnpp", "mlp", "dit"])
def test_weights_file_needs_a_build_only(tmp_path, name):
    network, shape = NETWORKS[name]
    x, cond = tf.ones(shape), tf.ones(shape[:1])
    expected = network(x, cond)
    network.save_weights(tmp_path / "w.weights.h5")
    again = type(network).from_config(network.get_config())
    again.build((None, *shape[1:]))
    again.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(again(x, cond), expected)


ALL_OPTIONS = {
    "num_features": 8,
    "channel_multipliers": (1, 2),
    "num_res_blocks": 2,
    "attention_resolutions": (4,),
    "dropout": 0.25,
    "embedding": "fourier",
    "fourier_scale": 3.0,
    "conditional": True,
    "fir": True,
    "fir_kernel": (1, 2, 1),
    "progressive_output": "residual",
    "progressive_input": "input_skip",
    "combine": "cat",
    "resblock": "ddpm",
    "skip_rescale": False,
    "scale_by_sigma": True,
    "resample_with_conv": False,
    "init_scale": 0.5,
    "centered": False,
    "rematerialise": True,
    "num_classes": 3,
    "augmentation_size": 9,
}


@keras.saving.register_keras_serializable(package="tests")
class Own(keras.Model):
    """A user's network, whose config is complete."""

    def __init__(self, width=4, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.inner = keras.layers.Dense(width, name="inner")

    def build(self, x_shape):
        self.inner.build(x_shape)
        self.outer = keras.layers.Dense(x_shape[-1], name="outer")
        self.outer.build((None, self.width))

    def call(self, x, cond):
        return self.outer(self.inner(x))

    def get_config(self):
        return {**super().get_config(), "width": self.width}


@keras.saving.register_keras_serializable(package="tests")
class Forgetful(Own):
    """Its config lacks the width."""

    def get_config(self):
        return {}


class Unknown(Own):
    """It is not registered with Keras."""


def through_json(network):
    return deserialize(json.loads(json.dumps(serialize(network))))


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (NCSNpp(**ALL_OPTIONS, name="all"), (None, 8, 4, 3)),
        (NCSNpp(num_features=4, channel_multipliers=(1,), dtype="mixed_bfloat16"), (None, 8, 1)),
        (
            MLP(
                width=16,
                depth=2,
                embedding_features=8,
                embedding="fourier",
                fourier_scale=2.0,
                num_classes=3,
            ),
            (None, 5),
        ),
        (
            DiT(
                patch_size=(2, 1),
                width=12,
                depth=2,
                num_heads=3,
                mlp_ratio=2.5,
                dropout=0.1,
                embedding="fourier",
                fourier_scale=2.0,
                rematerialise=True,
                condition_size=2,
                dtype="mixed_bfloat16",
            ),
            (None, 8, 4, 3),
        ),
        (Own(width=7), (None, 5)),
    ],
    ids=["NCSNpp", "NCSNpp-bfloat16", "MLP", "DiT", "own"],
)
def test_a_network_comes_back_from_json(network, shape):
    unbuilt = through_json(network)
    assert not unbuilt.built
    assert unbuilt.get_config() == network.get_config()
    network.build(shape)
    again = through_json(network)
    assert type(again) is type(network)
    assert again.get_config() == network.get_config()
    assert [w.path for w in again.weights] == [w.path for w in network.weights]
    assert [w.shape for w in again.weights] == [w.shape for w in network.weights]
    again.set_weights(network.get_weights())


def test_all_options_are_in_that_test():
    config = NCSNpp(**ALL_OPTIONS).get_config()
    plain = NCSNpp().get_config()
    others = {"condition_size", "condition_channels"}  # in place of num_classes
    assert set(ALL_OPTIONS) | others == set(plain) - {"name", "trainable", "dtype"}
    kept = {"conditional"}  # num_classes needs it as it is
    assert all(config[name] != plain[name] for name in set(ALL_OPTIONS) - kept)


def test_describing_a_network_leaves_the_global_generator_alone():
    network = MLP(width=8)
    network.build((None, 2))
    state = random.getstate()
    serialize(network)
    assert random.getstate() == state


def test_descriptions_that_would_make_another_network_are_refused():
    network = Forgetful(width=9)
    network.build((None, 5))
    with pytest.raises(ValueError, match=r"Forgetful.*other shapes.*get_config"):
        serialize(network)
    with pytest.raises(ValueError, match=r"Unknown.*register_keras_serializable"):
        serialize(Unknown())
    with pytest.raises(ValueError, match=r"'tests>Gone'.*import the module"):
        deserialize({**serialize(Own()), "registered_name": "tests>Gone", "class_name": "Gone"})


@pytest.mark.parametrize("name", ["ncsnpp", "mlp", "dit"])
def test_a_network_is_built_in_place_under_a_strategy(name):
    """Its variables are then mirrored, and the values those of a network built without."""
    config, shape = NETWORKS[name][0].get_config(), NETWORKS[name][1]
    made = [type(NETWORKS[name][0]).from_config(config) for _ in range(2)]
    made[0].build((None, *shape[1:]))
    strategy = tf.distribute.MirroredStrategy(tf.config.list_logical_devices("CPU"))
    with strategy.scope():
        made[1].build((None, *shape[1:]))
    made[1].set_weights(made[0].get_weights())
    values = [v.value for v in made[1].trainable_variables]
    assert all(len(value.values) == 2 for value in values)
    x, cond = tf.ones(shape), tf.ones(shape[:1])
    result = strategy.run(lambda: made[1](x, cond))
    for part in strategy.experimental_local_results(result):
        np.testing.assert_allclose(part, made[0](x, cond), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ["ncsnpp", "mlp", "dit"])
def test_building_again_changes_nothing_and_another_shape_is_refused(name):
    network = type(NETWORKS[name][0]).from_config(NETWORKS[name][0].get_config())
    shape = (None, *NETWORKS[name][1][1:])
    network.build(shape)
    before = network.get_weights()
    network.build(shape)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
    with pytest.raises(ValueError, match="built for x of shape"):
        network.build((*shape[:-1], shape[-1] + 1))
