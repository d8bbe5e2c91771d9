"""Gin files: what is found, what is refused and with what words, users' modules."""

import inspect
import re

import gin
import pytest

from lcss_tf.commands import _gin
from lcss_tf.commands.train import build
from lcss_tf.control import Guidance
from lcss_tf.model import ScoreModel
from lcss_tf.registry import ALL_REGISTRIES
from tests.commands.helpers import ROOT, SMALL, load

# All that could be bound before 0.2, and cannot now.
OLD = {
    "train": "sde network loss data total_steps batch_size seed deterministic",
    "score": "preconditioning",
    "ema": "decay",
    "optimizer": "learning_rate warmup_steps factory",
    "train_step": "jit_compile clip_norm accumulation_steps",
    "trainer": "log_every max_nonfinite data_timeout_s",
    "checkpoints": "every keep patience_s",
    "distribution": "num_replicas strategy start_timeout_s",
    "pictures": "every num_samples seed",
    "watch": "every metric more_is_better seed",
    "references": "split num_examples directory path",
    "prior_check": "num_examples threshold",
    "diagnostics": "num_draws batch_size num_buckets exact_up_to every",
    "restore": "method",
    "evaluate": "metric metrics seed poll_seconds report",
    "evaluate_likelihood": "rtol atol divergence probes batch_size num_examples",
    "filling_error": "masks methods num_images averages seed",
    "quality": "samplers budgets adaptive tolerances references metric repeats sde data",
    "compare": "losses seconds sdes times metric samplers sample_repeats curve_points metrics "
    "seeds",
    "benchmark": "losses modes rounds runs sampler_steps",
    "input_benchmark": "resolution count batch_size rounds",
    "ClassScore": "extractor num_samples",
    "KernelDistance": "extractor num_samples",
    "PowerSpacing": "power",
    "RhoSpacing": "rho",
    "EulerMaruyama": "spacing",
    "ProbabilityFlowODE": "spacing",
    "StochasticHeun": "spacing",
}
OLD_KEYS = [f"{owner}.{name}" for owner, names in OLD.items() for name in names.split()]
OLD_REFERENCES = {
    "@spacings.LogSNRSpacing()": "@schedules.LogSNRSchedule",
    "@spacings.PowerSpacing()": "@schedules.PowerSchedule",
    "@spacings.RhoSpacing()": "@schedules.RhoSchedule",
    "@spacings.UniformSpacing()": "@schedules.UniformSchedule",
    "@metrics.ClassScore()": "@metrics.InceptionScore",
    "@metrics.KernelDistance()": "@metrics.KID",
    "@features.Values()": "@features.IdentityFeatures",
}


@pytest.fixture(autouse=True)
def _in_the_project(monkeypatch):
    monkeypatch.chdir(ROOT)


def parameters(owner):
    """What can be bound of a configurable."""
    part = gin.config._REGISTRY.get_match(owner)
    return set(inspect.signature(part.wrapped).parameters) - set(part.denylist or ())


# Where files are found ------------------------------------------------------------------------


def test_a_missing_file_names_near_matches():
    with pytest.raises(FileNotFoundError, match="Did you mean .*gin/lcss_digits.gin"):
        _gin.load("gin/lcss_digit.gin")
    with pytest.raises(FileNotFoundError, match="Known: .*lcss_ffhq.gin"):
        _gin.load("zzz.gin")


