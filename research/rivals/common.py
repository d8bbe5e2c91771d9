"""What all rivals share: the images, the clock, the training loop, the command line, the files.

Imports NumPy alone, and PyTorch where it is used, so that ``--help`` needs neither PyTorch nor the
rival's library. A rival is a subclass of `Rival`; its script ends with ``main(TheRival, __doc__)``.
"""

import argparse
import contextlib
import dataclasses
import gzip
import importlib.machinery
import importlib.metadata
import json
import math
import os
import resource
import shutil
import struct
import sys
import time
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

DATA = "/usr/share/datasets/fashion-mnist"  # of Debian's package dataset-fashion-mnist
TRAINING_IMAGES = "train-images-idx3-ubyte"
REFERENCE_PARAMETERS = 695_377  # of gin/lcss_fashion_small.gin, without classes
SAVE_S = 60.0  # training seconds between checkpoints
DRAWS = ("50nfe", "best")
AT = "_at_"  # between a rival's name and another learning rate


# The images.


def read_idx(path: str | Path) -> np.ndarray:
    """The uint8 array of an IDX file, plain or compressed by gzip.

    Raises:
      OSError: no such file.
      ValueError: no IDX file of bytes, or a truncated one.
    """
    path = Path(path)
    content = path.read_bytes()
    if content[:2] == b"\x1f\x8b":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(f"{path} cannot be unpacked ({error}): copy it again.") from error
    rank = content[3] if len(content) > 3 else 0
    start = 4 + 4 * rank
    if content[:3] != b"\0\0\x08" or not rank or len(content) < start:
        raise ValueError(f"{path} is no IDX file of bytes, such as {TRAINING_IMAGES}.")
    shape = struct.unpack(f">{rank}I", content[4:start])
    if len(content) - start != math.prod(shape):
        raise ValueError(f"{path} claims {shape} bytes and holds {len(content) - start:,}.")
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def training_images(folder: str | Path = DATA) -> np.ndarray:
    """Fashion-MNIST's training images, uint8 [60000, 28, 28, 1].

    Raises:
      FileNotFoundError: the folder does not hold them; says how to get them.
      ValueError: a damaged file.
    """
    for ending in ("", ".gz"):
        path = Path(folder) / f"{TRAINING_IMAGES}{ending}"
        if path.is_file():
            return read_idx(path)[..., None]
    raise FileNotFoundError(
        f"{folder} holds no {TRAINING_IMAGES}. Install Debian's dataset-fashion-mnist, or give "
        "--data, the folder of the IDX files."
    )


def as_bytes(x: np.ndarray) -> np.ndarray:
    """Samples [N, 1, H, W] in [−1, 1] as uint8 [N, H, W, 1]."""
    levels = np.rint(127.5 * (np.clip(x, -1, 1) + 1))
    return np.moveaxis(levels.astype(np.uint8), 1, -1)


# The clock and the machine.


class Clock:
    """Counts training seconds; stands still while something else is done.

    Args:
      seconds: already counted, of a run that is resumed.
    """

    def __init__(self, seconds: float = 0.0) -> None:
        self._counted, self._since = seconds, None

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        running = 0.0 if self._since is None else time.perf_counter() - self._since
        return self._counted + running

    def run(self) -> None:
        """Counts from now on."""
        self._since = time.perf_counter()

    def stop(self) -> None:
        """Stands still from now on."""
        self._counted, self._since = self.seconds, None


def peak_mib() -> float:
    """The largest resident memory of this process so far, in MiB."""
    unit = 2**20 if sys.platform == "darwin" else 2**10  # bytes there, KiB elsewhere
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


