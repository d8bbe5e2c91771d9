"""lcss push: a run as a folder to share, with a card, and to the hub."""

import json

import gin
import numpy as np
import pytest

import lcss_tf
from lcss_tf import hub
from tests.commands.helpers import lcss
from tests.hub.test_hub import fake  # noqa: F401  # the hub that is a folder

pytest.importorskip("safetensors")


@pytest.fixture(autouse=True)
def _clear():
    yield
    gin.clear_config()


def variables(model):
    return {name: v.numpy() for name, v in model.state.variables_by_name().items()}


def test_a_dry_run_writes_the_folder_alone(plane_run, tmp_path, capsys):
    out = tmp_path / "model"
    words = [f"--workdir={plane_run}", "--dry_run", f"--out={out}", "--license=mit"]
    assert lcss("push", *words) == 0
    assert "without --dry_run" in capsys.readouterr().out
    assert {path.name for path in out.iterdir()} == {hub.CARD, hub.CONFIG, hub.WEIGHTS}
    gin.clear_config()
    here, there = lcss_tf.ScoreModel.load(plane_run), lcss_tf.ScoreModel.from_hub(out)
    assert (there.step, there.info) == (here.step, here.info)
    for name, value in variables(here).items():
        np.testing.assert_array_equal(variables(there)[name], value)


def test_the_card_of_a_run_has_its_recipe_and_its_own_figures(plane_run, tmp_path):
    """Figures of another checkpoint are not those of the one that is pushed."""
    out = tmp_path / "model"
    words = [f"--workdir={plane_run}", "--dry_run", f"--out={out}"]
    step = lcss_tf.ScoreModel.load(plane_run).step
    place = plane_run / "evaluation"
    row = {"value": 0.125, "error": 0.01, "real": None}
    result = {"key": "k", "figures": {"SlicedWasserstein_64": row}, "real_split": None}
    try:
        for other, shown in ((step - 1, False), (step, True)):
            folder = place / f"step_{other:09d}"
            folder.mkdir(parents=True)
            content = result | {"step": other, "counts": {"samples": 64}}
            (folder / "result.json").write_text(json.dumps(content))
            assert lcss("push", *words) == 0
            gin.clear_config()
            card = (out / hub.CARD).read_text()
            assert ("0.125" in card) == shown
            assert ("has not been measured" in card) != shown
    finally:
        for path in place.glob("step_*/result.json"):
            path.unlink()
            path.parent.rmdir()
    assert "fit.batch_size" in card
    assert 'license: "unknown"' in card


def test_a_run_goes_to_the_hub(plane_run, tmp_path, fake, capsys):  # noqa: F811
    words = [f"--workdir={plane_run}", "--name=me/moons", f"--out={tmp_path / 'model'}"]
    assert lcss("push", *words, "--private") == 0
    assert "https://huggingface.co/me/moons" in capsys.readouterr().out
    assert fake.calls[0] == ("me/moons", True, True)
    assert 'from_hub("me/moons")' in (tmp_path / "model" / hub.CARD).read_text()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--workdir=x"], "Give --name=owner/model, or --dry_run"),
        (["--workdir=x", "--dry_run"], "holds no run"),
    ],
)
def test_wrong_words_say_what_is_right(words, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert lcss("push", *words) == 1
    assert message in capsys.readouterr().err
