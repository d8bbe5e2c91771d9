"""Times training steps, forward passes and sampling; counts their floating-point operations."""

import functools
import itertools
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import gin
import numpy as np
import tensorflow as tf

from lcss_tf import cores, files, random, xla
from lcss_tf.commands import _gin
from lcss_tf.commands.train import build, planned
from lcss_tf.data.pipeline import training_batches
from lcss_tf.display import Bar, say
from lcss_tf.errors import UsageError
from lcss_tf.inference import Sampling, conditions_of
from lcss_tf.training import Run, TrainStep, loop
from lcss_tf.training.memory import PeakMemory

_MODES = {"auto": None, "one program": True, "pieces": "pieces", "graph": False}
_TICKS = os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100
_MATRIX = ("MatMul", "BatchMatMul", "BatchMatMulV2", "BatchMatMulV3")
_RATE_SIZE = 2048  # of the square matrices whose product is timed
_COLUMNS = {
    "case": "{}",
    "mode": "{}",
    "ms": "{:.1f}",
    "ratio_to_first": "{:.2f}",
    "images_per_second": "{:,.3g}",
    "gflop": "{:.2f}",
    "gflops_per_second": "{:,.0f}",
    "share_of_matrix_product": "{:.0%}",
    "peak_mib": "{:,.0f}",
    "first_s": "{:.1f}",
}


@gin.configurable
class Benchmark:
    """Times training steps, the forward pass and sampling of what a gin file binds.

    Args:
      losses: objects of `LOSSES` by name; by default that of `fit` alone.
      modes: names in "auto", "one program", "pieces", "graph": how XLA compiles.
      rounds: every round runs each case in turn; medians over rounds are reported, and ratios
        within a round, since machines drift.
      runs: of a case in a round.
      sampler_steps: of the sampler that is timed; 0: none.
      steps_per_call: of `Trainer`: each training step is timed with each of these.
    """

    def __init__(
        self,
        losses: dict | None = None,
        modes: Sequence[str] = ("auto",),
        rounds: int = 7,
        runs: int = 3,
        sampler_steps: int = 24,
        steps_per_call: Sequence[int] = (1,),
    ) -> None:
        unknown = sorted(set(modes) - set(_MODES))
        if unknown or not modes or rounds < 1 or runs < 1:
            raise UsageError(
                f"Benchmark expects modes among {sorted(_MODES)}, rounds >= 1 and runs >= 1; got "
                f"{modes}, {rounds} and {runs}."
            )
        if not steps_per_call or any(count < 1 for count in steps_per_call):
            raise UsageError(
                "Benchmark.steps_per_call expects whole numbers, at least 1, such as (1, 10); got "
                f"{steps_per_call}."
            )
        self._losses, self._modes, self._steps_per_call = losses, modes, steps_per_call
        self._rounds, self._runs, self._sampler_steps = rounds, runs, sampler_steps

    def measure(self) -> tuple[list[dict], float]:
        """A list of dicts, one for each case and mode, and the matrix product's FLOP/s."""
        rate = matrix_product_rate()
        rows = []
        for mode in self._modes:
            rows += self._of_mode(mode)
        rate = max(rate, matrix_product_rate())  # before and after: machines drift
        for row in rows:
            row["gflops_per_second"] = row["gflop"] / row["ms"] * 1e3
            row["share_of_matrix_product"] = row["gflops_per_second"] * 1e9 / rate
        return rows, rate

    def _of_mode(self, mode: str) -> list[dict]:
        made: list[Case] = []
        rows: list[dict] = []
        for make in self._makers(_MODES[mode]):
            memory = PeakMemory()
            case = make(made)
            start = time.perf_counter()
            case.run()
            first = time.perf_counter() - start
            memory.restart()
            case.run()
            rows.append(
                {"case": case.name, "mode": mode, "first_s": first, "peak_mib": memory.peak()}
            )
            made.append(case)
            say(f"  {case.name}, {mode}: compiled and run in {first:.1f} s")
        times = np.zeros([self._rounds, len(made)])
        with Bar(self._rounds, mode, "rounds") as bar:
            for i in range(self._rounds):
                for j, case in enumerate(made):
                    start = time.perf_counter()
                    for _ in range(self._runs):
                        case.run()
                    seconds = time.perf_counter() - start
                    times[i, j] = seconds / self._runs / case.per_run() * 1e3
                bar.update()
        for j, (case, row) in enumerate(zip(made, rows, strict=True)):
            ms = float(np.median(times[:, j]))
            row |= {
                "ms": ms,
                "ms_min": float(times[:, j].min()),
                "ms_max": float(times[:, j].max()),
                "ratio_to_first": float(np.median(times[:, j] / times[:, 0])),
                "images_per_second": case.examples / ms * 1e3,
                "gflop": case.flops / 1e9,
            }
        return rows

    def _makers(self, mode: Any) -> Iterator[Callable]:
        """Functions that make each case; the cases made before are given to them."""
        loss = _gin.fit()["loss"]
        losses = self._losses or {type(loss).__name__: loss}
        for (name, one), count in itertools.product(losses.items(), self._steps_per_call):
            yield functools.partial(_training_case, name, one, mode, count)
        yield lambda _: forward_case(new_run(), mode, count_flops)
        if self._sampler_steps:
            yield lambda made: sampling_case(new_run(), mode, made[-1].flops, self._sampler_steps)


