"""A class-conditional network trains, and samples each class."""

import gin
import numpy as np
import pytest

from lcss_tf import config
from lcss_tf.experiment import sample, train
from lcss_tf.experiment.generation import Generation
from lcss_tf.experiment.recipe import restored

GIN = """
train.sde = @sdes.VPSDE()
train.loss = @losses.LCSSLoss()
train.data = @datasets.NoiseImages()
train.network = @networks.NCSNpp()
train.total_steps = 20
train.batch_size = 4
NoiseImages.shape = (4, 4, 1)
NoiseImages.count = 40
NCSNpp.num_features = 4
NCSNpp.channel_multipliers = (1,)
NCSNpp.num_res_blocks = 1
NCSNpp.dropout = 0.0
NCSNpp.num_classes = 10
train_step.jit_compile = False
train_step.class_dropout = 0.2
optimizer.learning_rate = 0.1
optimizer.warmup_steps = 0
pictures.every = 0
prior_check.num_examples = 4
sample.sampler = @samplers.EulerMaruyama()
sample.jit_compile = False
sample.batch_size = 4
EulerMaruyama.num_steps = 2
"""


@pytest.mark.slow
def test_a_conditional_run_trains_and_samples_each_class(tmp_path):
    (tmp_path / "run.gin").write_text(GIN)
    config.load(tmp_path / "run.gin")
    state = train(tmp_path / "run")
    assert np.abs(state.network.class_embedding.table.numpy()).max() > 0
    _, state, info, distribution = restored(tmp_path / "run")
    generation = Generation(state, info.shape, distribution)
    ones, twos = (generation(4, seed=3, label=label) for label in (1, 2))
    assert np.abs(ones - twos).max() > 0
    turns = generation(4, seed=3)
    np.testing.assert_allclose(turns[1], ones[1], rtol=1e-5, atol=1e-5)
    with pytest.raises(ValueError, match="classes run from 0 to 9; got label = 10"):
        sample(tmp_path / "run", num_samples=1, label=10)


def test_labels_that_do_not_fit_are_told_before_any_work(tmp_path):
    (tmp_path / "run.gin").write_text(GIN)
    config.load(tmp_path / "run.gin", ["NCSNpp.num_classes = 4"])
    with pytest.raises(ValueError, match="bind num_classes = 10"):
        train(tmp_path / "few")
    gin.clear_config()
    config.load(tmp_path / "run.gin", ["train.data = @datasets.TwoMoons()"])
    with pytest.raises(ValueError, match="has no labels"):
        train(tmp_path / "none")
    assert not (tmp_path / "few").exists()
    assert not (tmp_path / "none").exists()
