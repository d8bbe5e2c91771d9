"""research/rivals: what of it needs neither PyTorch nor a rival's library."""

import importlib
import json
import re
import subprocess
import sys
from types import SimpleNamespace

import gin
import numpy as np
import pytest
from PIL import Image

from lcss_tf.commands import _gin
from lcss_tf.commands._results import flat_figures
from lcss_tf.commands.train import build
from lcss_tf.data import Idx
from tests.data.helpers import write_family
from tests.processes import ROOT

RIVALS = ROOT / "research" / "rivals"
NAMES = sorted(path.stem for path in (RIVALS / "requirements").glob("*.txt"))


@pytest.fixture
def modules(monkeypatch):
    """The scripts as modules, which import each other by their names."""
    monkeypatch.syspath_prepend(str(RIVALS))
    names = ("common", "ours", "picture", "compare", "on_gpu")
    yield SimpleNamespace(**{name: importlib.import_module(name) for name in names})
    for name in names:
        sys.modules.pop(name, None)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_images_are_those_of_the_library(tmp_path, modules, ending):
    write_family(tmp_path, 10, None, ending=ending)
    data = Idx(tmp_path)
    images = data.info().unscale(data.examples(np.arange(data.size()), "train"))
    read = modules.common.training_images(tmp_path)
    assert read.dtype == np.uint8
    assert np.array_equal(read, images)


def test_images_that_are_missing_or_damaged_are_told(tmp_path, modules):
    common = modules.common
    with pytest.raises(FileNotFoundError, match="--data"):
        common.training_images(tmp_path)
    write_family(tmp_path, 10, None, ending=".gz")
    path = tmp_path / f"{common.TRAINING_IMAGES}.gz"
    content = path.read_bytes()
    for damaged in (
        content[:-20],
        b"",
        b"\0\0\x08",
        b"\0\0\x0d\x01" + bytes(8),
        b"\0\0\x08\x01" + bytes(8),
    ):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=re.escape(path.name)):
            common.training_images(tmp_path)


def test_samples_become_bytes(modules):
    x = np.array([-3, -1, 0, 1, 3], np.float32).reshape(5, 1, 1, 1)
    assert modules.common.as_bytes(x).ravel().tolist() == [0, 0, 128, 255, 255]
    assert modules.common.as_bytes(np.zeros((2, 3, 4, 5))).shape == (2, 4, 5, 3)


def test_the_clock_counts_while_it_runs(modules, monkeypatch):
    now = iter([10.0, 13.0, 20.0, 21.0, 21.5])
    monkeypatch.setattr(modules.common.time, "perf_counter", lambda: next(now))
    clock = modules.common.Clock(2.0)
    clock.run()
    clock.stop()
    assert clock.seconds == 5.0
    clock.run()
    assert (clock.seconds, clock.seconds) == (6.0, 6.5)


def test_samples_of_the_same_weights_are_drawn_once(tmp_path, modules):
    drawn = []

    def function(count, seed):
        drawn.append(seed)
        return np.zeros((count, 2, 2, 1), np.uint8)

    common = modules.common
    draws = {name: common.Draw("any", 50, function) for name in common.DRAWS}
    options = SimpleNamespace(out=tmp_path, num_samples=3, best_samples=2, seed=4)
    for steps, options.draws in ((7, ["50nfe"]), *((steps, common.DRAWS) for steps in (7, 7, 8))):
        facts = {"steps": steps, "samples": common.read_facts(tmp_path).get("samples", {})}
        common.draw_all(draws, facts, options)
        assert list(common.read_facts(tmp_path)["samples"]) == list(options.draws)
    assert drawn == [5] * 4
    assert common.read_facts(tmp_path)["samples"]["50nfe"]["step"] == 8
    for name, count in (("50nfe", 3), ("best", 2)):
        assert np.load(tmp_path / f"samples_{name}.npz")["samples"].shape == (count, 2, 2, 1)


