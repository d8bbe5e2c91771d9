"""The mathematics of LCSS: closed-form minimisers, identities, equal expectations."""

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf
from lcss_tf import random
from lcss_tf.losses import DSMLoss, LCSSLoss
from lcss_tf.sdes.path import GaussianKernel

N, D = 200_000, 2


def _moments_of_linear(loss, kernel, z, t):
    """(A, B) of E J = ½A a² − B a for S(x) = −a x: the minimiser is a = B/A.

    J is quadratic in S, so its values at a = ±1 give both.
    """
    values = [
        float(tf.reduce_mean(tf.add_n(list(
            loss.terms_for_noise(lambda x, t, a=a: -a * x, kernel, t, z).values()
        ))))
        for a in (1.0, -1.0)
    ]  # fmt: skip
    return values[0] + values[1], 0.5 * (values[1] - values[0])


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.5])
@pytest.mark.parametrize(
    ("options", "smoothed"),
    [
        ({"estimator": "plain"}, False),
        ({"estimator": "control_variate"}, False),
        ({"estimator": "antithetic", "norm_at": "center"}, False),
        ({"estimator": "control_variate", "directions": "sphere"}, False),
        ({"estimator": "control_variate", "directions": "rademacher"}, False),
        ({"estimator": "control_variate", "num_directions": 3}, False),
        ({"estimator": "plain", "norm_at": "perturbed"}, True),
        ({"estimator": "control_variate", "norm_at": "perturbed"}, True),
        ({"estimator": "antithetic", "norm_at": "perturbed"}, True),
    ],
)
def test_minimiser_over_linear_scores(options, smoothed, sigma):
    """On N(0, s²I): a* = 1/s² with the norm at the centre, 1/(s² + σ²) at x', whatever σ."""
    s = 0.7
    loss = LCSSLoss(smoothing="gaussian", **options)
    plan = loss.plan()
    draw = {"gaussian": random.normal, "sphere": random.sphere, "rademacher": random.rademacher}
    x = s * random.normal(1, (N, D))
    z = tf.stack([draw[plan.directions]((2, k), (N, D)) for k in range(plan.num_directions)])
    A, B = _moments_of_linear(loss, GaussianKernel(x, tf.constant(sigma)), z, tf.ones(N))
    expected = 1 / (s**2 + sigma**2) if smoothed else 1 / s**2
    # Plain's trace has the standard error √(s²/σ² + 2)/√N per dimension; the others less.
    error = 5 * np.sqrt(s**2 / sigma**2 + 3) / np.sqrt(N * D)
    assert pytest.approx(expected, rel=error + 0.005) == B / A


def test_perturbed_norm_is_dsm_with_noise_sigma_up_to_a_constant():
    """½‖S'‖² + S'·δ/σ² = ½‖S' + δ/σ²‖² − ‖δ‖²/(2σ⁴), to rounding and value by value."""
    network = _random_network()
    x, z, sigma = random.normal(1, (64, 5)), random.normal(2, (64, 5)), 0.3
    loss = LCSSLoss(smoothing="gaussian", estimator="plain", norm_at="perturbed")
    t = tf.fill([64], 0.5)
    j = tf.add_n(
        list(
            loss.terms_for_noise(
                network, GaussianKernel(x, tf.constant(sigma)), t, z[None]
            ).values()
        )
    )
    s = network(x + sigma * z, t)
    dsm = 0.5 * tf.reduce_sum((s + z / sigma) ** 2, 1) - 0.5 * tf.reduce_sum(z**2, 1) / sigma**2
    np.testing.assert_allclose(j, dsm, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["VPSDE", "SubVPSDE", "VESDE"])
def test_transition_at_radius_1_is_dsm_value_by_value(name):
    """With the same noise, J_LCSS = J_DSM − ½‖z‖²/σ_t², at every time, also near t_min."""
    sde = lcss_tf.SDES[name]()
    network, loss = _random_network(), LCSSLoss("transition", radius=1.0)
    x0, z = random.normal(1, (256, 5)), random.normal(2, (256, 5))
    t = tf.cast(tf.linspace(sde.t_min, sde.T, 256), tf.float32)
    kernel = sde.last_step(x0, t, sde.noise_scale(t), 3)
    lcss = loss.terms_for_noise(network, kernel, t, z[None])
    dsm = DSMLoss().terms_for_noise(network, sde, x0, t, z)
    sigma_t = sde.marginal(t)[1]
    constant = 0.5 * tf.reduce_sum(z**2, 1) / sigma_t**2
    # In units of the noise, as the loss weighs them.
    a = sigma_t**2 * tf.add_n(list(lcss.values()))
    b = sigma_t**2 * (tf.add_n(list(dsm.values())) - constant)
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["VPSDE", "SubVPSDE", "VESDE"])
@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("estimator", ["plain", "control_variate", "antithetic"])
def test_transition_form_has_the_exact_minimiser(name, radius, estimator):
    """On N(0, s²I) data, x_t ~ N(0, α²s² + σ²) and a* = 1/(α²s² + σ²), whatever the radius."""
    sde, s = lcss_tf.SDES[name](), 0.7
    loss = LCSSLoss("transition", estimator, radius=radius)
    t = tf.fill([N], 0.4)
    x0, z = s * random.normal(1, (N, D)), random.normal(2, (1, N * D))
    kernel = sde.last_step(x0, t, radius * sde.noise_scale(t), 3)
    A, B = _moments_of_linear(loss, kernel, tf.reshape(z, (1, N, D)), t)
    alpha_t, sigma_t = (float(v[0]) for v in sde.marginal(t))
    variance = alpha_t**2 * s**2 + sigma_t**2
    error = 5 * np.sqrt(variance / (radius * sigma_t) ** 2 + 3) / np.sqrt(N * D)
    assert pytest.approx(1 / variance, rel=error + 0.005) == B / A


