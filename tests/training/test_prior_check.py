"""The prior check: silent where the SDE ends in its prior, else a warning with a figure."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

import lcss_tf
from lcss_tf import random
from lcss_tf.data import Dataset
from lcss_tf.errors import UsageError
from lcss_tf.plots import images
from lcss_tf.training.prior_check import check_prior, report_prior
from tests.siblings import siblings


class Recorder:
    """Stands in for `Summaries`."""

    def __init__(self, workdir):
        self.values, self.pictures, self._workdir = {}, {}, workdir

    def scalars(self, values, step):
        self.values |= values

    def picture(self, name, picture, step, path):
        self.pictures[name] = picture()
        images.write_png(self._workdir / path, self.pictures[name])


class WideVP(lcss_tf.SDES["VPSDE"]):
    """VP with a prior that is too wide by a fifth."""

    def prior_sample(self, shape, seed):
        return 1.2 * random.normal(seed, shape)


@pytest.fixture(scope="module")
def data():
    return lcss_tf.DATASETS["TwoMoons"]()


@pytest.mark.parametrize("name", siblings(lcss_tf.SDES))
def test_the_registered_sdes_pass(name, data):
    result = check_prior(lcss_tf.SDES[name](), data, 0, num_examples=16_384)
    assert result.passed, (result.distance, result.noise)


@pytest.mark.parametrize(
    "sde",
    [
        WideVP(),
        lcss_tf.SDES["VESDE"](sigma_max=1.0),
        lcss_tf.SDES["VPSDE"](beta_max=1.0),
        lcss_tf.SDES["GeneralizedNormalSDE"](beta_max=1.0),
    ],
    ids=["wide prior", "small sigma_max", "small beta_max", "power 4, small beta_max"],
)
def test_wrong_priors_fail(sde, data):
    assert not check_prior(sde, data, 0, num_examples=16_384).passed


def test_correlations_left_are_seen():
    """Every coordinate by itself is standard normal, but they are one and the same."""

    class Copied(Dataset):
        name, shape = "copied", (4,)

        def size(self, split="train"):
            return None

        def examples(self, indices, split="train", seed=0):
            return tf.repeat(random.normal(seed, (len(indices), 1)), 4, axis=1)

    result = check_prior(lcss_tf.SDES["VPSDE"](beta_max=0.2), Copied(), 0, num_examples=8_192)
    assert result.pooled.distance < result.threshold
    assert result.sliced.distance > result.threshold


def test_the_warning_has_a_figure_a_picture_and_remedies(data, tmp_path, caplog):
    summaries = Recorder(tmp_path)
    result = report_prior(WideVP(), data, 0, summaries)
    assert f"{result.distance:.3f} of the prior's standard deviation" in caplog.text
    assert "WideVP does not end in its prior on two_moons" in caplog.text
    assert "larger beta_max" in caplog.text
    assert summaries.values["prior_check/distance"] == result.distance
    picture = np.asarray(Image.open(tmp_path / "prior_check.png"))
    np.testing.assert_array_equal(picture, summaries.pictures["prior_check"])
    assert picture.std() > 5


def test_no_warning_where_it_passes(data, tmp_path, caplog):
    report_prior(lcss_tf.SDES["VPSDE"](), data, 0, Recorder(tmp_path))
    assert "prior" not in caplog.text
    assert (tmp_path / "prior_check.png").is_file()


def test_a_simulation_that_diverges_is_an_error_with_a_remedy(data, tmp_path):
    class Exploding(lcss_tf.SDE):
        def drift(self, x, t):
            return tf.exp(1e4 * x**2)  # no bound on the steps can help

        def diffusion(self, x, t):
            return tf.ones_like(t)[:, None]

        def prior_sample(self, shape, seed):
            return random.normal(seed, shape)

    result = check_prior(Exploding(), data, 0, num_examples=512)
    assert not result.passed
    assert result.distance == float("inf")
    message = "found NaN or infinity in x_T of two_moons under Exploding.*simulation_steps"
    with pytest.raises(UsageError, match=message):
        report_prior(Exploding(), data, 0, Recorder(tmp_path), check=lambda *_: result)
