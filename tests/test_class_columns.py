"""Training's pictures of a network with classes: a column for each, under its name."""

import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.callbacks import Pictures
from lcss_tf.training import Run


def run_of(num_classes, classes):
    network = lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=(),
        num_classes=num_classes,
    )  # fmt: skip
    model = lcss.ScoreModel(network)
    x = np.random.default_rng(0).integers(0, 255, (40, 4, 4, 1)).astype(np.uint8)
    data = lcss.data.from_user(x, np.arange(40) % classes)
    state = model.build(data.shape)
    state.score.preconditioning.prepare(state.sde, model_units(data, x))
    return Run(state, data, lcss.losses.LCSSLoss(), 1, 4)


def model_units(data, x):
    return data.info().scale(x)


@pytest.mark.parametrize(("classes", "width"), [(3, 9), (20, 8)])  # few: several each
def test_classes_stand_in_columns(classes, width):
    pictures = Pictures(every=1, num_samples=60, sampling={
        "sampler": lcss.samplers.EulerMaruyama(num_steps=2), "batch_size": 60,
    })  # fmt: skip
    pictures.begin(run_of(classes, classes))
    (picture,) = pictures._pictures().values()
    assert picture.shape[1] == width * 66 + 2
    titled = 18 if classes == 3 else 0
    assert (picture.shape[0] - titled - 2) % 66 == 0
