"""``lcss sample --condition``: by name, from files, of held-out examples; and what is refused."""

import shutil

import gin
import numpy as np
import pytest
from PIL import Image

from lcss_tf.commands import evaluate
from lcss_tf.commands._conditions import read_conditions
from lcss_tf.conditioning import ConditionSpec
from lcss_tf.data import Digits, LowResolution
from lcss_tf.data.base import DataInfo
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from tests.commands.helpers import DIGITS, ONE, TABLE, lcss, trained

SPEC = ConditionSpec("condition_size", 2)
COLUMNS = DataInfo("c", (2,), "table", Scaling.standardising([0, 0], [1, 1]), ("age", "bmi, kg"))
INFO = DataInfo("x", (1,), "table", Scaling.identity(), condition=COLUMNS)
PICTURES = DataInfo("c", (4, 4, 1), "image", Scaling.standardising([0], [1]))
IMAGES = DataInfo("x", (4, 4, 3), "image", Scaling.for_images(), condition=PICTURES)

GIVEN = """
Table.columns = ("weight",)
Table.condition = ("age", "height")
MLP.condition_size = 2
fit.steps = 4
Pictures.every = 4
"""


def read(text, spec=SPEC, info=INFO):
    return read_conditions(text, spec, info, lambda: None)[0]


def test_what_the_flag_takes(tmp_path):
    assert read("age=63,height=-1.5e2") == {"age": 63.0, "height": -150.0}
    np.testing.assert_array_equal(read("63,27.5"), [63, 27.5])
    assert read("null") == "null"
    assert read("bag", ConditionSpec("num_classes", 3)) == "bag"
    values = np.array([[1.0, 2.0], [3.0, 4.0]])
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", condition=values, samples=np.ones(3))
    (tmp_path / "a.csv").write_text('name,"bmi, kg",age\nann,2,1\nbob,4,3\n')
    for name in ("a.npy", "a.npz", "a.csv"):
        np.testing.assert_array_equal(read(str(tmp_path / name)), values)
    pixels = np.arange(16, dtype=np.uint8).reshape(4, 4)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    spec = ConditionSpec("condition_channels", 1)
    np.testing.assert_array_equal(read(str(tmp_path / "a.png"), spec, IMAGES)[..., 0], pixels)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("age=old", "names and numbers, as age=63,bmi=27; got 'age=old'"),
        ("=3", "names and numbers"),
        ("nowhere.csv", "No file nowhere.csv"),
        ("test:0", "as 'test' or 'test:16'; got 'test:0'"),
    ],
)
def test_what_it_refuses(text, message):
    with pytest.raises((UsageError, FileNotFoundError), match=message):
        read(text)


def test_a_csv_file_with_a_gap_is_named(tmp_path):
    (tmp_path / "a.csv").write_text('age,"bmi, kg"\n1,2\n3,\n')
    with pytest.raises(UsageError, match="a.csv, line 3, column 'bmi, kg', holds no number"):
        read(str(tmp_path / "a.csv"))


def test_held_out_conditions_come_with_the_examples_that_have_them():
    data = LowResolution(Digits(), 2)
    spec = ConditionSpec("condition_channels", 1)
    told, truth = read_conditions("test:7", spec, data.info(), lambda: data)
    assert truth.dtype == np.uint8
    assert told.shape == truth.shape == (7, 8, 8, 1)
    means = truth.reshape(7, 4, 2, 4, 2).mean(axis=(2, 4)).repeat(2, 1).repeat(2, 2)
    np.testing.assert_allclose(told[..., 0], means, atol=1e-3)


UPSAMPLED = [
    *DIGITS,
    "fit.data = @datasets.LowResolution()",
    "LowResolution.data = @datasets.Digits()",
    "NCSNpp.condition_channels = 1",
    "fit.steps = 2",
    "Pictures.every = 2",
    "Evaluation.metric = @metrics.PixelFrechet()",
    "PixelFrechet.num_samples = 80",
    "sample.sampler = @samplers.ProbabilityFlowODE()",
    "ProbabilityFlowODE.num_steps = 2",
]