def test_results_in_the_way_are_refused(tmp_path, modules):
    made = modules.common.parser("A test.")
    (tmp_path / "facts.json").write_text("{}")
    arguments = ["--seconds=1", f"--out={tmp_path}"]
    with pytest.raises(ValueError, match="--resume"):
        modules.common.check(made.parse_args(arguments))
    modules.common.check(made.parse_args([*arguments, "--resume"]))
    with pytest.raises(ValueError, match="--nfe"):
        modules.common.check(made.parse_args([*arguments, "--resume", "--nfe=0"]))


def test_the_table_has_real_images_first(modules):
    measured = {
        "frechet_pixels_1000": (9.0, 1.0, 2.0),
        "frechet_fashion_mnist_1000": (4.25, 0.125, 1.5),
        "precision_fashion_mnist_1000": (0.75, 0.01, 0.875),
        "recall_fashion_mnist_1000": (0.5, 0.02, None),
    }
    result = {
        "figures": {
            name: dict(zip(("value", "error", "real"), row, strict=True))
            for name, row in measured.items()
        },
        "real_split": "training",
        "counts": {"samples": 1_000},
    }
    figures = flat_figures(result)
    facts = {
        "library": "other", "version": "1.2", "parameters": 700_000, "batch_size": 64,
        "steps": 1_000, "images_per_second": 123.4, "peak_mib": 1_234.5,
        "samples": {"50nfe": {"nfe": 50}, "best": {"nfe": 1_000}},
    }  # fmt: skip
    both = {"50nfe": figures, "best": figures}
    entry = {"name": "a", "facts": facts, "figures": both, "failed": None}
    broken = {"name": "b", "facts": {}, "figures": {}, "failed": "status 1"}
    half = entry | {"figures": {"best": figures}, "failed": "status 2"}
    alone = modules.compare.table([half])
    real, broken, half, row = modules.compare.table([broken, half, entry])
    assert real == ["real training images", *[""] * 5, *["1.5", "0.875", ""] * 2]
    assert alone[0] == ["real training images", *[""] * 8, *real[9:]]
    assert broken[:2] == ["b, failed: status 1", ""]
    assert half[0] == "a (other 1.2), failed: status 2"
    assert half[6:10] == ["", "", "", "4.25 ± 0.12 (1,000 NFE)"]
    assert row[:6] == ["a (other 1.2)", "700,000", "64", "1,000", "123", "1,234"]
    assert row[6:9] == ["4.25 ± 0.12", "0.75 ± 0.01", "0.5 ± 0.02"]
    assert row[9] == "4.25 ± 0.12 (1,000 NFE)"
    assert {len(line) for line in (real, broken, half, row)} == {len(modules.compare.HEADER)}
    options = SimpleNamespace(seconds=60.0, threads=2, seed=0, num_samples=9_000, best_samples=500)
    options.rates = options.steps = None
    text = modules.compare.markdown([entry], options)
    assert "60 training seconds each, 2 threads" in text
    assert "9,000 samples of the first draw and 500 of the best" in text
    assert text.count("\n|") == 4
    options.steps = 1_200
    assert modules.compare.markdown([entry], options).startswith("1,200 training steps each, 2")


def test_the_judge_looks_at_all_samples_of_a_file(modules):
    try:
        bound = modules.compare.judge_bindings(1_234, "/nowhere")
        _gin.load(None, ["fit.data = @datasets.FashionMNIST()", *bound])
        metrics = gin.get_bindings("Evaluation")["metrics"]
    finally:
        gin.clear_config()
    assert [metric.num_samples for metric in metrics] == [1_234] * 4
    assert len({id(metric.extractor) for metric in metrics[1:]}) == 1, "one classifier"