@pytest.mark.parametrize(
    "name", ["lcss_digits.gin", "gin/lcss_digits.gin", "quality/mixture64.gin",
             "gin/quality/mixture64.gin"],
)  # fmt: skip
def test_the_project_s_files_are_found_from_any_folder(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert _gin.find_config(name) == _gin.CONFIGS / name.removeprefix("gin/")
    # One's own of that name comes first.
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("")
    assert _gin.find_config(name).resolve() == tmp_path / name


def test_no_file_of_the_project_takes_the_place_of_one_s_own():
    with pytest.raises(FileNotFoundError, match=r"no gin file mine/lcss_digits\.gin.*Did you mean"):
        _gin.find_config("mine/lcss_digits.gin")


def test_included_files_are_sought_beside_the_file_then_in_the_project(tmp_path, monkeypatch):
    folders = [tmp_path / name for name in ("a", "b", "here")]
    for number, folder in enumerate(folders):
        folder.mkdir()
        (folder / "base.gin").write_text(f"VPSDE.beta_max = {number}\n")
        (folder / "run.gin").write_text('include "base.gin"\n')
    monkeypatch.chdir(folders[2])
    for number, folder in enumerate(folders[:2]):  # the second finds its own, not the first's
        _gin.load(folder / "run.gin")
        assert gin.query_parameter("VPSDE.beta_max") == number
    (folders[0] / "run.gin").write_text('include "lcss_digits.gin"\n')
    _gin.load(folders[0] / "run.gin")
    assert gin.query_parameter("fit.batch_size") == 64
    (folders[0] / "run.gin").write_text('include "nowhere.gin"\n')
    with pytest.raises(_gin.ConfigError, match=r"includes a file that is not there.*nowhere\.gin"):
        _gin.load(folders[0] / "run.gin")


# What is refused ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("binding", "message"),
    [
        ("fit.step = 3", r"Did you mean fit\.steps\?\s+Its parameters: data, loss, steps, batch_s"),
        ("VPSDE.beta_mn = 3", r"Did you mean VPSDE\.beta_min\?\s+Its parameters: beta_min, beta_m"),
        ("Checkpoints.workdir = 'x'", "denylisted.*\n.*\n.*\n *Its parameters: every, keep, pat"),
        ("Nonsense.x = 3", "No configurable matching 'Nonsense'(.|\n)*Known: .* fit, .* sdes"),
        ("ScoreModell.sde = 3", r"Did you mean ScoreModel\?"),
        ("ScoreModel.sde = @sdes.VPSD()", "Did you mean sdes.VPSDE"),
        ("ScoreModel.sde = @sdes.Nope()", r"Known: .*sdes\.SubVPSDE, .*sdes\.VESDE, sdes\.VPSDE"),
        ("ScoreModel.sde = = 3", "Unable to parse"),
    ],
)
def test_unknown_names_and_keys_are_fatal(binding, message):
    with pytest.raises(_gin.ConfigError, match=message):
        _gin.load(SMALL, [binding])


@pytest.mark.parametrize("old", OLD_KEYS)
def test_every_old_key_is_refused_with_the_new_one(old):
    with pytest.raises(_gin.ConfigError) as error:
        _gin.load(None, [f"{old} = 3"])
    new = re.search(rf"^ *{re.escape(old)} is now (.+)\.$", str(error.value), re.MULTILINE)[1]
    if old == "train.deterministic":
        assert new == "the flag --deterministic"
        return
    owner, name = new.split(",")[0].split(".")
    assert name in parameters(owner)


@pytest.mark.parametrize(("old", "new"), OLD_REFERENCES.items())
def test_every_old_reference_is_refused_with_the_new_one(old, new):
    with pytest.raises(_gin.ConfigError, match=f"{old[:-2]} is now {new}"):
        _gin.load(None, [f"x/Evaluation.metrics = [{old}]"])
    _gin.load(None, [f"x/Evaluation.metrics = [{new}()]"])


def test_all_old_keys_of_a_file_are_named_at_once(tmp_path):
    path = tmp_path / "old.gin"
    path.write_text("train.sde = @sdes.VPSDE()\n\ntrain.total_steps = 3  # steps\n")
    with pytest.raises(_gin.ConfigError) as error:
        _gin.load(path, ["ema.decay = 0.9", "VPSDE.beta_max = 3.0"])
    for old, new in (("train.sde", "ScoreModel.sde"), ("train.total_steps", "fit.steps"),
                     ("ema.decay", "ScoreModel.ema_decay")):  # fmt: skip
        assert f"\n  {old} is now {new}." in str(error.value)
    assert "beta_max" not in str(error.value)


def test_no_name_of_today_is_an_old_one():
    for path in [*_gin.CONFIGS.rglob("*.gin"), *(ROOT / "examples").glob("*.gin"), SMALL]:
        assert not _gin.renamed(path.read_text()), path
    for name in _gin._OWN:
        gin.get_configurable(name)
        assert name not in _gin.RENAMED


