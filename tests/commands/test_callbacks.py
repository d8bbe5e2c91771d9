"""Keras callbacks of a command: bound by gin, made by a training alone, tolerated on resume."""

import csv

import gin
import numpy as np
import pytest

from lcss_tf.commands import _runs
from tests.commands.helpers import SMALL, lcss, load_run

MINE = """
import gin, keras

@gin.register(module="callbacks")
class Heard(keras.callbacks.Callback):
    made = 0

    def __init__(self, path):
        super().__init__()
        type(self).made += 1
        self.path = path

    def on_epoch_end(self, epoch, logs=None):
        with open(self.path, "a") as file:
            print(epoch, logs["loss"], logs["val_loss"], file=file)
"""


@pytest.fixture(autouse=True)
def _clear():
    yield
    gin.clear_config()


def test_callbacks_come_from_gin_and_hear_both_losses(tmp_path):
    (tmp_path / "my_callbacks.py").write_text(MINE)
    run = tmp_path / "run"
    words = [f"--gin_file={SMALL}", f"--workdir={run}", f"--import={tmp_path / 'my_callbacks.py'}"]
    bindings = [
        "Distribution.num_replicas = 1",
        "fit.steps = 10",
        "fit.validation = True",
        "fit.callbacks = [@CSVLogger, @callbacks.Heard]",
        f"CSVLogger.filename = '{tmp_path / 'curves.csv'}'",
        f"Heard.path = '{tmp_path / 'heard.txt'}'",
        "Pictures.every = 0",
    ]
    assert lcss("train", *words, bindings=bindings) == 0
    gin.clear_config()
    with open(tmp_path / "curves.csv") as file:
        rows = list(csv.DictReader(file))
    heard = np.loadtxt(tmp_path / "heard.txt")
    assert [int(row["epoch"]) for row in rows] == heard[:, 0].tolist() == [0, 1]
    for row, (_, loss, validation) in zip(rows, heard, strict=True):
        assert float(row["loss"]) == pytest.approx(loss)
        assert float(row["val_loss"]) == pytest.approx(validation)
    # What only reads the run's configuration makes no callback.
    load_run(run)
    heard_class = gin.get_configurable("callbacks.Heard")
    made = heard_class.made
    from lcss_tf.commands import _gin

    assert len(_gin.fit()["callbacks"]) == 2
    assert heard_class.made == made
    # And other callbacks are no other run.
    with gin.unlock_config():
        gin.bind_parameter("fit.callbacks", [])
        gin.bind_parameter("CSVLogger.filename", "elsewhere.csv")
    _runs.check_configuration(run)
