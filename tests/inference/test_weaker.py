"""Autoguidance through the front door: two models, their files, and what does not go together."""

import dataclasses

import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf import export
from lcss_tf.control import Guidance
from lcss_tf.inference import Sampling
from lcss_tf.inference.weaker import difference_of_sdes
from lcss_tf.samplers import EulerMaruyama, ProbabilityFlowODE
from lcss_tf.training import Distribution
from tests.inference.helpers import model_of

SAMPLER = ProbabilityFlowODE(num_steps=6)


@pytest.fixture(scope="module")
def main():
    return model_of(1, num_classes=2)


@pytest.fixture(scope="module")
def weaker():
    return model_of(2, width=4, num_classes=2)


def draw(model, guidance=1.0):
    """Normalised samples, of each class in turn."""
    return model.sampling(SAMPLER, 8, guidance, jit_compile=False)(8, 1, progress=False).x


def test_scale_1_is_the_main_model_and_scale_0_the_weaker_one(main, weaker):
    plain = draw(main)
    np.testing.assert_array_equal(draw(main, Guidance(1.0, weaker=weaker)), plain)
    np.testing.assert_array_equal(draw(main, Guidance(0.0, weaker=weaker)), draw(weaker))
    guided = draw(main, Guidance(3.0, weaker=weaker))
    assert np.abs(guided - plain).max() > 1e-3
    # An interval that no noise level reaches.
    outside = Guidance(3.0, (1e6, 1e7), weaker)
    np.testing.assert_allclose(draw(main, outside), plain, rtol=1e-5, atol=1e-6)


def test_one_euler_step_is_on_the_line_of_the_two_denoisers(main, weaker):
    """D = D_weak + w (D_main − D_weak), and an Euler step is affine in D."""
    sampler = lcss.samplers.DDIM(num_steps=1, denoise=False)
    one = lambda model, guidance: model.sampling(sampler, 8, guidance, False)(8, progress=False).x
    strong, weak = one(main, 1.0), one(weaker, 1.0)
    for w in (0.5, 3.0):
        found = one(main, Guidance(w, weaker=weaker))
        np.testing.assert_allclose(found, weak + w * (strong - weak), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_a_file_and_a_maker_will_do(main, weaker, tmp_path):
    guided = draw(main, Guidance(2.0, weaker=weaker))
    path = weaker.save(tmp_path / "weaker.lcss")
    np.testing.assert_array_equal(draw(main, Guidance(2.0, weaker=str(path))), guided)
    makes = lambda distribution: lcss.ScoreModel.load(path, distribution=distribution)
    np.testing.assert_array_equal(draw(main, Guidance(2.0, weaker=makes)), guided)
    with pytest.raises(FileNotFoundError, match="no model at"):
        draw(main, Guidance(2.0, weaker=tmp_path / "none.lcss"))


@pytest.mark.slow
def test_a_network_without_a_condition_guides_one_with_and_the_other_way_round(main):
    plain = model_of(2, width=4)
    assert np.isfinite(draw(main, Guidance(2.0, weaker=plain))).all()
    assert np.isfinite(draw(plain, Guidance(2.0, weaker=main))).all()
    # The one without is told nothing: the same weak score for both classes.
    weak = draw(main, Guidance(0.0, weaker=plain))
    np.testing.assert_array_equal(weak, draw(plain))


@pytest.mark.slow
def test_posterior_samples_take_it_too(main, weaker):
    y = np.float32([[1.0, 0.0]])
    posterior = main.posterior(
        y, lcss.control.Mask(np.array([1, 0])), sampler=EulerMaruyama(8), batch_size=8,
        guidance=Guidance(2.0, (0.1, 2.0), weaker),
    )  # fmt: skip
    samples = posterior.sample(3, label=1)
    np.testing.assert_allclose(samples[..., 0], 1.0, rtol=1e-5)


@pytest.mark.slow
def test_two_replicas_draw_what_one_draws(main, weaker, tmp_path):
    """The weaker model's weights then live on both."""
    paths = [model.save(tmp_path / f"{i}.lcss") for i, model in enumerate((main, weaker))]
    one = draw(main, Guidance(2.0, (0.1, 10.0), weaker))
    pair = lcss.ScoreModel.load(paths[0], distribution=Distribution(2))
    own = lcss.ScoreModel.load(paths[1], distribution=Distribution(2))
    for other in (str(paths[1]), own):
        two = draw(pair, Guidance(2.0, (0.1, 10.0), other))
        np.testing.assert_allclose(two, one, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_an_exported_sampler_holds_both_models(main, weaker):
    guidance = Guidance(2.0, weaker=weaker)
    draws = [Sampling(main.state, SAMPLER, 4, g, jit_compile=True) for g in (1.0, guidance)]
    programs = [
        export.as_program(main.state, export.sampler(main.state, d, main.info)) for d in draws
    ]
    plain, both = ({v.name for v in p.inputs if v.role == "state"} for p in programs)
    assert plain < both
    assert all(name.startswith("weaker/ema/") for name in both - plain)
    assert len(both - plain) == len(plain)
    for name in both - plain:
        array = programs[1].arrays[name]
        expected = weaker.state.variables_by_name()[name.removeprefix("weaker/")]
        np.testing.assert_array_equal(array, expected)


def test_what_does_not_go_together_is_refused(main, weaker):
    def refused(other, message):
        with pytest.raises(ValueError, match=message):
            draw(main, Guidance(2.0, weaker=other))

    refused(
        model_of(1, sde=lcss.sdes.VPSDE(beta_max=10.0), num_classes=2), "another SDE.*drift dif"
    )
    refused(
        model_of(1, sde=lcss.sdes.FlowMatchingSDE(), num_classes=2), "ends at T = 0.999, not at"
    )
    refused(model_of(1, num_classes=3), r"another condition \(num_classes = 3\).*num_classes = 2")
    refused(
        model_of(1, replicas=2, num_classes=2), r"on 2 replicas, and the main one on 1. Load it"
    )
    other = model_of(1, num_classes=2)
    scaling = dataclasses.replace(other.info.scaling, means=(5.0, 5.0))
    other.info = dataclasses.replace(other.info, scaling=scaling)
    refused(other, "another scaling")
    wide = lcss.ScoreModel(lcss.networks.MLP(width=4, depth=1), distribution=Distribution(1))
    wide.build((3,))
    wide.info = dataclasses.replace(main.info, shape=(3,), raw_shape=None)
    refused(wide, r"examples of shape \(3,\), and the main one of \(2,\)")
    refused(lcss.ScoreModel(), "knows no data yet")


def test_sdes_are_compared_as_processes():
    make = lcss.SDES
    for name in sorted(make):
        if name == "MatrixOUSDE":  # takes its matrices
            continue
        assert difference_of_sdes(make[name](), make[name](), (2,)) is None, name
    assert "states" in difference_of_sdes(make["VPSDE"](), make["KineticSDE"](), (2,))
    assert "T = 80" in difference_of_sdes(make["VPSDE"](), make["EDMSDE"](), (2,))
    assert "drift" in difference_of_sdes(make["VPSDE"](), make["CosineVPSDE"](), (2,))
    ve, other = make["VESDE"](sigma_max=10.0), make["VESDE"](sigma_max=11.0)
    assert "diffusion" in difference_of_sdes(ve, other, (2,))
