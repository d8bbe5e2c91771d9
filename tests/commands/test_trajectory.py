"""Films through the root `sample`: of points and of images, of fixed steps and of adaptive ones."""

import gin
import numpy as np
import pytest
from PIL import Image

import lcss_tf
from lcss_tf import config
from lcss_tf.control import InverseProblem, Mask, NullSpace
from lcss_tf.experiment import sample, train
from lcss_tf.plots import trajectories as films
from tests.test_gin_configs import ROOT

ADAPTIVE = (
    "sample.sampler = @samplers.DormandPrince()",
    "DormandPrince.rtol = 0.01",
    "DormandPrince.atol = 0.01",
)
IMAGES = (
    "fit.data = @datasets.NoiseImages()",
    "NoiseImages.shape = (4, 4, 1)",
    "NoiseImages.count = 40",
    "ScoreModel.network = @networks.NCSNpp()",
    "NCSNpp.num_features = 4",
    "NCSNpp.channel_multipliers = (1,)",
    "NCSNpp.num_res_blocks = 1",
    "fit.steps = 2",
)


@pytest.fixture(
    scope="module",
    params=[(), pytest.param(IMAGES, marks=pytest.mark.slow)],
    ids=["plane", "images"],
)
def workdir(request, tmp_path_factory):
    directory = tmp_path_factory.mktemp("film") / "run"
    config.load(ROOT / "tests" / "small.gin", request.param)
    train(directory)
    gin.clear_config()
    return directory


@pytest.mark.parametrize(
    "bindings", [(), pytest.param(ADAPTIVE, marks=pytest.mark.slow)], ids=["fixed", "adaptive"]
)
def test_the_way_is_written(workdir, bindings, tmp_path, monkeypatch):
    seen, particles = [], films.particle_frames

    def watched(film, times, log_density):
        seen.append(times)
        return particles(film, times, log_density)

    monkeypatch.setattr(films, "particle_frames", watched)
    config.load_workdir(workdir, bindings)
    paths = sample(workdir, 4, tmp_path / "out", trajectory=True)
    names = {path.name for path in paths}
    assert {"out_trajectory.gif", "out_trajectory.png"} < names
    frames = 32 if bindings else 30  # no more than there are steps
    with Image.open(tmp_path / "out_trajectory.gif") as gif:
        assert gif.n_frames <= frames + 1  # equal ones in a row are one
        assert gif.n_frames > frames / 2
    if seen:  # in the plane: with their times
        assert len(seen[0]) == frames + 1
        np.testing.assert_allclose(seen[0], np.linspace(1.0, seen[0][-1], frames + 1), atol=1e-6)


def test_frames_have_their_times():
    """Of any spacing, and under control, the states lie at the times that are said."""
    sde, spacing = lcss_tf.SDES["VPSDE"](), lcss_tf.SCHEDULES["PowerSchedule"](2.0)
    mask = InverseProblem(Mask("half"), None)
    adaptive = lcss_tf.SAMPLERS["DormandPrince"](spacing=spacing)
    expected = spacing.times(sde, adaptive.end(sde), 7)
    for sampler in (adaptive, NullSpace().control(adaptive, mask)):
        np.testing.assert_allclose(sampler.trajectory_times(sde, 7), expected)
    steps = lcss_tf.SAMPLERS["EulerMaruyama"](num_steps=14, spacing=spacing)
    for sampler in (steps, NullSpace().control(steps, mask)):
        np.testing.assert_allclose(sampler.trajectory_times(sde, 7), steps.times(sde)[::2])
    with pytest.raises(ValueError, match="15 frames needs as many steps; EulerMaruyama takes 14"):
        steps.sample(lambda x, t: -x, sde, (2, 3), 1, frames=15)
