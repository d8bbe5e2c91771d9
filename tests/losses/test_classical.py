"""DSM, ISM, SSM and FD-SSM: closed forms, minimisers, expectations, variances, gradients."""

import math

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.losses import DSMLoss, FDSSMLoss, ISMLoss, SSMLoss
from lcss_tf.losses.lcss import DIRECTIONS
from lcss_tf.ops import like


@pytest.fixture(params=[True, False], ids=["variance_reduced", "by_slice"])
def variance_reduced(request):
    return request.param


@pytest.fixture(params=sorted(DIRECTIONS))
def directions(request):
    return request.param


# Implicit score matching, and what the tests share --------------------------------------------


class Drifting(lcss_tf.SDE):
    """dx = −x dt + dw, of which the library knows no kernel: Var x_t = e^{−2t}(s² − ½) + ½."""

    simulation_steps = 40

    def drift(self, x, t):
        return -x

    def diffusion(self, x, t):
        return tf.ones_like(t)[:, None]

    def prior_sample(self, shape, seed):
        return 0.5**0.5 * random.normal(seed, shape)


def total(terms):
    """J [B] of its terms."""
    return tf.add_n(list(terms.values()))


def minimiser(terms):
    """a* = B/A of E J = ½A a² − B a, J of S(x) = −a x; `terms` takes score_fn."""
    plus, minus = (
        float(tf.reduce_mean(total(terms(lambda x, t, a=a: -a * x)))) for a in (1.0, -1.0)
    )
    return 0.5 * (minus - plus) / (plus + minus)


def minimiser_on_simulated_data(loss, s=0.7, time=0.5, draws=10_000):
    """(a*, 1/Var x_t) for x_0 ~ N(0, s²I) in two dimensions, x_t simulated."""
    x0, t = s * random.normal(1, (draws, 2)), tf.fill([draws], time)
    found = minimiser(lambda score_fn: loss.terms(score_fn, Drifting(), x0, t, 3))
    return found, 1 / (math.exp(-2 * time) * (s**2 - 0.5) + 0.5)


def random_network(dimension, width=16):
    """A smooth random vector field score(x, t), fixed by its seed, and its weights."""
    generator = np.random.default_rng(0)
    first = tf.Variable(
        generator.normal(size=(dimension, width)) / dimension**0.5, dtype=tf.float32
    )
    second = tf.Variable(generator.normal(size=(width, dimension)) / width**0.5, dtype=tf.float32)
    return (lambda x, t: tf.tanh(x @ first + t[:, None]) @ second), [first, second]