@pytest.mark.parametrize("name", NAMES)
def test_requirements_are_pinned(name):
    lines = (RIVALS / "requirements" / f"{name}.txt").read_text().splitlines()
    pins = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.]+", pin) for pin in pins)
    assert any(pin.startswith("torch==") for pin in pins)
    assert (RIVALS / f"{name}.py").is_file()


TINY = [
    "ScoreModel.network = @networks.DiT()", "DiT.patch_size = 14", "DiT.width = 8",
    "DiT.depth = 1", "DiT.num_heads = 2", "fit.batch_size = 8",
]  # fmt: skip


def test_ours_trains_by_the_clock_and_draws_later(tmp_path, modules):
    """As the comparison calls it: once to train alone, once more to draw."""
    write_family(tmp_path / "data", 40, None, held_out=8)
    out, common = tmp_path / "out", modules.common
    arguments = ["--seconds=0.05", f"--out={out}", f"--data={tmp_path / 'data'}", "--resume"]
    arguments += ["--num_samples=4", "--best_samples=2", "--nfe=4", "--best_nfe=4"]
    options = common.parser("A test.").parse_args(arguments)
    options.variant, options.likelihood, options.gin_bindings = "lcss", 0, [
        *TINY, "TrainStep.jit_compile = False",
        "held_out_likelihood.rtol = 1e-2", "held_out_likelihood.atol = 1e-2",
        "held_out_likelihood.batch_size = 2",
    ]  # fmt: skip
    for options.train_only in (True, False):
        gin.clear_config()
        modules.ours._train_and_draw(options)
        facts = common.read_facts(out)
        drawn = sorted(path.name for path in out.glob("samples_*.npz"))
        if options.train_only:
            first, seconds = facts, (out / "seconds.json").read_bytes()
            assert (drawn, facts["samples"]) == ([], {})
    assert facts["seconds"] >= 0.05
    assert facts | {"samples": {}} == first, "not trained again"
    assert (out / "seconds.json").read_bytes() == seconds
    assert drawn == ["samples_50nfe.npz", "samples_best.npz"]
    assert facts["images_per_second"] > 0
    assert [facts["samples"][name]["nfe"] for name in common.DRAWS] == [4, 4]
    assert np.load(out / drawn[0])["samples"].shape == (4, 28, 28, 1)
    options.seconds, options.train_only, options.likelihood = 2 * facts["seconds"] + 0.05, True, 2
    gin.clear_config()
    modules.ours._train_and_draw(options)  # goes on where the seconds were over
    longer = common.read_facts(out)
    assert longer["steps"] > facts["steps"]
    assert longer["seconds"] >= options.seconds
    measured = json.loads((out / "likelihood.json").read_text())["figures"]
    assert measured["examples"] == 2
    assert 0 < measured["bits_per_dim"] < 20
    assert measured["step"] == longer["steps"]
    options.seconds, options.steps, options.likelihood = 1e-9, longer["steps"] + 3, 0
    gin.clear_config()
    modules.ours._train_and_draw(options)  # by steps, whatever the clock says
    assert common.read_facts(out)["steps"] == options.steps


