"""Gin at the doorstep: every binding, and the reading of gin files.

A command reads a gin file, builds the objects that it describes, and calls the methods that a
notebook calls. Keys are Python names: ``ScoreModel.sde``, ``fit.steps``, ``TrainStep.clip_norm``.
The parts in the registries bring their own (``VPSDE.beta_min``); all others are bound here.

A gin file is code: it can import modules and call what they register. Read it before you run
somebody else's.
"""

import contextlib
import difflib
import importlib
import inspect
import re
import sys
import tokenize
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gin
import keras
from absl import logging

from lcss_tf import callbacks, control, cores, files, inference, metrics, model, training
from lcss_tf.commands._places import CONFIGS, ConfigError, find_config
from lcss_tf.commands._types import wrong_bindings
from lcss_tf.registry import ALL_REGISTRIES, Registry
from lcss_tf.training.prior_check import check_prior as _check_prior

# The commands with bindings of their own. `load` imports them all, so that one file serves all.
_COMMANDS = (
    "_benchmark", "_benchmark_more", "_comparison", "_likelihood", "ema", "evaluate", "inpainting",
    "quality",
)  # fmt: skip
_OWN = [
    "fit",
    "sample",
    "Guidance",
    "posterior",
    "Benchmark",
    "InputBenchmark",
    "Comparison",
    "Evaluation",
]
_OWN += ["held_out_likelihood", "inpainting", "NFESweep", "EMASweep"]


def _bound(
    part: Any, name: str | None = None, denylist: Sequence[str] = (), module: str | None = None
) -> Any:
    """The part as gin binds it, under its Python name."""
    name = name or part.__name__
    _OWN.append(name)
    return gin.external_configurable(part, name, module, denylist=list(denylist) or None)


# Keras' optimisers, and a warm-up.
for _name in ("SGD", "Adam", "AdamW", "Lion", "RMSprop", "Nadam", "Adafactor"):
    _bound(getattr(keras.optimizers, _name), module="keras.optimizers")
for _name in (
    "CosineDecay", "CosineDecayRestarts", "ExponentialDecay", "InverseTimeDecay", "PolynomialDecay",
    "PiecewiseConstantDecay",
):  # fmt: skip
    _bound(getattr(keras.optimizers.schedules, _name), module="keras.optimizers.schedules")
_bound(training.WarmUp)
default_optimizer = _bound(training.default_optimizer, denylist=["steps", "parameters"])

# Keras' callbacks that suit a command; others are registered by a module of `--import`.
KERAS_CALLBACKS = ("CSVLogger", "EarlyStopping", "RemoteMonitor", "TensorBoard")
for _name in KERAS_CALLBACKS:
    _bound(getattr(keras.callbacks, _name), module="keras.callbacks")

ScoreModel = _bound(model.ScoreModel, denylist=["distribution"])
Distribution = _bound(training.Distribution)
Trainer = _bound(
    training.Trainer, denylist=["make_step", "make_checkpoints", "check_prior", "resume"]
)
TrainStep = _bound(training.TrainStep, denylist=["state", "loss", "batch_size", "seed"])
Checkpoints = _bound(training.Checkpoints, denylist=["workdir", "writes"])
check_prior = _bound(_check_prior, "check_prior", ["sde", "data", "seed"])
Pictures = _bound(callbacks.Pictures, denylist=["sampling"])
Diagnostics = _bound(callbacks.Diagnostics)
GradientDiagnostics = _bound(training.GradientDiagnostics, denylist=["score", "loss"])
Watch = _bound(callbacks.Watch, denylist=["sampling", "references"])
Snapshots = _bound(training.Snapshots)
References = _bound(metrics.References, denylist=["data", "seed"])
PosteriorSampling = inference.PosteriorSampling


@gin.configurable
def fit(
    data: Any = gin.REQUIRED,
    loss: Any = None,
    steps: int = gin.REQUIRED,
    batch_size: int = 128,
    optimizer: Any = None,
    callbacks: Sequence[Any] = (),
    seed: int = 0,
    validation: Any = None,
) -> dict[str, Any]:
    """The arguments of `ScoreModel.fit` that a gin file binds, under its names.

    `callbacks` holds classes or functions, ``[@CSVLogger]``, which a training alone calls.
    """
    return {
        "data": data,
        "loss": loss,
        "steps": steps,
        "batch_size": batch_size,
        "optimizer": optimizer or default_optimizer,
        "callbacks": callbacks,
        "seed": seed,
        "validation": validation,
    }