def test_dsm_is_rao_blackwellised_lcss():
    """E[J(perturbed, VP transition of radius r) | x_t, x_0] = J_DSM − const: averaged over z.

    Given x_t and x_0, z is Gaussian with mean r (x_t − α x_0)/σ_t: the transition loss,
    averaged over it, is ½‖S‖² + S·(x_t − α x_0)/σ_t², which is DSM's.
    """
    sde, radius, draws = lcss_tf.SDES["VPSDE"](), 0.5, 100_000
    t = tf.fill([draws], 0.3)
    alpha_t, sigma_t = (float(v[0]) for v in sde.marginal(t))
    x0 = tf.constant([[0.8, -0.4]])
    noise = tf.constant([[0.3, 1.1]])
    x_t = alpha_t * x0 + sigma_t * noise
    # z given the whole noise: N(r·noise, (1 − r²) I); the centre follows from x_t.
    z = radius * noise + np.sqrt(1 - radius**2) * random.normal(1, (draws, D))
    sigma = radius * sigma_t
    network = _random_network(D)
    loss = LCSSLoss("transition", radius=radius)
    kernel = GaussianKernel(x_t - sigma * z, tf.constant(sigma))
    terms = loss.terms_for_noise(network, kernel, t, z[None])
    averaged = float(tf.reduce_mean(tf.add_n(list(terms.values()))))
    dsm = DSMLoss().terms_for_noise(network, sde, x0, t[:1], noise)
    constant = 0.5 * float(tf.reduce_sum(noise**2)) / sigma_t**2
    expected = float(tf.add_n(list(dsm.values()))[0]) - constant
    assert averaged == pytest.approx(expected, rel=0.02)


def test_the_three_estimators_agree_with_the_exact_trace():
    """On a random network: E over z of each estimate against E over x' of tr ∇S(x')."""
    network, sigma, draws = _random_network(3), 0.05, 200_000
    x = tf.tile(random.normal(1, (1, 3)), [draws, 1])
    t = tf.fill([draws], 0.5)
    z = random.normal(2, (draws, 3))
    points = x[:512] + sigma * z[:512]
    with tf.GradientTape() as tape:
        tape.watch(points)
        s = network(points, t[:512])
    exact = float(tf.reduce_mean(tf.linalg.trace(tape.batch_jacobian(s, points))))
    for estimator in ("plain", "control_variate", "antithetic"):
        loss = LCSSLoss(smoothing="gaussian", estimator=estimator)
        trace = loss.terms_for_noise(network, GaussianKernel(x, tf.constant(sigma)), t, z[None])[
            "trace"
        ].numpy()
        error = 5 * trace.std() / np.sqrt(draws)
        assert trace.mean() == pytest.approx(exact, abs=error + 0.02 * abs(exact)), estimator


def test_the_control_variate_lowers_the_variance():
    """Plain's trace varies like ‖S‖²/σ², the control variate's like ‖∇S‖²: free of σ."""
    network, draws = _random_network(3), 20_000
    x, t = random.normal(1, (draws, 3)), tf.fill([draws], 0.5)
    z = random.normal(2, (1, draws * 3))
    z = tf.reshape(z, (1, draws, 3))

    def variance(estimator, sigma):
        loss = LCSSLoss(smoothing="gaussian", estimator=estimator)
        return (
            loss.terms_for_noise(network, GaussianKernel(x, tf.constant(sigma)), t, z)["trace"]
            .numpy()
            .var()
        )

    plain, reduced = variance("plain", 0.02), variance("control_variate", 0.02)
    assert plain > 50 * reduced
    assert variance("plain", 0.01) == pytest.approx(4 * plain, rel=0.1)
    assert variance("control_variate", 0.01) == pytest.approx(reduced, rel=0.1)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"smoothing": "transition", "norm_at": "center"}, "takes the norm at x'"),
        ({"smoothing": "transition", "radius": 1.5}, "radius <= 1"),
        ({"smoothing": "transition", "directions": "sphere"}, "norm_at='center'"),
        (
            {"smoothing": "gaussian", "norm_at": "perturbed", "directions": "sphere"},
            "same Gaussian",
        ),
        ({"smoothing": "box"}, "must be one of"),
        ({"estimator": "magic"}, "must be one of"),
        ({"radius": 0.0}, "radius > 0"),
        ({"smoothing": "path", "radius": 0.5}, "has no radius"),
        ({"smoothing": "path", "estimator": "antithetic"}, "has no estimator"),
        ({"smoothing": "gaussian", "cap": 0.1}, "bounds the last step"),
        ({"num_directions": 0}, "num_directions >= 1"),
    ],
)
def test_senseless_options_are_refused_with_the_reason(options, reason):
    with pytest.raises(ValueError, match=reason):
        LCSSLoss(**options)


