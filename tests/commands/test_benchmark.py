"""The benchmark: counted arithmetic, the command's table and JSON, overheads, growing memory.

A leak is seen in the most that each third of a run holds; the allocator's jumps are not one.
"""

import json

import numpy as np
import pytest
import tensorflow as tf

from lcss_tf.commands import _cli, _gin, benchmark
from lcss_tf.commands._benchmark import Benchmark, count_flops, new_run, sampling_case
from lcss_tf.commands._benchmark_more import most_by_thirds, scaling_table, thirds_text
from lcss_tf.errors import UsageError
from tests.processes import ROOT


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
        "fit.data = @datasets.TwoMoons()", "Benchmark.rounds = 2", "Benchmark.runs = 1",
        "ScoreModel.preconditioning = 'moments'", "Benchmark.losses = {'DSM': @losses.DSMLoss()}",
        "NCSNpp.dropout = 0.0", "Benchmark.modes = ('auto', 'graph')",
        "Benchmark.steps_per_call = (1, 2)",
    )  # fmt: skip
    arguments = ["--gin_file=benchmark/ddpmpp_32.gin", f"--workdir={tmp_path}"]
    arguments += [f"--gin_bindings={line}" for line in bindings]
    assert _cli.run(benchmark, arguments, "lcss benchmark") == 0
    result = json.loads((tmp_path / "benchmark.json").read_text())
    assert result["matrix_product_gflops_per_second"] > 1
    cases = {(row["case"], row["mode"]) for row in result["rows"]}
    assert ("train, DSM", "auto") in cases
    assert ("forward", "graph") in cases
    assert ("train, DSM, 2 a call", "graph") in cases
    assert len(cases) == 8
    for row in result["rows"]:
        assert row["ms"] > 0
        assert row["gflop"] > 0
    assert "| forward | graph |" in (tmp_path / "benchmark.md").read_text()


@pytest.mark.parametrize(("name", "nfe"), [("EulerMaruyama", 5), ("DormandPrince", None)])
def test_sampling_is_counted_by_the_evaluation(name, nfe):
    """One that chooses its steps by itself is divided by those that it took."""
    bindings = [f"sample.sampler = @samplers.{name}()"]
    bindings += [] if nfe else ["DormandPrince.rtol = 0.01", "DormandPrince.atol = 0.01"]
    _gin.load(ROOT / "tests" / "small.gin", [*bindings, "Distribution.num_replicas = 1"])
    case = sampling_case(new_run(), False, 100, num_steps=5)
    case.run()
    assert case.name == f"{name}, one evaluation"
    assert case.flops == 100
    taken = case.per_run()
    # Two to begin with, and six for each step that was tried.
    assert taken == nfe if nfe else taken > 8 and taken % 6 == 2


def test_unknown_modes_are_refused():
    with pytest.raises(UsageError, match="modes among"):
        Benchmark(modes=("fast",))


@pytest.mark.parametrize("counts", [(), (1, 0)])
def test_calls_of_no_steps_are_refused(counts):
    with pytest.raises(UsageError, match="steps_per_call expects whole numbers"):
        Benchmark(steps_per_call=counts)


STEPS = np.arange(50, 20_001, 50)


def test_a_leak_shows():
    most = most_by_thirds(STEPS, 1_000 + 0.01 * STEPS)
    assert most == pytest.approx([1_066.5, 1_133, 1_200], abs=1)
    assert thirds_text(most).endswith("MiB")


def test_memory_given_back_is_no_growth():
    mib = np.full(len(STEPS), 1_200.0)
    mib[150:200] = 1_100.0
    assert most_by_thirds(STEPS, mib) == [1_200.0] * 3


def test_too_few_readings():
    with pytest.raises(UsageError, match="8 readings"):
        most_by_thirds(STEPS[:8], STEPS[:8])


def test_overheads_are_medians_of_ratios_within_a_round():
    """The machine slows down by half from round to round: the ratio does not care."""
    rows = scaling_table({"one": [10.0, 15.0, 20.0], "two": [11.0, 16.5, 22.0]}).splitlines()
    assert rows[-1] == "| two | 16.50 | 1.10 |"
