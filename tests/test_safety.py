"""No pickle on a path that reads users' files, and nothing unpacked."""

import ast
import io
import pickle
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
from packaging.requirements import Requirement
from packaging.version import Version

from lcss_tf import files
from lcss_tf.data.image_folder import ImageFolder
from lcss_tf.training.checkpoints import read

ROOT = Path(__file__).parent.parent
FILES = sorted([*(ROOT / "lcss_tf").rglob("*.py"), *(ROOT / "bin").glob("*.py")])
FORBIDDEN = {"eval", "exec", "extractall", "unpack_archive", "system", "popen"}


class Bomb:
    """An object whose unpickling would leave a file behind."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def calls(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            yield getattr(node.func, "attr", getattr(node.func, "id", "")), node


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.relative_to(ROOT).as_posix())
def test_nothing_in_the_code_runs_what_it_reads(path):
    text = path.read_text()
    assert "import pickle" not in text
    for name, node in calls(path):
        options = {k.arg: getattr(k.value, "value", None) for k in node.keywords}
        assert name not in FORBIDDEN, f"{name} in line {node.lineno}"
        assert options.get("allow_pickle") is not True
        assert options.get("shell") is not True
        if name == "import_graph_def":
            assert "read_graph(" in text or path.name == "onnx.py"  # which traced it itself
        if name == "load" and getattr(getattr(node.func, "value", None), "id", "") == "torch":
            assert options.get("weights_only") is True
        if ast.unparse(node.func).startswith("keras.") and name.startswith(("load", "deserialize")):
            assert options.get("safe_mode") is True


SAFE = {  # the first versions without the hole that is named
    "keras": ("3.13.2", "safe mode ran SavedModels, weights claimed any shape"),
    "pillow": ("12.3", "writes beyond memory, and decompression bombs of several kinds"),
    "jinja2": ("3.1.6", "a way out of the sandbox"),
    "tqdm": ("4.66.3", "arguments of the command line were run"),
    "torch": ("2.10", "weights_only=True ran code"),
    "pyarrow": ("14.0.1", "a file's extension types ran pickles"),
    "datasets": ("4", "scripts of data sets were run"),
    "tensorflow": ("2.20", "not of safety: the first that decodes WebP"),
}


@pytest.mark.parametrize("name", SAFE)
def test_no_version_with_a_known_hole_is_allowed(name):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = [line for lines in project["optional-dependencies"].values() for line in lines]
    found = [Requirement(line) for line in (*project["dependencies"], *extras)]
    lowest, hole = SAFE[name]
    bounds = [r.specifier for r in found if r.name.lower() == name]
    assert bounds
    for specifier in bounds:
        given = [Version(s.version) for s in specifier if s.operator in (">=", ">", "==", "~=")]
        assert given, f"{name} has no lower bound: {specifier}"
        assert max(given) >= Version(lowest), f"{name}{specifier}: {hole}"


def test_every_dependency_has_a_lower_bound():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for line in project["dependencies"]:
        assert any(s.operator == ">=" for s in Requirement(line).specifier), line


def test_a_checkpoint_with_a_pickle_runs_nothing(tmp_path):
    path, mark = tmp_path / "step_000000001.npz", tmp_path / "mark"
    array = np.empty(1, object)
    array[0] = Bomb(mark)
    np.savez(path, meta=array, allow_pickle=True)
    with pytest.raises(ValueError, match="allow_pickle"):
        read(path, {})
    assert files.read_arrays(path) is None
    assert not mark.exists()
    pickle.loads(pickle.dumps(array))  # the bomb is a real one
    assert mark.exists()


def test_a_zip_that_leads_out_of_itself_is_refused(tmp_path):
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("../../evil.png", b"x")
    path = tmp_path / "a.zip"
    path.write_bytes(content.getvalue())
    with pytest.raises(ValueError, match="evil"):
        ImageFolder(root=str(path), resolution=8).require("train")
    assert not list(tmp_path.parent.rglob("evil.png"))
