"""A real TensorBoard server shows what a run wrote."""

import json
import time
import urllib.request

import pytest
from tensorboard import program

from tests.commands.helpers import trained


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """get(path) -> bytes of a server over a run on two moons."""
    workdir = tmp_path_factory.mktemp("runs") / "moons"
    trained(workdir, "fit.steps = 20", "Pictures.every = 10", "Pictures.num_samples = 2")
    names = {p.name for p in (workdir / "samples").iterdir()}
    assert {"density_000000010.png", "density_000000020.png"} <= names
    server = program.TensorBoard()
    server.configure(["", "--logdir", str(workdir.parent), "--host", "127.0.0.1", "--port", "0",
                      "--load_fast=false"])  # fmt: skip
    address = server.launch()  # in a thread that ends with the process

    def get(path):
        with urllib.request.urlopen(f"{address}data/{path}", timeout=30) as answer:
            return answer.read()

    until = time.monotonic() + 120
    while not json.loads(get("plugin/images/tags")):
        assert time.monotonic() < until, "the server shows nothing"
        time.sleep(0.2)
    return get


def test_scalars(served):
    tags = json.loads(served("plugin/scalars/tags"))["moons"]
    expected = {
        "loss/total", "loss/norm", "loss/trace", "gradient_norm", "learning_rate",
        "nonfinite_steps", "speed/steps_per_second", "speed/images_per_second",
        "speed/input_wait_share",
        "loss_by_t/0.0-0.1", "loss_by_t/0.9-1.0",
    }  # fmt: skip
    assert expected <= set(tags)
    points = json.loads(served("plugin/scalars/scalars?run=moons&tag=loss%2Ftotal"))
    assert [step for _, step, _ in points] == [5, 10, 15, 20]
    assert all(abs(value) < 10 for _, _, value in points)


def test_images_are_pngs_of_the_samples(served):
    assert "samples/density" in json.loads(served("plugin/images/tags"))["moons"]
    query = "run=moons&tag=samples%2Fdensity&sample=0"
    first = json.loads(served(f"plugin/images/images?{query}"))[0]
    assert served(f"plugin/images/individualImage?{first['query']}").startswith(b"\x89PNG")


def test_the_configuration_as_text_and_hparams(served):
    assert "config" in json.dumps(json.loads(served("plugin/text/tags")))
    text = served("plugin/text/text?run=moons&tag=config").decode()
    assert "fit.batch_size" in text
    plugins = json.loads(served("plugins_listing"))
    assert plugins["hparams"]["enabled"]