def test_what_was_trained_elsewhere_is_ours(tmp_path, modules, monkeypatch):
    """Exported, trained and drawn by JAX, collected: `ours.py` has nothing left to do."""
    jax, on_gpu, common = pytest.importorskip("jax"), modules.on_gpu, modules.common
    monkeypatch.setenv("NVIDIA_TF32_OVERRIDE", "0")  # `run` sets it for good
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    write_family(tmp_path / "data", 40, None, held_out=8)
    pace = {"images_per_second": 80.0, "batch_size": 8}
    rates = {"entries": [{"name": "lcss", "facts": pace}]}
    (tmp_path / "rates.json").write_text(json.dumps(rates))
    jobs, results, out = (tmp_path / name for name in ("jobs", "results", "out"))

    def command(*words):
        monkeypatch.setattr(sys, "argv", ["on_gpu.py", *map(str, words)])
        options = on_gpu.arguments()
        options.call(options)

    data = f"--data={tmp_path / 'data'}"
    words = ["--seconds=0.7", "--num_samples=4", "--best_samples=2", "--nfe=4", "--best_nfe=4"]
    words += ["--sample_batch=4", data]
    tiny = [f"--gin_bindings={text}" for text in TINY]
    command("export", jobs, f"--rates={tmp_path / 'rates.json'}", *words, *tiny, "--seeds", 3, 4)
    try:
        command("run", jobs, "lcss_3", f"--results={results}", "--block=4", "--half", data)
    finally:
        jax.config.update("jax_compilation_cache_dir", None)
    command("collect", jobs, f"--results={results}", f"--out={out}", "--seed=3", data)
    assert [path.name for path in out.iterdir()] == ["lcss"]
    facts = common.read_facts(out / "lcss")
    assert (facts["steps"], facts["seed"], facts["batch_size"]) == (7, 3, 8)
    before = {path: path.read_bytes() for path in (out / "lcss").rglob("*") if path.is_file()}
    words += [f"--out={out / 'lcss'}", "--resume", "--steps=7", "--seed=3"]
    options = common.parser("A test.").parse_args(words)
    options.variant, options.likelihood, options.gin_bindings = "lcss", 0, TINY
    gin.clear_config()
    modules.ours._train_and_draw(options)
    assert {path: path.read_bytes() for path in before} == before
    with pytest.raises(ValueError, match="not empty"):
        command("collect", jobs, f"--results={results}", f"--out={out}", "--seed=3", data)
    with pytest.raises(ValueError, match="no job lcss_5"):
        command("run", jobs, "lcss_5", f"--results={results}", data)


def test_a_rival_trains_so_many_steps(tmp_path, modules):
    """Whatever the clock says; and its learning rate sees the share of the steps."""
    torch, common = pytest.importorskip("torch"), modules.common
    shares = []

    class Tiny(common.Rival):
        library, batch_size, learning_rate = "torch", 4, 0.1

        def build(self):
            self.network = torch.nn.Linear(1, 1)
            self.optimizer = torch.optim.SGD(self.network.parameters(), lr=self.learning_rate)

        def loss(self, x):
            return self.network(x.mean(dim=(1, 2, 3))[:, None]).square().mean()

        def rate(self, step, share):
            shares.append(share)
            return 1.0

    options = common.parser("A test.").parse_args(["--seconds=1e-9", f"--out={tmp_path}"])
    options.device = "cpu"
    images = np.zeros((16, 2, 2, 1), np.uint8)
    for steps, options.steps in ((5, 5), (8, 8), (8, None)):  # the last: the seconds are over
        training = common.Training(Tiny(), images, options)
        training.run()
        assert training.facts()["steps"] == steps
    assert shares == [0, 1 / 5, 2 / 5, 3 / 5, 4 / 5, 5 / 8, 6 / 8, 7 / 8]


def test_a_rival_draws_by_its_compiled_network(modules):
    """What it computes stays the same, but for rounding."""
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    conv = torch.nn.Conv2d
    network = torch.nn.Sequential(conv(1, 4, 3), torch.nn.SiLU(), conv(4, 1, 3)).eval()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        before = network(x).numpy()
        compiled = modules.common._compiled(network)
        np.testing.assert_allclose(compiled(x).numpy(), before, rtol=1e-5, atol=1e-6)
    assert compiled is network