# Files.


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A path to write to that becomes `path` once everything is written."""
    place = path.with_name(f".{path.name}")  # the ending stays: NumPy adds one that is missing
    yield place
    os.replace(place, path)


def write_facts(out: Path, facts: Mapping[str, Any]) -> None:
    """Writes ``facts.json``."""
    with whole(out / "facts.json") as place:
        place.write_text(json.dumps(facts, indent=2) + "\n")


def read_facts(out: Path) -> dict[str, Any]:
    """What ``facts.json`` holds; empty where there is none."""
    path = out / "facts.json"
    return json.loads(path.read_text()) if path.is_file() else {}


@dataclasses.dataclass(frozen=True)
class Draw:
    """A way to draw samples.

    Args:
      sampler: its name and settings, in words.
      nfe: evaluations of the network for a sample; a gradient of an energy counts as one.
      function: (count, seed) -> uint8 [count, 28, 28, 1].
    """

    sampler: str
    nfe: int
    function: Callable[[int, int], np.ndarray]


def draw_all(draws: Mapping[str, Draw], facts: dict[str, Any], options: Any) -> None:
    """Writes ``samples_<name>.npz`` for the draws that ``--draws`` names, and the facts after each.

    What was drawn of the same weights before is kept.
    """
    facts = facts | {"samples": facts.get("samples", {})}
    for name in options.draws:
        draw = draws[name]
        path = options.out / f"samples_{name}.npz"
        count = options.best_samples if name == "best" else options.num_samples
        entry = {"sampler": draw.sampler, "nfe": draw.nfe, "count": count, "step": facts["steps"]}
        known = facts["samples"].get(name, {})
        if path.is_file() and {key: known.get(key) for key in entry} == entry:
            continue
        print(f"Drawing {count:,} samples: {draw.sampler}", flush=True)
        start = time.perf_counter()
        samples = draw.function(count, options.seed + 1)
        with whole(path) as place:
            np.savez_compressed(place, samples=samples)
        facts["samples"][name] = entry | {"seconds": time.perf_counter() - start}
        write_facts(options.out, facts)


# What the judge found.


def figure(figures: Mapping[str, Any], metric: str) -> tuple[float, float, float | None] | None:
    """(value, error, that of real training images) of a metric of the classifier's features.

    `figures` are those of ``metrics.json``: ``frechet_<features>_<samples>`` and, beside it,
    ``..._error`` and ``..._of_training_data``. The Fréchet distance of pixels is another metric.
    """
    for key, value in figures.items():
        name, _, count = key.rpartition("_")
        known = name == metric or name.startswith(f"{metric}_")
        if known and "pixels" not in name and f"{key}_error" in figures and count[:1].isdigit():
            return value, figures[f"{key}_error"], figures.get(f"{key}_of_training_data")
    return None


# The command line.


def parser(description: str) -> argparse.ArgumentParser:
    """The options that ours and all rivals take."""
    made = argparse.ArgumentParser(
        description=description.split("\n\n")[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    add = made.add_argument
    add("--seconds", type=float, required=True, help="training seconds, from the second step on")
    add("--steps", type=int, help="end after so many steps, whatever the clock says")
    add("--out", type=Path, required=True, help="folder of checkpoint, samples and facts")
    add("--data", default=DATA, help="folder of Fashion-MNIST's IDX files")
    add("--num_samples", type=int, default=10_000, help="of samples_50nfe.npz")
    add("--best_samples", type=int, default=1_000, help="of samples_best.npz")
    add("--train_only", action="store_true", help="draw later, by the same command without it")
    add("--draws", nargs="+", choices=DRAWS, default=DRAWS, help="which samples to draw")
    add("--sample_batch", type=int, default=250, help="samples drawn at a time")
    add("--nfe", type=int, default=50, help="evaluations of samples_50nfe.npz")
    add("--best_nfe", type=int, default=1_000, help="evaluations of samples_best.npz")
    add("--threads", type=int, default=cores(), help="of the CPU")
    add("--seed", type=int, default=0, help="of weights, batches and noise; samples: seed + 1")
    add("--resume", action="store_true", help="continue what --out holds")
    return made


def check(options: Any) -> None:
    """Refuses what cannot be, before any work.

    Raises:
      ValueError: an option out of its range, or results in the way.
    """
    counts = "num_samples", "best_samples"
    for name in ("seconds", "steps", *counts, "sample_batch", "nfe", "best_nfe", "threads"):
        value = getattr(options, name)
        if value is not None and not 0 < value < math.inf:
            raise ValueError(f"--{name} must be greater than 0; got {value}.")
    for name in counts:
        if getattr(options, name) < 2:
            raise ValueError(f"--{name} must be at least 2; got {getattr(options, name)}.")
    if options.out.is_dir() and any(options.out.iterdir()) and not options.resume:
        raise ValueError(f"{options.out} is not empty. Add --resume, or give another --out.")


def share(options: Any, seconds: float, steps: int) -> float:
    """How much of a training is over: 1 or more once it has ended.

    By its steps where ``--steps`` tells their number, by its seconds otherwise.
    """
    return seconds / options.seconds if options.steps is None else steps / options.steps


def told(run: Callable[[], None]) -> None:
    """Calls a command; what a person can put right ends it by one line."""
    try:
        run()
    except (OSError, ValueError) as error:
        sys.exit(f"{type(error).__name__}: {error}")


# PyTorch.


def stand_in(name: str) -> None:
    """Lets a library be imported that imports a module which nothing here uses.

    `name` is neither installed nor wanted: its binary must fit PyTorch's, and weighs gigabytes.
    """
    if name not in sys.modules:
        module = mock.MagicMock()
        module.__spec__ = importlib.machinery.ModuleSpec(name, None)
        sys.modules[name] = module


class Rival:
    """A public library, with the settings of its own example.

    A subclass imports its library in `build`, and names in its docstring what it takes from where.

    Attributes:
      library: its name on the package index.
      batch_size, learning_rate: of the library's example.
      average_every: steps between updates of the average of the weights.
      clip_norm: of the gradients; None: never clipped.
      network: a ``torch.nn.Module`` with all weights; made by `build`.
      optimizer: made by `build`.
    """

    library: str
    batch_size: int
    learning_rate: float
    average_every = 1
    clip_norm: float | None = None
    network: Any
    optimizer: Any

    def build(self) -> None:
        """Makes `network` and `optimizer`."""
        raise NotImplementedError

    def loss(self, x: Any) -> Any:
        """The loss of images [B, 1, 28, 28] in [−1, 1], a scalar."""
        raise NotImplementedError

    def rate(self, step: int, share: float) -> float:
        """The factor of the learning rate; `share` of the training is over."""
        return 1.0

    def decay(self, updates: int) -> float:
        """d of the average θ̄ ← d θ̄ + (1 − d) θ after so many updates.

        It rises to .999: within few steps the average would else keep the initial weights.
        """
        return min(0.999, (1 + updates) / (10 + updates))

    def draws(self, network: Any, nfe: int, best_nfe: int) -> dict[str, Any]:
        """{"50nfe" and "best": (sampler in words, NFE, count -> x [count, 1, 28, 28])}.

        x is a tensor in [−1, 1]; `network` has the averaged weights.
        """
        raise NotImplementedError


class Training:
    """Trains a rival by wall clock, or for so many steps, and keeps a checkpoint.

    The clock starts after the first step, in which libraries choose kernels and compile, and
    stands still while a checkpoint is written. Batch k is a function of seed and k.
    """

    def __init__(self, rival: Rival, images: np.ndarray, options: Any) -> None:
        import torch
        from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

        self._torch, self._rival, self._options = torch, rival, options
        if options.device != "cpu":
            torch.set_default_device(options.device)
            # Float32 as CPUs have it, not a GPU's shorter form of it.
            torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
        x = np.moveaxis(images, -1, 1) / np.float32(127.5) - 1
        self._x = torch.from_numpy(x).to(options.device)
        torch.set_num_threads(options.threads)
        torch.manual_seed(options.seed)
        rival.build()
        self._base_rate = [group["lr"] for group in rival.optimizer.param_groups]

        def average(averaged: Any, current: Any, updates: Any) -> None:
            get_ema_multi_avg_fn(rival.decay(int(updates)))(averaged, current, updates)

        self.average = AveragedModel(rival.network, multi_avg_fn=average)
        self.steps = self.timed_steps = 0
        self._epoch, self._order = -1, None
        self.clock, self._peak_mib = Clock(), 0.0
        self._path = options.out / "checkpoint.pt"
        if self._path.is_file():
            self._restore()

    def run(self) -> None:
        """Trains until the seconds, or the steps, are over."""
        first, saved = True, self.clock.seconds
        while (over := share(self._options, self.clock.seconds, self.steps)) < 1:
            self._step(over)
            if first:
                self.clock.run()
                first = False
                continue
            self.timed_steps += 1
            if self.clock.seconds - saved >= SAVE_S:
                self.clock.stop()
                self._save()
                saved = self.clock.seconds
                print(f"{saved:,.0f} s, step {self.steps:,}", flush=True)
                self.clock.run()
        self.clock.stop()
        self._save()

    def facts(self) -> dict[str, Any]:
        """What was trained, for how long and how fast."""
        rival, options = self._rival, self._options
        parameters = sum(p.numel() for p in rival.network.parameters() if p.requires_grad)
        rate = self.timed_steps * rival.batch_size / self.clock.seconds
        return {
            "library": rival.library, "version": importlib.metadata.version(rival.library),
            "torch": self._torch.__version__, "parameters": parameters,
            "parameters_of_reference": parameters / REFERENCE_PARAMETERS,
            "batch_size": rival.batch_size, "learning_rate": rival.learning_rate,
            "seconds": self.clock.seconds, "steps": self.steps, "images_per_second": rate,
            "peak_mib": self._peak_mib, "seed": options.seed, "threads": options.threads,
            "device": self._random().get_device_name() if options.device == "cuda" else "cpu",
        }  # fmt: skip

    def _step(self, share: float) -> None:
        torch, rival = self._torch, self._rival
        for group, base in zip(rival.optimizer.param_groups, self._base_rate, strict=True):
            group["lr"] = base * rival.rate(self.steps, share)
        rival.network.train()
        rival.optimizer.zero_grad(set_to_none=True)
        loss = rival.loss(self._batch())
        if not torch.isfinite(loss):
            raise ValueError(f"The loss of {rival.library} is {loss.item()} at step {self.steps}.")
        loss.backward()
        if rival.clip_norm is not None:
            torch.nn.utils.clip_grad_norm_(rival.network.parameters(), rival.clip_norm)
        with torch.device("cpu"):  # its counters: on a GPU they are read one at a time
            rival.optimizer.step()
        self.steps += 1
        if self.steps % rival.average_every == 0:
            self.average.update_parameters(rival.network)

    def _batch(self) -> Any:
        """The next images, each once an epoch; an incomplete last batch is left out."""
        size = self._rival.batch_size
        epoch, index = divmod(self.steps, max(len(self._x) // size, 1))
        if epoch != self._epoch:
            order = np.random.default_rng((self._options.seed, epoch)).permutation(len(self._x))
            self._epoch = epoch
            self._order = self._torch.from_numpy(order).to(self._options.device)
        return self._x[self._order[index * size : (index + 1) * size]]

    def _save(self) -> None:
        self._peak_mib = max(self._peak_mib, peak_mib())
        state = {
            "network": self._rival.network.state_dict(), "average": self.average.state_dict(),
            "optimizer": self._rival.optimizer.state_dict(), "steps": self.steps,
            "timed_steps": self.timed_steps, "seconds": self.clock.seconds,
            "peak_mib": self._peak_mib, "generator": self._random().get_rng_state(),
        }  # fmt: skip
        with whole(self._path) as place:
            self._torch.save(state, place)

    def _restore(self) -> None:
        state = self._torch.load(self._path, weights_only=True, map_location=self._options.device)
        self._rival.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self._rival.optimizer.load_state_dict(state["optimizer"])
        self.steps, self.timed_steps = state["steps"], state["timed_steps"]
        self.clock, self._peak_mib = Clock(state["seconds"]), state["peak_mib"]
        self._random().set_rng_state(state["generator"].cpu())

    def _random(self) -> Any:
        """The module of PyTorch that keeps the generator of the device's noise."""
        return self._torch.cuda if self._options.device == "cuda" else self._torch


