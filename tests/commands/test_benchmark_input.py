"""The input benchmark runs, on small images, and says every rate."""

import json

import numpy as np
import pytest
from PIL import Image

from lcss_tf.commands import _gin
from lcss_tf.commands._benchmark_more import InputBenchmark, bare_rate, own_input, write_pictures
from lcss_tf.errors import UsageError


def test_it_measures_the_pipeline_and_the_bare_decoder(tmp_path):
    figures = InputBenchmark(resolution=48, count=9, batch_size=4, rounds=1).measure(tmp_path)
    assert json.loads(json.dumps(figures))["resolution"] == 48
    for what in ("bare", "pipeline", "mirrored"):
        assert figures[f"{what}_images_per_second"] > 0
    assert figures["pipeline_ratio"] > 0
    assert figures["mirrored_ratio"] > 0
    assert len(list(tmp_path.glob("*.png"))) == 9


def test_it_measures_an_experiment_s_own_input():
    _gin.load(
        "lcss_table.gin",
        ["fit.batch_size = 32", "Table.path = 'sklearn:breast_cancer'"],
    )
    figures = own_input(seconds=0.2, rounds=3)
    assert figures["batch_size"] == 32
    assert figures["examples_per_second"] == pytest.approx(
        32e3 / figures["milliseconds_per_batch"], rel=1e-6
    )


def test_the_pictures_differ_and_are_made_once(tmp_path):
    write_pictures(tmp_path, 2, 16)
    first, second = (np.asarray(Image.open(tmp_path / f"0000{k}.png")) for k in range(2))
    assert first.shape == (16, 16, 3)
    assert not np.array_equal(first, second)
    assert first.std() > 20
    before = (tmp_path / "00001.png").stat().st_mtime_ns
    write_pictures(tmp_path, 3, 16)
    assert (tmp_path / "00001.png").stat().st_mtime_ns == before
    assert bare_rate([str(path) for path in tmp_path.glob("*.png")]) > 0


def test_wrong_numbers_are_refused():
    with pytest.raises(UsageError, match="count >= 2"):
        InputBenchmark(count=1)
