"""Dropout's masks are functions of the seed."""

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import layers, random

X = tf.ones([4, 5, 3])


def test_rate_and_mean():
    y = layers.dropout(tf.ones([2000, 10]), 0.3, seed=1).numpy()
    np.testing.assert_allclose(np.mean(y == 0), 0.3, atol=0.015)
    np.testing.assert_allclose(y[y != 0], 1 / 0.7, rtol=1e-6)


def test_no_seed_no_dropout():
    np.testing.assert_array_equal(layers.dropout(X, 0.5), X)


@pytest.mark.parametrize("jit_compile", [False, True])
def test_the_mask_is_a_function_of_the_seed(jit_compile):
    # XLA's generator gives other numbers than TensorFlow's: compare like with like.
    @tf.function(jit_compile=jit_compile)
    def drop(seed):
        return layers.dropout(X, 0.5, seed=seed)

    first = drop(random.as_seed(7))
    np.testing.assert_array_equal(first, drop(random.as_seed(7)))
    assert np.any(first != drop(random.as_seed(8)))


def test_copies_share_their_masks():
    y = layers.dropout(tf.concat([X, X, X], 0), 0.5, seed=7, copies=3).numpy()
    np.testing.assert_array_equal(y, np.tile(layers.dropout(X, 0.5, seed=7), [3, 1, 1]))


def test_a_row_seed_gives_the_rows_of_the_global_batch():
    whole = layers.dropout(X, 0.5, seed=7)
    part = layers.dropout(X[:2], 0.5, seed=random.at_row(7, 2))
    np.testing.assert_array_equal(part, whole[2:])


def test_the_batch_must_hold_whole_copies():
    with pytest.raises(ValueError, match="copies=3"):
        layers.dropout(X, 0.5, seed=7, copies=3)
