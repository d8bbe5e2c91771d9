"""DiT: against NumPy, from zero, on any number of axes, its arithmetic by hand."""

import math
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.commands._benchmark import count_flops
from lcss_tf.networks import DiT
from lcss_tf.networks.dit import from_patches, position_embedding, to_patches
from lcss_tf.registry import NETWORKS
from lcss_tf.training.memory import peak_bytes

FIXTURES = Path(__file__).parents[1] / "fixtures"
SMALL = {"width": 16, "depth": 2, "num_heads": 2}


def inputs(shape, seed=0):
    x = tf.random.stateless_normal(shape, [seed, 1])
    return x, tf.linspace(0.5, 400.0, shape[0])


def made(shape, scale=0.2, **options):
    """A network whose weights are all random, the gates and the output too."""
    network = DiT(**SMALL | options)
    network.build((None, *shape))
    generator = np.random.default_rng(0)
    for weight in network.trainable_variables:
        weight.assign(scale * generator.normal(size=weight.shape))
    return network


def test_is_registered():
    assert NETWORKS["DiT"] is DiT


# An independent transcription, from the paper: loops over heads and patches, no shared code.


def numpy_positions(grid, width):
    """For each patch, in the order of the image."""
    F = width // (2 * len(grid))
    omega = 10_000.0 ** (-np.arange(F) / F)
    rows = []
    for place in np.ndindex(*grid):
        row = np.zeros(width)
        for axis, n in enumerate(place):
            row[2 * F * axis :][: 2 * F] = [*np.sin(omega * n), *np.cos(omega * n)]
        rows.append(row)
    return np.array(rows)


def numpy_dit(w, x, label, patch, heads, depth, added=0.0):
    """One example x [H, W, C] in float64; w: weights by name."""

    def dense(name, h):
        return h @ w[f"{name}/kernel"] + w[f"{name}/bias"]

    silu = lambda u: u / (1 + np.exp(-u))
    gelu = lambda u: 0.5 * u * (1 + np.tanh(np.sqrt(2 / np.pi) * (u + 0.044715 * u**3)))
    norm = lambda h: (h - h.mean(1, keepdims=True)) / np.sqrt(h.var(1, keepdims=True) + 1e-6)

    omega = np.exp(-np.log(10_000) * np.arange(128) / 127)
    label = np.concatenate([np.sin(omega * label), np.cos(omega * label)])
    c = silu(dense("noise_embedding/dense_0", label))
    c = silu(dense("noise_embedding/dense_1", c) + added)

    rows, columns = x.shape[0] // patch[0], x.shape[1] // patch[1]
    corners = [(i * patch[0], j * patch[1]) for i in range(rows) for j in range(columns)]
    h = np.array([x[i : i + patch[0], j : j + patch[1]].ravel() for i, j in corners])
    h = dense("first", h)
    width = h.shape[1]
    h = h + numpy_positions((rows, columns), width)
    for k in range(depth):
        name = f"block_{k}"
        b1, g1, a1, b2, g2, a2 = np.split(dense(f"{name}/modulation", c), 6)
        q, k_, v = np.split(dense(f"{name}/qkv", norm(h) * (1 + g1) + b1), 3, axis=1)
        size, out = width // heads, []
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            logits = q[:, part] @ k_[:, part].T / np.sqrt(size)
            weights = np.exp(logits - logits.max(1, keepdims=True))
            out.append(weights / weights.sum(1, keepdims=True) @ v[:, part])
        h = h + a1 * dense(f"{name}/out", np.concatenate(out, axis=1))
        hidden = gelu(dense(f"{name}/mlp_0", norm(h) * (1 + g2) + b2))
        h = h + a2 * dense(f"{name}/mlp_1", hidden)
    shift, scale = np.split(dense("modulation", c), 2)
    tokens = dense("last", norm(h) * (1 + scale) + shift)
    y = np.zeros(x.shape)
    for token, (i, j) in zip(tokens, corners, strict=True):
        y[i : i + patch[0], j : j + patch[1]] = token.reshape(*patch, x.shape[2])
    return y


