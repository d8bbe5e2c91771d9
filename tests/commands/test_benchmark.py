"""The benchmark: counted arithmetic, and the command with its table and JSON."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf

from lcss_tf import config
from lcss_tf.benchmark.arithmetic import count_flops
from lcss_tf.benchmark.cases import sampling_case
from lcss_tf.benchmark.run import Benchmark
from lcss_tf.experiment.recipe import Recipe
from lcss_tf.training.distribution import Distribution

ROOT = Path(__file__).parents[2]


def test_products_and_convolutions_are_counted_as_on_paper():
    a, b = tf.ones([3, 4]), tf.ones([4, 5])
    assert count_flops(tf.matmul, a, b) == 2 * 3 * 4 * 5
    stacked = tf.ones([7, 4, 3])
    assert count_flops(lambda a: tf.matmul(a, a, transpose_a=True), stacked) == 2 * 7 * 3 * 4 * 3
    x, kernel = tf.ones([2, 8, 8, 3]), tf.ones([3, 3, 3, 5])
    forward = 2 * (2 * 8 * 8) * (3 * 3 * 3) * 5
    convolve = lambda x, kernel: tf.nn.conv2d(x, kernel, 1, "SAME")
    assert count_flops(convolve, x, kernel) == forward

    def gradients(x, kernel):
        with tf.GradientTape() as tape:
            tape.watch([x, kernel])
            y = tf.reduce_sum(convolve(x, kernel) ** 2)
        return tape.gradient(y, [x, kernel])

    assert count_flops(gradients, x, kernel) == 3 * forward
    assert count_flops(lambda x: tf.sin(x) + x, x) == 0


@pytest.mark.slow
def test_the_command_writes_a_table_and_json(tmp_path):
    bindings = (
        "ScoreModel.network = @networks.MLP()", "MLP.width = 8", "MLP.depth = 1",
        "fit.data = @datasets.TwoMoons()", "benchmark.rounds = 2", "benchmark.runs = 1",
        "ScoreModel.preconditioning = 'moments'", "benchmark.losses = {'DSM': @losses.DSMLoss()}",
        "NCSNpp.dropout = 0.0", "benchmark.modes = ('auto', 'graph')",
    )  # fmt: skip
    done = subprocess.run(
        [
            sys.executable, "bin/benchmark.py", "--gin_file=gin/benchmark/ddpmpp_32.gin",
            f"--workdir={tmp_path}", *[f"--gin_bindings={line}" for line in bindings],
        ],
        cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True,
        timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads((tmp_path / "benchmark.json").read_text())
    assert result["matrix_product_gflops_per_second"] > 1
    cases = {(row["case"], row["mode"]) for row in result["rows"]}
    assert ("train, DSM", "auto") in cases
    assert ("forward", "graph") in cases
    assert len(cases) == 6
    for row in result["rows"]:
        assert row["ms"] > 0
        assert row["gflop"] > 0
    assert "| forward | graph |" in (tmp_path / "benchmark.md").read_text()


@pytest.mark.parametrize(("name", "evaluations"), [("EulerMaruyama", 5), ("DormandPrince", None)])
def test_sampling_is_counted_by_the_evaluation(name, evaluations):
    """One that chooses its steps by itself is divided by those that it took."""
    bindings = [f"sample.sampler = @samplers.{name}()"]
    bindings += [] if evaluations else ["DormandPrince.rtol = 0.01", "DormandPrince.atol = 0.01"]
    config.load(ROOT / "tests" / "small.gin", bindings)
    case = sampling_case(Recipe(), Distribution(), False, 100, num_steps=5)
    case.run()
    assert case.name == f"{name}, one evaluation"
    assert case.flops == 100
    taken = case.per_run()
    # Two to begin with, and six for each step that was tried.
    assert taken == evaluations if evaluations else taken > 8 and taken % 6 == 2


def test_unknown_modes_are_refused():
    with pytest.raises(ValueError, match="modes among"):
        Benchmark(modes=("fast",))