def main(make: type[Rival], description: str) -> None:
    """The command of a rival: trains it, and draws its samples."""
    made = parser(description)
    made.add_argument("--batch_size", type=int, default=make.batch_size, help="of training")
    made.add_argument("--learning_rate", type=float, default=make.learning_rate, help="the highest")
    made.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of PyTorch")
    options = made.parse_args()
    told(lambda: _train_and_draw(make(), options))


def _train_and_draw(rival: Rival, options: Any) -> None:
    check(options)
    rival.batch_size, rival.learning_rate = options.batch_size, options.learning_rate
    images = training_images(options.data)
    options.out.mkdir(parents=True, exist_ok=True)
    training = Training(rival, images, options)
    training.run()
    facts = training.facts() | {"samples": read_facts(options.out).get("samples", {})}
    write_facts(options.out, facts)
    if options.train_only:
        return
    network = training.average.module.eval()
    if options.device == "cpu":
        network = _compiled(network)
    made = rival.draws(network, options.nfe, options.best_nfe)
    draws = {name: Draw(*made[name][:2], _in_parts(made[name][2], options)) for name in DRAWS}
    draw_all(draws, facts, options)


def _compiled(network: Any) -> Any:
    """The network, compiled in place where there is a C++ compiler: the same up to rounding.

    azula's makes 924 evaluations a second for 401 on two cores, lucidrains' 139 for 111; that of
    diffusers gains nothing.
    """
    import torch

    # Draws go on uncompiled, with a warning, where the compiler's cache is broken: a process that
    # is killed while it compiles leaves a file cut short.
    torch._dynamo.config.suppress_errors = True
    network = network.to(memory_format=torch.channels_last)
    if shutil.which(os.environ.get("CXX", "g++")):
        network.compile()
    return network


def _in_parts(draw: Callable[[int], Any], options: Any) -> Callable[[int, int], np.ndarray]:
    """(count, seed) -> uint8 samples, drawn `sample_batch` at a time."""

    def function(count: int, seed: int) -> np.ndarray:
        import torch

        torch.manual_seed(seed)
        size = options.sample_batch
        sizes = [min(size, count - first) for first in range(0, count, size)]
        return np.concatenate([as_bytes(draw(size).detach().cpu().numpy()) for size in sizes])

    return function
