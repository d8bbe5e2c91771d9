"""A run again from what it recorded, and whether it came out the same."""

import json

import pytest

from tests.processes import assert_same_end, run

SMALL = ("--gin_file=tests/small.gin", "--gin_bindings=fit.seed=3")


@pytest.mark.slow
def test_a_run_again_is_equal_to_the_bit(tmp_path):
    workdir, again = tmp_path / "run", tmp_path / "run_again"
    run("train", *SMALL, "--gin_bindings=train.deterministic=True", f"--workdir={workdir}")
    record = json.loads((workdir / "run.json").read_text())
    for key in ("lcss_tf", "commit", "python", "versions", "host", "machine", "started", "command"):
        assert key in record
    assert "fit.seed = 3" in (workdir / "config.gin").read_text()
    assert "TwoMoons" in (workdir / "operative_config.gin").read_text()
    # The record is of other versions: that is said, and the run is made all the same.
    record["versions"]["numpy"] = "1.0"
    (workdir / "run.json").write_text(json.dumps(record))
    done = run("train", f"--reproduce={workdir}")
    assert "numpy: 1.0 then," in done.stdout
    assert "At step 40 the weights equal those of" in done.stdout
    assert_same_end(workdir, again)


@pytest.mark.slow
def test_another_run_is_told_apart(tmp_path):
    """If what the workdir records is not what was run, the end says by how much it differs."""
    workdir = tmp_path / "run"
    run("train", *SMALL, f"--workdir={workdir}")
    config = workdir / "config.gin"
    config.write_text(config.read_text().replace("fit.seed = 3", "fit.seed = 4"))
    done = run("train", f"--reproduce={workdir}", f"--workdir={tmp_path / 'other'}")
    assert "the weights differ from those of" in done.stdout


def test_nothing_to_reproduce(tmp_path):
    done = run("train", f"--reproduce={tmp_path}", status=1)
    assert "holds no run" in done.stderr
