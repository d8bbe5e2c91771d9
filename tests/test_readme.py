"""The README's first code, as it stands there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_first_code_runs_in_a_process_that_never_imports_gin_s_configuration(tmp_path):
    """Digits as a uint8 array in, a grid of uint8 samples out; here with fewer steps."""
    code = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.S)[1]
    assert len([line for line in code.splitlines() if line.strip()]) <= 10
    for long, short in (("steps=3_000", "steps=30"), ("num_steps=32", "num_steps=8")):
        assert long in code
        code = code.replace(long, short)
    code += (
        "\nimport sys"
        "\nassert samples.shape == (64, 8, 8) and samples.dtype == np.uint8"
        "\nassert not any(name.startswith('lcss_tf.commands') for name in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "digits.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_example_s_command_and_its_picture(tmp_path):
    """As the README types them; here with fewer steps."""
    run = str(tmp_path / "my_sde")
    train = ["-m", "lcss_tf", "train", "--gin_file=examples/my_sde.gin"]
    train += ["--import=examples/my_sde.py", f"--workdir={run}", "--gin_bindings=fit.steps=20"]
    draw = ["examples/my_sde_picture.py", run, str(tmp_path / "my_sde.png")]
    for words in (train, draw):
        done = subprocess.run(
            [sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-2_000:]
    assert (tmp_path / "my_sde.png").read_bytes().startswith(b"\x89PNG")


def test_every_test_that_the_documentation_names_is_there():
    pages = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for name in re.findall(r"\btests/[\w/]+(?:\.py)?", page.read_text()):
            assert (ROOT / name).exists(), f"{page.name} names {name}"
