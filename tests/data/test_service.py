"""tf.data service: the batches of the pipeline, bit for bit; other orders are noticed."""

import os
import subprocess
import sys
import time

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from lcss_tf.data import DataService, Digits, FromTFData, ImageFolder
from lcss_tf.data.pipeline import training_batches
from lcss_tf.errors import UsageError
from lcss_tf.training.distribution import Distribution
from tests.data.helpers import classes, picture

service = tf.data.experimental.service


def start(workers=1):
    """A dispatcher with workers, in this process."""
    dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
    config = service.WorkerConfig(
        dispatcher_address=dispatcher.target.partition("://")[2], heartbeat_interval_ms=50
    )
    return dispatcher, [service.WorkerServer(config) for _ in range(workers)]


@pytest.fixture(scope="module")
def servers():
    return [start(), start()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("pictures")
    for k in range(11):
        place = root / "ab"[k % 2]
        place.mkdir(exist_ok=True)
        Image.fromarray(picture(k, 8 + k, 20)).save(place / f"{k:02}.png")
    return root


def first(data, count, **options):
    batches = data.training_pipeline(4, 3, **options).take(count)
    return [tf.nest.map_structure(np.asarray, batch) for batch in batches]


def assert_same(here, there):
    tf.nest.map_structure(np.testing.assert_array_equal, here, there)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2])
def test_batches_are_those_without_a_service(servers, folder, count):
    images = ImageFolder(folder, (8, 12), flip=True, fit="pad", cache_mib=0)
    places = [dispatcher.target for dispatcher, _ in servers[:count]]
    served = DataService(images, places)
    assert_same(first(served, 6), first(images, 6))
    options = {"start_step": 5, "condition": classes(2), "shards": ((0, 2), (2, 2))}
    assert_same(first(served, 6, **options), first(images, 6, **options))
    assert served.fingerprint() == images.fingerprint()
    assert np.array_equal(served.some_examples(2, "test"), images.some_examples(2, "test"))


def test_replicas_get_their_own_shares(servers):
    digits, distribution = Digits(), Distribution(num_replicas=2)
    batches = lambda data: training_batches(data, distribution, 8, 1, 7)
    served = batches(DataService(digits, servers[0][0].target))
    for _, here, there in zip(range(4), batches(digits), served, strict=False):
        for a, b in zip(here.values, there.values, strict=True):
            assert np.array_equal(a, b)


def test_an_example_that_is_bad_is_named(servers, folder, tmp_path):
    for k in range(4):
        Image.fromarray(picture(k)).save(tmp_path / f"{k}.png")
    (tmp_path / "3.png").write_bytes((tmp_path / "3.png").read_bytes()[:100])
    data = DataService(ImageFolder(tmp_path, 8, cache_mib=0), servers[0][0].target)
    with pytest.raises(UsageError, match=r"3\.png cannot be used"):
        list(
            zip(range(3), training_batches(data, Distribution(num_replicas=1), 4, 1), strict=False)
        )


def test_several_workers_of_one_dispatcher_are_noticed(folder):
    dispatcher, workers = start(workers=2)
    data = DataService(ImageFolder(folder, 8, cache_mib=0), dispatcher.target)
    until = time.monotonic() + 120.0  # by when both must have registered and given a batch

    def take_all():
        for _ in data.training_pipeline(4, 3):
            assert time.monotonic() < until, "batches of one worker alone"

    with pytest.raises(tf.errors.InvalidArgumentError, match="one was lost or doubled"):
        take_all()
    assert len(workers) == 2


@pytest.mark.slow
def test_what_cannot_be_served_is_refused(folder):
    images = ImageFolder(folder, 8)
    for wrong in ("host:5000", "grpc://host", [], ["grpc://h:1", "grpc://h:1"]):
        with pytest.raises(UsageError, match=r"DataService\.service"):
            DataService(images, wrong)
    with pytest.raises(UsageError, match="No dispatcher of tf.data service answers at grpc://loc"):
        DataService(images, "grpc://localhost:1").require()
    stream = FromTFData(tf.data.Dataset.from_tensor_slices(np.eye(6, dtype=np.float32)))
    with pytest.raises(UsageError, match="is a tf.data.Dataset, whose order is its own"):
        DataService(stream, "grpc://localhost:1")


OTHER_PROCESS = """
import sys, tensorflow as tf
service = tf.data.experimental.service
dispatcher = service.DispatchServer(service.DispatcherConfig(port=0))
address = dispatcher.target.partition("://")[2]
worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
assert "lcss_tf" not in sys.modules
print(dispatcher.target, flush=True)
sys.stdin.read()
"""


@pytest.mark.slow
def test_a_worker_in_another_process_knows_nothing_of_this_library(folder):
    environment = {**os.environ, "PYTHONPATH": ""}
    with subprocess.Popen(
        [sys.executable, "-c", OTHER_PROCESS], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as other:  # fmt: skip
        try:
            target = other.stdout.readline().strip()
            images = ImageFolder(folder, (8, 12), flip=True, fit="pad", cache_mib=0)
            assert_same(first(DataService(images, target), 6), first(images, 6))
        finally:
            other.kill()
