"""What training changes: by names that depend on the architecture alone, under any optimiser."""

import keras
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.errors import UsageError
from lcss_tf.score import NoPreconditioning, Score
from lcss_tf.training import Checkpoints, Distribution, TrainState
from lcss_tf.training.state import stable_paths
from tests.training import helpers


@keras.saving.register_keras_serializable("tests")
class Unnamed(keras.Model):
    """A network whose layers and weights have the names that Keras numbers by itself."""

    def __init__(self, width=4, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.layers_of_width = [keras.layers.Dense(width) for _ in range(12)]
        self.last = keras.layers.Dense(2)

    def build(self, x_shape, cond_shape=None):
        for size, layer in zip([2] + [self.width] * 12, [*self.layers_of_width, self.last],
                               strict=True):  # fmt: skip
            layer.build((None, size))
        self.built = True

    def call(self, x, cond, seed=None, copies=1):
        for layer in self.layers_of_width:
            x = layer(x)
        return self.last(x)

    def get_config(self):
        return {**super().get_config(), "width": self.width}


def mlp():
    return lcss.networks.MLP(width=16, depth=2, embedding_features=8)


def ncsnpp():
    return lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1, 2), num_res_blocks=1, attention_resolutions=(4,)
    )


def state_of(network, shape=(2,), replicas=1, optimizer=None, **options):
    score = Score(lcss.sdes.VPSDE(), NoPreconditioning())
    state = TrainState(score, network, shape, Distribution(replicas), **options)
    state.attach(optimizer or helpers.adam())
    return state


def keys(state):
    return [f"{group}/{path}" for group, v in state.variables().items() for path in v]


NETWORKS = {"mlp": (mlp, (2,)), "ncsnpp": (ncsnpp, (8, 8, 1)), "unnamed": (Unnamed, (2,))}


@pytest.mark.parametrize("name", sorted(NETWORKS))
def test_a_checkpoint_restores_where_other_networks_were_built_before(name, tmp_path):
    """Its keys depend on the architecture alone, not on what the process has made."""
    make, shape = NETWORKS[name]
    state = state_of(make(), shape)
    generator = np.random.default_rng(0)
    for weight in state.network.weights:
        weight.assign(generator.normal(size=weight.shape))
    Checkpoints(tmp_path).save(state)
    mlp().build((None, 5))
    for _ in range(3):  # move Keras' counters on, which name layers
        keras.Sequential([keras.layers.Dense(2), keras.layers.Dense(2)]).build((None, 2))
    other = state_of(make(), shape)
    assert state.network.weights[0].path != other.network.weights[0].path
    one, two = keys(state), keys(other)
    assert one == two
    assert len(set(one)) == len(one)
    Checkpoints(tmp_path).restore(other)
    np.testing.assert_array_equal(helpers.weights(other.network), helpers.weights(state.network))
    if name == "unnamed":
        numbered = [key for key in one if key.startswith("network/")]
        assert numbered[:3] == [
            "network/unnamed/dense/kernel", "network/unnamed/dense/bias",
            "network/unnamed/dense_1/kernel",
        ]  # fmt: skip
        assert numbered[-1] == "network/unnamed/dense_12/bias"


def test_layers_of_one_name_stay_apart():
    class Variable:
        def __init__(self, path):
            self.path = path

    made = ["net_7/dense_3/kernel", "net_7/dense_5/kernel", "net_7/block/kernel",
            "net_7/block/kernel", "net_7/dense_3/bias"]  # fmt: skip
    assert stable_paths([Variable(path) for path in made]) == [
        "net/dense/kernel", "net/dense_1/kernel", "net/block/kernel", "net/block/kernel~1",
        "net/dense/bias",
    ]  # fmt: skip


