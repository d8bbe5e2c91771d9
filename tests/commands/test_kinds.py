"""Signals, volumes and tables go the whole way: training, its pictures, sampling, evaluation."""

import json

import numpy as np
import pytest
from tensorboard.backend.event_processing import event_accumulator

from lcss_tf.commands.evaluate import Evaluation
from tests.commands.helpers import ONE, lcss, load_run, trained

SHORT = [
    "fit.steps = 2",
    "fit.batch_size = 4",
    "TrainStep.jit_compile = False",
    "sample.jit_compile = False",
    "sample.batch_size = 16",
    "Pictures.every = 2",
    "Pictures.num_samples = 2",
    "ProbabilityFlowODE.num_steps = 2",
    "check_prior.num_examples = 16",
]
NARROW = ["NCSNpp.num_features = 4", "NCSNpp.channel_multipliers = (1,)"]
KINDS = {
    "signal": ([*NARROW, "Vibrations.length = 32"], (32, 1), {"waveforms", "spectra"}),
    "volume": (
        [*NARROW, "MovingDigits.frames = 3", "MovingDigits.size = 10"],
        (3, 10, 10, 1),
        {"slices"},
    ),
    "table": (["MLP.width = 8", "MLP.depth = 1"], (5,), {"pairs"}),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind", ["table", *(pytest.param(k, marks=pytest.mark.slow) for k in ("signal", "volume"))]
)
def test_a_kind_goes_the_whole_way(kind, tmp_path):
    narrow, shape, pictures = KINDS[kind]
    bindings = [*SHORT, *narrow]
    if kind != "table":
        bindings.append("Evaluation.metric = @metrics.SlicedWasserstein()")
        bindings.append("SlicedWasserstein.num_samples = 16")
    trained(tmp_path, *bindings, gin_file=f"lcss_{kind}.gin")
    drawn = {path.name.rsplit("_", 1)[0] for path in (tmp_path / "samples").glob("*.png")}
    assert drawn == pictures
    events = event_accumulator.EventAccumulator(str(tmp_path))
    events.Reload()
    assert {f"samples/{name}" for name in pictures} <= set(events.Tags()["tensors"])
    described = json.loads((tmp_path / "data.json").read_text())
    assert (described["kind"], tuple(described["shape"])) == (kind, shape)
    out = tmp_path / "out"
    words = [f"--workdir={tmp_path}", "--num_samples=5", f"--out={out}.npz"]
    assert lcss("sample", *words, bindings=[ONE]) == 0
    assert np.load(f"{out}.npz")["samples"].shape == (5, *shape)
    assert out.with_suffix(".png").is_file()
    figures = Evaluation(load_run(tmp_path)).run()
    assert any(name.endswith("_of_training_data") for name in figures)