@gin.configurable
def sample(
    sampler: Any = None,
    batch_size: int = 256,
    guidance: float | control.Guidance = 1.0,
    jit_compile: bool | str | None = None,
) -> dict[str, Any]:
    """The arguments of `ScoreModel.sample` that a gin file binds, under its names."""
    return {
        "sampler": sampler,
        "batch_size": batch_size,
        "guidance": guidance,
        "jit_compile": jit_compile,
    }


@gin.configurable("Guidance")
def guidance(
    scale: float = 1.0,
    interval: tuple[float, float] | None = None,
    weaker: Any = None,
    checkpoint: str = "newest",
) -> control.Guidance:
    """`control.Guidance`; a weaker model that is a path is loaded when it is first needed."""
    return control.Guidance(scale, interval, weaker, checkpoint).loading(model.ScoreModel.load)


@gin.configurable
def posterior(method: Any = None) -> dict[str, Any]:
    """The arguments of `ScoreModel.posterior` that a gin file binds; the sampler is `sample`'s."""
    return {"method": method} | sample()


def made(registry: Registry, name: str, **arguments: Any) -> Any:
    """The registered part of that name, as gin binds the arguments that are not given here.

    Raises:
      UnknownNameError: no such part; the message lists the known ones.
    """
    known = registry.name_of(registry[name])
    return gin.get_configurable(f"{registry.module}.{known}")(**arguments)


def share_cores(task: str) -> bool:
    """Gives each core its own part of every batch where that is faster; see `lcss_tf.cores`.

    It looks at the configuration alone: TensorFlow takes the setting before anything is built.

    Args:
      task: "fit" or "sample", whose batch size counts.

    Returns:
      Whether it did.
    """
    default = inspect.signature({"fit": fit, "sample": sample}[task]).parameters["batch_size"]
    size = _binding(f"{task}.batch_size", default.default)
    compiles = {"fit": "TrainStep.jit_compile", "sample": "sample.jit_compile"}[task]
    if not isinstance(size, int) or _binding(compiles, None) in (True, False):
        return False
    if _binding("Distribution.strategy", None) == "tpu":  # which computes the batch as a whole
        return False
    if set(_binding("Benchmark.modes", ())) - {"auto", "pieces"}:  # of which each wants its own
        return False
    networks = [_binding("ScoreModel.network", None)]
    networks += (_binding("Comparison.networks", None) or {}).values()
    for made in networks:
        network = getattr(getattr(made, "configurable", None), "wrapped", None)
        if made is not None and not getattr(network, "parts_on_cpu", False):
            return False
    return cores.one_thread_an_operation(size)


def _binding(key: str, default: Any) -> Any:
    """The value bound to a key: an object, or a reference to what makes it."""
    try:
        return gin.query_parameter(key)
    except ValueError:  # not bound
        return default


