"""A class-conditional network trains, and samples each class."""

import functools
import json

import keras
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf.commands import _report
from lcss_tf.commands.sample import classes_drawn
from lcss_tf.samplers import EulerMaruyama
from lcss_tf.training import Distribution, TrainStep
from lcss_tf.training.workdir import check_same_model, write_description
from tests.training.helpers import no_prior_check


def noise_images():
    return lcss.DATASETS["NoiseImages"](shape=(4, 4, 1), count=40)


def model_of(network):
    return lcss.ScoreModel(network, distribution=Distribution(1))


@pytest.mark.slow
def test_a_conditional_run_trains_and_samples_each_class(tmp_path):
    network = lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, dropout=0.0, num_classes=10
    )
    make_step = functools.partial(TrainStep, jit_compile=False, condition_dropout=0.2)
    model_of(network).fit(
        noise_images(), steps=20, batch_size=4, optimizer=keras.optimizers.Adam(0.1),
        workdir=tmp_path, trainer=no_prior_check(make_step=make_step),
    )  # fmt: skip
    assert np.abs(network.condition_layer.table.numpy()).max() > 0
    model = lcss.ScoreModel.load(tmp_path, distribution=Distribution(1))
    draw = model.sampling(EulerMaruyama(num_steps=2), batch_size=4, jit_compile=False)
    ones, twos = (draw(4, seed=3, condition=label, progress=False).x for label in (1, 2))
    assert np.abs(ones - twos).max() > 0
    turns = draw(4, seed=3, progress=False).x
    np.testing.assert_allclose(turns[1], ones[1], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="classes run from 0 to 9; got label = 10"):
        draw(1, condition=10)


def test_labels_that_do_not_fit_are_told_before_any_work(tmp_path):
    network = functools.partial(lcss.networks.MLP, width=8, depth=1, num_classes=4)
    images = lcss.networks.NCSNpp(
        num_features=4, channel_multipliers=(1,), num_res_blocks=1, num_classes=4
    )
    with pytest.raises(ValueError, match="set num_classes = 10"):
        model_of(images).fit(noise_images(), steps=2, batch_size=4, workdir=tmp_path / "few")
    with pytest.raises(ValueError, match="has no labels"):
        model_of(network()).fit(
            lcss.DATASETS["TwoMoons"](), steps=2, batch_size=4, workdir=tmp_path / "none"
        )
    assert not list(tmp_path.iterdir())


def test_a_run_keeps_the_names_of_its_classes(tmp_path):
    for k, name in enumerate(("2", "10", "cat")):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            image = np.full((4, 4, 3), 40 * k + i, np.uint8)
            lcss.plots.write_png(tmp_path / "set" / name / f"{i}.png", image)

    class Described:
        """Stands for a trainer: records what the run is of, and trains nothing."""

        resume = "auto"

        def train(self, run, callbacks, model):
            check_same_model(run.workdir, run.state.description)
            write_description(run.workdir, run.state.description)

    def fitted(num_classes):
        network = lcss.networks.NCSNpp(
            num_features=4, channel_multipliers=(1,), num_res_blocks=1, num_classes=num_classes
        )
        model, data = model_of(network), lcss.data.ImageFolder(tmp_path / "set", 4)
        model.fit(data, workdir=tmp_path / "run", trainer=Described())
        return model

    model = fitted(3)
    stored = json.loads((tmp_path / "run" / "data.json").read_text())
    assert stored["classes"] == ["2", "10", "cat"]
    assert model.info.class_number("cat") == 2
    assert classes_drawn(model, 1) == ["Class 1: 10"]
    assert classes_drawn(model, None) == ["Classes, a column each: 0: 2, 1: 10, 2: cat"]
    arguments = {"data": lcss.data.Digits(), "loss": None, "batch_size": 2, "steps": 1}
    facts = _report.trained(model, arguments, lcss.plots.History({}))
    assert facts["classes"] == "0: 2, 1: 10, 2: cat"
    # A folder that is added would shift the classes.
    (tmp_path / "set" / "5").mkdir()
    (tmp_path / "set" / "2" / "1.png").rename(tmp_path / "set" / "5" / "1.png")
    with pytest.raises(ValueError, match='classes: .*"2", "10", "cat".* there, .*"5"'):
        fitted(3)
