"""Pictures are beside the results: one that fails costs nothing else. Results are whole."""

import errno

import numpy as np
import pytest

from lcss_tf import files
from lcss_tf.commands._comparison_report import write_tables
from tests.commands.helpers import ONE, lcss
from tests.processes import readable


def fail(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("place", ["lcss_tf.plots.write_png", "lcss_tf.plots.main_view"])
def test_samples_are_written_without_their_picture(place, plane_run, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(place, fail)
    words = ["sample", f"--workdir={plane_run}", "--num_samples=3", f"--out={tmp_path / 'out'}"]
    assert lcss(*words, bindings=[ONE]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["out.npz"]
    assert len(files.read_arrays(tmp_path / "out.npz")["samples"]) == 3
    printed = capsys.readouterr()
    assert printed.out.count("Wrote") == 1
    assert "No space left on device" in printed.err


@pytest.mark.parametrize(
    "task", [[], ["--task=encode", "--input=test:2"]], ids=["sample", "encode"]
)
def test_a_full_disk_leaves_no_broken_samples(task, plane_run, tmp_path, monkeypatch, capsys):
    def half(file, **_):
        file.write(b"half of it")
        fail()

    monkeypatch.setattr(np, "savez", half)
    words = ["sample", f"--workdir={plane_run}", "--num_samples=3", f"--out={tmp_path / 'out'}"]
    assert lcss(*words, *task, bindings=[ONE]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
    readable(plane_run)


@pytest.mark.parametrize("place", ["write_png", "charts.comparison"])
def test_a_comparison_has_its_tables_without_its_charts(place, tmp_path, monkeypatch):
    at = {"score_error@0.1": 0.5, "score_error_mean": 0.5, "step": 10, "seconds": 1.0}
    result = {
        "name": "A", "loss": "DSMLoss", "sde": "VPSDE", "parameters": 1, "batch_size": 2,
        "ms_per_step": 1.0, "peak_mib": 2.0, "curve": [], "budgets": {"steps": at, "seconds": at},
    }  # fmt: skip
    files.write_json(tmp_path / "a" / "result.json", result)
    monkeypatch.setattr(f"lcss_tf.commands._comparison_report.plots.{place}", fail)
    paths = write_tables(tmp_path, ["A"])
    assert [path.name for path in paths] == ["table.md", "table.csv"]
    assert "| A |" in paths[0].read_text()
