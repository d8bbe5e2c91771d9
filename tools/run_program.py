"""Runs a program that ``lcss export`` wrote, on whatever device JAX has; needs jax and numpy alone.

    python tools/run_program.py FOLDER                             # once, and how long it takes
    python tools/run_program.py TRAIN --data=TRAIN/data.npz --steps=20_000 --out=after.npz
    python tools/run_program.py SAMPLER --state=after.npz --samples=10_000 --out=samples.npz

FOLDER holds program.mlir (StableHLO), program.json (inputs and outputs by name) and state.npz.
A training step runs in blocks: one call of the device takes `--block` steps. What it leaves in
after.npz, `lcss import-state` takes back into a checkpoint.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

jax.config.update("jax_enable_x64", True)  # the number of a step is an int64

from jax.extend.core import Primitive  # noqa: E402
from jax.interpreters import mlir  # noqa: E402
from jaxlib.mlir import ir  # noqa: E402
from jaxlib.mlir.dialects import func  # noqa: E402

_REPORT_S = 10.0  # seconds between two lines of progress
_TYPES = {
    "float16": "f16", "bfloat16": "bf16", "float32": "f32", "float64": "f64", "bool": "i1",
    "int8": "i8", "int16": "i16", "int32": "i32", "int64": "i64",
    "uint8": "ui8", "uint16": "ui16", "uint32": "ui32", "uint64": "ui64",
}  # fmt: skip
_STATE = ("state", "constant")
_TOLD = {"loss": jnp.float32, "gradient_norm": jnp.float32, "finite": bool}  # of each step
_CONDITIONS = ("labels", "condition")  # names of the input by which a network is told one


class Program(NamedTuple):
    """A loaded program.

    manifest: what program.json holds. call: a function of arrays, in the order of
    manifest["inputs"], to arrays in the order of manifest["outputs"]; it can be jitted and scanned.
    """

    manifest: dict[str, Any]
    call: Callable[..., list]


def load(folder: str | Path) -> Program:
    """Loads a program's folder."""
    folder = Path(folder)
    manifest = json.loads((folder / "program.json").read_text())
    text = (folder / "program.mlir").read_text()
    outputs = [
        jax.core.ShapedArray(tuple(o["shape"]), np.dtype(o["dtype"])) for o in manifest["outputs"]
    ]
    primitive = Primitive(f"lcss_tf_{manifest['what']}")
    primitive.multiple_results = True
    primitive.def_abstract_eval(lambda *_: outputs)
    mlir.register_lowering(primitive, lambda ctx, *args: _lowered(ctx, text, outputs, args))
    jitted = jax.jit(lambda *args: primitive.bind(*args))
    primitive.def_impl(lambda *args: jitted(*args))
    return Program(manifest, lambda *args: primitive.bind(*args))


def _lowered(ctx: Any, text: str, outputs: list, args: Any) -> list:
    """Puts the functions of the text into the module that JAX builds, and calls its main."""
    module = ctx.module_context
    source = ir.Module.parse(text, module.context)
    name = mlir.merge_mlir_modules(module.module, "program", source, module.symbol_table)
    types = [
        ir.Type.parse(
            f"tensor<{''.join(f'{n}x' for n in o.shape)}{_TYPES[o.dtype.name]}>", module.context
        )
        for o in outputs
    ]
    return list(func.CallOp(types, name, list(args)).results)


def initial(folder: str | Path, manifest: dict, seed: int = 0, state: str | None = None) -> dict:
    """{name: array} of a program's state and constants.

    Args:
      folder: the program's.
      manifest: what its program.json holds.
      seed: of those that are described but not stored.
      state: a file of `save_state`, over the program's own.
    """
    stored = dict(np.load(Path(folder) / "state.npz"))
    later = dict(np.load(state)) if state else {}
    rng, arrays = np.random.default_rng(seed), {}
    for value in manifest["inputs"]:
        if value["role"] not in _STATE:
            continue
        name, shape, dtype = value["name"], tuple(value["shape"]), np.dtype(value["dtype"])
        if name in later:
            arrays[name] = later[name].astype(dtype)
        elif "value" in value:
            arrays[name] = np.full(shape, value["value"], dtype)
        elif "same_as" in value:
            arrays[name] = arrays[value["same_as"]]
        elif "drawn" in value and state:
            sys.exit(f"error: {state} lacks {name}, which the program describes but does not hold.")
        elif "drawn" in value:
            arrays[name] = _drawn(value["drawn"], shape, rng).astype(dtype)
        else:
            arrays[name] = stored[name]
    return arrays


