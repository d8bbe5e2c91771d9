"""The house: imports point one way, gin stays on the doorstep, one module knows tf.distribute."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import lcss_tf
from tests.processes import ENVIRONMENT

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lcss_tf"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up: a module imports from its own folder or from below.
LAYERS = [
    {"texts"},
    {"_version", "errors", "typing", "arguments", "display"},
    {"archives", "forms"},
    {"files"},
    {"registry", "xla", "cores"},
    {"random"},
    {"ops", "conditioning"},
    {"sdes", "data"},
    {"losses", "networks", "samplers", "plots"},
    {
        "score",
        "averages",
        "control",
        "exact",
        "importers",
        "metrics",
        "reports",
        "serialization",
        "preparation",
    },
    {"training"},
    {"inference"},
    {"callbacks", "export", "hub"},
    {"model"},
    {"commands"},
    {"__main__"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def folder(path):
    """The subpackage or module of a file: lcss_tf/sdes/affine.py -> sdes."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def module(path):
    """lcss_tf/sdes/affine.py -> lcss_tf.sdes.affine; a package's __init__ is the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module(path): path for path in FILES}


def imported(path):
    """Modules of the package that a file imports when it is itself imported."""
    tree = ast.parse(path.read_text())
    for node in _at_import(tree):
        if isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lcss_tf"):
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in MODULES else node.module


def _at_import(node):
    """The nodes that run on import: not the bodies of functions, nor what only checkers read."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _at_import(child)


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_keeps_the_rules(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 700
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"
    own = folder(path)
    if own == "__init__":
        return
    for name in imported(path):
        other = name.split(".")[1] if "." in name else "_version"
        assert other == own or LEVEL[other] < LEVEL[own], f"{own} must not import {other}"


def test_every_folder_has_a_layer():
    assert {folder(path) for path in FILES} - {"__init__"} == set(LEVEL)


def test_no_circle():
    """Tarjan's question, asked simply: can a module reach itself?"""
    edges = {name: {i for i in imported(path) if i != name} for name, path in MODULES.items()}
    for start in edges:
        seen, queue = set(), list(edges[start])
        while queue:
            name = queue.pop()
            if name not in seen:
                seen.add(name)
                queue += edges[name]
        if not start.endswith(tuple(p.name for p in PACKAGE.iterdir() if p.is_dir())):
            assert start not in seen, f"{start} imports itself, through {sorted(seen)[:5]}"


# Slow to import, and neither TensorFlow nor Keras imports them.
FEW_NEED = {
    "tensorflow_datasets", "jinja2", "torch", "apache_beam", "jax", "IPython", "pandas", "onnx",
    "tf2onnx", "onnxruntime", "safetensors", "huggingface_hub", "pyarrow", "datasets",
}  # fmt: skip


def test_what_few_need_is_imported_when_it_is_used():
    """`import lcss_tf`, and all that it offers, costs little beside TensorFlow."""
    seen, queue = set(), [f"lcss_tf.{name}" for name in lcss_tf._MODULES]
    while queue:
        name = queue.pop()
        if name not in seen:
            seen.add(name)
            queue += imported(MODULES[name])
    for name in seen:
        for node in _at_import(ast.parse(MODULES[name].read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {n.split(".")[0] for n in names} & FEW_NEED, name


@pytest.mark.slow
def test_the_library_is_imported_within_a_second_of_tensorflow():
    code = (
        "import os, time, tensorflow, keras\n"
        "before, start = dict(os.environ), time.process_time()\n"
        "import lcss_tf; lcss_tf.SDES; [getattr(lcss_tf, name) for name in lcss_tf._MODULES]\n"
        "assert before == dict(os.environ); print(time.process_time() - start)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1


def test_one_module_knows_tf_distribute():
    users = {p.relative_to(PACKAGE).as_posix() for p in FILES if "tf.distribute." in p.read_text()}
    assert users == {"training/distribution.py"}


def test_gin_stays_on_the_doorstep():
    """Library code takes arguments: only the registries and the commands know gin."""
    users = {
        p.relative_to(PACKAGE).as_posix()
        for p in FILES
        for node in ast.walk(ast.parse(p.read_text()))
        if (isinstance(node, ast.Import) and any(a.name.split(".")[0] == "gin" for a in node.names))
        or (isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "gin")
    }
    assert "registry.py" in users
    assert all(user == "registry.py" or user.startswith("commands/") for user in users), users


def test_files_in_bin_only_hand_over():
    commands = sorted((ROOT / "bin").glob("*.py"))
    assert {"train.py", "sample.py", "evaluate.py"} <= {path.name for path in commands}
    for path in commands:
        assert len(path.read_text().splitlines()) <= 10


def test_no_type_of_ours_is_asked():
    """Objects are asked what they can do, never what they are; builtins may be asked."""
    ours = {
        node.name
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ClassDef) and not node.name.endswith("Error")
    }
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance":
                kinds = ast.unparse(node.args[1]).replace("|", ",").strip("()").split(",")
                asked = {k.strip() for k in kinds}  # tf.data.Dataset is not ours, Dataset is
                asked |= {k.removeprefix("lcss_tf.").rpartition(".")[2] for k in asked
                          if not k.startswith(("tf.", "np.", "keras."))}  # fmt: skip
                assert not asked & ours, f"{path}: isinstance(…, {asked & ours})"


def test_what_is_shown_goes_through_one_module():
    """It alone prints, and draws bars: so that nothing that is shown raises, or acts by itself."""
    for path in FILES:
        name = path.relative_to(PACKAGE).as_posix()
        if name in ("display.py", "training/progress.py"):
            continue
        tree = ast.parse(path.read_text())
        called = {ast.unparse(n.func) for n in ast.walk(tree) if isinstance(n, ast.Call)}
        assert not called & {"print", "tqdm", "sys.stderr.write", "sys.stdout.write"}, name


def test_no_method_replaces_itself():
    """A compiled function has a name of its own."""
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                methods = {m.name for m in node.body if isinstance(m, ast.FunctionDef)}
                for inner in ast.walk(node):
                    targets = inner.targets if isinstance(inner, ast.Assign) else []
                    for target in targets:
                        owner = getattr(getattr(target, "value", None), "id", "")
                        assert not (owner == "self" and getattr(target, "attr", "") in methods), (
                            f"{path}: {node.name}.{target.attr}"
                        )


def test_gin_folder_is_no_package():
    assert not (ROOT / "gin" / "__init__.py").exists()