# What was called otherwise before 0.2: keys, and the names of parts with all that is theirs.
RENAMED = {
    "TrainStep.class_dropout": "TrainStep.condition_dropout",
    "train.sde": "ScoreModel.sde",
    "train.network": "ScoreModel.network",
    "train.loss": "fit.loss",
    "train.data": "fit.data",
    "train.total_steps": "fit.steps",
    "train.batch_size": "fit.batch_size",
    "train.seed": "fit.seed",
    "train.deterministic": "the flag --deterministic",
    "score.preconditioning": "ScoreModel.preconditioning",
    "ema.decay": "ScoreModel.ema_decay",
    "optimizer.learning_rate": "WarmUp.learning_rate, with fit.optimizer = @Adam() and "
    "Adam.learning_rate = @WarmUp()",
    "optimizer.warmup_steps": "WarmUp.warmup_steps",
    "optimizer.factory": "fit.optimizer",
    "train_step": "TrainStep",
    "trainer": "Trainer",
    "checkpoints": "Checkpoints",
    "distribution": "Distribution",
    "pictures": "Pictures",
    "watch": "Watch",
    "references": "References",
    "prior_check": "check_prior",
    "diagnostics.every": "Diagnostics.every",
    "diagnostics": "GradientDiagnostics",
    "restore": "posterior",
    "filling_error": "inpainting",
    "evaluate_likelihood.probes": "held_out_likelihood.num_probes",
    "evaluate_likelihood": "held_out_likelihood",
    "evaluate.poll_seconds": "Evaluation.poll_s",
    "evaluate": "Evaluation",
    "compare": "Comparison",
    "benchmark": "Benchmark",
    "input_benchmark": "InputBenchmark",
    "quality": "NFESweep",
    "Idx.classes": "Idx.class_names",
    "KernelDistance": "KID",
    "ClassScore": "InceptionScore",
    "Values": "IdentityFeatures",
    "UniformSpacing": "UniformSchedule",
    "PowerSpacing": "PowerSchedule",
    "RhoSpacing": "RhoSchedule",
    "LogSNRSpacing": "LogSNRSchedule",
    "EulerMaruyama.spacing": "EulerMaruyama.schedule",
    "ProbabilityFlowODE.spacing": "ProbabilityFlowODE.schedule",
    "StochasticHeun.spacing": "StochasticHeun.schedule",
}
# What gin raises for a file that it cannot parse; KeyError: an ambiguous name.
_PARSING = (ValueError, SyntaxError, TypeError, KeyError, tokenize.TokenError)
_KEY = re.compile(r"^\s*(?:[\w/]+/)?([\w.]+)\.(\w+)\s*=", re.MULTILINE)
_REFERENCE = re.compile(r"@(?:[\w/]+/)?([\w.]+)")
_UNKNOWN = re.compile(r"No configurable matching (?:reference )?'?@?([\w./]+)")
_NO_PARAMETER = re.compile(
    r"Configurable '(?:[\w./]*\.)?(\w+)' (?:doesn't have a parameter named|has denylisted kwarg) "
    r"'(\w+)'"
)


def load(
    gin_file: str | Path | None, bindings: Sequence[str] = (), imports: Sequence[str] = ()
) -> None:
    """Parses a gin file and bindings into gin's global configuration.

    Args:
      gin_file: a path, or the name of one of the project's own (`CONFIGS`). Files that it includes
        are sought beside it and there. None: the bindings alone.
      bindings: lines such as ``fit.steps = 2_000``, applied last.
      imports: users' modules to import first: module names, or paths of .py files.

    Raises:
      FileNotFoundError: no such file; the message names near matches.
      ConfigError: what gin cannot parse, an unknown name, of which the message lists the known
        ones, or a value of another type than its parameter has.
    """
    path = None if gin_file is None else find_config(gin_file).resolve()
    for module in imports:
        import_user_module(module)
    for command in _COMMANDS:
        importlib.import_module(f"lcss_tf.commands.{command}")
    gin.clear_config()
    content = files.read_text(path) if path else ""
    with _quiet(), _searching([path.parent] if path else []):
        try:
            gin.parse_config_files_and_bindings([str(path)] if path else [], list(bindings))
        except RecursionError as error:
            raise ConfigError(
                f"{path} includes itself, or nests too deeply. Remove the include."
            ) from error
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"A file that {path} includes is no text in UTF-8 ({error}). Save it as UTF-8."
            ) from error
        except ModuleNotFoundError as error:
            raise ConfigError(
                f"{path or 'A binding'} imports {error.name}, and there is no such module here. "
                "Install it, or run where Python finds it."
            ) from error
        except OSError as error:
            raise ConfigError(f"{path} includes a file that is not there: {error}") from error
        except _PARSING as error:
            text = "\n".join([content, *bindings])
            where = f"{path}: " if path and str(path) not in str(error) else ""
            raise ConfigError(f"{where}{error}{_hint(str(error), text)}") from error
    wrong = list(wrong_bindings())
    if wrong:
        lines = "".join(f"\n  {line}" for line in wrong)
        raise ConfigError(f"{path or 'A binding'} has values of other types than expected:{lines}")


@contextlib.contextmanager
def _searching(first: Sequence[Path]) -> Any:
    """While it is entered, gin seeks included files there, in the project's own, and here.

    gin has no way to forget a place: what one file had beside it would be found for the next.
    """
    places, before = gin.config._LOCATION_PREFIXES, list(gin.config._LOCATION_PREFIXES)
    places[:] = [str(place) for place in (*first, CONFIGS, CONFIGS.parent, Path.cwd())]
    try:
        yield
    finally:
        places[:] = before