def benchmark(workdir: str | Path) -> tuple[str, list[Path]]:
    """Measures, writes ``benchmark.md`` and ``benchmark.json``; returns the text and the paths."""
    workdir = Path(workdir)
    rows, rate = Benchmark().measure()
    result = {"matrix_product_gflops_per_second": rate / 1e9, "cores": os.cpu_count(), "rows": rows}
    text = _table(result)
    paths = [workdir / "benchmark.md", workdir / "benchmark.json"]
    files.write_text(paths[0], text)
    files.write_json(paths[1], result)
    return text, paths


def first_step_seconds() -> float:
    """Seconds from the start of this process to the end of the first training step."""
    training_case("first", new_run(), None, lambda *_: 0).run()
    return process_seconds()


def process_seconds() -> float:
    """Seconds since this process started (Linux; elsewhere NaN)."""
    try:
        fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
        uptime = float(Path("/proc/uptime").read_text().split()[0])
    except OSError:
        return float("nan")
    return uptime - int(fields[19]) / _TICKS


def _table(result: dict) -> str:
    titles = [name.replace("_", " ") for name in _COLUMNS]
    lines = [[form.format(row[name]) for name, form in _COLUMNS.items()] for row in result["rows"]]
    rate = result["matrix_product_gflops_per_second"]
    return (
        f"{result['cores']} cores; a float32 matrix product reaches {rate:,.0f} GFLOP/s here. "
        "Medians; gflop: of convolutions and matrix products, counted in the graph.\n\n"
        f"{files.markdown_table(titles, lines)}\n"
    )


class Case(NamedTuple):
    """One thing to time.

    run: does it once and waits for the result. flops: of the model in one of what is reported.
    examples: that it takes through the network's full training, forward pass or evaluation.
    per_run: () -> how many of what is reported the last run held: a sampler's NFE.
    """

    name: str
    run: Callable
    flops: int
    examples: int
    per_run: Callable = lambda: 1


def new_run(loss: Any = None) -> Run:
    """What gin describes, its data measured, ready to train; with another loss if one is given."""
    model, arguments = build()
    run = planned(model, arguments | ({} if loss is None else {"loss": loss}))
    loop.measure(run)
    return run


def _training_case(name: str, loss: Any, mode: Any, steps_per_call: int, _: Any) -> Case:
    return training_case(name, new_run(loss), mode, count_flops, steps_per_call)


def training_case(
    name: str, run: Run, mode: Any, count_flops: Callable, steps_per_call: int = 1
) -> Case:
    """A training step; where a call takes several, they are timed together."""
    state, distribution = run.state, run.state.distribution
    step = _gin.TrainStep(state, run.loss, run.batch_size, run.seed, jit_compile=mode)
    batches = training_batches(
        run.data, distribution, run.batch_size, run.seed, 0, state.condition,
        state.augmentation_size,
    )  # fmt: skip
    counted = TrainStep(state, run.loss, run.batch_size, run.seed, jit_compile=False)
    batch = distribution.first(next(batches))
    flops = count_flops(counted.loss_and_gradients, batch, random.as_seed(0))

    def once() -> None:
        step(next(batches), state.step).loss.numpy()
        state.step += 1

    def several() -> None:
        parts = [next(batches) for _ in range(steps_per_call)]
        step.several(parts, state.step, steps_per_call).loss.numpy()
        state.step += steps_per_call

    if steps_per_call == 1:
        return Case(f"train, {name}", once, flops, run.batch_size)
    title = f"train, {name}, {steps_per_call} a call"
    return Case(title, several, flops, run.batch_size, lambda: steps_per_call)