def test_the_steps_that_fit_are_asked_for(tmp_path, modules):
    compare = modules.compare
    facts = {"images_per_second": 320.0, "batch_size": 64, "peak_mib": 900.0}
    names = ["lcss", NAMES[0]]
    path = tmp_path / "rivals.json"
    entries = [{"name": name, "facts": facts} for name in names] + [{"name": "x", "facts": {}}]
    path.write_text(json.dumps({"entries": entries}))
    arguments = ["--seconds=2700", f"--out={tmp_path}", f"--rates={path}", "--only"]

    def commands(given):
        options = compare.arguments(given)
        return compare.commands(options, compare.paces(options.rates))

    own = commands([*arguments, *names])
    assert all("--steps=13500" in own[name] for name in names)
    again = commands(["--also_learning_rate=2e-3", *arguments, *names])
    assert list(again) == [*names, f"{NAMES[0]}_at_0.002"]
    assert {"--steps=13500", "--learning_rate=0.002"} <= set(again[f"{NAMES[0]}_at_0.002"])
    assert "--steps" not in str(commands(arguments[:2]))
    own = commands([*arguments[:2], "--steps=7", "--draws", "best"])
    assert all("--steps=7" in command for command in own.values())
    assert all(command[command.index("--draws") + 1] == "best" for command in own.values())
    with pytest.raises(ValueError, match="give one of them"):
        commands([*arguments, "lcss", "--steps=7"])
    with pytest.raises(ValueError, match="no pace of ssm_vr"):
        commands([*arguments, "lcss", "ssm_vr"])
    path.write_text("{}")
    with pytest.raises(ValueError, match="is no rivals.json"):
        commands([*arguments, "lcss"])


def test_entries_of_other_days_stay_in_the_table(tmp_path, modules, monkeypatch):
    """Of the same settings; the pace shown is that of quiet cores."""
    compare = modules.compare
    write_family(tmp_path / "data", 10, None)
    rates = tmp_path / "rates.json"
    pace = {"images_per_second": 320.0, "batch_size": 64, "peak_mib": 900.0}
    rates.write_text(
        json.dumps({"entries": [{"name": n, "facts": pace} for n in ("lcss", "ssm_vr")]})
    )

    def trained(name, command, options):
        facts = {"library": "l", "version": "1", "parameters": 7, "batch_size": 64, "steps": 3}
        facts |= {"images_per_second": 1.0, "peak_mib": 2.0}
        return {"name": name, "facts": facts, "figures": {}, "failed": None}

    monkeypatch.setattr(compare, "compete", trained)
    given = ["--seconds=9", f"--out={tmp_path / 'out'}", f"--data={tmp_path / 'data'}"]
    for name in ("ssm_vr", "lcss", "lcss"):
        compare.run(compare.arguments([*given, f"--rates={rates}", "--only", name]))
    text = (tmp_path / "out" / "rivals.md").read_text()
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| ")][2:]
    assert [row[1].split()[0] for row in rows] == ["lcss", "ssm_vr"]
    assert [(row[5].strip(), row[6].strip()) for row in rows] == [("320", "900")] * 2
    assert "The steps that fit into 9 training seconds" in text
    order = ["lcss", "azula_karras", "azula_karras_at_0.002", "torchebm_score"]
    entries = compare.in_order([{"name": name} for name in reversed(order)])
    assert [entry["name"] for entry in entries] == order
    compare.run(compare.arguments([*given, "--num_samples=50", "--only", "lcss"]))
    entries = json.loads((tmp_path / "out" / "rivals.json").read_text())["entries"]
    assert [entry["name"] for entry in entries] == ["lcss"]