def _drawn(drawn: dict, shape: tuple, rng: np.random.Generator) -> np.ndarray:
    if drawn["form"] == "uniform":
        values = rng.uniform(-(3**0.5), 3**0.5, shape)
    else:
        values = rng.standard_normal(shape)
    return drawn["mean"] + drawn["std"] * values


def save_state(path: str | Path, arrays: dict, step: int, half: bool = False) -> None:
    """Writes state by name, and the number of steps done, for ``lcss import-state``.

    half: in float16, and of the network the average alone: a sixteenth of the bytes with Adam.
    """
    arrays = {name: np.asarray(a) for name, a in arrays.items() if not name.startswith("constant/")}
    if half:
        arrays = {
            name: a.astype(np.float16) if a.dtype.kind == "f" else a
            for name, a in arrays.items()
            if name.startswith("ema/")
        }
    np.savez(path, step=np.int64(step), **arrays)


class Trainer:
    """Runs a training step's program, many steps to a call of the device.

    Args:
      folder: of the program.
      data: a file with ``x`` [N, ...], perhaps ``labels`` [N] or ``condition`` [N, ...], and the
        map to the network's units: ``x * multiply + add``. Without one, batches are drawn from
        N(0, 1).
      seed: of the noise, of the order of the data, and of state that is described but not stored;
        None: the seed that the training was exported with.
      state: a file of `save_state` to go on from.
      block: steps to a call.
    """

    def __init__(
        self, folder: str | Path, data: str | None = None, seed: int | None = None,
        state: str | None = None, block: int = 50,
    ) -> None:  # fmt: skip
        self.manifest, self._call = load(folder)
        seed = self.manifest.get("seed", 0) if seed is None else seed
        if not -(2**31) <= seed < 2**31:
            sys.exit(f"error: --seed={seed} does not fit 32 bits. Choose a smaller one, such as 0.")
        self._seed = np.int32(seed)
        seed %= 2**32  # NumPy's are not negative
        self._inputs = self.manifest["inputs"]
        arrays = initial(folder, self.manifest, seed, state)
        self.step = int(np.load(state)["step"]) if state else self.manifest["step"]
        self.block = block
        self._names = [v["name"] for v in self._inputs if "output" in v]
        self._changed = [v["output"] for v in self._inputs if "output" in v]
        self.state = [jax.device_put(arrays[name]) for name in self._names]
        self._fixed = {
            name: jax.device_put(a) for name, a in arrays.items() if name not in set(self._names)
        }
        x = next(v for v in self._inputs if v["name"] == "x")
        self.batch_size, self._shape = x["shape"][0], tuple(x["shape"])
        self._told = next((v for v in self._inputs if v["name"] in _CONDITIONS), None)
        self._data = self._read(data, seed)
        self._rng = np.random.default_rng(seed)
        self._order = np.empty(0, np.int32)
        self._outputs = [o["name"] for o in self.manifest["outputs"]]
        self._block = jax.jit(self._run, donate_argnums=0)

    def _read(self, path: str | None, seed: int) -> dict:
        if path is None:
            rng = np.random.default_rng(seed)
            x = rng.standard_normal((4 * self.batch_size, *self._shape[1:])).astype(np.float32)
            data = {"x": x, "multiply": 1.0, "add": 0.0}
            if self._told:
                shape = (len(x), *self._told["shape"][1:])
                data[self._told["name"]] = np.zeros(shape, self._told["dtype"])
        else:
            data = dict(np.load(path))
        if self._told and self._told["name"] not in data:
            sys.exit(f"error: the program takes {self._told['name']}, and {path} holds none.")
        return {name: jax.device_put(np.asarray(value)) for name, value in data.items()}

    def _run(
        self, state: list, indices: Any, first: Any, count: Any, seed: Any, data: dict, fixed: dict
    ) -> tuple:
        def one(i: Any, carry: tuple) -> tuple:
            state, told = carry
            rows, step = indices[i], first + i
            x = data["x"][rows].astype(jnp.float32) * data["multiply"] + data["add"]
            given = dict(fixed, x=x.astype(jnp.float32), step=step, stop=jnp.float32(0), seed=seed)
            if self._told:
                name = self._told["name"]
                given[name] = data[name][rows].astype(self._told["dtype"])
            given |= dict(zip(self._names, state, strict=True))
            outputs = self._call(*[given[v["name"]] for v in self._inputs])
            told = {n: told[n].at[i].set(outputs[self._outputs.index(n)]) for n in _TOLD}
            return [outputs[i] for i in self._changed], told

        told = {name: jnp.zeros(len(indices), dtype) for name, dtype in _TOLD.items()}
        return jax.lax.fori_loop(0, count, one, (state, told))

    def compile(self) -> tuple[float, Any]:
        """Compiles a block; (seconds, XLA's account of its memory)."""
        start = time.perf_counter()
        self._block = self._block.lower(
            self.state,
            np.zeros((self.block, self.batch_size), np.int32),
            np.int64(self.step),
            np.int64(self.block),
            self._seed,
            self._data,
            self._fixed,
        ).compile()
        return time.perf_counter() - start, self._block.memory_analysis()

    def compiled_text(self) -> str:
        """What the compiler made of a block, as text."""
        return self._block.as_text()

    def _indices(self) -> np.ndarray:
        """The next block's examples [block, B], each once an epoch."""
        needed = self.block * self.batch_size
        while len(self._order) < needed:
            more = self._rng.permutation(len(self._data["x"])).astype(np.int32)
            self._order = np.concatenate([self._order, more])
        taken, self._order = self._order[:needed], self._order[needed:]
        return taken.reshape(self.block, self.batch_size)

    def take_block(self, most: int | None = None) -> dict[str, np.ndarray]:
        """The next `block` steps, `most` at most; each one's loss, gradient's norm, finiteness."""
        count = self.block if most is None else min(most, self.block)
        numbers = np.int64(self.step), np.int64(count), self._seed
        self.state, told = self._block(
            self.state, self._indices(), *numbers, self._data, self._fixed
        )
        self.step += count
        return {name: np.asarray(value)[:count] for name, value in told.items()}

    def arrays(self) -> dict[str, Any]:
        """The state by name."""
        return dict(zip(self._names, self.state, strict=True)) | self._fixed

    def train(self, steps: int, seconds: float = float("inf")) -> Iterator[str]:
        """Blocks until `steps` steps are done in all, or for so many seconds; lines of progress."""
        start = told = time.perf_counter()
        begun = self.step
        while self.step < steps and time.perf_counter() - start < seconds:
            shown = self.take_block(steps - self.step)
            now = time.perf_counter()
            if now - told > _REPORT_S or self.step >= steps:
                rate = (self.step - begun) / (now - start)
                lost = int((~shown["finite"]).sum())
                yield (
                    f"step {self.step:,}: loss {shown['loss'].mean():.4g}, {1e3 / rate:.2f} ms a "
                    f"step, {rate * self.batch_size:,.0f} examples/s"
                    + (f", {lost} of {len(shown['finite'])} steps not finite" if lost else "")
                )
                told = now


