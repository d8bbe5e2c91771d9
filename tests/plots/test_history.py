"""Curves of training: by name with their steps, joined from event files, drawn."""

import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.plots import History, history


def write(directory, name, scalars):
    """Writes {step: {tag: value}} to an event file of a given name."""
    aside = directory / f"aside_{name}"
    writer = tf.summary.create_file_writer(str(aside))
    for step, values in scalars.items():
        with writer.as_default(step=step):
            for tag, value in values.items():
                tf.summary.scalar(tag, value)
    writer.close()
    (made,) = aside.iterdir()
    made.rename(directory / name)
    aside.rmdir()


def test_curves_by_name_with_their_steps():
    history = History({"loss": ([1, 2, 4], [3.0, 2.0, 1.0]), "val_loss": ([4], [1.5])})
    np.testing.assert_array_equal(history["loss"], [3.0, 2.0, 1.0])
    np.testing.assert_array_equal(history.steps("loss"), [1, 2, 4])
    assert history.history["loss"] is history["loss"]
    assert list(history) == ["loss", "val_loss"]
    assert history.names("val") == ["val_loss"]
    assert repr(history) == "History(loss, val_loss; 4 steps)"
    with pytest.raises(KeyError, match="No curve named 'loss/validation'.*Known: loss, val_loss"):
        history.curve("loss/validation")
    with pytest.raises(KeyError, match="No curve named 'los'. Did you mean 'loss'"):
        history["los"]
    with pytest.raises(ValueError, match="one value for each step"):
        History({"loss": ([1, 2], [3.0])})


def test_runs_that_were_interrupted_are_joined(tmp_path):
    """The file that was written later wins, not the one whose name comes later.

    Both files are of one second; their names end in the writer's number, and 10 sorts before 9.
    """
    name = "events.out.tfevents.1000.host.7.{}.v2"
    rate = "speed/steps_per_second"
    first = {step: {"loss/total": step / 10.0, rate: 5.0} for step in (10, 20, 30)}
    second = {step: {"loss/total": 9.0, rate: 10.0} for step in (30, 40)}  # resumed from 20
    write(tmp_path, name.format(9), first)
    write(tmp_path, name.format(10), second)
    history = History.from_workdir(tmp_path)
    steps, values = history.curve("loss/total")
    np.testing.assert_array_equal(steps, [10, 20, 30, 40])
    np.testing.assert_allclose(values, [1, 2, 9, 9])
    np.testing.assert_array_equal(history["loss"], values)
    np.testing.assert_allclose(history.seconds([20, 40, 35]), [4, 6, 5.5])
    assert history.names("loss") == ["loss/total"]


def test_values_of_one_moment_are_those_of_the_later_file(tmp_path, monkeypatch):
    """A clock that stands still: the numbers in the names say which file came later."""
    for number, value in ((10, 3.0), (9, 2.0), (100, 4.0), (8, 1.0)):
        write(tmp_path, f"events.out.tfevents.1000.host.7.{number}.v2", {5: {"loss": value}})
    scalars = history._scalars
    at_once = lambda path: ((name, step, 0.0, value) for name, step, _, value in scalars(path))
    monkeypatch.setattr(history, "_scalars", at_once)
    np.testing.assert_array_equal(History.from_workdir(tmp_path)["loss"], [4.0])


def test_a_file_that_ends_in_the_middle_of_a_record_is_read_up_to_there(tmp_path):
    write(tmp_path, "events.out.tfevents.1", {1: {"loss": 1.0}, 2: {"loss": 2.0}})
    path = tmp_path / "events.out.tfevents.1"
    path.write_bytes(path.read_bytes()[:-5])
    np.testing.assert_array_equal(History.from_workdir(tmp_path)["loss"], [1.0])


def test_a_run_that_wrote_nothing_has_no_curves(tmp_path):
    for place in (tmp_path, tmp_path / "none"):
        history = History.from_workdir(place)
        assert len(history) == 0
        assert np.isnan(history.seconds([1.0])).all()
        assert history._repr_png_() is None


def test_the_plot_shows_the_loss_and_what_is_asked_for():
    steps = np.arange(1, 301)
    history = History({
        "loss": (steps, 5.0 / steps), "speed": (steps, 0 * steps + 7.0), "val_loss": ([300], [0.1]),
    })  # fmt: skip
    (axes,) = history.plot().axes
    labels = [text.get_text() for text in axes.get_legend().get_texts()]
    assert labels == ["loss", "val_loss"]
    assert axes.get_yscale() == "log"
    (axes,) = history.plot(["speed"]).axes
    assert axes.get_legend() is None
    assert axes.get_yscale() == "linear"
    with pytest.raises(KeyError, match="Known: loss, speed, val_loss"):
        history.plot(["none"])
    picture = np.asarray(Image.open(io.BytesIO(history._repr_png_())))
    assert picture.std() > 5
    hostile = History({r"$\frac{a$": ([1, 2], [1.0, 2.0])})
    assert hostile._repr_png_().startswith(b"\x89PNG")


def test_a_name_with_an_underscore_stands_in_the_legend():
    curves = History({name: ([1, 2], [1.0, 2.0]) for name in ("_hidden", "shown")})
    (axes,) = curves.plot(["_hidden", "shown"]).axes
    labels = [text.get_text().strip() for text in axes.get_legend().get_texts()]
    assert labels == ["_hidden", "shown"]


def test_the_names_of_fit_stand_for_those_of_a_run():
    history = History({"loss/total": ([1], [2.0]), "loss/validation": ([1], [3.0])})
    assert history["loss"].tolist() == [2.0]
    assert history["val_loss"].tolist() == [3.0]
