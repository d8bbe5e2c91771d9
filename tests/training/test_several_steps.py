"""Several steps in one call: everything that is due comes at its step, and the run is the same."""

import os
import signal
from types import SimpleNamespace

import keras
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf.errors import UsageError
from lcss_tf.training import Checkpoints, Trainer
from tests.processes import assert_same_end, scalars, steps_on_disk
from tests.training import helpers
from tests.training.helpers import STEPS, fit


class Several(helpers.Step):
    """A step that takes several in a call, and remembers how many."""

    calls: list = []

    def several(self, batches, step, count):
        self.calls.append((step, count, len(batches)))
        reports = [self(batch, step + i) for i, batch in enumerate(batches[:count])]
        reports += [reports[-1]] * (len(batches) - count)
        return tf.nest.map_structure(lambda *values: tf.stack(values), *reports)


class Acts(lcss.training.Periodic):
    def __init__(self, every):
        super().__init__(every)
        self.steps = []

    def act(self, step):
        self.steps.append(step)


@pytest.fixture
def calls(monkeypatch):
    monkeypatch.setattr(Several, "calls", [])
    return lambda: Several.calls


@pytest.mark.parametrize("steps_per_call", [2, 3, 100])
def test_what_is_due_comes_at_its_step(steps_per_call, calls, whole, tmp_path):
    """Figures every 4, checkpoints every 5, a callback every 7, 12 steps."""
    acts = Acts(7)
    fit(tmp_path, [acts], make_step=Several, steps_per_call=steps_per_call)
    most = min(4, steps_per_call)
    assert {size for _, _, size in calls()} == {most}
    steps = [step for step, _, _ in calls()]
    assert steps == sorted(set(steps))
    assert sum(count for _, count, _ in calls()) == STEPS
    ends = {step + count for step, count, _ in calls()}
    assert ends >= {4, 5, 7, 8, 10, 12}
    if steps_per_call == 100:
        assert ends == {4, 5, 7, 8, 10, 12}
    assert acts.steps == [7, 12]
    assert steps_on_disk(tmp_path) == [5, 10, 12]
    assert_same_end(whole, tmp_path)
    assert scalars(tmp_path, "loss/total") == scalars(whole, "loss/total")


def test_a_callback_at_every_step_makes_calls_of_one(calls, whole, tmp_path):
    acts = Acts(1)
    fit(tmp_path, [acts], make_step=Several, steps_per_call=10)
    assert acts.steps == [*range(1, STEPS), STEPS]
    assert not calls()
    assert_same_end(whole, tmp_path)


def test_a_run_resumes_with_any_number(calls, whole, tmp_path):
    fit(tmp_path, make_step=Several, steps_per_call=3)
    for step in (10, 12):
        Checkpoints(tmp_path).at(step).unlink()
    del calls()[:]
    fit(tmp_path, make_step=Several, steps_per_call=4)
    assert calls()[0][0] == 5
    assert_same_end(whole, tmp_path)


def test_a_signal_in_a_call_ends_after_it(calls, whole, tmp_path):
    class Asked(Several):
        def several(self, batches, step, count):
            if step == 5:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().several(batches, step, count)

    with pytest.raises(SystemExit) as left:
        fit(tmp_path, make_step=Asked, steps_per_call=3)
    assert left.value.code == 143
    assert steps_on_disk(tmp_path) == [5, 8]
    fit(tmp_path, make_step=Several, steps_per_call=3)
    assert_same_end(whole, tmp_path)


def test_keras_callbacks_end_a_training_between_calls(calls, tmp_path):
    class Enough(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            self.model.stop_training = True

    assert fit(tmp_path, [Enough()], make_step=Several, steps_per_call=3).step == 4
    assert steps_on_disk(tmp_path) == [4]


@pytest.mark.parametrize("number", [0, -1, 2.5, True])
def test_a_number_that_cannot_be_is_named(number):
    with pytest.raises(UsageError, match=f"steps_per_call .* at least 1; got {number}"):
        Trainer(steps_per_call=number)


def test_several_workers_are_refused_before_anything_is_written(tmp_path):
    class Workers(Several):
        many_workers = True

    with pytest.raises(UsageError, match="steps_per_call = 5, and several workers train"):
        fit(tmp_path, make_step=Workers, steps_per_call=5)
    assert not (tmp_path / "model.json").exists()


def test_a_non_finite_step_within_a_call_is_named(calls, tmp_path, caplog):
    class Bad(Several):
        def __call__(self, batch, step, stop=False):
            report = super().__call__(batch, step, stop)
            nan = tf.constant(float("nan"))
            return report._replace(loss=nan, finite=tf.constant(False)) if step == 6 else report

    model = fit(tmp_path, make_step=Bad, steps_per_call=4)
    assert model.state.nonfinite_steps == 1
    assert "Step 6 skipped" in caplog.text


def test_the_speed_is_that_of_steps_not_of_calls(monkeypatch):
    from lcss_tf.training import progress

    now = SimpleNamespace(s=0.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: now.s))
    clock = progress.Clock()
    for _ in range(3):
        for batch in (1, 2):
            clock.waiting(iter([batch]))
        now.s += 2.0
        clock.step(4)
    assert clock.rate == pytest.approx(2.0)
    assert clock.lap() == pytest.approx((2.0, 0.0))
