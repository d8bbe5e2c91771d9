"""A real TensorBoard server shows what a run wrote."""

import json
import socket
import subprocess
import sys
import time
import urllib.request

import pytest

from lcss_tf import config
from lcss_tf.experiment import train

BINDINGS = [
    "train.data = @datasets.Digits()",
    "train.network = @networks.NCSNpp()",
    "NCSNpp.num_features = 4",
    "NCSNpp.channel_multipliers = (1,)",
    "NCSNpp.num_res_blocks = 1",
    "NCSNpp.attention_resolutions = ()",
    "NCSNpp.dropout = 0.0",
    "train.total_steps = 20",
    "pictures.every = 10",
    "pictures.num_samples = 16",
    "EulerMaruyama.num_steps = 5",
]


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """get(path) -> JSON or bytes of a server over a run on the digits."""
    workdir = tmp_path_factory.mktemp("runs") / "digits"
    config.load(config.PROJECT_GIN.parent / "tests/small.gin", BINDINGS)
    train(workdir)
    assert sorted(p.name for p in (workdir / "samples").iterdir()) == [
        "grid_000000010.png", "grid_000000020.png"
    ]  # fmt: skip
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "tensorboard.main", "--logdir", str(workdir.parent), "--host",
         "127.0.0.1", "--port", str(port), "--load_fast=false"],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip

    def get(path):
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/data/{path}", timeout=30) as answer:
            return answer.read()

    try:
        until = time.monotonic() + 120
        while True:
            try:
                if json.loads(get("plugin/images/tags")):
                    break
            except OSError:
                pass
            assert server.poll() is None, "the server ended"
            assert time.monotonic() < until, "the server shows nothing"
            time.sleep(0.5)
        yield get
    finally:
        server.terminate()
        server.wait()


def test_scalars(served):
    tags = json.loads(served("plugin/scalars/tags"))["digits"]
    expected = {
        "loss/total", "loss/norm", "loss/trace", "gradient_norm", "learning_rate",
        "nonfinite_steps", "speed/steps_per_second", "speed/images_per_second",
        "speed/input_wait_share",
        "loss_by_t/0.0-0.1", "loss_by_t/0.9-1.0",
    }  # fmt: skip
    assert expected <= set(tags)
    points = json.loads(served("plugin/scalars/scalars?run=digits&tag=loss%2Ftotal"))
    assert [step for _, step, _ in points] == [5, 10, 15, 20]
    assert all(abs(value) < 10 for _, _, value in points)


def test_images_are_pngs_of_the_grid(served):
    assert "samples/grid" in json.loads(served("plugin/images/tags"))["digits"]
    query = "run=digits&tag=samples%2Fgrid&sample=0"
    first = json.loads(served(f"plugin/images/images?{query}"))[0]
    assert served(f"plugin/images/individualImage?{first['query']}").startswith(b"\x89PNG")


def test_the_configuration_as_text_and_hparams(served):
    assert "config" in json.dumps(json.loads(served("plugin/text/tags")))
    text = served("plugin/text/text?run=digits&tag=config").decode()
    assert "train.batch_size" in text
    plugins = json.loads(served("plugins_listing"))
    assert plugins["hparams"]["enabled"]