def test_the_picture_has_the_nearest_first(tmp_path, modules):
    """Real images above; what has no figures or no strip is left out; a long name has room."""
    near = "a_competitor_with_a_long_name_at_0.002"
    picture, rng = modules.picture, np.random.default_rng(0)
    samples = {
        name: rng.integers(0, 256, (count, 28, 28, 1), np.uint8)
        for name, count in (("far", 40), (near, 32), ("unjudged", 32))
    }
    for name, images in samples.items():
        picture.write_strip(tmp_path / f"{name}.png", images)
    picture.write_strip(tmp_path / "real.png", picture.some(samples["far"]))
    facts = {"library": "other", "samples": {"50nfe": {"nfe": 50}}}

    def entry(name, distance):
        found = {"frechet_fashion_1k": distance, "frechet_fashion_1k_error": 0.1}
        found["frechet_fashion_1k_of_training_data"] = 0.5
        figures = {} if distance is None else {"50nfe": found}
        return {"name": name, "facts": facts, "figures": figures, "failed": None}

    measured = {"far": 9.0, near: 3.0, "unjudged": None, "lost": 4.0}
    entries = [entry(*one) for one in measured.items()]
    assert picture.distances(entries) == {"real": 0.5, "far": 9.0, near: 3.0, "lost": 4.0}
    picture.write_picture(tmp_path / "rivals.png", tmp_path, entries)
    drawn = np.asarray(Image.open(tmp_path / "rivals.png"))
    scale, gap = picture.SCALE, picture.GAP_PX
    left, step = drawn.shape[1] - scale * 16 * 28 - gap, scale * 2 * 28 + gap
    tops = [gap + row * step for row in range(3)]
    assert drawn.shape[0] == tops[-1] + step
    for top, name in zip(tops[1:], (near, "far"), strict=True):
        strip = drawn[top : top + step - gap : scale, left : left + scale * 16 * 28 : scale]
        expected = samples[name][:32, ..., 0].reshape(2, 16, 28, 28).swapaxes(1, 2)
        assert np.array_equal(strip, expected.reshape(2 * 28, 16 * 28))
        assert (drawn[top : top + 56, : left - gap] < 128).any(), "a label"
        assert (drawn[top : top + step, left - gap : left] == 255).all(), "beside the strip"
    assert picture.some(samples["far"][:5]).shape == (5, 28, 28, 1)
    few = samples[near][:3]
    picture.write_strip(tmp_path / "few.png", few)
    strip = np.asarray(Image.open(tmp_path / "few.png"))
    assert strip.shape == (2 * 28, 16 * 28)
    assert np.array_equal(strip[:28, 56:84], few[2, :, :, 0])
    assert not strip[28:].any()


def test_a_picture_that_fails_ends_no_comparison(tmp_path, modules, capsys):
    """It is told; the samples of a judged competitor become its strip."""
    found = {"frechet_fashion_1k": 3.0, "frechet_fashion_1k_error": 0.1}
    entries = [{"name": "a", "facts": {"library": "l"}, "figures": {"50nfe": found}}]
    options = SimpleNamespace(out=tmp_path)
    modules.compare.draw_pictures("a", entries, options)
    assert "No picture of a" in capsys.readouterr().out
    (tmp_path / "a").mkdir()
    images = np.random.default_rng(0).integers(0, 256, (32, 28, 28, 1), np.uint8)
    np.savez(tmp_path / "a" / "samples_50nfe.npz", samples=images)
    modules.picture.write_strip(tmp_path / "real.png", images)
    modules.compare.draw_pictures("a", entries, options)
    assert not capsys.readouterr().out
    assert np.array_equal(np.asarray(Image.open(tmp_path / "a.png"))[:28, :28], images[0, ..., 0])
    assert (tmp_path / "rivals.png").is_file()
    (tmp_path / "a.png").write_bytes(b"no picture")
    modules.compare.draw_pictures("b", entries, options)
    assert "No picture of b" in capsys.readouterr().out


@pytest.fixture
def paired(monkeypatch):
    monkeypatch.syspath_prepend(str(RIVALS))
    module = importlib.import_module("paired_steps")
    monkeypatch.setattr(module, "PAUSE_S", 0.0)
    yield module
    sys.modules.pop("paired_steps", None)