def test_no_name_is_ambiguous():
    """`VPSDE.beta_min` finds one part, and no key needs the registry's name before it."""
    parts = [part for registry in ALL_REGISTRIES for part in registry]
    for name in [*_gin._OWN, *parts]:
        assert len(gin.config._REGISTRY.matching_selectors(name)) == 1, name


def test_an_unset_required_key_is_named(tmp_path):
    path = tmp_path / "bare.gin"
    path.write_text("ScoreModel.sde = @sdes.VPSDE()\nfit.steps = 3\n")
    load(path)
    with pytest.raises(RuntimeError, match="Required bindings for `fit`.*data"):
        build()


# What is bound --------------------------------------------------------------------------------


def test_bindings_override_and_underscores_work():
    load(SMALL, "fit.steps=2_000")
    assert _gin.fit()["steps"] == 2_000


@pytest.mark.parametrize(
    ("stub", "method", "elsewhere"),
    [
        (_gin.fit, ScoreModel.fit, {"self", "workdir", "labels", "trainer", "condition"}),
        (_gin.sample, ScoreModel.sampling, {"self"}),
    ],
)
def test_the_stubs_take_the_arguments_of_the_methods(stub, method, elsewhere):
    bound, taken = (inspect.signature(f).parameters for f in (stub, method))
    assert [*bound] == [name for name in taken if name not in elsewhere]
    for name, parameter in bound.items():
        if parameter.default is not gin.REQUIRED:
            assert parameter.default == taken[name].default, name
    values = {name: object() for name in bound}
    assert stub(**values) == values


def test_guidance_is_bound_as_the_class_takes_it(tmp_path):
    bound, taken = (inspect.signature(f).parameters for f in (_gin.guidance, Guidance))
    assert {n: p.default for n, p in bound.items()} == {n: p.default for n, p in taken.items()}
    lines = ["sample.guidance = @Guidance()", "Guidance.scale = 3", "Guidance.interval = [0.2, 5]"]
    load(SMALL, *lines)
    assert _gin.sample()["guidance"] == Guidance(3.0, (0.2, 5.0))
    load(SMALL, *lines, f"Guidance.weaker = '{tmp_path / 'none.lcss'}'")
    guidance = _gin.sample()["guidance"]  # loaded when it is needed, and not before
    with pytest.raises(FileNotFoundError, match="no model at"):
        guidance.weaker_model(None)
    with pytest.raises(_gin.ConfigError, match=r"Guidance.interval expects .* got 3"):
        load(SMALL, "Guidance.interval = 3")


def test_a_file_binds_what_any_command_reads():
    """Keys of evaluation, comparison, … are known to training too."""
    keys = ["Evaluation.seed = 3", "held_out_likelihood.rtol = 0.1", "NFESweep.repeats = 2"]
    keys += ["Comparison.seconds = 1.0", "Benchmark.rounds = 1", "InputBenchmark.count = 4"]
    keys += ["inpainting.seed = 1", "posterior.method = @methods.NullSpace()"]
    load(SMALL, *keys)
    for key, value in (line.split(" = ") for line in keys[:-1]):
        assert gin.query_parameter(key) == float(value)
    assert type(_gin.posterior()["method"]).__name__ == "NullSpace"


def test_keras_optimisers_are_known_by_both_names():
    for name in ("Adam", "keras.optimizers.Adam"):
        _gin.load(SMALL, [f"fit.optimizer = @{name}()", "Adam.learning_rate = 0.25"])
        assert float(_gin.fit()["optimizer"].learning_rate) == 0.25


def test_users_modules_come_in_by_name_or_path(tmp_path, monkeypatch):
    (tmp_path / "user_part_a.py").write_text("A = 1\n")
    (tmp_path / "user_part_b.py").write_text("import not_there_at_all\n")
    _gin.import_user_module(str(tmp_path / "user_part_a.py"))
    monkeypatch.chdir(tmp_path)
    _gin.import_user_module("user_part_a")
    with pytest.raises(_gin.ConfigError, match="no such module"):
        _gin.import_user_module("user_part_c")
    with pytest.raises(ModuleNotFoundError, match="not_there_at_all"):
        _gin.import_user_module("user_part_b")
