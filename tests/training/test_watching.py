"""What is written to be watched: curves, real examples, logs of services; and the page on it."""

import ast
import functools
import re
import types
from pathlib import Path

import keras
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf import callbacks, plots
from lcss_tf.plots.history import _scalars
from lcss_tf.training import Distribution, Trainer, TrainStep
from lcss_tf.training.keras_callbacks import _records

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "watching.md").read_text()


def model_of(x):
    if x.ndim == 2:
        network = lcss.networks.MLP(width=8, depth=1)
    else:
        network = lcss.networks.NCSNpp(
            num_features=4, channel_multipliers=(1,), num_res_blocks=1, attention_resolutions=()
        )
    return lcss.ScoreModel(network, distribution=Distribution(1))


def quiet(check_prior=None):
    make = functools.partial(TrainStep, jit_compile=False)
    trainer = Trainer(log_every=2, check_prior=check_prior, make_step=make)
    trainer.show_progress = False
    return trainer


def fit(x, workdir=None, added=(), steps=4, **options):
    trainer = quiet(options.pop("check_prior", None))
    model = model_of(x)
    model.fit(
        x, steps=steps, batch_size=8, workdir=workdir, callbacks=added, trainer=trainer, **options
    )
    return model


def plane(count=64):
    return np.random.default_rng(0).normal(size=(count, 2)).astype(np.float32)


class Recorder(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.logs = []

    def on_epoch_end(self, epoch, logs=None):
        self.logs.append(dict(logs))


def test_weights_and_biases_offline_hears_the_loss_of_both_splits(tmp_path, monkeypatch):
    wandb = pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    heard = []
    run = wandb.init(project="moons", dir=str(tmp_path))
    try:
        log = wandb.log
        monkeypatch.setattr(wandb, "log", lambda values: (heard.append(dict(values)), log(values)))
        fit(plane(), validation=plane(16), added=[wandb.keras.WandbMetricsLogger()])
    finally:
        run.finish()
    assert [values["epoch/epoch"] for values in heard] == [0, 1]
    for values in heard:
        assert np.isfinite([values["epoch/loss"], values["epoch/val_loss"]]).all()
        assert values["epoch/learning_rate"] > 0
    assert list(tmp_path.rglob("*.wandb"))


def test_a_logger_of_a_service_that_fails_ends_nothing():
    class Lost(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            raise ConnectionError("the service is gone")

    Lost.__module__ = "wandb.integration.keras.callbacks"
    seen = Recorder()
    assert fit(plane(), added=[Lost(), seen]).step == 4
    assert len(seen.logs) == 2
    assert not _records(seen)
    Lost.__module__ = "mine"
    with pytest.raises(ConnectionError):
        fit(plane(), added=[Lost()])


@pytest.mark.slow
def test_real_examples_stand_beside_samples_once(tmp_path, monkeypatch):
    x = np.random.default_rng(0).integers(0, 255, (32, 4, 4, 1)).astype(np.uint8)
    sampler = lcss.samplers.EulerMaruyama(num_steps=2)
    pictures = lambda: callbacks.Pictures(
        2, 16, sampling={"sampler": sampler, "batch_size": 16, "jit_compile": False}
    )
    titled, calls = plots.titled, []
    monkeypatch.setattr(plots, "titled", lambda *_: 1 / 0)
    assert fit(x, tmp_path, [pictures()]).step == 4  # what cannot be drawn ends nothing
    folder = tmp_path / "samples"
    assert (folder / "grid_000000004.png").is_file()
    assert not (folder / "data_grid.png").exists()
    monkeypatch.setattr(plots, "titled", lambda *given: calls.append(given) or titled(*given))
    fit(x, tmp_path, [pictures()], steps=8)
    assert len(calls) == 1
    real, samples = (plots.read_png(folder / f"{n}.png") for n in ("data_grid", "grid_000000008"))
    assert real.shape[1] == samples.shape[1]
    heading = real.shape[0] - samples.shape[0]
    assert heading == 18
    data = lcss.data.from_user(x)
    examples = data.info().unscale(data.some_examples(16, "train")).reshape(16, 4, 4, 1)
    np.testing.assert_array_equal(real[heading:, :, :1], plots.main_view(examples, data.info()))


# The page ---------------------------------------------------------------------------------------


def documented():
    """The tags in the first column of the page's table, bucket and metric names as `…`."""
    section = PAGE.split("## Every curve")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return {tag for row in rows for tag in re.findall(r"`([^`]+)`", row)}


def general(tag):
    tag = re.sub(r"/\d+\.\d+-\d+\.\d+$", "/…", tag)
    return re.sub(r"^(watch|evaluate|evaluate_error)/.+", r"\1/…", tag)


@pytest.mark.slow
def test_every_scalar_that_a_training_writes_is_on_the_page(tmp_path):
    """And every scalar on the page is written: by this training, or by the code of a command."""
    x = plane()
    sampling = {"sampler": lcss.samplers.EulerMaruyama(num_steps=2), "jit_compile": False}
    metric = lcss.metrics.SlicedWasserstein(num_samples=64)
    added = [
        callbacks.Diagnostics(4, small_diagnostics),
        callbacks.Watch(4, metric, sampling=sampling),
    ]
    fit(
        x, tmp_path, added, validation=plane(32), check_prior=lcss.training.prior_check.report_prior
    )
    events = tmp_path.glob("events.out.tfevents.*")
    written = {general(name) for path in events for name, *_ in _scalars(path)}
    assert written <= documented()
    of_commands = documented() - written
    assert {tag.partition("/")[0] for tag in of_commands} <= prefixes()


def small_diagnostics(score, loss):
    return lcss.training.GradientDiagnostics(score, loss, num_draws=2, batch_size=8, num_buckets=2)


def prefixes():
    """What stands before the slash in tags that commands write, by their code."""
    found = set()
    for name in ("_results.py", "_comparison_report.py"):
        for node in ast.walk(ast.parse((ROOT / "lcss_tf" / "commands" / name).read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found |= set(re.findall(r"^([a-z_]+)/", node.value))
                found |= {node.value} if node.value in ("evaluate", "evaluate_error") else set()
    return found | {f"compare_at_equal_{budget}" for budget in ("steps", "seconds")}


def test_the_terms_of_every_loss_are_on_the_page():
    sde, x = lcss.sdes.VPSDE(), plane(4)
    score_fn = lambda x, t, condition=None: -x
    for name in lcss.LOSSES:
        loss = lcss.LOSSES[name]()
        terms = loss.terms(score_fn, sde, x, np.full(4, 0.5, np.float32), 0)
        assert {f"loss/{term}" for term in terms} <= documented(), name


def test_the_callbacks_that_the_page_binds_are_bound():
    from lcss_tf.commands import _gin

    named = set(re.findall(r"`(\w+)`", PAGE.split("From the command line")[1].split("\n\n")[0]))
    assert named == set(_gin.KERAS_CALLBACKS)
    assert isinstance(_gin, types.ModuleType)
