"""Every shipped configuration parses, builds and says how it is run."""

import gin
import pytest

from lcss_tf.commands._gin import CONFIGS
from lcss_tf.commands.train import build, dry_run, planned
from lcss_tf.data import idx
from tests.commands.helpers import ROOT, load

EXPERIMENTS = sorted(set(CONFIGS.glob("*.gin")) - set(CONFIGS.glob("compare_*.gin"))) + sorted(
    (ROOT / "examples").glob("*.gin")
)
ALL = sorted([*CONFIGS.rglob("*.gin"), *(ROOT / "tests").glob("*.gin")])


def test_the_promised_ones_are_there():
    names = {path.stem for path in EXPERIMENTS}
    promised = {"lcss_digits", "dsm_digits", "lcss_checkerboard", "lcss_cifar10", "lcss_ffhq"}
    promised |= {"lcss_signal", "lcss_volume", "lcss_table", "lcss_fashion", "lcss_fashion_small"}
    promised |= {"lcss_fashion_power4", "lcss_fashion_kinetic", "lcss_fashion_upsample"}
    promised |= {"lcss_table_given"}
    assert promised <= names


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda p: p.stem)
def test_it_opens_with_command_hours_and_quality(path):
    head = path.read_text().split("\n\n", 1)[0] + path.read_text()
    name = path.relative_to(ROOT).as_posix()
    assert f"python bin/train.py --gin_file={name}" in head
    assert "# Hours: " in head or "# Minutes: " in head
    assert "# Quality: " in head


@pytest.mark.parametrize("path", ALL, ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_it_parses_and_its_references_are_known(path):
    load(path)
    text = gin.config_str()
    gin.clear_config()
    gin.parse_config(text)
    assert gin.config_str() == text


@pytest.mark.parametrize(
    "path", sorted([*CONFIGS.glob("benchmark/*.gin"), *CONFIGS.glob("score_sde/*.gin")]),
    ids=lambda p: p.stem,
)  # fmt: skip
def test_what_is_timed_or_imported_is_a_model_and_its_training(path):
    load(path)
    model, arguments = build()
    assert model.network is not None
    arguments["loss"].check(model.sde)


# Large networks take long to build; the small ones here have the network of lcss_digits.
_LARGE = ("lcss_ffhq", "lcss_cifar10", "dsm_digits", "lcss_digits_dequantised", "lcss_photos")
_LARGE += ("lcss_fashion", "lcss_fashion_small", "lcss_fashion_power4", "lcss_fashion_kinetic")
_LARGE += ("lcss_fashion_upsample",)
_PLANNED = ("lcss_checkerboard", "lcss_table")  # the others compile for ten seconds to be measured


def _some(names, at_once):
    return [
        pytest.param(
            path, id=path.stem, marks=pytest.mark.slow if (path.stem in names) != at_once else ()
        )
        for path in EXPERIMENTS
    ]


def _load(path):
    own = path.with_suffix(".py")
    load(path, imports=[str(own)] if own.exists() else [])


@pytest.mark.parametrize("path", _some(_LARGE, at_once=False))
def test_it_builds(path):
    _load(path)
    model, arguments = build()
    run = planned(model, arguments)
    assert run.state.num_parameters() > 1_000
    run.loss.check(model.sde)
    run.state.distribution.rows_per_replica(run.batch_size, "fit.batch_size")


@pytest.mark.parametrize("path", _some(_PLANNED, at_once=True))
def test_it_is_planned(path, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    _load(path)
    lines = dry_run("runs/none")
    printed = capsys.readouterr().out
    for word in ("parameters", "replicas", "global batch", "steps", "data"):
        assert word in printed
    assert lines["replicas"] == "1 (mirrored)"


def test_fashion_mnist_is_planned_without_its_files(tmp_path, monkeypatch):
    """The shape is known, the loss is the default; training then says what is missing, at once."""
    for name in ("HOME", "KERAS_HOME", "TFDS_DATA_DIR", "LCSS_TF_CACHE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setattr(idx, "_DEBIAN", str(tmp_path))
    _load(CONFIGS / "lcss_fashion_kinetic.gin")
    model, arguments = build()
    run = planned(model, arguments)
    assert run.state.shape == (28, 28, 1)
    assert run.loss.plan(model.sde).smoothing == "path"
    with pytest.raises(FileNotFoundError, match="apt-get install dataset-fashion-mnist"):
        model.fit(**arguments)


@pytest.mark.parametrize(
    "name", ["lcss_cifar10", "lcss_ffhq", "lcss_fashion", "lcss_fashion_small"]
)
def test_the_large_recipes_take_the_default_loss(name):
    load(f"{name}.gin")
    assert not [line for line in gin.config_str().splitlines() if line.startswith("LCSSLoss.")]


def test_a_plan_is_the_run_that_fit_trains():
    """Everything that training takes is there, though the data are not."""
    load("lcss_checkerboard.gin")
    model, arguments = build()
    run = planned(model, arguments)
    assert run.data is arguments["data"]
    assert (run.steps, run.batch_size) == (arguments["steps"], arguments["batch_size"])
    assert type(run.state.optimizer) is type(arguments["optimizer"])
    assert float(run.state.optimizer.learning_rate) == float(arguments["optimizer"].learning_rate)
    assert run.state.step == 0
    assert run.workdir is None
