"""What the documentation says to type: commands parse, gin keys exist, Python runs.

A code block is Python if it says so, gin if its lines bind keys, and commands otherwise. A comment
``<!-- not run: why -->`` before a block leaves it out. A comment ``<!-- setup`` … ``-->`` before a
Python block is code that runs first, for names that the text takes for granted. A comment
``<!-- file: name -->`` makes the block a file of that name, which other blocks and commands use.
"""

import importlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags

from lcss_tf.commands import _gin
from lcss_tf.commands._places import find_config
from lcss_tf.commands.main import _MODULES, COMMANDS

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
_BLOCK = re.compile(
    r"(?P<before>(?:<!--(?:(?!-->).)*-->\s*)*)^```(?P<kind>\w*)\n(?P<code>.*?)^```", re.S | re.M
)
_COMMAND = re.compile(r"(?:^|&& )(?:[A-Z_]+=\S+ )*(?:lcss|(?:\S*python\S* )bin/(\w+)\.py) .*")
_BINDING = re.compile(r"^[\w/]+(?:\.\w+)+ = .+", re.M)


def test_the_prose_is_plain_and_links_lead_somewhere():
    """As `make lint` says: sentences of 35 words at most, the field's words, files that exist."""
    done = subprocess.run([sys.executable, str(ROOT / "tools/prose.py")], capture_output=True)
    assert done.returncode == 0, done.stdout.decode()


def test_every_yes_of_the_features_names_its_page_and_its_test():
    rows = (ROOT / "docs/reference/features.md").read_text().splitlines()
    last = [row.rsplit(" | ", 1)[-1] for row in rows if row.startswith("|") and "yes]" in row]
    assert len(last) > 30
    for cell in last:
        assert re.fullmatch(
            r"\[yes\]\(\.\./[\w.#/-]+\) · \[test\]\(\.\./\.\./tests/\S+\.py\) \|", cell
        ), cell


def blocks(page):
    """(kind, code, comments before it) of a page."""
    for match in _BLOCK.finditer(page.read_text()):
        yield match["kind"], match["code"], match["before"]


def named(page):
    return str(page.relative_to(ROOT))


def commands():
    """(page, command line) of every command in a block, or indented by four."""
    for page in PAGES:
        text = page.read_text()
        plain = "".join(
            code for kind, code, note in blocks(page) if not kind and "not run" not in note
        )
        outside = _BLOCK.sub("", text)
        plain += "".join(line[4:] + "\n" for line in outside.splitlines() if line[:4] == "    ")
        for line in plain.replace("\\\n", " ").splitlines():
            if _COMMAND.match(line.strip()):
                yield page, line.strip()


@pytest.mark.parametrize(("page", "line"), commands(), ids=lambda v: getattr(v, "name", None))
def test_commands_take_the_flags_that_the_documentation_gives_them(page, line):
    line = re.sub(r"\s#.*", "", line).replace("…", "").replace("...", "")
    words = shlex.split(re.sub(r"\$\w+", "", line))
    words = [w for w in words if not re.match(r"[A-Z_]+=", w)]
    if words[0] == "lcss":
        name, words = words[1], words[2:]
        if name.startswith("--") or name == "COMMAND":
            return
        assert name in COMMANDS, f"{page.name}: {line}"
        name = _MODULES.get(name, name)
    else:
        name = Path(words[1]).stem.replace("prepare_data", "prepare")
        words = words[2:]
    if name == "launch":
        return  # its flags stand before another command's
    module = importlib.import_module(f"lcss_tf.commands.flags.{name}")
    values = module.FLAGS
    try:
        for flag in values:
            values[flag].unparse()
        getattr(module, "parse", lambda rest: values([name, *rest]))(words)
        if "gin_file" in values and values["gin_file"].value and values.gin_file[0] != "/":
            find_config(values.gin_file)
    except flags.Error as error:
        pytest.fail(f"{page.name}: {line}\n{error}")
    finally:
        for flag in values:
            values[flag].unparse()