@pytest.mark.parametrize("patch", [2, (2, 3)], ids=str)
def test_it_is_the_formula(patch):
    """An image that is not square, with a class, against NumPy in float64."""
    network = made((4, 6, 3), patch_size=patch, num_classes=3)
    w = {v.path.partition("/")[2]: v.numpy().astype(float) for v in network.weights}
    x, _ = inputs((3, 4, 6, 3))
    cond = tf.constant([0.3, 2.0, 7.0])  # of large labels float32 knows the sines less well
    labels = np.array([0, 2, 3])
    y = network(x, cond, condition=labels)
    sides = (patch, patch) if isinstance(patch, int) else patch
    table = w["class_embedding/table"]
    for i in range(3):
        expected = numpy_dit(
            w, x[i].numpy().astype(float), float(cond[i]), sides, 2, 2, table[labels[i]]
        )
        assert np.abs(expected).max() > 0.3
        np.testing.assert_allclose(y[i], expected, rtol=1e-5, atol=1e-5 * np.abs(expected).max())


def test_it_is_the_transformer_of_diffusers():
    """Its `DiTTransformer2DModel` (0.42), with these weights, gave these numbers in float32.

    It counts columns before rows: here it was given the table of positions with rows first.
    """
    stored = np.load(FIXTURES / "dit_diffusers.npz")
    network = made((8, 8, 3), 0.15, width=48, depth=3, num_heads=4, num_classes=5)
    y = network(stored["x"], stored["cond"], condition=stored["labels"])
    assert np.abs(stored["output"]).max() > 5
    np.testing.assert_allclose(y, stored["output"], rtol=1e-5, atol=5e-5)


@pytest.mark.parametrize("shape", [(8, 1), (4, 8, 5), (4, 2, 6, 2)], ids=str)
@pytest.mark.parametrize("embedding", ["positional", "fourier"])
def test_any_rank_begins_at_zero_and_every_weight_is_trained(shape, embedding):
    network = DiT(**SMALL, embedding=embedding)
    x, cond = inputs((2, *shape))
    y = network(x, cond)
    assert y.shape == x.shape
    np.testing.assert_array_equal(y, np.zeros(y.shape))
    network = made(shape, embedding=embedding)
    with tf.GradientTape() as tape:
        tape.watch(x)
        loss = tf.reduce_sum(network(x, cond) ** 2)
    values = [v.value for v in network.trainable_variables]
    gradients = tape.gradient(loss, [x, *values])
    assert all(np.isfinite(g).all() and np.any(g) for g in gradients)


@pytest.mark.parametrize("sides", [(6,), (4, 6), (2, 4, 6)], ids=str)
def test_patches_come_back_and_hold_neighbours(sides):
    patch = (1, 2, 3)[-len(sides) :] if len(sides) < 3 else (1, 2, 3)
    grid = [n // p for n, p in zip(sides, patch, strict=True)]
    x = tf.reshape(tf.range(2 * math.prod(sides) * 3), (2, *sides, 3))
    tokens = to_patches(x, patch)
    assert tokens.shape == (2, math.prod(grid), math.prod(patch) * 3)
    first = x[(slice(None), *[slice(0, p) for p in patch])]
    np.testing.assert_array_equal(tokens[:, 0], tf.reshape(first, (2, -1)))
    last = x[(slice(None), *[slice(n - p, n) for n, p in zip(sides, patch, strict=True)])]
    np.testing.assert_array_equal(tokens[:, -1], tf.reshape(last, (2, -1)))
    np.testing.assert_array_equal(from_patches(tokens, grid, patch), x)


@pytest.mark.parametrize(("grid", "width"), [((7,), 10), ((3, 4), 18), ((2, 3, 4), 16)])
def test_positions_are_told_by_axis(grid, width):
    table = position_embedding(grid, width).numpy()
    np.testing.assert_allclose(table, numpy_positions(grid, width), atol=1e-6)
    assert len(np.unique(table.round(5), axis=0)) == math.prod(grid)  # no two places alike


def test_other_sides_than_those_it_was_built_for():
    network = made((4, 4, 1))
    x, cond = inputs((2, 6, 8, 1))
    assert network(x, cond).shape == x.shape


def test_dropout_is_a_function_of_the_seed_and_copies_share_it():
    network = made((4, 4, 1), dropout=0.3)
    assert network.stochastic
    x, cond = inputs((4, 4, 4, 1))
    one = network(x, cond, seed=1)
    np.testing.assert_array_equal(one, network(x, cond, seed=random.as_seed(1)))
    assert np.abs(one - network(x, cond, seed=2)).max() > 1e-2
    assert np.abs(one - network(x, cond)).max() > 1e-2
    twice = network(tf.concat([x, x], 0), tf.concat([cond, cond], 0), seed=1, copies=2)
    np.testing.assert_allclose(twice, tf.concat([one, one], 0), atol=1e-5)
    half = network(x[2:], cond[2:], seed=random.at_row(1, 2))
    np.testing.assert_allclose(half, one[2:], atol=1e-5)


def gradients(network, **options):
    x, cond = random.normal(1, (4, 8, 8, 2)), tf.constant([0.1, 5.0, 0.1, 5.0])
    in_pieces = options.pop("in_pieces", False)

    def compute(x):
        with xla.in_pieces(in_pieces), tf.GradientTape() as tape:
            tape.watch(x)
            loss = tf.reduce_sum(tf.sin(network(x, cond, seed=3, copies=2)))
        return tape.gradient(loss, [x, *(w.value for w in network.trainable_variables)])

    function = tf.function(compute, autograph=False, **options)
    flat = np.concatenate([part.numpy().ravel() for part in function(x)])
    return flat, peak_bytes(function.get_concrete_function(x).graph)


@pytest.mark.slow
def test_rematerialised_it_takes_less_memory_for_the_same_gradients():
    kept, again = (
        made((8, 8, 2), dropout=0.2, rematerialise=rematerialise) for rematerialise in (False, True)
    )
    (expected, bytes_kept), (found, bytes_again) = gradients(kept), gradients(again)
    assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected)
    assert bytes_again < 0.8 * bytes_kept


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"jit_compile": True}, {"in_pieces": True}], ids=str)
def test_the_gradients_are_the_same_whatever_compiles_them(options):
    for rematerialise in (False, True):
        network = made((8, 8, 2), dropout=0.2, rematerialise=rematerialise)
        expected, _ = gradients(network)
        found, _ = gradients(network, **options)
        assert np.linalg.norm(found - expected) < 2e-5 * np.linalg.norm(expected)


