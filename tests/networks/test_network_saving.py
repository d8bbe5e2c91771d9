"""Networks saved to .keras files reload where no gin file was ever read."""

import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.networks import MLP, NCSNpp

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


@pytest.mark.parametrize("name", ["ncsnpp", "mlp"])
def test_weights_file_needs_a_build_only(tmp_path, name):
    network, shape = NETWORKS[name]
    x, cond = tf.ones(shape), tf.ones(shape[:1])
    expected = network(x, cond)
    network.save_weights(tmp_path / "w.weights.h5")
    again = type(network).from_config(network.get_config())
    again.build((None, *shape[1:]))
    again.load_weights(tmp_path / "w.weights.h5")
    np.testing.assert_array_equal(again(x, cond), expected)
