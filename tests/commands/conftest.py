"""Tiny runs that several files only read: trained once a process."""

import gin
import pytest

from tests.commands.helpers import SMALL, trained

IMAGES = """
ScoreModel.sde = @sdes.VPSDE()
fit.loss = @losses.LCSSLoss()
fit.data = @datasets.NoiseImages()
ScoreModel.network = @networks.NCSNpp()
fit.steps = 5
fit.batch_size = 4
NoiseImages.shape = (4, 4, 3)
NoiseImages.count = 40
NCSNpp.num_features = 4
NCSNpp.channel_multipliers = (1,)
NCSNpp.num_res_blocks = 1
NCSNpp.dropout = 0.0
TrainStep.jit_compile = False
Pictures.every = 0
check_prior.num_examples = 4
sample.sampler = @samplers.DPMSolverPP()
sample.jit_compile = False
sample.batch_size = 4
DPMSolverPP.num_steps = 4
"""
CLASSES = [
    "NCSNpp.num_classes = 10",
    "TrainStep.condition_dropout = 0.2",
    "fit.steps = 20",
    "fit.optimizer = @Adam()",
    "Adam.learning_rate = 0.1",
]


@pytest.fixture(scope="session")
def plane_run(tmp_path_factory):
    """tests/small.gin: points in the plane, 40 steps."""
    yield trained(tmp_path_factory.mktemp("plane") / "run", gin_file=SMALL)
    gin.clear_config()


@pytest.fixture(scope="session")
def image_run(tmp_path_factory):
    """Images of 4×4 pixels in colour, 5 steps."""
    return _images(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="session")
def class_run(tmp_path_factory):
    """The same with classes, 20 steps that move the weights far."""
    return _images(tmp_path_factory.mktemp("classes"), *CLASSES)


def _images(directory, *bindings):
    (directory / "run.gin").write_text(IMAGES)
    return trained(directory / "run", *bindings, gin_file=directory / "run.gin")
