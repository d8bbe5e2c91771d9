"""A, Aᵀ and A⁺: identities that hold for every operator of the registry; masks; refusals."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import lcss_tf
from lcss_tf import random
from lcss_tf.control import MASKS, AveragePooling, Greyscale, Mask, make_mask

SHAPES = [(8, 6, 3), (4, 4, 1), (8, 3), (6,)]


def cases():
    for name in sorted(lcss_tf.OPERATORS):
        for shape in SHAPES:
            operator = lcss_tf.OPERATORS[name]()
            try:
                operator.observed_shape(shape)
            except ValueError:
                continue
            yield pytest.param(operator, shape, id=f"{name}-{shape}")


@pytest.mark.parametrize(("operator", "shape"), cases())
def test_transpose_and_pseudo_inverse(operator, shape):
    x, other = random.normal(1, (5, *shape)), random.normal(2, (5, *shape))
    y, v = operator.apply(x), operator.apply(other)
    assert y.shape == (5, *operator.observed_shape(shape))
    operator.check(y, shape)
    back = operator.transpose(v, shape)
    assert back.shape == x.shape
    np.testing.assert_allclose(np.sum(y * v), np.sum(x * back), rtol=1e-4, atol=1e-4)  # <Ax, v>
    close = {"rtol": 1e-5, "atol": 1e-5}
    np.testing.assert_allclose(operator.apply(back), operator.gain(shape) * v, **close)
    smallest = operator.pseudo_inverse(y, shape)
    np.testing.assert_allclose(operator.apply(smallest), y, **close)  # A A⁺ y = y
    np.testing.assert_allclose(
        operator.pseudo_inverse(operator.apply(smallest), shape), smallest, **close
    )
    projected = operator.project(other, y)
    np.testing.assert_allclose(operator.apply(projected), y, **close)
    # What is not observed stays: the change lies in the range of A⁺.
    change = projected - other
    np.testing.assert_allclose(
        operator.pseudo_inverse(operator.apply(change), shape), change, **close
    )
    assert operator.shown(y, shape).shape == x.shape


@pytest.mark.parametrize(("operator", "shape"), cases())
def test_it_keeps_the_units(operator, shape):
    """Observing commutes with scaling: what is grey in bytes is as grey when scaled."""
    x = random.uniform(1, (3, *shape))
    scaled = operator.apply(2.0 * x - 1.0)
    expected = 2.0 * operator.apply(x) - 1.0
    known = operator.known(shape)
    expected = expected if known is None else tf.where(known, expected, 0.0)
    np.testing.assert_allclose(scaled, expected, atol=1e-6)


def test_there_is_each_of_them():
    assert {"Mask", "Greyscale", "AveragePooling"} <= set(lcss_tf.OPERATORS)
    names = {case.id.split("-")[0] for case in cases()}
    assert names == set(lcss_tf.OPERATORS)


def test_known_values():
    x = tf.reshape(tf.range(16, dtype=tf.float32), [1, 4, 4, 1])
    np.testing.assert_array_equal(
        AveragePooling(2).apply(x)[0, :, :, 0], [[2.5, 4.5], [10.5, 12.5]]
    )
    colour = tf.constant([[[[1.0, 0.0, 0.0]]]])
    np.testing.assert_allclose(Greyscale().apply(colour)[0, 0, 0], [0.299])
    half = Mask("half").apply(x)[0, :, :, 0].numpy()
    assert half[:, :2].sum() == x.numpy()[0, :, :2].sum()
    assert (half[:, 2:] == 0).all()


@pytest.mark.parametrize("kind", sorted(MASKS))
def test_each_mask_hides_about_a_part(kind):
    for shape in ((8, 8, 1), (9, 5, 3), (2,), (7,)):
        known = make_mask(kind, shape)
        assert known.shape == shape
        assert 0.2 <= known.mean() <= 0.9
        if len(shape) == 3:
            assert (known == known[..., :1]).all()
    np.testing.assert_array_equal(make_mask(kind, (8, 8, 1)), make_mask(kind, (8, 8, 1)))


def test_masks_from_files(tmp_path):
    levels = np.zeros((4, 6), np.uint8)
    levels[1:3] = 255
    Image.fromarray(levels).save(tmp_path / "mask.png")
    known = make_mask(tmp_path / "mask.png", (4, 6, 3))
    assert known.shape == (4, 6, 3)
    np.testing.assert_array_equal(known[..., 2], levels > 0)
    np.save(tmp_path / "mask.npy", levels > 0)
    np.testing.assert_array_equal(make_mask(str(tmp_path / "mask.npy"), (4, 6, 3)), known)
    levels[0, 0] = 128
    Image.fromarray(levels).save(tmp_path / "grey.png")
    with pytest.raises(ValueError, match=r"grey.png is not binary: it has the grey level 128"):
        make_mask(tmp_path / "grey.png", (4, 6, 3))
    with pytest.raises(ValueError, match=r"has the shape \(4, 6\); examples have \(8, 8, 1\)"):
        make_mask(tmp_path / "mask.png", (8, 8, 1))


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        (np.ones((4, 4)), "hides nothing"),
        (np.zeros((4, 4, 1)), "hides everything"),
        (np.full((4, 4), 0.5), "not binary: it has the value 0.5"),
        (np.ones((4, 5)), r"has the shape \(4, 5\); examples have \(4, 4, 1\)"),
    ],
)
def test_bad_masks(mask, message):
    with pytest.raises(ValueError, match=message):
        Mask(mask).known((4, 4, 1))


def test_other_refusals():
    with pytest.raises(FileNotFoundError, match="one of box, half, random"):
        Mask("middle").known((4, 4, 1))
    with pytest.raises(ValueError, match=r"three channels; these examples have the shape"):
        Greyscale().observed_shape((8, 8, 1))
    with pytest.raises(ValueError, match="three numbers"):
        Greyscale((1.0, 2.0))
    with pytest.raises(ValueError, match=r"blocks of 3 .*\(8, 8, 1\).* divides 8 and 8"):
        AveragePooling(3).observed_shape((8, 8, 1))
    with pytest.raises(ValueError, match="at least 2; got 1"):
        AveragePooling(1)
    with pytest.raises(ValueError, match=r"of shape \(4, 4, 1\) of examples of shape \(8, 8, 1\)"):
        AveragePooling(2).check(np.zeros((2, 8, 8, 1)), (8, 8, 1))
