"""Wrong flags, wrong paths, folders for files, no permission: one message, with what to do."""

import errno
import os

import numpy as np
import pytest
from PIL import Image

from lcss_tf import files
from lcss_tf.commands import _cli
from lcss_tf.commands.main import main
from lcss_tf.errors import UsageError
from tests.commands.helpers import ONE, ROOT, SMALL
from tests.data.helpers import allow_others, as_nobody

GIN, COMPARE = f"--gin_file={SMALL}", f"--gin_file={ROOT / 'tests' / 'small_compare.gin'}"
REPLICA = f"--gin_bindings={ONE}"
PREPARE = ["prepare", "--resolution=8", "--out=out"]
# A command in a folder where "file" is a text, "folder" empty, "run" a run: what is said.
WRONG = [
    (["sample", "--workdir=file"], 1, "file holds no run"),
    (["sample", "--workdir=folder"], 1, "Runs beside it: run"),
    (["sample", "--workdir=run", "--checkpoint=abc"], 1, "expected newest, best"),
    (["sample", "--workdir=run", "--checkpoint=99"], 1, "Steps there are"),
    (["sample", "--workdir=run", "--num_samples=0"], 1, "must be at least 1"),
    (["sample", "--workdir=run", "--num_samples=x"], 2, "--num_samples=x"),
    (["sample", "--workdir=run", "--seed=99999999999999999999"], 1, "--seed must be a whole"),
    (["sample", "--workdir=run", "--guidance=nan"], 1, "--guidance must be a finite number"),
    (["sample", "--workdir=run", "--noise_std=inf"], 1, "--noise_std must be a finite number"),
    (["sample", "--workdir=run", "--out=folder"], 1, "folder is a folder"),
    (["sample", "--workdir=run", "--out=file/x"], 1, "file is a file, not a folder"),
    (["sample", "--workdir=run", "--task=encode"], 1, "needs --input"),
    (["sample", "--workdir=run", "--task=encode", "--input=folder"], 1, "give a file"),
    (["sample", "--workdir=run", "--task=encode", "--input=file.npz"], 1, "is a text that begins"),
    (["sample", "--workdir=run", "--task=encode", "--input=file.npy"], 1, "Save an array"),
    (["sample", "--workdir=run", "--task=encode", "--input=none.npz"], 1, "holds no examples"),
    (["sample", "--workdir=run", "--task=inpaint", "--input=test:1", "--mask=folder"], 1, "a file"),
    (["sample", "--workdir=run", "--task=inpaint", "--input=test:1", "--mask=file.png"], 1,
     "file.png cannot be used: not an image"),
    (["evaluate", "--workdir=nowhere"], 1, "nowhere holds no run"),
    (["evaluate", "--workdir=run", "--checkpoint=7-3"], 1, "Steps there are"),
    (["evaluate", "--workdir=run", "--gin_bindings=Evaluation.metric=3"], 1,
     "Evaluation.metric expects an object @Metric() or None; got 3"),
    (["evaluate", "--workdir=run", "--gin_bindings=References.num_examples=0"], 1,
     "References.num_examples must be at least 1"),
    (["inpainting", "--workdir=file"], 1, "file holds no run"),
    (["inpainting", "--workdir=run", "--gin_bindings=inpainting.num_images=0"], 1,
     "inpainting.num_images must be at least 1"),
    (["inpainting", "--workdir=run", "--out=file"], 1, "file is a file, not a folder"),
    (["quality", "--workdir=file"], 1, "Give the --workdir of one"),
    (["quality", "--workdir=run", "--gin_file=nowhere.gin"], 1, "no gin file nowhere.gin"),
    (["quality", "--gin_file=quality/mixture64.gin", "--workdir=file"], 1, "not a folder"),
    (["quality", "--workdir=run", "--gin_bindings=NFESweep.budgets=3"], 1,
     "NFESweep.budgets expects a list in brackets with a whole number; got 3"),
    (["compare"], 1, "Give --gin_file"),
    (["compare", "--gin_file=folder"], 1, "folder is a folder"),
    (["compare", "--gin_file=file"], 1, "file: Couldn't parse"),
    (["compare", "--report"], 1, "--report needs runs"),
    (["compare", "--report", "file"], 1, "file holds no run"),
    (["compare", "--report", "run", "--out=folder"], 1, "folder is a folder"),
    (["compare", "--report", "run", "--out=file/x.html"], 1, "file is a file, not a folder"),
    (["compare", COMPARE, "--workdir=file"], 1, "Choose another workdir"),
    (["compare", COMPARE, "--workdir=c", "--entry=x"], 1, "No run named 'x'"),
    (["prepare"], 2, "--source must have a value"),
    ([*PREPARE, "--source=nowhere"], 1, "There is nothing at"),
    ([*PREPARE, "--source="], 1, "--source is empty"),
    ([*PREPARE, "--source=file"], 1, "file is no ZIP archive"),
    ([*PREPARE, "--source=folder"], 1, "holds no file that matches"),
    ([*PREPARE, "--source=one"], 1, "at least two"),
    ([*PREPARE, "--source=bad"], 1, "bad/0.png: not an image"),
    ([*PREPARE, "--source=one", "--name=No"], 1, "--name consists of"),
    (["prepare", "--source=one", "--resolution=0", "--out=o"], 1, "resolution >= 1"),
    (["prepare", "--source=one", "--resolution=8x8x3", "--out=o"], 1, "pixels, or HEIGHTxWIDTH"),
    (["prepare", "--source=one", "--resolution=8", "--out=file"], 1, "not a folder"),
    (["import", GIN, "--workdir=i", "--source=folder"], 1, "no checkpoint file folder"),
    (["import", GIN, "--workdir=i", "--source=file"], 1, "torch|refused"),
    (["import", "--workdir=i", "--source=file"], 1, "Give --gin_file"),
    (["benchmark"], 1, "Give --gin_file, or --data"),
    (["benchmark", "--gin_file=folder"], 1, "folder is a folder"),
    (["benchmark", GIN, "--workdir=file"], 1, "file is a file, not a folder"),
    (["benchmark", GIN, "--scaling", "--workdir=file"], 1, "file is a file, not a folder"),
    (["benchmark", "--data", "--workdir=file"], 1, "file is a file, not a folder"),
    (["launch"], 1, "Expected a command"),
    (["launch", "--workers=0", "train"], 2, "--workers=0"),
    (["launch", "--workers=x", "train"], 2, "--workers=x"),
    (["launch", "--logs=file", "train"], 1, "file is a file, not a folder"),
    (["train", "--gin_file=folder"], 1, "folder is a folder"),
    (["train", GIN, "--workdir=file/x"], 1, "Choose another workdir"),
    (["train", GIN, "--import="], 1, "not nothing"),
    (["train", GIN, "--import=folder"], 1, "not a folder"),
    (["train", GIN, "--import=nowhere.py"], 1, "no such module"),
    (["train", GIN, "--gin_bindings=fit.steps='x'"], 1, "fit.steps expects a whole number"),
    (["train", "--reproduce=file"], 1, "file holds no run"),
    (["configs", "x"], 2, "takes flags alone"),
]  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory, plane_run):
    """A folder with everything that is wrong, and a run."""
    place = tmp_path_factory.mktemp("wrong")
    for name in ("file", "file.npz", "file.npy", "file.png"):
        (place / name).write_text("text")
    for name in ("folder", "one", "bad"):
        (place / name).mkdir()
    np.savez(place / "none.npz", np.zeros((0, 2), np.float32))
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / "one" / "a.png")
    for k in range(3):
        (place / "bad" / f"{k}.png").write_text("text")
    (place / "run").symlink_to(plane_run)
    return place