@pytest.mark.slow
def test_every_picture_shows_what_images_were_given(tmp_path, capsys, monkeypatch):
    run = trained(tmp_path / "run", *UPSAMPLED)
    assert (run / "samples" / "given_000000002.png").is_file()
    words = [f"--workdir={run}", f"--gin_bindings={ONE}"]
    out = tmp_path / "s"
    status = lcss("sample", *words, "--condition=test:3", "--num_samples=12", f"--out={out}")
    assert status == 0, capsys.readouterr().err
    with np.load(f"{out}.npz") as found:
        assert (found["truth"][:3] == found["truth"][3:6]).all()
        assert not (found["truth"][0] == found["truth"][1]).all()
    side = 64 + 2
    # Given, truth, and four samples of each of the three.
    assert Image.open(f"{out}.png").size == (6 * side + 2 + 2 + 10, 3 * side + 2 + 18)
    gin.clear_config()
    assert lcss("evaluate", *words) == 0, capsys.readouterr().err
    assert "--condition=test:16" in capsys.readouterr().out  # not how to draw without one
    with Image.open(run / "samples" / "final_grid.png") as picture:
        assert picture.mode == "RGB"  # condition, truth and sample; a grid of digits is grey
    gin.clear_config()
    # What only shows ends no evaluation.
    shutil.rmtree(run / "evaluation")
    monkeypatch.setattr(evaluate, "given_of", lambda *_: 1 / 0)
    assert lcss("evaluate", *words) == 0, capsys.readouterr().err
    with Image.open(run / "samples" / "final_grid.png") as picture:
        assert picture.mode == "L"
    gin.clear_config()


@pytest.mark.slow
def test_a_table_given_some_of_its_columns(tmp_path, capsys):
    random = np.random.default_rng(0)
    rows = random.normal(size=(40, 3)) + [50, 170, 70]
    text = "\n".join(",".join(map(str, row)) for row in rows)
    (tmp_path / "rows.csv").write_text("age,height,weight\n" + text)
    (tmp_path / "run.gin").write_text(TABLE.format(tmp_path / "rows.csv") + GIVEN)
    run = trained(tmp_path / "run", gin_file=tmp_path / "run.gin")
    assert (run / "samples" / "given_000000004.png").is_file()
    sample = ["sample", f"--workdir={run}", f"--out={tmp_path / 's'}", f"--gin_bindings={ONE}"]

    def drawn(*words):
        gin.clear_config()
        status = lcss(*sample, *words)
        assert status == 0, capsys.readouterr().err
        with np.load(tmp_path / "s.npz") as found:
            return dict(found)

    one = drawn("--condition=height=180,age=30", "--num_samples=3")
    np.testing.assert_allclose(one["condition"], [[30, 180]] * 3, rtol=1e-6)
    assert one["samples"].shape == (3, 1)
    held = drawn("--condition=test:5")
    assert (held["samples"].shape, held["condition"].shape) == ((5, 1), (5, 2))
    assert all(np.isclose(rows[:, :2], c, rtol=1e-5).all(1).any() for c in held["condition"])
    told = np.concatenate([held["condition"], held["truth"]], axis=1)
    assert all(np.isclose(rows, row, rtol=1e-5).all(1).any() for row in told)
    assert "condition" not in drawn("--guidance=0", "--num_samples=2")
    for words, message in (
        ([], "takes a condition (condition_size = 2), and none was given"),
        (["--condition=age=3"], "The condition is the columns age, height; got age"),
        (["--condition=1,2,3"], "got an array of shape (3,)"),
        (["--label=1"], "label = 1 was asked of a network without classes"),
    ):
        gin.clear_config()
        assert lcss(*sample, *words) == 1
        assert message in capsys.readouterr().err
    gin.clear_config()