def forward_case(run: Run, mode: Any, count_flops: Callable) -> Case:
    """The network alone, on a batch."""
    network, sde = run.state.network, run.state.sde
    mode = xla.mode(mode, getattr(network, "pieces_on_cpu", False))
    x = random.normal(0, (run.batch_size, *run.state.state_shape))
    cond = sde.noise_label(tf.fill([run.batch_size], tf.constant(0.5 * sde.T)))
    flops = count_flops(network, x, cond)

    def forward(x: Any, cond: Any) -> Any:
        with xla.in_pieces(mode == "pieces"):
            return network(x, cond)

    compiled = tf.function(forward, jit_compile=mode is True or None, autograph=False)
    number = cores.parts(run.batch_size, run.state.num_parameters())

    @tf.function(autograph=False)
    def in_parts(x: Any, cond: Any) -> Any:
        return cores.joined(number, lambda own: compiled(x[own], cond[own]), run.batch_size)

    return Case("forward", lambda: np.asarray(in_parts(x, cond)), flops, run.batch_size)


def sampling_case(run: Run, mode: Any, forward_flops: int, num_steps: int = 8) -> Case:
    """A sampler of `num_steps` steps, reported per evaluation of the network.

    One that chooses its steps by itself takes those it needs.
    """
    size, nfe = run.batch_size, [0.0]
    options = _gin.sample() | {"batch_size": size, "jit_compile": mode}
    draw = Sampling(run.state, **options)
    if draw.sampler.nfe() is not None:
        draw.sampler.num_steps = num_steps
    given = conditions_of(run.state.network, run.data, size)

    def once() -> None:
        nfe[0] = draw(size, condition=given, progress=False).nfe

    name = f"{type(draw.sampler).__name__}, one evaluation"
    return Case(name, once, forward_flops, size, lambda: nfe[0])


def count_flops(function: Callable, *args: Any) -> int:
    """Operations of all convolutions and matrix products in function(*args).

    A multiplication and an addition count as two. Whatever is elementwise is left out: this is
    the work that a perfect implementation would be bound by. Gradients are counted where the
    function takes them.
    """
    graph = tf.function(function, autograph=False).get_concrete_function(*args).graph
    return sum(_flops(op) for op in _all_operations(graph))


def _all_operations(graph: tf.Graph) -> Iterator:
    yield from graph.get_operations()
    library = graph.as_graph_def().library.function
    names = {f.signature.name for f in library}
    for name in names:
        inner = graph._get_function(name)
        inner_graph = getattr(inner, "graph", None)
        if inner_graph is not None and not _is_gradient_only(name):
            yield from inner_graph.get_operations()


def _is_gradient_only(name: str) -> bool:
    """Functions that custom gradients keep for later, and that this graph never calls."""
    return name.startswith("__inference_internal_grad_fn")


def _flops(op: Any) -> int:
    if op.type in _MATRIX:
        adjoint = "transpose_a" if op.type == "MatMul" else "adj_x"
        left, out = op.inputs[0].shape, op.outputs[0].shape
        inner = left[-2] if op.get_attr(adjoint) else left[-1]
        return 2 * out.num_elements() * inner
    # A convolution and both of its gradients: as many products as the kernel has numbers for
    # each place of the output and of the batch.
    if op.type in ("Conv2D", "Conv3D"):
        return _convolution(op.inputs[1].shape, op.outputs[0].shape)
    if op.type in ("Conv2DBackpropInput", "Conv3DBackpropInputV2"):
        return _convolution(op.inputs[1].shape, op.inputs[2].shape)
    if op.type in ("Conv2DBackpropFilter", "Conv3DBackpropFilterV2"):
        return _convolution(op.outputs[0].shape, op.inputs[2].shape)
    return 0


def _convolution(kernel: Any, out: Any) -> int:
    return 2 * kernel.num_elements() * out.num_elements() // out[-1]


def matrix_product_rate(seconds: float = 1.0) -> float:
    """FLOP/s of this machine in a product of two float32 matrices of 2,048 rows: the best seen.

    All cores compute it, whether an operation has one thread or several.
    """
    a = tf.random.stateless_normal((_RATE_SIZE, _RATE_SIZE), [0, 1])
    number = cores.parts(_RATE_SIZE, _RATE_SIZE**2)
    in_parts = lambda a: cores.joined(number, lambda own: tf.matmul(a[own], a), _RATE_SIZE)
    product = tf.function(in_parts, autograph=False)
    product(a)
    best, until = math.inf, time.perf_counter() + seconds
    while time.perf_counter() < until:
        start = time.perf_counter()
        product(a)[0, 0].numpy()
        best = min(best, time.perf_counter() - start)
    return 2 * _RATE_SIZE**3 / best