def test_the_other_step_is_asked_for_each_round(paired, tmp_path):
    """By a program in the place of Python with PyTorch, whose step takes 2 ms a run asked for."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport sys\nprint('{{\"first_s\": 1.0}}', flush=True)\n"
        "for line in sys.stdin:\n    print(2.0 * int(line), flush=True)\n"
    )
    program.chmod(0o755)
    args = SimpleNamespace(python=str(program), reference="r", network="ncsnpp", batch=4)
    theirs = paired.Theirs(args, "bfloat16", True)
    assert theirs.facts == {"first_s": 1.0}
    assert theirs.name == "PyTorch, bfloat16, channels-last, compiled"
    order = []
    ours = SimpleNamespace(ms=lambda runs: order.append("ours") or 3.0)
    asked = SimpleNamespace(ms=lambda runs: order.append("theirs") or theirs.ms(runs))
    assert paired.measured([asked, ours], 2, 3).tolist() == [[6.0, 3.0], [6.0, 3.0]]
    assert order == ["theirs", "ours", "ours", "theirs"]
    program.write_text("#!/bin/sh\nexit 3\n")
    with pytest.raises(SystemExit, match="status 3"):
        paired.Theirs(args, "float32", False)


def test_ratios_are_of_the_same_round(paired):
    times = np.array([[100.0, 50.0], [200.0, 120.0], [400.0, 160.0]])  # the machine drifts
    lines = paired.table(["PyTorch, float32", "lcss_tf, float32"], times).splitlines()
    assert lines[2] == "| PyTorch, float32 | 200 | 1.00 (1.00 to 1.00) |"
    assert lines[3] == "| lcss_tf, float32 | 120 | 0.50 (0.45 to 0.55) |"


@pytest.mark.parametrize("name", [*NAMES, "ours", "compare"])
def test_help_needs_no_library(name):
    """Whatever is installed: the libraries are hidden."""
    hidden = "torch tensorflow lcss_tf diffusers azula denoising_diffusion_pytorch smalldiffusion"
    hidden += " torchebm"
    code = (
        "import runpy, sys\n"
        f"sys.modules.update(dict.fromkeys({hidden!r}.split()))\n"  # None: cannot be imported
        f"sys.path.insert(0, {str(RIVALS)!r}); sys.argv = ['x', '--help']\n"
        f"runpy.run_path({str(RIVALS / name)!r} + '.py', run_name='__main__')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "--seconds" in done.stdout


def test_what_was_drawn_is_judged_where_a_competitor_fails(tmp_path, modules, monkeypatch):
    compare, common = modules.compare, modules.common
    monkeypatch.setattr(compare, "judge", lambda samples, options: {"of": samples.name})
    (tmp_path / "a").mkdir()
    drawn = {"50nfe": {"step": 9}, "best": {"step": 8}}  # the second by earlier weights
    common.write_facts(tmp_path / "a", {"steps": 9, "samples": drawn})
    options = SimpleNamespace(out=tmp_path, judge_only=False)
    entry = compare.compete("a", ["false"], options)
    assert entry["failed"] == "status 1"
    assert entry["figures"] == {"50nfe": {"of": "samples_50nfe.npz"}}
    alone = compare.compete("a", ["false"], SimpleNamespace(out=tmp_path, judge_only=True))
    assert alone == entry | {"failed": None}, "trained nothing"
    entry = compare.compete("nothing", ["true"], options)
    assert entry == {"name": "nothing", "facts": {}, "figures": {}, "failed": None}


def test_run_names_the_rivals():
    done = subprocess.run(
        [str(RIVALS / "run.sh"), "nobody", "1", "x"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert all(name in done.stderr for name in NAMES)


def test_our_network_has_the_parameters_that_rivals_are_held_to(modules):
    options = SimpleNamespace(
        variant="ssm_vr", data="/nowhere", seed=3, steps=None, gin_bindings=[]
    )
    try:
        _gin.load(modules.ours.VARIANTS["ssm_vr"][0], modules.ours.bindings(options))
        model, arguments = build()
    finally:
        gin.clear_config()
    model.build((28, 28, 1))
    assert model.network.count_params() == modules.common.REFERENCE_PARAMETERS
    assert arguments["seed"] == 3
    assert type(arguments["loss"]).__name__ == "SSMLoss"