def gin_blocks():
    for page in PAGES:
        for kind, code, note in blocks(page):
            bindings = _BINDING.findall(code)
            if not kind and bindings and "not run" not in note:
                yield pytest.param(page, code, id=f"{named(page)}: {bindings[0][:40]}")


@pytest.mark.parametrize(("page", "code"), gin_blocks())
def test_gin_keys_of_the_documentation_exist(page, code):
    """Each line by itself, for a block may show alternatives."""
    bindings = []
    for line in re.split(r"\n|\s{4,}(?=\S+ = )", code):
        line = re.sub(r"\s#.*|, \.\.\.|, …", "", line).strip()
        if _BINDING.match(line):
            _gin.load(None, [line])  # raises ConfigError for a key that there is not
            bindings.append(line)
    assert bindings


def python_pages():
    for page in PAGES:
        if python_of(page):
            yield page


def python_of(page):
    """The page's Python, with what is long made short."""
    parts = []
    for kind, code, note in blocks(page):
        parts += re.findall(r"<!-- setup\n(.*?)-->", note, re.S)
        if kind == "python" and "not run" not in note and "file:" not in note:
            parts.append(code)
    return shortened("\n".join(parts))


def shortened(code):
    """The same code with few steps and samples."""
    for pattern, few in (
        (r"\b(steps=)[\d_]+", r"\g<1>4"),
        (r"\b(num_steps=)[\d_]+", r"\g<1>4"),
        (r"\b(sample\()[\d_]{3,}", r"\g<1>64"),
        (r"\b(batch_size=)[\d_]{3,}", r"\g<1>64"),
        (r"\b(num_draws=)[\d_]+", r"\g<1>2"),
        (r'\b(checkpoint=")\d+', r"\g<1>2"),
    ):
        code = re.sub(pattern, few, code)
    return code


def run(code, folder):
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=900,
        env={**os.environ, "PYTHONPATH": str(ROOT), "MPLBACKEND": "Agg"},
    )  # fmt: skip
    return done


@pytest.mark.slow
@pytest.mark.parametrize("page", python_pages(), ids=named)
def test_python_of_the_documentation_runs(page, tmp_path):
    done = run(python_of(page), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


def write_files(page, folder):
    """The page's blocks that are files."""
    for _, code, note in blocks(page):
        if name := re.search(r"<!-- file: (\S+) -->", note):
            (folder / name[1]).write_text(code)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("part", "name", "contract"),
    [
        ("my_sde", "TwoWellSDE", ["sdes", "samplers/test_matrix.py"]),
        ("my_loss", "AntitheticDSMLoss", ["losses/test_contract.py"]),
        ("my_sampler", "Midpoint", ["samplers", "inference"]),
        ("my_network", "ConvNet", []),
        ("my_data", "Rings", []),
    ],
)
def test_parts_of_your_own_pass_their_tests_and_the_contract(part, name, contract, tmp_path):
    """docs/extending.md: each file with its test, and the contract tests that it says."""
    write_files(ROOT / "docs" / "extending.md", tmp_path)
    pytest_on = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    options = {"capture_output": True, "text": True, "env": {**os.environ, "PYTHONPATH": path}}
    own = subprocess.run([*pytest_on, f"test_{part}.py"], cwd=tmp_path, **options)
    assert own.returncode == 0, own.stdout[-3000:]
    assert "1 passed" in own.stdout
    if contract:
        places = [str(ROOT / "tests" / place) for place in contract]
        command = [*pytest_on, "-p", part, "-k", name, *places]
        shared = subprocess.run(command, cwd=ROOT, **options)
        assert shared.returncode == 0, shared.stdout[-3000:]
        assert int(re.search(r"(\d+) passed", shared.stdout)[1]) > 2


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", sorted((ROOT / "examples" / "notebooks").glob("*.py")), ids=lambda p: p.stem
)
def test_notebooks_run(path, tmp_path):
    """Every cell, with few steps; each starts with a title and says how long it takes."""
    text = path.read_text()
    assert re.search(r"^# # \w+", text, re.M)
    assert re.search(r"(One|Two|Three|Four|Five) minutes? on two CPU cores", text)
    done = run(shortened(text), tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
