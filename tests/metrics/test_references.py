"""Real examples and their statistics: stored, reused, never mixed; nearest neighbours."""

import numpy as np
import pytest

import lcss_tf
from lcss_tf.metrics import (
    KID,
    Frechet,
    Pixels,
    ReferenceMismatchError,
    References,
    find_neighbours,
)


def test_statistics_are_stored_reused_and_never_mixed(tmp_path):
    data, metrics = lcss_tf.DATASETS["Digits"](), [Frechet(Pixels(), 100)]
    make = lambda **options: References(data, 0, directory=tmp_path, **options)
    first, path = make().statistics(metrics)
    written = path.stat().st_mtime_ns
    again, same = make().statistics(metrics)
    assert same == path
    assert path.stat().st_mtime_ns == written
    np.testing.assert_array_equal(first.moments()[0].covariance, again.moments()[0].covariance)
    # Whatever they depend on gives another file.
    others = [
        make(split="train").statistics(metrics)[1],
        make(num_examples=200).statistics(metrics)[1],
        make().statistics([KID(Pixels(), 100)])[1],
        References(
            lcss_tf.DATASETS["Digits"](centered=False), 0, directory=tmp_path
        ).statistics(metrics)[1],
    ]  # fmt: skip
    assert len({path, *others}) == 5
    with pytest.raises(ReferenceMismatchError, match="split: train in the file, test") as caught:
        make(path=others[0]).statistics(metrics)
    assert "size: 1437 in the file, 360 now" in str(caught.value)
    assert make(path=path).statistics(metrics)[1] == path
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(ReferenceMismatchError, match="cannot be read"):
        make(path=path).statistics(metrics)
    assert make().statistics(metrics)[0].count == 360  # the cache's own file is made again


def test_statistics_that_are_not_stored_are_the_same(tmp_path):
    data, metrics = lcss_tf.DATASETS["Digits"](), [Frechet(Pixels(), 100)]
    stored, _ = References(data, directory=tmp_path / "a").statistics(metrics)
    other, path = References(data, directory=tmp_path / "b", store=False).statistics(metrics)
    np.testing.assert_array_equal(stored.moments()[0].covariance, other.moments()[0].covariance)
    assert path is None
    assert not (tmp_path / "b").exists()


def test_copies_of_the_training_set_are_found():
    data = lcss_tf.DATASETS["Digits"]()
    references = References(data)
    copies = references.examples(60, "train")
    found = find_neighbours(copies, references)
    assert found.share_memorised() == 1.0
    assert found.samples.max() == 0.0
    assert found.training.min() > 0.0
    np.testing.assert_array_equal(found.pictured[:, 0], found.pictured[:, 1])
    held_out = find_neighbours(references.examples(256, "test"), references)
    assert held_out.share_memorised() < 0.1
    # By hand, for one.
    train_set = np.float32(references.examples(1437, "train")).reshape(1437, -1)
    query = np.float32(references.examples(256, "test"))[7].reshape(-1)
    expected = np.sqrt(np.mean((train_set - query) ** 2, axis=1)).min()
    assert held_out.samples[7] == pytest.approx(expected, rel=1e-5)
    assert find_neighbours(copies, References(lcss_tf.DATASETS["TwoMoons"]())) is None


def test_a_cache_that_cannot_be_written_loses_nothing_that_was_computed(tmp_path, caplog):
    (tmp_path / "file").write_text("")
    data, metrics = lcss_tf.DATASETS["Digits"](), [Frechet(Pixels(), 100)]
    there = References(data, 0, directory=tmp_path / "file" / "cache")
    found, path = there.statistics(metrics)
    assert path is None
    expected, _ = References(data, 0, store=False).statistics(metrics)
    np.testing.assert_array_equal(found.moments()[0].covariance, expected.moments()[0].covariance)
    assert f"{tmp_path / 'file' / 'cache'}" in caplog.text
    assert "Set LCSS_TF_CACHE" in caplog.text
