"""What is built is all that users need: the wheel works without the clone, the sdist is whole."""

import shutil
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from pathlib import Path

import pytest

from tests.processes import ENVIRONMENT, ROOT

pytestmark = pytest.mark.slow
pytest.importorskip("build")
pytest.importorskip("setuptools", minversion="77")

LEFT = (
    ".git",
    ".venv",
    ".rivals",
    "runs",
    "build",
    "dist",
    "*.egg-info",
    "__pycache__",
    ".*_cache",
    "shared",
)
FOLDERS = ("bin", "docs", "examples", "gin", "launch", "lcss_tf", "tests", "tools")
FILES = ("CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "Makefile", "README.md", "pyproject.toml",
         "setup.py")  # fmt: skip


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of the project's files, as a fresh clone has them: building writes into it."""
    path = tmp_path_factory.mktemp("source") / "lcss_tf"
    shutil.copytree(ROOT, path, ignore=shutil.ignore_patterns(*LEFT))
    return path


@pytest.fixture(scope="module")
def built(source, tmp_path_factory):
    """(the sdist, the wheel made of it)."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(source)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=out, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """An empty folder with nothing but the installed wheel."""
    target = tmp_path_factory.mktemp("installed") / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index",
               "--disable-pip-version-check", "--target", str(target), str(built[1])]  # fmt: skip
    subprocess.run(command, check=True, timeout=300)
    return target


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    """A folder that is not the clone; runs are kept in it."""
    return tmp_path_factory.mktemp("elsewhere")


def python(installed, elsewhere, *arguments):
    """What Python prints, with the installed package and without the clone."""
    environment = {k: v for k, v in ENVIRONMENT.items() if not k.startswith("LCSS_TF_")}
    environment |= {"PYTHONPATH": str(installed), "LCSS_TF_CACHE": str(elsewhere / "cache")}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=elsewhere, env=environment, capture_output=True,
        text=True, timeout=400,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def lcss(installed, elsewhere, command, *words, bindings=()):
    """``python -m lcss_tf``."""
    given = [f"--gin_bindings={line}" for line in bindings]
    return python(installed, elsewhere, "-m", "lcss_tf", command, *words, *given)


def test_the_wheel_holds_the_package_and_nothing_else(source, built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = set(wheel.namelist())
        entry_points = next(n for n in names if n.endswith("entry_points.txt"))
        text = wheel.read(entry_points).decode()
    assert "lcss = lcss_tf.commands.main:console" in text
    files = lambda folder: {p.relative_to(source / folder) for p in (source / folder).rglob("*.*")}
    expected = {f"lcss_tf/{p}" for p in files("lcss_tf")}
    expected |= {f"lcss_tf/configs/{p}" for p in files("gin")}
    assert {n for n in names if ".dist-info/" not in n} == {
        n for n in expected if not (source / n).is_dir()
    }
    assert {
        "lcss_tf/py.typed", "lcss_tf/configs/lcss_digits.gin",
        "lcss_tf/configs/networks/ddpmpp_digits.gin", "lcss_tf/reports/templates/evaluation.html",
    } <= names  # fmt: skip
    assert any(name.startswith("lcss_tf/metrics/weights/fashion_mnist_") for name in names)


def test_the_sdist_holds_what_the_tests_need(source, built):
    with tarfile.open(built[0]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    expected = {
        str(path.relative_to(source))
        for folder in FOLDERS
        for path in (source / folder).rglob("*")
        if path.is_file()
    }
    assert len(expected) > 200
    assert expected | set(FILES) <= names


def test_the_console_script(installed, elsewhere):
    import lcss_tf

    printed = python(installed, elsewhere, str(installed / "bin" / "lcss"), "--version")
    assert printed.split() == ["lcss_tf", lcss_tf.__version__]


def test_commands_find_the_configurations(installed, elsewhere):
    assert "lcss_digits.gin" in lcss(installed, elsewhere, "configs")


NETWORK = (
    "NCSNpp.num_features = 8", "NCSNpp.channel_multipliers = (1,)", "NCSNpp.num_res_blocks = 1",
    "NCSNpp.attention_resolutions = ()",
)  # fmt: skip
FAST = ("fit.batch_size = 16", "TrainStep.jit_compile = False", "sample.jit_compile = False")


def test_a_run_from_training_to_its_evaluation(installed, elsewhere):
    bindings = (
        *NETWORK, *FAST, "fit.steps = 4", "Pictures.every = 0",
        "sample.sampler = @samplers.EulerMaruyama()", "EulerMaruyama.num_steps = 10",
        "Evaluation.metric = @metrics.PixelFrechet()", "PixelFrechet.num_samples = 128",
        "check_prior.num_examples = 64", "Watch.every = 0",
    )  # fmt: skip
    words = ("--gin_file=lcss_digits.gin",)
    printed = lcss(installed, elsewhere, "train", *words, bindings=bindings)
    run = elsewhere / "runs" / "lcss_digits"
    assert "to step 4" in printed
    assert [p.name for p in run.glob("checkpoints/*.npz")] == ["step_000000004.npz"]
    lcss(installed, elsewhere, "sample", f"--workdir={run}", "--num_samples=4")
    lcss(installed, elsewhere, "evaluate", f"--workdir={run}")
    assert (run / "metrics.json").is_file()
    assert "<html" in (run / "report.html").read_text(), "by the templates in the wheel"


def test_a_comparison(installed, elsewhere):
    """Its processes too are those of the installed package."""
    bindings = (
        *FAST, "fit.steps = 10", "Comparison.seconds = 0.0", "Comparison.times = (0.5,)",
        "Comparison.metric = None", "Comparison.losses = {'DSM': @losses.DSMLoss()}",
        "Comparison.sdes = None",
    )  # fmt: skip
    words = ("--gin_file=compare_mixture2d.gin", f"--workdir={elsewhere / 'compared'}")
    printed = lcss(installed, elsewhere, "compare", *words, bindings=bindings)
    assert "| DSM |" in printed
    assert (elsewhere / "compared" / "dsm" / "result.json").is_file()


def test_the_front_door(installed, elsewhere):
    code = """
        import numpy as np
        import lcss_tf as lcss

        x = np.random.default_rng(0).normal([3.0, -1.0], 0.5, (256, 2))
        model = lcss.ScoreModel(lcss.networks.MLP(width=16, depth=1), lcss.sdes.VPSDE())
        history = model.fit(x, steps=5, batch_size=32)
        samples = model.sample(8, sampler=lcss.samplers.EulerMaruyama(num_steps=5))
        model.save("plane.lcss")
        again = lcss.ScoreModel.load("plane.lcss")
        print(lcss.__file__, samples.shape, samples.dtype, len(history["loss"]), again.step)
    """
    printed = python(installed, elsewhere, "-c", textwrap.dedent(code)).splitlines()[-1]
    where, rest = printed.split(" ", 1)
    assert Path(where).parent == installed / "lcss_tf", "not the clone's"
    assert rest == "(8, 2) float64 1 5"