def test_dsm_on_an_sde_without_a_kernel_names_both_and_the_remedy():
    class QuarticSDE(lcss_tf.SDE):
        pass

    with pytest.raises(ValueError, match="QuarticSDE has none: use LCSSLoss"):
        DSMLoss().check(QuarticSDE())


def _random_network(dimension=5, width=16):
    """A smooth random vector field score(x, t), fixed by its seed."""
    generator = np.random.default_rng(0)
    first = tf.constant(generator.normal(size=(dimension, width)) / np.sqrt(dimension), tf.float32)
    second = tf.constant(generator.normal(size=(width, dimension)) / np.sqrt(width), tf.float32)
    return lambda x, t: tf.tanh(x @ first + t[:, None]) @ second


def test_the_smoothing_is_the_sdes_choice():
    """Path smoothing, unless the author of the SDE says otherwise."""

    class Learnt(lcss_tf.SDE):
        smoothing = "gaussian"

    for name in lcss_tf.SDES:
        assert LCSSLoss().plan(lcss_tf.SDES[name]()).smoothing == "path"
    assert LCSSLoss().plan(lcss_tf.SDE()).smoothing == "path"
    assert "path smoothing by 50" in LCSSLoss().describe(lcss_tf.SDE())
    assert "closed form" in LCSSLoss().describe(lcss_tf.SDES["VPSDE"]())
    assert "gaussian smoothing (control_variate, radius 0.1), the choice of Learnt" in (
        LCSSLoss().describe(Learnt())
    )
    plan = LCSSLoss().plan(Learnt())
    assert (plan.smoothing, plan.estimator, plan.norm_at) == (
        "gaussian",
        "control_variate",
        "center",
    )


@pytest.mark.parametrize("name", ["VPSDE", "SubVPSDE", "VESDE"])
def test_path_smoothing_on_an_affine_sde_is_dsm_value_by_value(name):
    """With the same noise, J_LCSS = J_DSM − ½‖z‖²/σ_t²."""
    sde, network = lcss_tf.SDES[name](), _random_network()
    x0 = random.normal(1, (256, 5))
    t = tf.cast(tf.linspace(sde.t_min, sde.T, 256), tf.float32)
    lcss = LCSSLoss("path").terms(network, sde, x0, t, 7)
    z = random.normal(random.fold_in(7, "path"), x0.shape)
    dsm = DSMLoss().terms_for_noise(network, sde, x0, t, z)
    sigma_t = sde.marginal(t)[1]
    constant = 0.5 * tf.reduce_sum(z**2, 1)
    a = sigma_t**2 * tf.add_n(list(lcss.values()))
    b = sigma_t**2 * tf.add_n(list(dsm.values())) - constant
    np.testing.assert_allclose(a, b, rtol=1e-3, atol=2e-4)


@pytest.mark.parametrize("name", ["DSMLoss", "LCSSLoss"])
def test_the_loss_and_its_offset_are_the_error_of_the_noise(name):
    """With S = −F/σ for any F: E‖ε − F‖²/D, over many draws."""
    sde = lcss_tf.sdes.VPSDE()
    loss = lcss_tf.LOSSES[name]()
    x0 = tf.random.stateless_normal((4_000, 8), [1, 2])
    score_fn = lambda x, t: -0.7 * x / tf.reshape(sde.noise_scale(t), [-1, 1])
    value = float(tf.reduce_mean(loss(score_fn, sde, x0, 3).per_example))
    t = loss.times.sample(sde, 5, 4_000).t
    alpha_t, sigma_t = (tf.reshape(v, [-1, 1]) for v in sde.marginal(t))
    z = tf.random.stateless_normal(x0.shape, [3, 4])
    truth = float(tf.reduce_mean((z - 0.7 * (alpha_t * x0 + sigma_t * z)) ** 2))
    assert value + loss.noise_mse_offset(sde) == pytest.approx(truth, rel=0.03)
    assert lcss_tf.LOSSES[name](weighting="likelihood").noise_mse_offset(sde) is None
    assert lcss_tf.LOSSES[name](reduction="sum").noise_mse_offset(sde) is None


def test_elsewhere_the_loss_is_no_error_of_noise():
    assert lcss_tf.losses.LCSSLoss().noise_mse_offset(lcss_tf.sdes.RotatingSDE()) is None
    assert lcss_tf.losses.SSMLoss().noise_mse_offset(lcss_tf.sdes.VPSDE()) is None
    gaussian = lcss_tf.losses.LCSSLoss(smoothing="gaussian")
    assert gaussian.noise_mse_offset(lcss_tf.sdes.VPSDE()) is None