@pytest.mark.parametrize(("words", "status", "said"), WRONG, ids=lambda v: " ".join(v)[-60:]
                         if isinstance(v, list) else "")  # fmt: skip
def test_what_is_wrong_is_one_message(words, status, said, place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    takes = ("sample", "evaluate", "inpainting", "train", "benchmark", "compare")
    own = [REPLICA] if words[0] in takes else []
    assert main([words[0], *own, *words[1:]]) == status
    printed = capsys.readouterr().err
    assert "Traceback" not in printed
    assert "[Errno" not in printed.replace("cannot be written: [Errno", "")
    last = printed[printed.rindex("error: ") :]
    assert any(part in last for part in said.split("|")), last


@pytest.mark.parametrize("name", ["config.gin", "run.json"])
def test_a_file_without_permission_says_how_to_allow_it(name, tmp_path, capsys):
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.gin").write_text("fit.steps = 3")
    (run / "run.json").write_text('{"imports": []}')
    allow_others(tmp_path)
    run.chmod(0o755)
    (run / name).chmod(0)
    with as_nobody():
        assert main(["sample", f"--workdir={run}"]) == 1
    assert f"{run / name} may not be read" in capsys.readouterr().err


@pytest.mark.parametrize("code", _cli._REMEDIES)
def test_an_error_of_the_system_names_the_file_and_a_remedy(code):
    said = _cli.message_of(OSError(code, os.strerror(code), "some/file"))
    assert said.startswith(f"some/file: {_cli._REMEDIES[code]}")
    assert _cli.message_of(OSError(code, os.strerror(code))).endswith(_cli._REMEDIES[code])
    own = OSError(code, "own words", "some/file")
    assert _cli.message_of(own) == str(own)
    assert _cli.message_of(ValueError("own words")) == "own words"


def test_what_can_be_written_is_known_before(tmp_path):
    files.check_writable(tmp_path / "a" / "b" / "c.npz")
    files.check_writable(tmp_path, folder=True)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(UsageError, match="is a folder"):
        files.check_writable(tmp_path)
    allow_others(tmp_path)
    tmp_path.chmod(0o555)
    with as_nobody():
        if os.access(tmp_path, os.W_OK, effective_ids=True):
            pytest.skip("this user may write everywhere")
        with pytest.raises(UsageError, match=r"chmod u\+wx"):
            files.check_writable(tmp_path / "x" / "y")


def test_every_remedy_is_of_an_error_that_there_is():
    assert all(code in errno.errorcode for code in _cli._REMEDIES)
