"""What samples are drawn given to show a model, and the examples that have these conditions."""

import numpy as np

import lcss_tf as lcss
from lcss_tf.data import InMemory
from lcss_tf.inference import conditions_of, given_of
from tests.inference.helpers import X


def test_conditions_in_their_own_units_with_their_examples():
    y = np.stack([40 + 3 * X[:, 0], 20 - X[:, 1]], axis=1)
    data = InMemory(X, condition=y, test_every=2)
    network = lcss.networks.MLP(width=4, depth=1, condition_size=2)
    given = given_of(network, data, 10)
    assert given.condition.shape == given.truth.shape == (10, 2)
    np.testing.assert_allclose(given.condition[:, 0], 40 + 3 * given.truth[:, 0], rtol=1e-4)
    np.testing.assert_allclose(given.condition[:, 1], 20 - given.truth[:, 1], rtol=1e-4)
    told = data.info().condition.unscale(conditions_of(network, data, 10))
    np.testing.assert_allclose(given.condition, told, rtol=1e-5)
    assert all(np.isclose(X[::2], row, rtol=1e-5).all(axis=1).any() for row in given.truth)
    few = given_of(network, data, 10, shown=4)
    np.testing.assert_array_equal(few.truth, given.truth[:4])


def test_classes_and_networks_without_a_condition_have_none():
    data = InMemory(X, np.arange(len(X)) % 3)
    for options in ({"num_classes": 3}, {}):
        assert given_of(lcss.networks.MLP(width=4, depth=1, **options), data, 10) is None
