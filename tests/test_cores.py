"""A batch in parts, a core each: when, and the same numbers as in one."""

import json
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf

import lcss_tf as lcss
from lcss_tf import cores
from lcss_tf.commands import _gin
from lcss_tf.inference import Sampling
from lcss_tf.inference.runner import Runner
from lcss_tf.losses.times import AdaptiveTimes
from lcss_tf.training import Distribution, memory
from tests.processes import ENVIRONMENT, ROOT
from tests.training import helpers

MUCH = 10**9  # weights


@pytest.fixture
def machine(monkeypatch):
    """Sets (cores, threads of an operation)."""

    def become(number, threads):
        monkeypatch.setattr(cores, "count", lambda: number)
        monkeypatch.setattr(
            tf.config.threading, "get_intra_op_parallelism_threads", lambda: threads
        )

    return become


@pytest.mark.parametrize(
    ("number", "threads", "rows", "weights", "replicas", "expected"),
    [
        (2, 0, 64, MUCH, 1, 1),  # TensorFlow's own choice
        (2, 2, 64, MUCH, 1, 1),
        (2, 1, 64, MUCH, 1, 2),
        (2, 1, 64, 100, 1, 1),  # too little work
        (2, 1, 1, MUCH, 1, 1),
        (2, 1, 15, MUCH, 1, 1),
        (4, 1, 15, MUCH, 1, 3),
        (4, 1, 64, MUCH, 2, 2),
        (4, 1, 64, MUCH, 4, 1),
        (64, 1, 64, MUCH, 1, 8),
    ],
)
def test_parts(machine, number, threads, rows, weights, replicas, expected):
    machine(number, threads)
    assert cores.parts(rows, weights, replicas) == expected


def test_parts_are_all_rows_in_order():
    assert cores.in_parts(3, lambda own: (own.start, own.stop), 12) == [(0, 4), (4, 8), (8, 12)]
    x = tf.range(12)
    np.testing.assert_array_equal(cores.joined(3, lambda own: x[own], 12), x)


def test_several_batches_at_the_same_time_keep_their_order(machine):
    for threads in (0, 1):
        machine(3, threads)
        assert cores.each(lambda n: n * n, range(20)) == [n * n for n in range(20)]


# In a process of its own, since TensorFlow takes the threads once.
ASK = """
import json, os, sys
import tensorflow as tf
from lcss_tf import cores

cores.count = lambda: 2
batch, before = json.loads(sys.argv[1])
if before == "computes":
    tf.constant(1.0) + 1.0
elif before:
    tf.config.threading.set_intra_op_parallelism_threads(before)
done = cores.one_thread_an_operation(batch)
print(json.dumps([done, tf.config.threading.get_intra_op_parallelism_threads()]))
"""


