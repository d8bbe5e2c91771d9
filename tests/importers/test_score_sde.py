"""Parity with the reference's networks, through its own parameters."""

import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.importers.score_sde import load_state, network_from_config, state_variables
from lcss_tf.networks import NCSNpp

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


def fixture(name):
    """(meta, state, the other arrays) of a fixture."""
    with np.load(FIXTURES / f"net_{name}.npz") as data:
        arrays = {key: data[key] for key in data.files}
    meta = json.loads(arrays.pop("meta.json").tobytes())
    state = {k[len("state.") :]: v for k, v in arrays.items() if k.startswith("state.")}
    return meta, state, arrays


def relative_error(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("name", ["ddpmpp_vp", "ncsnpp_ve", "ncsnpp_ve_skips"])
def test_outputs_and_input_gradients_are_those_of_the_reference(name):
    meta, state, arrays = fixture(name)
    network = network_from_config(meta)
    load_state(network, state)
    assert network.count_params() == meta["params"]
    x, cond, v = (tf.constant(arrays[f"in.{key}"]) for key in ("x", "cond", "v"))

    with tf.GradientTape() as tape:
        tape.watch(x)
        y = network(x, cond)
        product = tf.reduce_sum(y * v)
    gradient = tape.gradient(product, x)
    assert relative_error(y, arrays["out.y"]) < 1e-4
    assert relative_error(gradient, arrays["out.vjp_x"]) < 1e-4


@pytest.mark.parametrize(
    "options",
    [
        {"resblock_type": "ddpm", "progressive": "residual", "progressive_input": "residual"},
        {"resblock_type": "ddpm", "fir": False, "resamp_with_conv": False},
        {"progressive": "residual", "progressive_input": "input_skip", "skip_rescale": False},
    ],
    ids=["ddpm", "ddpm-plain", "biggan-residual"],
)
def test_every_variable_has_a_name_in_every_configuration(options):
    meta = {
        **fixture("ncsnpp_ve_skips")[0],
        **options,
        "image_size": 8,
        "progressive_combine": "cat",
    }
    network = network_from_config(meta)
    variables = state_variables(network)
    paths = [variable.path for variable in variables.values()]
    assert sorted(paths) == sorted(weight.path for weight in network.weights)
    assert network(tf.ones([1, 8, 8, 3]), tf.ones([1])).shape == (1, 8, 8, 3)


@pytest.fixture(scope="module")
def skips():
    meta, state, _ = fixture("ncsnpp_ve_skips")
    return network_from_config(meta), state


def test_a_wrong_shape_names_the_tensor_and_both_shapes(skips):
    network, state = skips
    bad = {**state, "all_modules.4.Conv_0.weight": np.zeros([16, 8, 3, 3])}
    with pytest.raises(ValueError, match=r"all_modules.4.Conv_0.weight") as error:
        load_state(network, bad)
    assert "(16, 8, 3, 3)" in str(error.value)
    assert "(3, 3, 16, 16)" in str(error.value)


def test_missing_and_surplus_tensors_are_named_and_nothing_is_set(skips):
    network, state = skips
    before = network.get_weights()
    bad = {**state, "all_modules.99.weight": np.zeros([2])}
    del bad["all_modules.3.bias"]
    with pytest.raises(ValueError, match=r"3\.bias is missing.*99\.weight has no place"):
        load_state(network, bad)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_the_prefix_of_data_parallelism_is_taken_off(skips):
    network, state = skips
    load_state(network, {f"module.{name}": value for name, value in state.items()})
    loaded = state_variables(network)["all_modules.3.bias"]
    np.testing.assert_array_equal(loaded, state["all_modules.3.bias"])


def test_errors_say_what_to_do():
    with pytest.raises(ValueError, match="lacks nf, ch_mult"):
        network_from_config({})
    meta = fixture("ddpmpp_vp")[0]
    with pytest.raises(ValueError, match="'elu'"):
        network_from_config({**meta, "nonlinearity": "elu"})
    with pytest.raises(ValueError, match="call network.build"):
        load_state(NCSNpp(), {})
