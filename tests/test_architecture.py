"""The house: imports point one way, files stay short, one module knows tf.distribute."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "lcss_tf"
FILES = sorted(PACKAGE.rglob("*.py"))
# From the ground up: a module imports from its own layer's package or from below.
LAYERS = [
    {"registry", "rng", "xla", "memory", "provenance"},
    {"sdes", "layers", "data", "images", "plots"},
    {"networks", "score", "films", "panels"},
    {"losses", "samplers", "exact", "importers"},
    {"likelihood", "encoding", "control"},
    {"training"},
    {"features"},
    {"metrics", "report", "preparing"},
    {"config", "experiment"},
    {"compare", "benchmark"},
    {"launching"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}


def room(path):
    """The subpackage or module of a file: lcss_tf/sdes/vp.py -> sdes."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_rooms(path):
    """Rooms of the package that a file imports from."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module == "lcss_tf":
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("lcss_tf."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith("lcss_tf."):
                    yield alias.name.split(".")[1]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_a_file_keeps_the_rules(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    assert ast.get_docstring(ast.parse(text)), "a module says what it is for"
    if room(path) == "__init__":
        return
    own = room(path)
    for other in imported_rooms(path):
        same_layer = (own, other) in {("experiment", "config"), ("rng", "xla")}
        allowed = other == own or LEVEL[other] < LEVEL[own] or same_layer
        assert allowed, f"{own} must not import {other}"


def test_every_room_has_a_layer():
    assert {room(path) for path in FILES} - {"__init__"} == set(LEVEL)


def test_one_module_knows_tf_distribute():
    users = {p.relative_to(PACKAGE).as_posix() for p in FILES if "tf.distribute." in p.read_text()}
    assert users == {"training/distribution.py"}


def test_commands_only_parse_and_hand_over():
    commands = sorted((ROOT / "bin").glob("*.py"))
    assert {"train.py", "sample.py", "evaluate.py"} <= {path.name for path in commands}
    for path in commands:
        assert len(path.read_text().splitlines()) <= 60


def test_no_type_is_asked():
    """Objects are asked what they can do, never what they are."""
    for path in FILES:
        calls = [
            node
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "isinstance"
        ]
        # Errors and names given as text are the exceptions, each in one place.
        assert len(calls) <= (2 if path.name in ("cli.py", "registry.py") else 0), path


def test_gin_folder_is_no_package():
    assert not (ROOT / "gin" / "__init__.py").exists()
