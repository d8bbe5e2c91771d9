"""A, Aᵀ and A⁺: identities that hold for every operator of the registry; masks; refusals."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import lcss_tf
from lcss_tf import random
from lcss_tf.control import (
    MASKS,
    AveragePooling,
    Clipping,
    GaussianBlur,
    Greyscale,
    Linear,
    Mask,
    Nonlinear,
    make_mask,
)

SHAPES = [(8, 6, 3), (4, 4, 1), (8, 3), (6,)]


def cases(linear=True):
    for name in sorted(lcss_tf.OPERATORS):
        for shape in SHAPES:
            operator = lcss_tf.OPERATORS[name]()
            if operator.is_linear != linear:
                continue
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
    gain = operator.gain(shape)
    if gain is None:
        close = {"rtol": 1e-3, "atol": 2e-3}  # small singular values are left out
    else:
        np.testing.assert_allclose(operator.apply(back), gain * v, **close)
    smallest = operator.pseudo_inverse(y, shape)
    np.testing.assert_allclose(operator.apply(smallest), y, **close)  # A A⁺ y = y
    if gain is not None:
        again = operator.pseudo_inverse(operator.apply(smallest), shape)
        np.testing.assert_allclose(again, smallest, **close)
    projected = operator.project(other, y)
    np.testing.assert_allclose(operator.apply(projected), y, **close)
    # What is not observed stays: the change lies in the range of A⁺.
    change = projected - other
    if gain is not None:
        again = operator.pseudo_inverse(operator.apply(change), shape)
        np.testing.assert_allclose(again, change, **close)
    assert operator.largest_gain(shape) == pytest.approx(gain or 1.0, rel=0.05)
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


@pytest.mark.parametrize(("operator", "shape"), cases())
def test_wiener_s_filter_solves_its_equation(operator, shape):
    """x = v Aᵀ (v A Aᵀ + σ² I)⁻¹ y is the minimum of ‖y − A x‖²/σ² + ‖x‖²/v; v one for each."""
    y = operator.apply(random.normal(1, (3, *shape)))
    y = operator.observable(y + random.normal(2, y.shape))
    v, square = tf.constant([0.3, 1.0, 4.0]), 0.2
    x = operator.wiener(y, shape, v, square)
    slope = operator.transpose(y - operator.apply(x), shape) / square
    weight = tf.reshape(v, [-1] + [1] * len(shape))
    np.testing.assert_allclose(slope * weight, x, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize(("operator", "shape"), cases(linear=False))
def test_nonlinear_operators_have_a_gradient(operator, shape):
    x = random.normal(1, (5, *shape))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = operator.apply(x)
        total = tf.reduce_sum(y)
    assert y.shape == (5, *operator.observed_shape(shape))
    assert np.isfinite(tape.gradient(total, x)).all()
    both = operator.apply(2.0 * x) - 2.0 * y
    assert np.abs(both).max() > 0.1  # else it should say that it is linear


def test_there_is_each_of_them():
    assert {"Mask", "Greyscale", "AveragePooling", "GaussianBlur"} <= set(lcss_tf.OPERATORS)
    names = {case.id.split("-")[0] for case in [*cases(), *cases(linear=False)]}
    assert names == set(lcss_tf.OPERATORS)


def test_blur_is_scipy_s():
    """scipy.ndimage.gaussian_filter with its mode "reflect", also where the kernel is wider."""
    ndimage = pytest.importorskip("scipy.ndimage")
    x = random.normal(1, (2, 9, 12, 2)).numpy()
    for std in (0.6, 1.0, 7.0):
        expected = ndimage.gaussian_filter(x, (0, std, std, 0), mode="reflect", truncate=4.0)
        np.testing.assert_allclose(GaussianBlur(std).apply(x), expected, atol=2e-6)


# Operators given by functions -------------------------------------------------------------------

MATRIX = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)


def by_matrix(**options):
    return Linear(lambda x: tf.linalg.matvec(MATRIX, x), **options)


@pytest.mark.parametrize(
    "adjoint", [None, lambda y: tf.linalg.matvec(MATRIX, y, transpose_a=True)], ids=["auto", "own"]
)
def test_a_matrix_as_a_function_has_its_algebra(adjoint):
    """Aᵀ, A⁺, Wiener's filter and ‖A‖² are NumPy's; in a compiled graph too."""
    operator = by_matrix(adjoint=adjoint)
    y, v = random.normal(1, (4, 3)).numpy(), np.float32([0.1, 1.0, 2.0, 9.0])
    assert operator.observed_shape((5,)) == (3,)
    close = {"rtol": 1e-3, "atol": 1e-4}
    np.testing.assert_allclose(operator.transpose(tf.constant(y), (5,)), y @ MATRIX, **close)
    compiled = tf.function(lambda y: operator.pseudo_inverse(y, (5,)), jit_compile=True)
    np.testing.assert_allclose(compiled(y), y @ np.linalg.pinv(MATRIX).T, **close)
    found = operator.wiener(tf.constant(y), (5,), v, 0.3)
    for row, variance, x in zip(y, v, found, strict=True):
        gram = variance * MATRIX @ MATRIX.T + 0.3 * np.eye(3)
        np.testing.assert_allclose(x, variance * MATRIX.T @ np.linalg.solve(gram, row), **close)
    largest = np.linalg.norm(MATRIX, 2) ** 2
    assert operator.largest_gain((5,)) == pytest.approx(largest, rel=1e-3)


@pytest.mark.parametrize("unit", [1e-9, 1e-4, 1e6])
def test_conjugate_gradients_solve_in_every_unit(unit):
    """An instrument that measures in volts or picovolts: A⁺ and Wiener's filter are the same."""
    operator = Linear(lambda x: unit * tf.linalg.matvec(MATRIX, x))
    operator.observed_shape((5,))
    y = np.concatenate([np.zeros((1, 3), np.float32), random.normal(1, (3, 3)).numpy()])
    found = operator.pseudo_inverse(tf.constant(unit * y), (5,))
    np.testing.assert_allclose(found, y @ np.linalg.pinv(MATRIX).T, rtol=1e-3, atol=1e-4)
    found = operator.wiener(tf.constant(unit * y), (5,), 0.5, 0.3 * unit**2)
    gram = 0.5 * MATRIX @ MATRIX.T + 0.3 * np.eye(3)
    expected = 0.5 * np.linalg.solve(gram, y.T).T @ MATRIX
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