def test_mixed_policy_gives_float32():
    mixed, exact = (made((8, 8, 1), dtype=policy) for policy in ("mixed_bfloat16", "float32"))
    x, cond = inputs((2, 8, 8, 1))
    y, expected = mixed(x, cond), exact(x, cond)
    assert y.dtype == tf.float32
    assert mixed.blocks[0].qkv.compute_dtype == "bfloat16"
    assert mixed.last.compute_dtype == mixed.blocks[0].modulation.compute_dtype == "float32"
    error = np.linalg.norm(y - expected) / np.linalg.norm(expected)
    assert 1e-5 < error < 0.05


def test_its_arithmetic_is_that_on_paper():
    """2 operations for each product: tokens through dense layers, T² pairs, the embeddings."""
    D, depth, ratio, p, C = 32, 3, 4, 2, 3
    network = DiT(width=D, depth=depth, num_heads=4, patch_size=p)
    network.build((None, 8, 12, C))
    N, T, P = 5, 4 * 6, p * p * C
    block = T * D * (3 * D) + 2 * T * T * D + T * D * D + 2 * T * D * (ratio * D) + D * (6 * D)
    embedding = 256 * D + D * D + D * (2 * D)
    expected = 2 * N * (depth * block + 2 * T * P * D + embedding)
    assert count_flops(network, *inputs((N, 8, 12, C))) == expected


def test_the_default_is_as_large_as_the_paper_s():
    """DiT-S/2 on latents of 32×32×4: 33 M parameters, 6.06 G multiply-adds."""
    network = DiT(num_classes=1000)
    network.build((None, 32, 32, 4))
    assert network.count_params() == pytest.approx(33e6, rel=0.02)
    assert count_flops(network, *inputs((1, 32, 32, 4))) / 2 == pytest.approx(6.06e9, rel=0.005)


@pytest.mark.parametrize(
    ("options", "shape", "message"),
    [
        ({}, (2, 9, 8, 3), r"must divide every spatial axis of x; got sides \(9, 8\)"),
        ({"patch_size": (2, 2)}, (2, 8, 3), r"patch_size = \(2, 2\) must divide.*sides \(8,\)"),
        ({}, (2, 3), "use the MLP"),
        ({}, (2, None, 8, 3), "known size"),
        ({"num_heads": 3}, (2, 8, 8, 1), "width = 16 and num_heads = 3"),
        ({"patch_size": 0}, (2, 8, 8, 1), "at least 1.*got 0"),
        ({"dropout": 1.0}, (2, 8, 8, 1), "rate in"),
        ({"embedding": "sine"}, (2, 8, 8, 1), "embedding must be one of"),
    ],
)
def test_what_does_not_fit_is_refused(options, shape, message):
    with pytest.raises(ValueError, match=message):
        DiT(**SMALL | options).build(shape)


def test_another_number_of_channels_after_building():
    with pytest.raises(ValueError, match="built for x of shape"):
        made((4, 4, 1))(*inputs((2, 4, 4, 2)))