def run_once(folder: str | Path, state: str | None = None) -> Callable[..., dict]:
    """A compiled function (arguments by name) -> outputs by name, the state held on the device."""
    manifest, call = load(folder)
    held = {n: jax.device_put(a) for n, a in initial(folder, manifest, 0, state).items()}
    outputs = [o["name"] for o in manifest["outputs"]]
    arguments = [v for v in manifest["inputs"] if v["role"] == "argument"]
    ordered = jax.jit(
        lambda given, held: call(*[(held | given)[v["name"]] for v in manifest["inputs"]])
    )

    def run(**given: Any) -> dict:
        values = {v["name"]: np.zeros(v["shape"], v["dtype"]) for v in arguments}
        values |= {k: np.asarray(a) for k, a in given.items()}
        results = ordered(values, held)
        return {name: np.asarray(r) for name, r in zip(outputs, results, strict=True)}

    return run


def draw(
    folder: str | Path,
    state: str | None,
    count: int,
    seed: int,
    label: int | None,
    conditions: np.ndarray | None = None,
) -> tuple:
    """Samples of a sampler's program, with their labels; (samples, labels or None, NFE).

    Of a program that takes a condition, sample i is drawn given row i mod M of `conditions`.
    """
    manifest = json.loads((Path(folder) / "program.json").read_text())
    run, size = run_once(folder, state), manifest["batch_size"]
    told = next((v for v in manifest["inputs"] if v["name"] in _CONDITIONS), None)
    if told and told["name"] == "labels":
        conditions = np.arange(manifest["classes"]) if label is None else np.array([label])
    elif told and conditions is None:
        sys.exit("error: the program takes a condition: give --condition=conditions.npy.")
    samples, given, nfe = [], [], 0.0
    for i in range(-(-count // size)):
        more = {}
        if told:
            rows = np.arange(i * size, (i + 1) * size) % len(conditions)
            more = {told["name"]: conditions[rows].astype(told["dtype"])}
            given.append(more[told["name"]])
        start = time.perf_counter()
        out = run(seed=np.array([seed, i], np.int32), **more)
        samples.append(out["samples"])
        nfe = float(out["nfe"])
        print(f"batch {i}: {size} samples in {time.perf_counter() - start:.2f} s", flush=True)
    labels = np.concatenate(given)[:count] if told and told["name"] == "labels" else None
    return np.concatenate(samples)[:count], labels, nfe


def difference(arrays: dict, path: str) -> float:
    """The largest relative difference of any array to those of a file of `save_state`."""
    true, worst = np.load(path), 0.0
    for name, value in arrays.items():
        if name in true:
            a, b = np.asarray(value, np.float64), np.asarray(true[name], np.float64)
            worst = max(worst, float(np.linalg.norm(a - b) / max(np.linalg.norm(b), 1e-12)))
    return worst


def main(arguments: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n")[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    add = parser.add_argument
    add("folder", help="what lcss export wrote")
    add("--data", help="a training step's examples, as lcss export --with_data writes them")
    add("--state", help="go on from what --out wrote")
    add("--steps", type=int, default=0, help="of training, in all")
    add("--seconds", type=float, default=float("inf"), help="of training, at most")
    add("--block", type=int, default=50, help="steps to a call of the device")
    add("--samples", type=int, default=0, help="to draw by a sampler's program")
    add("--label", type=int, help="the class of all samples; without it, each in turn")
    add("--condition", help="a .npy of conditions [M, ...]: sample i is given row i mod M")
    add("--seed", type=int, help="of samples, 0 unless given; of a training its own unless given")
    add("--out", help="a .npz for what comes out: state, samples, or outputs")
    add("--half", action="store_true", help="write the average alone, in float16")
    add("--verify", help="compare with the state in this file, after --steps steps")
    args = parser.parse_args(arguments)
    what = json.loads((Path(args.folder) / "program.json").read_text())["what"]
    print(f"{what} on {jax.devices()[0].device_kind}", flush=True)
    if what == "train_step":
        _train(args)
    elif what == "sampler":
        conditions = np.load(args.condition) if args.condition else None
        samples, labels, nfe = draw(
            args.folder, args.state, args.samples or 1, args.seed or 0, args.label, conditions
        )
        print(f"{len(samples)} samples of {nfe:.0f} function evaluations each")
        if args.out:
            more = {} if labels is None else {"labels": labels}
            np.savez(args.out, samples=samples, **more)
    else:
        given = dict(np.load(args.data)) if args.data else {}
        outputs = run_once(args.folder, args.state)(**given)
        print({name: value.shape for name, value in outputs.items()})
        if args.out:
            np.savez(args.out, **outputs)


def _train(args: argparse.Namespace) -> None:
    trainer = Trainer(args.folder, args.data, args.seed, args.state, args.block)
    seconds, memory = trainer.compile()
    peak = memory.temp_size_in_bytes + memory.argument_size_in_bytes if memory else 0
    print(f"compiled in {seconds:.1f} s; {peak / 2**20:,.0f} MiB of device memory", flush=True)
    steps = args.steps or trainer.step + 4 * args.block
    for line in trainer.train(steps, args.seconds):
        print(line, flush=True)
    if args.verify:
        worst = difference(trainer.arrays(), args.verify)
        print(f"largest relative difference of a variable: {worst:.1e}")
    if args.out:
        save_state(args.out, trainer.arrays(), trainer.step, args.half)


if __name__ == "__main__":
    main()