def exact_trace(score_fn, x, t):
    """tr ∇S(x) [B], by the whole Jacobian."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = score_fn(x, t)
    return tf.linalg.trace(tape.batch_jacobian(score, x)).numpy()


def assert_means(samples, expected, slack=0.0):
    """Means over draws [draws, ...] equal `expected` within 5 standard errors (and slack)."""
    samples, expected = np.asarray(samples, np.float64), np.asarray(expected)
    error = 5 * samples.std(0) / len(samples) ** 0.5
    assert (np.abs(samples.mean(0) - expected) <= error + slack).all()


def assert_rows_are_independent(terms):
    """Another value of example 2 changes the terms of example 2, and no others.

    `terms(x, t, rows)` evaluates the given rows of a batch of six.
    """
    x, t = random.normal(1, (6, 3)), tf.linspace(0.1, 0.9, 6)
    whole = terms(x, t, slice(0, 6))
    halves = [terms(x[r], t[r], r) for r in (slice(0, 3), slice(3, 6))]
    moved = terms(tf.tensor_scatter_nd_add(x, [[2]], tf.ones((1, 3))), t, slice(0, 6))
    others = np.array([0, 1, 3, 4, 5])
    for name, values in whole.items():
        joined = np.concatenate([half[name] for half in halves])
        np.testing.assert_allclose(joined, values, rtol=1e-4, atol=1e-5)
        change = np.abs(moved[name] - values)
        assert change[2] > 1e-3
        assert change[others].max() < 1e-5


@pytest.mark.parametrize("s", [0.3, 0.7, 2.0])
def test_ism_minimiser_over_linear_scores(s):
    """On N(0, s²I): a* = d/E‖x‖² = 1/s²."""
    x, t = s * random.normal(1, (50_000, 2)), tf.ones(50_000)
    found = minimiser(lambda score_fn: ISMLoss().terms_at(score_fn, x, t))
    assert found == pytest.approx(1 / s**2, rel=5 * (2 / 100_000) ** 0.5)


def test_ism_needs_no_transition_kernel():
    found, expected = minimiser_on_simulated_data(ISMLoss())
    assert found == pytest.approx(expected, rel=0.05)


def test_ism_trace_of_vectors_and_images_is_that_of_the_whole_jacobian():
    network, _ = random_network(12)
    x, t = random.normal(1, (5, 12)), tf.linspace(0.1, 0.9, 5)
    expected = exact_trace(network, x, t)
    terms = ISMLoss().terms_at(network, x, t)
    np.testing.assert_allclose(terms["trace"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        terms["norm"], 0.5 * np.square(network(x, t)).sum(1), rtol=1e-5, atol=1e-6
    )
    shape = (5, 2, 2, 3)
    images = lambda x, t: tf.reshape(network(tf.reshape(x, (-1, 12)), t), (-1, 2, 2, 3))
    trace = ISMLoss().terms_at(images, tf.reshape(x, shape), t)["trace"]
    np.testing.assert_allclose(trace, expected, rtol=1e-4, atol=1e-5)


def test_ism_a_constant_score_has_no_trace():
    terms = ISMLoss().terms_at(lambda x, t: tf.ones_like(x), tf.zeros([4, 3]), tf.ones([4]))
    np.testing.assert_array_equal(terms["trace"], np.zeros(4))
    np.testing.assert_array_equal(terms["norm"], np.full(4, 1.5))


def test_ism_weight_gradients_under_xla_are_those_of_the_closed_form():
    """S = W₂ᵀ tanh(h), h = W₁ᵀx + t: tr ∇S = Σ_k (1 − tanh² h_k) (W₁ᵀW₂ᵀ)_kk."""
    network, weights = random_network(4)
    x, t = random.normal(1, (8, 4)), tf.linspace(0.1, 0.9, 8)

    def closed_form():
        first, second = weights
        slope = 1 - tf.tanh(x @ first + t[:, None]) ** 2
        trace = tf.linalg.matvec(slope, tf.reduce_sum(first * tf.transpose(second), axis=0))
        return 0.5 * tf.reduce_sum(network(x, t) ** 2, axis=1) + trace

    def gradients(values):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(values())
        return tape.gradient(loss, weights)

    ours = tf.function(
        lambda: gradients(lambda: total(ISMLoss().terms_at(network, x, t))), jit_compile=True
    )
    for a, b in zip(ours(), gradients(closed_form), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_ism_trains_through_upsampling_under_xla():
    """The second derivative of a sum over broadcast axes, which XLA refuses in a while_loop."""
    weight = tf.Variable(random.normal(1, (3, 3, 1, 1)))

    def score_fn(x, t):
        low = tf.nn.conv2d(x, weight, strides=2, padding="SAME")
        high = tf.repeat(tf.repeat(tf.tanh(low), 2, axis=1), 2, axis=2)
        return tf.nn.conv2d(high, weight, strides=1, padding="SAME")

    def trace_and_gradient(x):
        with tf.GradientTape() as tape:
            trace = ISMLoss().terms_at(score_fn, x, tf.ones(2))["trace"]
        return trace, tape.gradient(trace, weight)

    x = random.normal(2, (2, 4, 4, 1))
    trace, gradient = tf.function(trace_and_gradient, jit_compile=True)(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        score = score_fn(x, None)
    jacobian = tf.reshape(tape.batch_jacobian(score, x), (2, 16, 16))
    np.testing.assert_allclose(trace, tf.linalg.trace(jacobian), rtol=1e-4, atol=1e-5)
    assert np.abs(gradient).max() > 0


def test_ism_rows_are_independent():
    network, _ = random_network(3)
    assert_rows_are_independent(lambda x, t, rows: ISMLoss().terms_at(network, x, t))


def test_ism_more_than_4096_dimensions_are_refused_with_the_remedy():
    score_fn = lambda x, t: -x
    with pytest.raises(ValueError, match=r"4,097; .* at most 4,096\. Use LCSSLoss, SSMLoss or FD"):
        ISMLoss().terms_at(score_fn, tf.zeros([1, 4097]), tf.ones([1]))
    with pytest.raises(ValueError, match="12,288"):
        ISMLoss()(score_fn, lcss_tf.SDES["VPSDE"](), tf.zeros([1, 64, 64, 3]), 1)


# Sliced score matching ------------------------------------------------------------------------


DRAWS = 20_000


def _samples(loss, network, draws=DRAWS, examples=3, dimension=4):
    """Terms [draws, examples] of the same few examples, and these: (terms, x, t)."""
    x, t = random.normal(1, (examples, dimension)), tf.linspace(0.1, 0.9, examples)
    shape = (draws * examples, dimension)
    slices = [DIRECTIONS[loss.directions]((2, k), shape) for k in range(loss.num_directions)]
    terms = loss.terms_for_slices(network, tf.tile(x, [draws, 1]), tf.tile(t, [draws]), slices)
    return {k: v.numpy().reshape(draws, examples) for k, v in terms.items()}, x, t


@pytest.mark.parametrize("s", [0.3, 2.0])
def test_ssm_minimiser_over_linear_scores(variance_reduced, directions, s):
    """On N(0, s²I): a* = 1/s²."""
    loss, shape = SSMLoss(variance_reduced, directions, num_directions=2), (50_000, 2)
    x, t = s * random.normal(1, shape), tf.ones(shape[0])
    slices = [DIRECTIONS[directions]((2, k), shape) for k in range(2)]
    found = minimiser(lambda score_fn: loss.terms_for_slices(score_fn, x, t, slices))
    # (vᵀx)² of Gaussian v and x has the relative variance (2d² + 6d)/d² = 5: the largest here.
    assert found == pytest.approx(1 / s**2, rel=5 * (5 / 50_000) ** 0.5)


def test_ssm_needs_no_transition_kernel(variance_reduced):
    found, expected = minimiser_on_simulated_data(SSMLoss(variance_reduced))
    assert found == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize("num_directions", [1, 3])
def test_ssm_trace_and_norm_are_unbiased_example_by_example(
    variance_reduced, directions, num_directions
):
    network, _ = random_network(4)
    loss = SSMLoss(variance_reduced, directions, num_directions)
    terms, x, t = _samples(loss, network)
    assert_means(terms["trace"], exact_trace(network, x, t), slack=1e-5)
    assert_means(terms["norm"], 0.5 * np.square(network(x, t)).sum(1), slack=1e-5)


def test_ssm_rademacher_slices_of_a_diagonal_jacobian_have_no_variance():
    """vᵀ diag(−a) v = −Σ a_i v_i² = −Σ a_i; Gaussian slices vary by 2 Σ a_i²."""
    slope = tf.constant([0.5, 1.0, 2.0])
    score_fn = lambda x, t: -slope * x
    x, t = random.normal(1, (DRAWS, 3)), tf.ones(DRAWS)

    def trace(directions):
        slices = [DIRECTIONS[directions](2, (DRAWS, 3))]
        return SSMLoss().terms_for_slices(score_fn, x, t, slices)["trace"].numpy()

    np.testing.assert_allclose(trace("rademacher"), np.full(DRAWS, -3.5), rtol=1e-6)
    assert trace("gaussian").var() == pytest.approx(2 * (0.25 + 1 + 4), rel=0.1)


def test_ssm_variance_reduction_takes_out_the_norms_variance():
    """S = −x, x ~ N(0, I): Var ½‖x‖² = d/2 with it, Var ½(vᵀx)² = (d² + 3d)/2 without.

    Given x, vᵀx of Gaussian v is N(0, ‖x‖²): E(vᵀx)⁴ = 3 E‖x‖⁴ = 3 (d² + 2d), and E(vᵀx)² = d.
    """
    d, draws = 4, 200_000
    x, v, t = random.normal(1, (draws, d)), random.normal(2, (draws, d)), tf.ones(draws)

    def norm(variance_reduced):
        loss = SSMLoss(variance_reduced, "gaussian")
        return loss.terms_for_slices(lambda x, t: -x, x, t, [v])["norm"].numpy()

    assert norm(True).var() == pytest.approx(d / 2, rel=0.05)
    assert norm(False).var() == pytest.approx((d**2 + 3 * d) / 2, rel=0.1)


def test_ssm_more_slices_lower_the_variance_by_their_number(variance_reduced):
    network, _ = random_network(4)
    losses = [SSMLoss(variance_reduced, "gaussian", count) for count in (1, 4)]
    one, four = (_samples(loss, network)[0] for loss in losses)
    np.testing.assert_allclose(one["trace"].var(0), 4 * four["trace"].var(0), rtol=0.1)
    if not variance_reduced:
        np.testing.assert_allclose(one["norm"].var(0), 4 * four["norm"].var(0), rtol=0.2)


def test_ssm_slices_share_one_evaluation():
    calls = []

    def score_fn(x, t):
        calls.append(x.shape)
        return -tf.sin(x)

    x, t = random.normal(1, (6, 3)), tf.ones(6)
    SSMLoss().terms_for_slices(score_fn, x, t, [random.rademacher(k, (6, 3)) for k in range(3)])
    assert calls == [(6, 3)]


def test_ssm_weight_gradients_under_xla_average_to_those_of_implicit_score_matching(
    variance_reduced,
):
    network, weights = random_network(3, width=6)
    loss, copies, groups = SSMLoss(variance_reduced, num_directions=2), 500, 40
    x, t = random.normal(1, (4, 3)), tf.linspace(0.1, 0.9, 4)

    def gradient(terms):
        with tf.GradientTape() as tape:
            value = tf.reduce_mean(total(terms()))
        return tf.concat([tf.reshape(g, [-1]) for g in tape.gradient(value, weights)], axis=0)

    @tf.function(jit_compile=True)
    def of_group(seed):
        slices = [random.rademacher(s, (4 * copies, 3)) for s in random.split(seed, 2)]
        many = tf.tile(x, [copies, 1]), tf.tile(t, [copies])
        return gradient(lambda: loss.terms_for_slices(network, *many, slices))

    exact = gradient(lambda: ISMLoss().terms_at(network, x, t))
    assert_means([of_group(tf.constant(k)) for k in range(groups)], exact, slack=1e-4)


def test_ssm_rows_are_independent(variance_reduced):
    network, _ = random_network(3)
    slices = [random.normal(k, (6, 3)) for k in (5, 6)]
    assert_rows_are_independent(
        lambda x, t, rows: SSMLoss(variance_reduced).terms_for_slices(
            network, x, t, [v[rows] for v in slices]
        )
    )


def test_ssm_unknown_options_are_refused():
    with pytest.raises(ValueError, match="SSMLoss.directions must be one of .*; got 'cube'"):
        SSMLoss(directions="cube")
    with pytest.raises(ValueError, match="num_directions >= 1; got 0"):
        SSMLoss(num_directions=0)


# Finite differences ---------------------------------------------------------------------------


@pytest.mark.parametrize("h", [0.05, 1.0])
def test_fdssm_minimiser_over_linear_scores(variance_reduced, directions, h):
    """On N(0, s²I): a* = 1/s² at every step h, since the mean of S± is S(x) where S is linear."""
    s, shape = 0.7, (50_000, 2)
    x, t = s * random.normal(1, shape), tf.ones(shape[0])
    slices = [DIRECTIONS[directions]((2, k), shape) for k in range(2)]
    loss = FDSSMLoss(variance_reduced, directions=directions)
    found = minimiser(lambda score_fn: loss.terms_for_slices(score_fn, x, t, slices, h))
    # As in test_sliced: the largest relative variance of one slice is 5.
    assert found == pytest.approx(1 / s**2, rel=5 * (5 / 50_000) ** 0.5)


def test_fdssm_needs_no_transition_kernel(variance_reduced):
    found, expected = minimiser_on_simulated_data(FDSSMLoss(variance_reduced))
    assert found == pytest.approx(expected, rel=0.1)


def test_fdssm_trace_and_norm_estimate_those_of_implicit_score_matching(
    variance_reduced, directions
):
    network, _ = random_network(4)
    draws, examples, h = 20_000, 3, 0.02
    x, t = random.normal(1, (examples, 4)), tf.linspace(0.1, 0.9, examples)
    many = tf.tile(x, [draws, 1]), tf.tile(t, [draws])
    slices = [DIRECTIONS[directions](2, (draws * examples, 4))]
    terms = FDSSMLoss(variance_reduced).terms_for_slices(network, *many, slices, h)
    terms = {k: v.numpy().reshape(draws, examples) for k, v in terms.items()}
    # Third derivatives of this network are of order 1: the bias is of order h².
    assert_means(terms["trace"], exact_trace(network, x, t), slack=10 * h**2)
    assert_means(terms["norm"], 0.5 * np.square(network(x, t)).sum(1), slack=10 * h**2)


def test_fdssm_tends_to_sliced_score_matching_with_order_2(variance_reduced, directions):
    """With the same slices the difference falls like h², term by term."""
    network, _ = random_network(4)
    x, t = random.normal(1, (256, 4)), tf.linspace(0.1, 0.9, 256)
    slices = [DIRECTIONS[directions]((2, k), (256, 4)) for k in range(2)]
    limit = SSMLoss(variance_reduced).terms_for_slices(network, x, t, slices)
    loss = FDSSMLoss(variance_reduced)
    for name in ("norm", "trace"):
        errors = [
            np.linalg.norm(
                loss.terms_for_slices(network, x, t, slices, h)[name] - limit[name],
            )
            for h in (0.2, 0.1, 0.05)
        ]
        orders = np.log2(np.divide(errors[:-1], errors[1:]))
        np.testing.assert_allclose(orders, 2.0, atol=0.2)


def test_fdssm_points_lie_at_the_radius_on_both_sides_in_one_evaluation():
    """‖x± − x‖ = ε = radius · noise_scale(t) · √d for slices on the sphere."""
    calls = []

    def score_fn(x, t):
        calls.append((x.numpy(), t.numpy()))
        return -x

    sde, t, radius = Drifting(), tf.linspace(0.1, 0.9, 6), 0.3
    FDSSMLoss(radius=radius, num_directions=2).terms(score_fn, sde, random.normal(1, (6, 5)), t, 2)
    ((points, times),) = calls
    np.testing.assert_array_equal(times, np.tile(t, 4))
    pairs = points.reshape(2, 2, 6, 5)  # slice, side
    centers = pairs.mean(axis=1)
    np.testing.assert_allclose(centers[0], centers[1], atol=1e-5)
    epsilon = radius * sde.noise_scale(t).numpy() * 5**0.5
    for side in (0, 1):
        distance = np.linalg.norm(pairs[:, side] - centers, axis=-1)
        np.testing.assert_allclose(distance, np.stack([epsilon] * 2), rtol=1e-4)


def test_fdssm_rademacher_slices_of_a_diagonal_jacobian_have_no_variance():
    slope = tf.constant([0.5, 1.0, 2.0])
    x, t = random.normal(1, (1000, 3)), tf.ones(1000)
    slices = [random.rademacher(2, (1000, 3))]
    trace = FDSSMLoss().terms_for_slices(lambda x, t: -slope * x, x, t, slices, 0.1)["trace"]
    np.testing.assert_allclose(trace, np.full(1000, -3.5), rtol=1e-4)


def test_fdssm_rows_are_independent(variance_reduced):
    network, _ = random_network(3)
    slices = [random.normal(k, (6, 3)) for k in (5, 6)]
    h = tf.linspace(0.05, 0.2, 6)
    assert_rows_are_independent(
        lambda x, t, rows: FDSSMLoss(variance_reduced).terms_for_slices(
            network, x, t, [v[rows] for v in slices], like(h[rows], x)
        )
    )


def test_fdssm_senseless_options_are_refused():
    with pytest.raises(ValueError, match="radius > 0; got 0"):
        FDSSMLoss(radius=0.0)
    with pytest.raises(ValueError, match="FDSSMLoss.directions must be one of .*; got 'cube'"):
        FDSSMLoss(directions="cube")
    with pytest.raises(ValueError, match="num_directions >= 1; got 0"):
        FDSSMLoss(num_directions=0)


# Denoising score matching against score_sde's values ------------------------------------------


# At the fixture's smallest time, t = 0.002, score_sde computes σ_t as √(1 − e^{2c}) in
# float32, which cancels: its likelihood-weighted values are 7e-5 (VP) and 2e-4 (sub-VP) off
# their own float64 values. Ours agree with float64. So two checks: with the reference's own
# σ_t and g we give its value; with ours, the float64 value.


@pytest.fixture(params=["mean", "sum"])
def reduction(request):
    return request.param


@pytest.fixture(params=["noise_scale", "likelihood"])
def weighting(request):
    return request.param


def _loss(reference, sde, reduction, weighting):
    x0, t, z = (tf.constant(reference[key]) for key in ("x", "t", "z"))
    loss = DSMLoss(weighting=weighting, reduction=reduction)

    def score_fn(x, t):
        alpha_t, sigma_t = sde.marginal(t)
        variance = alpha_t**2 * reference.meta["data_variance"] + sigma_t**2
        return -x / variance[:, None, None, None]

    j = tf.add_n(list(loss.terms_for_noise(score_fn, sde, x0, t, z).values()))
    return float(tf.reduce_mean(loss.scale(sde, t, x0.shape) * j))


def _name(reduction, weighting):
    mean, likelihood = reduction == "mean", weighting == "likelihood"
    return f"dsm.reduce_mean={mean}.likelihood_weighting={likelihood}"


def test_dsm_value_with_the_references_own_rounding_of_sigma(reference, reduction, weighting):
    sde = reference.sde()
    exact = sde.marginal
    sde.marginal = lambda t: (exact(t)[0], tf.constant(reference["marginal_std"]))
    sde.diffusion = lambda x, t: tf.constant(reference["diffusion"])[:, None]
    value = _loss(reference, sde, reduction, weighting)
    assert value == pytest.approx(float(reference[_name(reduction, weighting)]), rel=1e-5)


def test_dsm_value_is_that_of_float64(reference, reduction, weighting):
    sde = reference.sde()
    t, x, z = (reference[key].astype(np.float64) for key in ("t", "x", "z"))
    alpha, sigma, g2 = _float64(sde, t)
    column = lambda v: v[:, None, None, None]
    x_t = column(alpha) * x + column(sigma) * z
    score = -x_t / column(alpha**2 * reference.meta["data_variance"] + sigma**2)
    squares = (score + z / column(sigma)) ** 2
    weighted = column(g2 if weighting == "likelihood" else sigma**2) * squares
    exact = weighted.mean() if reduction == "mean" else 0.5 * weighted.sum((1, 2, 3)).mean()
    assert _loss(reference, sde, reduction, weighting) == pytest.approx(exact, rel=1e-5)
    assert float(reference[_name(reduction, weighting)]) == pytest.approx(exact, rel=3e-4)


def _float64(sde, t):
    """alpha, sigma and g², in float64."""
    if hasattr(sde, "sigma_min"):
        ratio = sde.sigma_max / sde.sigma_min
        sigma = sde.sigma_min * ratio**t
        return np.ones_like(t), sigma, sigma**2 * 2 * np.log(ratio)
    c = -0.25 * t**2 * (sde.beta_max - sde.beta_min) - 0.5 * t * sde.beta_min
    beta = sde.beta_min + t * (sde.beta_max - sde.beta_min)
    if type(sde).__name__ == "VPSDE":
        return np.exp(c), np.sqrt(-np.expm1(2 * c)), beta
    return np.exp(c), -np.expm1(2 * c), -beta * np.expm1(4 * c)
