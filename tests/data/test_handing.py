"""Batches handed over several at a time are the same batches; errors are told all the same."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import ImageFolder, index_batches
from lcss_tf.data.explained import for_people
from lcss_tf.data.handing import MOST, handed_over
from lcss_tf.data.index_stream import example_at


@pytest.mark.parametrize("shape", [(3,), (2**17, 3), (2**19,)], ids=["many", "few", "one"])
def test_they_are_the_elements_in_order(shape):
    dataset = tf.data.Dataset.range(MOST + 5).map(
        lambda i: (tf.fill(shape, tf.cast(i, tf.float32)), {"label": i})
    )
    got = list(handed_over(dataset))
    assert [int(labels["label"]) for _, labels in got] == list(range(MOST + 5))
    for i, (x, _) in enumerate(got):
        assert x.shape == shape
        assert np.all(x == i)


def test_batches_of_unknown_size_are_handed_over_one_by_one():
    ragged = tf.data.Dataset.range(5).map(lambda i: tf.range(i))
    assert [len(x) for x in handed_over(ragged)] == [0, 1, 2, 3, 4]


def test_a_bad_file_in_a_later_batch_is_named(tmp_path):
    for k in range(60):
        Image.fromarray(np.full((4, 4, 3), k, np.uint8)).save(tmp_path / f"{k:02}.png")
    data = ImageFolder(tmp_path, 4, test_every=60, cache_mib=0)
    order = example_at(np.arange(59), 59, 0).numpy()
    bad = data.paths()[order[13]]  # the second of the seventh batch
    with open(bad, "wb") as file:
        file.write(b"no image")
    batches = handed_over(data.pipeline(index_batches(59, 2, 0)))
    indices_of = lambda step: example_at(np.arange(2 * step, 2 * step + 2), 59, 0).numpy()
    with pytest.raises(ValueError, match=rf"{bad} cannot be used: not an image"):
        list(itertools.islice(for_people(data, batches, indices_of, ahead=MOST), 10))