def test_conjugate_gradients_agree_with_the_closed_form_of_a_blur():
    blur, shape = GaussianBlur(1.0), (9, 12, 2)
    own = Linear(blur.apply, keeps_units=True)
    y = random.normal(1, (2, *shape))
    for variance, square in ((1.0, 0.01), (tf.constant([0.2, 2.0]), 0.1)):
        expected = blur.wiener(y, shape, variance, square)
        found = own.wiener(y, shape, variance, square)
        np.testing.assert_allclose(found, expected, atol=1e-3 * np.abs(expected).max())
    assert own.shown(y, shape) is y


@pytest.mark.parametrize(
    ("operator", "message"),
    [
        (by_matrix(adjoint=lambda y: tf.linalg.matvec(MATRIX + 0.1, y, transpose_a=True)),
         "dot-product test.*leave adjoint out"),
        (by_matrix(adjoint=lambda y: 1.05 * tf.linalg.matvec(MATRIX, y, transpose_a=True)),
         "dot-product test"),
        (by_matrix(adjoint=lambda y: y), r"has the shape \(3,\); expected \(5,\)"),
        (by_matrix(observed_shape=(4,)), r"observed_shape is \(4,\), and `apply` made \(3,\)"),
        (by_matrix(keeps_units=True), "makes others of ones"),
        (Linear(lambda x: tf.linalg.matvec(MATRIX, x) + 1), "not linear.*NonlinearOperator"),
        (Linear(tf.abs), "not linear"),
        (Linear(lambda x: tf.reshape(x, [-1])), "one observation for each example"),
        (Linear(lambda x: tf.linalg.matvec(MATRIX[:, :2], x)), "does not act on examples of shape"),
        (Nonlinear(lambda x: tf.round(x * 0) + tf.stop_gradient(x)), "No gradient leads through"),
    ],
)  # fmt: skip
def test_functions_are_checked_at_their_first_use(operator, message):
    with pytest.raises(ValueError, match=message):
        operator.observed_shape((5,))


def test_a_right_adjoint_passes_at_many_sizes_and_scales():
    for scale in (1e-6, 1.0, 1e6):
        for shape in ((2,), (64, 64, 3)):
            shift = lambda x, scale=scale: scale * tf.roll(x, 1, 1)
            back = lambda y, scale=scale: scale * tf.roll(y, -1, 1)
            assert Linear(shift, back).observed_shape(shape) == shape
            with pytest.raises(ValueError, match="dot-product"):
                Linear(shift, shift).observed_shape((5, *shape[1:]))


def test_the_documentation_s_operators():
    """A box blur, which keeps units, and phase retrieval."""
    blur = Linear(lambda x: tf.nn.avg_pool2d(x, 3, 1, "SAME"), keeps_units=True)
    assert blur.observed_shape((6, 4, 1)) == (6, 4, 1)
    flat = tf.fill([1, 6, 4, 1], 0.3)
    np.testing.assert_allclose(blur.apply(flat), flat, rtol=1e-6)
    phases = Nonlinear(lambda x: tf.abs(tf.signal.rfft2d(x[..., 0])))
    assert phases.observed_shape((6, 4, 1)) == (6, 3)


def test_a_nonlinear_function():
    operator = Nonlinear(lambda x: tf.abs(tf.linalg.matvec(MATRIX, x)))
    assert operator.observed_shape((5,)) == (3,)
    assert not operator.is_linear
    assert operator.shown(tf.zeros([1, 3]), (5,)) is None
    x = tf.constant([[-2.0, 0.125, 1.0]])
    np.testing.assert_array_equal(Clipping(-0.5, 0.25).apply(x), [[-0.5, 0.125, 0.25]])


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
    with pytest.raises(ValueError, match="GaussianBlur.std must be > 0"):
        GaussianBlur(0.0)
    with pytest.raises(ValueError, match=r"shape \(6,\) have no other. Use a Linear"):
        GaussianBlur().observed_shape((6,))
    with pytest.raises(ValueError, match="low < high; got 1 and 1"):
        Clipping(1, 1)
    with pytest.raises(ValueError, match="iterations must be at least 1"):
        Linear(tf.identity, iterations=0)