@pytest.mark.parametrize(
    ("batch", "before", "environment", "expected"),
    [
        (64, None, {}, [True, 1]),
        (63, None, {}, [False, 0]),
        (64, 2, {}, [False, 2]),
        (64, "computes", {}, [False, 0]),
        (64, None, {"TF_NUM_INTRAOP_THREADS": "2"}, [False, 0]),
    ],
)
def test_when_the_threads_are_set(batch, before, environment, expected):
    done = subprocess.run(
        [sys.executable, "-c", ASK, json.dumps([batch, before])],
        env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == expected


@pytest.mark.parametrize(
    ("gin_file", "bindings", "task", "expected"),
    [
        ("lcss_fashion_small.gin", [], "fit", [True, [64]]),
        ("lcss_fashion_small.gin", [], "sample", [True, [100]]),
        ("lcss_digits_dit.gin", ["fit.batch_size = 32"], "fit", [True, [32]]),
        ("lcss_digits.gin", ["TrainStep.jit_compile = True"], "fit", [False, []]),
        ("lcss_digits.gin", ["TrainStep.jit_compile = 'pieces'"], "fit", [True, [64]]),
        ("lcss_digits.gin", ["TrainStep.jit_compile = False"], "sample", [True, [64]]),
        ("lcss_digits.gin", ["sample.jit_compile = False"], "sample", [False, []]),
        ("lcss_digits.gin", ["Benchmark.modes = ('auto', 'one program')"], "fit", [False, []]),
        ("lcss_digits.gin", ["Distribution.strategy = 'tpu'"], "fit", [False, []]),
        ("compare_networks.gin", [], "fit", [True, [64]]),
    ],
)
def test_the_configuration_says_the_batch_and_the_network(
    gin_file, bindings, task, expected, monkeypatch
):
    asked = []
    monkeypatch.setattr(cores, "one_thread_an_operation", lambda size: asked.append(size) or True)
    _gin.load(gin_file, bindings)
    assert [_gin.share_cores(task), asked] == expected


# In a process of its own, where the network stays registered.
OWN = """
import sys
from lcss_tf import cores
from lcss_tf.commands import _gin

cores.one_thread_an_operation = lambda size: sys.exit("asked for")
_gin.load("lcss_digits.gin", ["ScoreModel.network = @networks.Own()"], [sys.argv[1]])
assert _gin.share_cores("fit") is False
"""


def test_a_network_of_ones_own_is_left_as_it_is(tmp_path):
    """XLA's convolutions of a whole program would have one thread among them all."""
    (tmp_path / "own.py").write_text(
        "import lcss_tf, keras\n@lcss_tf.register_network\nclass Own(keras.Model):\n    pass\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", OWN, str(tmp_path / "own.py")],
        env=ENVIRONMENT, cwd=ROOT, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def images_state(replicas=1, levels=1):
    """A small network on 8×8 images, ready to train, with attention on its last level."""
    network = lcss.networks.NCSNpp(
        num_features=8, channel_multipliers=(1, 2)[:levels], num_res_blocks=1,
        attention_resolutions=(8 // levels,), dropout=0.1, num_classes=3,
    )  # fmt: skip
    score = lcss.score.Score(lcss.sdes.VPSDE(), lcss.score.Moments())
    score.preconditioning.prepare(score.sde, tf.random.stateless_normal([64, 8, 8, 1], [1, 2]))
    state = lcss.training.TrainState(score, network, (8, 8, 1), Distribution(replicas))
    state.attach(helpers.adam())
    return state


def one_step(monkeypatch, parts, loss, replicas=1, levels=1, **options):
    """(report, gradient norm, weights) of a step in so many parts at once."""
    monkeypatch.setattr(cores, "parts", lambda *_: parts)
    state = images_state(replicas, levels)
    step = lcss.training.TrainStep(state, loss, 8, seed=3, **options)
    assert step.parts_at_once == parts
    x = tf.random.stateless_normal([8, 8, 8, 1], [5, 6])
    labels = tf.constant([0, 1, 2, 0, 1, 2, 0, 1])
    rows = 8 // replicas
    values = state.distribution._strategy.experimental_distribute_values_from_function(
        lambda c: (x[c.replica_id_in_sync_group * rows :][:rows],
                   labels[c.replica_id_in_sync_group * rows :][:rows])
    )  # fmt: skip
    report = tf.nest.map_structure(lambda v: v.numpy(), step(values, 0))
    return report, helpers.weights(state.network)


def assert_same(one, other, rtol=2e-5, weighted=False):
    """`weighted`: the counts are sums of importance weights, which are no whole numbers."""
    assert other[0].loss == pytest.approx(one[0].loss, rel=rtol)
    assert other[0].gradient_norm == pytest.approx(one[0].gradient_norm, rel=rtol)
    counts_rtol = 1e-6 if weighted else 0.0
    np.testing.assert_allclose(other[0].bucket_counts, one[0].bucket_counts, rtol=counts_rtol)
    np.testing.assert_allclose(other[0].bucket_sums, one[0].bucket_sums, rtol=rtol, atol=1e-5)
    assert np.linalg.norm(one[1] - other[1]) < 1e-4 * np.linalg.norm(one[1])


@pytest.mark.parametrize(
    ("parts", "options"),
    [
        (2, {}),
        pytest.param(4, {"levels": 2}, marks=pytest.mark.slow),
        (2, {"accumulation_steps": 2}),
        pytest.param(2, {"jit_compile": True}, marks=pytest.mark.slow),
        pytest.param(2, {"replicas": 2, "levels": 2}, marks=pytest.mark.slow),
    ],
)
def test_a_step_in_parts_is_the_same_step(monkeypatch, parts, options):
    """Times, noise, dropout and dropped labels belong to the rows of the global batch."""
    loss = lambda: lcss.losses.LCSSLoss()
    alike = {key: options[key] for key in ("replicas", "levels") if key in options}
    one = one_step(monkeypatch, 1, loss(), **alike)
    assert_same(one, one_step(monkeypatch, parts, loss(), **options))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("made", "weighted"),
    [
        (lambda: lcss.losses.LCSSLoss(times=AdaptiveTimes()), True),
        (lambda: lcss.losses.SSMLoss(), False),
    ],
    ids=["adaptive", "second derivative"],
)
def test_a_second_derivative_and_what_times_keep(monkeypatch, made, weighted):
    one, two = (one_step(monkeypatch, parts, made()) for parts in (1, 2))
    assert_same(one, two, weighted=weighted)


def test_several_steps_a_call_in_parts(monkeypatch):
    monkeypatch.setattr(cores, "parts", lambda *_: 2)
    by_one, together = images_state(), images_state()
    x = [tf.random.stateless_normal([8, 8, 8, 1], [5, k]) for k in range(3)]
    batches = [(image, tf.constant([0, 1, 2, 0, 1, 2, 0, 1])) for image in x]
    make = lambda state: lcss.training.TrainStep(state, lcss.losses.LCSSLoss(), 8, seed=3)
    step = make(by_one)
    for k, batch in enumerate(batches):
        step(batch, k)
    make(together).several(batches, 0, 3)
    first, second = helpers.weights(by_one.network), helpers.weights(together.network)
    assert np.linalg.norm(first - second) < 1e-5 * np.linalg.norm(first)


def test_samples_in_parts_are_the_same(monkeypatch):
    state = images_state()
    drawn = []
    for parts in (1, 2):
        monkeypatch.setattr(cores, "parts", lambda *_, parts=parts: parts)
        sampling = Sampling(state, lcss.samplers.EulerMaruyama(num_steps=5), batch_size=4)
        drawn.append(sampling(6, seed=1, trajectory_steps=5, progress=False))
    np.testing.assert_allclose(drawn[1].x, drawn[0].x, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(drawn[1].trajectory, drawn[0].trajectory, rtol=1e-4, atol=1e-4)
    assert drawn[1].nfe == drawn[0].nfe


def test_a_runner_in_parts_gives_rows_in_order(monkeypatch):
    monkeypatch.setattr(cores, "parts", lambda *_: 3)
    distribution = Distribution(num_replicas=1)
    runner = Runner(
        lambda inputs, seed: (inputs["x"] + tf.cast(seed[2], tf.float32), inputs["x"][:1]),
        None, distribution, 6,
    )  # fmt: skip
    x = np.arange(12, dtype=np.float32).reshape(6, 2)
    shifted, firsts = runner({"x": x}, 0, 100)
    np.testing.assert_array_equal(shifted - x, np.repeat([100, 102, 104], 2)[:, None] + 0 * x)
    np.testing.assert_array_equal(firsts, x[::2])


def test_the_memory_foretold_is_of_all_parts(monkeypatch):
    found = []
    for parts in (1, 2):
        monkeypatch.setattr(cores, "parts", lambda *_, parts=parts: parts)
        state = images_state()
        step = lcss.training.TrainStep(state, lcss.losses.LCSSLoss(), 32, seed=3)
        rows = step.part_rows
        batch = tf.TensorSpec([rows, 8, 8, 1]), tf.TensorSpec([rows], tf.int32)
        found.append(memory.footprint(state, step, batch))
    assert found[1].gradients == 2 * found[0].gradients
    assert found[1].activations == pytest.approx(found[0].activations, rel=0.2)
