"""What is said of a learning rate by which nothing is learnt."""

import keras
import pytest

from lcss_tf.training import WarmUp, default_optimizer
from lcss_tf.training.optimizers import doubts

ADAM, DECAY = keras.optimizers.Adam, keras.optimizers.schedules.CosineDecay


@pytest.mark.parametrize(
    ("optimizer", "said"),
    [
        (ADAM(0.0), "The learning rate is 0 over all steps from 0 to 100"),
        (keras.optimizers.SGD(-1e-3), "The learning rate is -0.001 over all steps"),
        (ADAM(WarmUp(0.0, 10)), "The learning rate is 0 over all steps"),
        (ADAM(WarmUp(1e-3, 100)), "WarmUp.warmup_steps = 100, and the run has fit.steps = 100"),
        (ADAM(WarmUp(1e-3, 5_000)), r"a tenth of the steps, say \(10\)"),
        (ADAM(DECAY(0.0, 50, warmup_target=1e-3, warmup_steps=500)), "CosineDecay.warmup_steps"),
        (ADAM(WarmUp(DECAY(1e-3, 50), 500)), "WarmUp.warmup_steps = 500"),
    ],
)
def test_one_that_learns_nothing_is_named(optimizer, said):
    (line,) = doubts(optimizer, 0, 100)
    with pytest.raises(UserWarning, match=said):
        raise UserWarning(line)


@pytest.mark.parametrize(
    "optimizer", [ADAM(1e-3), ADAM(WarmUp(1e-3, 99)), ADAM(DECAY(1e-3, 50)), default_optimizer(100)]
)
def test_of_others_nothing_is_said(optimizer):
    assert doubts(optimizer, 0, 100) == []


def test_what_remains_of_a_resumed_run_is_looked_at():
    (line,) = doubts(ADAM(DECAY(1e-3, 50)), 60, 100)
    assert "from 60 to 100" in line