def import_user_module(module: str) -> None:
    """Imports a user's module by its name, or by the path of its .py file.

    Raises:
      ConfigError: there is no such module.
    """
    path = Path(module)
    if not module or (
        path.suffix != ".py" and path.is_dir() and not (path / "__init__.py").exists()
    ):
        raise ConfigError(
            f"--import={module}: a module is expected, not {'a folder' if module else 'nothing'}. "
            "Give a module name, or the path of a .py file."
        )
    place, name = (
        (path.resolve().parent, path.stem) if path.suffix == ".py" else (Path.cwd(), module)
    )
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ConfigError(
            f"--import={module}: there is no such module. Give a module name that Python can "
            f"import from {Path.cwd()}, or the path of a .py file."
        ) from error


def binding_table(config: str) -> dict[str, str]:
    """Bindings of a configuration text as {key: value}; joins continued lines."""
    joined = re.sub(r"\\\n\s*", "", config)
    pairs = (line.split(" = ", 1) for line in joined.splitlines() if " = " in line)
    return {key.strip(): value.strip() for key, value in pairs if not key.startswith("#")}


def renamed(text: str) -> list[str]:
    """Lines that say how the old keys and references in a configuration are called now."""
    lines = []
    for owner, parameter in _KEY.findall(text):
        old = f"{owner.rpartition('.')[2]}.{parameter}"
        part = old.partition(".")[0]
        if old in RENAMED:
            lines.append(f"{old} is now {RENAMED[old]}.")
        elif part in RENAMED:
            lines.append(f"{old} is now {RENAMED[part]}.{parameter}.")
    for name in _REFERENCE.findall(text):
        module, _, part = name.rpartition(".")
        if part in RENAMED and part[0].isupper():
            dot = "schedules." if module == "spacings" else module and f"{module}."
            lines.append(f"@{name} is now @{dot}{RENAMED[part]}.")
    return list(dict.fromkeys(lines))


def _hint(message: str, text: str) -> str:
    """What helps beside gin's own message about an unknown name or parameter.

    Of a file with old keys it names all, not the first alone.
    """
    unknown, no_parameter = _UNKNOWN.search(message), _NO_PARAMETER.search(message)
    if not (unknown or no_parameter):
        return ""
    if renamed(message):
        lines = dict.fromkeys([*renamed(message), *renamed(text)])
        return "".join(f"\n  {line}" for line in lines)
    if no_parameter and not unknown:
        return _known_parameters(*no_parameter.groups())
    return _known_names(unknown[1]) if unknown else ""


def _known_names(found: str) -> str:
    module, _, name = found.rstrip("()").rpartition(".")
    registries = [r for r in ALL_REGISTRIES if r.module == module]
    known = sorted(f"{r.module}.{part}" for r in registries or ALL_REGISTRIES for part in r)
    short = {full.rpartition(".")[2]: full for full in known}
    if not registries:
        short |= {part: part for part in _OWN}
        modules = ", ".join(sorted(r.module for r in ALL_REGISTRIES))
        known = [*sorted(_OWN, key=str.casefold), f"and the parts in {modules}"]
    close = difflib.get_close_matches(name or found, short, n=1, cutoff=0.6)
    hint = f"\n  Did you mean {short[close[0]]}?" if close else ""
    return (
        f"{hint}\n  Known: {', '.join(known)}.\n"
        "  A module of your own comes in by --import=my_sdes."
    )


def _known_parameters(owner: str, parameter: str) -> str:
    part = gin.config._REGISTRY.get_match(owner)
    denied = part.denylist or ()
    names = [name for name in inspect.signature(part.wrapped).parameters if name not in denied]
    close = difflib.get_close_matches(parameter, names, n=1, cutoff=0.6)
    hint = f"\n  Did you mean {owner}.{close[0]}?" if close else ""
    return f"{hint}\n  Its parameters: {', '.join(names)}."


@contextlib.contextmanager
def _quiet() -> Any:
    """gin logs every place where it looks in vain."""
    level = logging.get_verbosity()
    logging.set_verbosity(logging.FATAL)
    try:
        yield
    finally:
        logging.set_verbosity(level)
