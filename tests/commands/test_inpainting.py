"""The inpainting RMSE: its table, and the statistics that it is made of."""

import numpy as np
import pytest

from lcss_tf.commands import inpainting as command
from lcss_tf.commands.inpainting import inpainting, nearest
from lcss_tf.control import Mask
from lcss_tf.data.base import DataInfo
from lcss_tf.data.scaling import Scaling
from tests.commands.helpers import load_run


def test_the_nearest_training_image_is_that_of_the_visible_pixels():
    random = np.random.default_rng(0)
    candidates = random.normal(size=(20, 4, 4, 1)).astype(np.float32)
    known = Mask("half").known((4, 4, 1))
    images = np.where(known, candidates[[7, 3]], 100.0)
    assert nearest(images, candidates, known).tolist() == [7, 3]


@pytest.mark.slow
def test_inpainting_prints_a_table(image_run, tmp_path):
    load_run(image_run, "inpainting.methods = {'mine': @methods.NullSpace()}")
    text, paths = inpainting(image_run, tmp_path, masks=("half",), num_images=4, averages=(1, 2))
    lines, gains = (part.splitlines() for part in text.split("\n\n"))
    assert lines[0] == "| RMSE of hidden pixels | half |"
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [
        "mean of the training images", "nearest training image", "mine, one", "mine, mean of 2"
    ]  # fmt: skip
    assert [line.split("|")[1].strip() for line in gains[2:]] == [names[0], *names[2:]]
    assert all(path.exists() for path in paths)
    with pytest.raises(ValueError, match=r"from 1 up; got \(0,\)"):
        inpainting(image_run, tmp_path, averages=(0,))


def test_the_mean_of_n_draws_has_the_error_that_is_documented():
    """Truth and draws of one distribution with variance v: (1 + 1/n) v; its gain over one draw."""
    info = DataInfo("points", (64,), "vector", Scaling.for_images())
    random = np.random.default_rng(0)
    truth, draws = random.normal(size=(500, 64)), random.normal(size=(16, 500, 64))
    known = np.arange(64) < 32
    squares = {n: command._squares(draws[:n].mean(0), truth, known, info) for n in (1, 4, 16)}
    for n, values in squares.items():
        rmse, error = command._error(values)
        assert rmse == pytest.approx(np.sqrt(1 + 1 / n) / 2, abs=4 * error)
        assert error < 0.005
    assert command._gain(squares[1], squares[16]) > 10
    assert command._gain(squares[1], squares[1]) == 0.0
