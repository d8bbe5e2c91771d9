"""LCSS on SDEs whose drift couples the coordinates, against scores of a Fokker–Planck solution."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.training import Distribution, Trainer
from lcss_tf.training.optimizers import WarmUp
from tests.conftest import FIXTURES
from tests.sdes.test_path import Turning

# Relative squared errors of the score at the fixture's times, the largest that pass.
LARGEST = {
    "coupled_rotating": (0.010, 0.010, 0.003, 0.003, 0.002),
    "coupled_swirl_moons": (0.08, 0.03, 0.004, 0.002, 0.002),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(LARGEST))
def test_the_score_of_a_coupled_sde_is_learnt_by_one_evaluation_a_step(name):
    """4,000 steps of 1,024 examples, by the default loss and the default preconditioning."""
    archive = np.load(FIXTURES / f"{name}.npz")
    meta = json.loads(bytes(archive["meta.json"]))
    data = lcss.DATASETS["GaussianMixture"](
        means=meta["means"], component_std=meta["component_std"]
    )
    model = lcss.ScoreModel(
        lcss.networks.MLP(width=128, depth=3),
        Turning(meta["omega"], swirl=meta["q"] == 0),
        distribution=Distribution(1),
    )
    optimizer = keras.optimizers.Adam(WarmUp(1e-3, 200))
    trainer = Trainer(check_prior=None)
    model.fit(data, steps=4_000, batch_size=1_024, optimizer=optimizer, trainer=trainer)
    errors = []
    for i, time in enumerate(archive["t"]):
        x, score = archive[f"t{i}.x"], archive[f"t{i}.score"]
        learnt = model.score_fn(tf.constant(x, tf.float32), tf.fill([len(x)], np.float32(time)))
        errors.append(((learnt.numpy() - score) ** 2).sum() / (score**2).sum())
    print(name, " ".join(f"{error:.4f}" for error in errors))
    assert (np.array(errors) < LARGEST[name]).all(), errors
