"""Registries: unchanged classes, duplicates, look-ups that help."""

import gin
import keras
import pytest

import lcss_tf
from lcss_tf.registry import ALL_REGISTRIES, Registry

SDES = lcss_tf.SDES  # asking the package for a registry loads every part


def test_register_returns_the_class_unchanged_and_gin_can_build_it():
    registry = Registry("test_parts", "part")

    class Part:
        def __init__(self, size=1):
            self.size = size

    assert registry.register(Part) is Part
    assert registry["Part"] is registry["part"] is Part
    assert "PART" in registry
    assert list(registry) == ["Part"]
    assert len(registry) == 1
    built = []
    gin.configurable("collect", module="test_parts")(lambda part=None: built.append(part))
    gin.parse_config("collect.part = @test_parts.Part()\nPart.size = 7")
    gin.get_configurable("collect")()
    assert type(built[0]) is Part
    assert built[0].size == 7


def test_duplicates_are_refused():
    with pytest.raises(ValueError, match="'VPSDE' is registered already"):
        lcss_tf.register_sde("VPSDE")(object)


def test_a_class_that_is_defined_again_takes_the_place_of_its_former_self():
    """As when a cell of a notebook is run twice; elsewhere the name stays taken."""

    def cell(beta):
        class OfANotebook(lcss_tf.sdes.VPSDE):
            mark = beta

        return lcss_tf.register_sde(OfANotebook)

    cell(1)
    second = cell(2)
    assert lcss_tf.SDES["OfANotebook"] is second
    made = gin.get_configurable("sdes.OfANotebook")()
    assert made.mark == 2
    del lcss_tf.SDES._parts["OfANotebook"]


def test_a_registered_network_is_known_to_keras():
    @lcss_tf.register_network
    class OwnNetwork(keras.Model):
        def get_config(self):
            return {}

    saved = keras.saving.serialize_keras_object(OwnNetwork())
    assert saved["registered_name"] == "lcss_tf>OwnNetwork"
    del lcss_tf.NETWORKS._parts["OwnNetwork"]


@pytest.mark.parametrize("registry", ALL_REGISTRIES, ids=lambda r: r.module)
def test_unknown_names_list_the_known(registry):
    with pytest.raises(KeyError) as error:
        registry["nonsense"]
    for name in registry:
        assert name in str(error.value)
    assert len(registry) > 0


def test_near_names_are_suggested():
    with pytest.raises(KeyError, match="Did you mean 'VPSDE'"):
        lcss_tf.SDES["VPSD"]


def test_public_names():
    assert {"VPSDE", "SubVPSDE", "VESDE"} <= set(lcss_tf.SDES)
    assert {"LCSSLoss", "DSMLoss"} <= set(lcss_tf.LOSSES)
    assert {"UniformTimes", "AdaptiveTimes"} <= set(lcss_tf.TIME_DISTRIBUTIONS)
    assert {"NCSNpp", "DiT", "MLP"} <= set(lcss_tf.NETWORKS)
    assert {"EulerMaruyama", "PredictorCorrector", "ProbabilityFlowODE"} <= set(lcss_tf.SAMPLERS)
    assert {"moments", "noise", "none"} <= set(lcss_tf.PRECONDITIONINGS)
    assert lcss_tf.SDES["VPSDE"](beta_min=0.1, beta_max=20.0).beta_max == 20.0
    assert lcss_tf.SDES["VESDE"](sigma_min=0.01, sigma_max=50.0).sigma_max == 50.0