OPTIMIZERS = {
    "Adam": (lambda: keras.optimizers.Adam(1e-2), {"momentums", "velocities"}),
    "AdamW": (lambda: keras.optimizers.AdamW(1e-2), {"momentums", "velocities"}),
    "Adam with amsgrad": (
        lambda: keras.optimizers.Adam(1e-2, amsgrad=True),
        {"momentums", "velocities", "velocity_hats"},
    ),
    "SGD": (lambda: keras.optimizers.SGD(1e-2), set()),
    "SGD with momentum": (lambda: keras.optimizers.SGD(1e-2, momentum=0.9), {"momentums"}),
    "Lion": (lambda: keras.optimizers.Lion(1e-2), {"momentums"}),
    "RMSprop": (
        lambda: keras.optimizers.RMSprop(1e-2, momentum=0.9, centered=True),
        {"velocities", "momentums", "average_gradients"},
    ),
    "Nadam": (lambda: keras.optimizers.Nadam(1e-2), {"momentums", "velocities"}),
    "Adafactor": (lambda: keras.optimizers.Adafactor(1e-2), {"r", "c", "v"}),
}


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_slots_are_named_by_the_weights_they_belong_to(name, tmp_path):
    make, slots = OPTIMIZERS[name]
    state = state_of(Unnamed(), optimizer=make())
    named = state.variables()["optimizer"]
    # All of them, each once.
    assert sorted(map(id, named.values())) == sorted(map(id, state.optimizer.variables))
    weights = list(state.variables()["network"])
    for slot in slots:
        assert [p for p in named if p.startswith(f"{slot}/")] == [f"{slot}/{p}" for p in weights]
    assert len(named) <= len(slots) * len(weights) + 3
    assert any("iteration" in path for path in named)
    # They come back from a checkpoint to their places.
    for i, variable in enumerate(named.values()):
        variable.assign(np.full(variable.shape, i))
    Checkpoints(tmp_path).save(state)
    other = state_of(Unnamed(), optimizer=make())
    Checkpoints(tmp_path).restore(other)
    for i, value in enumerate(other.variables()["optimizer"].values()):
        np.testing.assert_array_equal(value, np.full(value.shape, i))


@pytest.mark.slow
def test_a_network_built_before_is_trained_in_place_from_its_weights():
    network = Unnamed()
    network.build((None, 2))
    for weight in network.weights:
        weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    before = helpers.weights(network)
    state = state_of(network)
    assert state.network is network
    np.testing.assert_array_equal(helpers.weights(network), before)
    np.testing.assert_array_equal(helpers.weights(state.average), before)
    # It is trained as one that was built under the scope.
    other = state_of(Unnamed())
    for made in (other.network, other.average):
        for weight, value in zip(made.weights, network.weights, strict=True):
            weight.assign(value)
    for each in (state, other):
        step = helpers.make_step(each, each.distribution, lcss.losses.DSMLoss(), jit_compile=False)
        helpers.run(each, step, helpers.batches(each.distribution), 3)
    assert np.abs(helpers.weights(network) - before).max() > 0
    for a, b in zip(helpers.everything(state), helpers.everything(other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


def test_several_replicas_need_a_network_built_under_their_scope():
    outside = mlp()
    outside.build((None, 2))
    message = r"MLP was built before, outside the scope of 2 replicas.*not built yet"
    with pytest.raises(UsageError, match=message):
        state_of(outside, replicas=2)
    inside = mlp()
    with Distribution(2).scope():
        inside.build((None, 2))
    assert state_of(inside, replicas=2).network is inside


def test_a_network_that_its_configuration_does_not_describe_is_refused():
    class Forgetful(Unnamed):
        def get_config(self):
            return {}

    with pytest.raises(UsageError, match=r"get_config\(\) does not describe the network"):
        state_of(Forgetful(width=3))

    class Closed(Unnamed):
        def __init__(self, width, secret):
            super().__init__(width)

        def get_config(self):
            return {"width": self.width}

    with pytest.raises(UsageError, match="cannot be made again from its configuration"):
        state_of(Closed(4, secret=1))


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_an_average_must_forget(decay):
    with pytest.raises(UsageError, match=r"ema_decay must lie in \[0, 1\)"):
        state_of(mlp(), ema_decay=decay)
