"""Models in folders and on the hub: the same samples to the bit, and nothing that is read runs."""

import dataclasses
import inspect
import json
import shutil
import struct
import sys
import types

import keras
import ml_dtypes
import numpy as np
import pytest

import lcss_tf as lcss
from lcss_tf import hub
from lcss_tf.archives import ArchiveError
from lcss_tf.averages import PowerFunction
from lcss_tf.errors import MissingPackageError, UsageError
from lcss_tf.training import CheckpointError

pytest.importorskip("safetensors")


def moved(model, data):
    """The model as if trained: its moments measured, its weights no longer those of the start."""
    state, model.info = model.build(data.shape), data.info()
    state.score.preconditioning.prepare(state.sde, data.examples(np.arange(16), "train", 0))
    rng = np.random.default_rng(1)
    for variable in (*state.network.trainable_variables, *state.average.trainable_variables):
        variable.assign(variable + 0.1 * rng.normal(size=variable.shape))
    state.step = 7
    return model


def plane(network=None, sde=None):
    x = 5 + np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    network = network or lcss.networks.MLP(width=8, depth=1)
    return moved(lcss.ScoreModel(network, sde), lcss.data.from_user(x))


@pytest.fixture(scope="module")
def model():
    return plane()


@pytest.fixture
def folder(model, tmp_path):
    model.save_pretrained(tmp_path / "model", license="apache-2.0")
    return tmp_path / "model"


def samples(model):
    draw = model.sampling(lcss.samplers.DPMSolverPP(num_steps=4), 6, jit_compile=False)
    return model.denormalise(draw(6, seed=3, progress=False).x)


def assert_equal_variables(a, b):
    a, b = a.state.variables_by_name(), b.state.variables_by_name()
    for name, variable in a.items():
        assert variable.dtype == b[name].dtype
        np.testing.assert_array_equal(variable.numpy(), b[name].numpy())


def test_a_folder_gives_the_same_samples_to_the_bit(model, folder):
    assert {path.name for path in folder.iterdir()} == {hub.CARD, hub.CONFIG, hub.WEIGHTS}
    again = lcss.ScoreModel.from_hub(folder)
    assert again.step == 7
    assert_equal_variables(model, again)
    np.testing.assert_array_equal(samples(again), samples(model))


def test_several_averages_are_kept(tmp_path):
    data = lcss.data.from_user(5 + np.random.default_rng(0).normal(size=(64, 2)).astype("f"))
    network = lcss.networks.MLP(width=8, depth=1)
    average = PowerFunction(sigma_rels=(0.05, 0.1))
    model = moved(lcss.ScoreModel(network, average=average), data)
    for number, weights in enumerate(model.state.more_averages.values()):
        for variable in weights:
            variable.assign(variable + number + 1)
    model.save_pretrained(tmp_path)
    again = lcss.ScoreModel.from_hub(tmp_path)
    assert len(again.state.more_averages) == 1
    assert_equal_variables(model, again)
    np.testing.assert_array_equal(samples(again), samples(model))


def test_measured_schedules_and_narrow_weights_are_kept(tmp_path):
    """What an SDE measured on the data, and weights in bfloat16."""
    with _policy("bfloat16"):
        network = lcss.networks.MLP(width=8, depth=1)
        model = plane(network)
    model.state.sde.measured = {"schedule": np.linspace(0, 1, 5)}
    model.save_pretrained(tmp_path)
    with _policy("bfloat16"):
        again = lcss.ScoreModel.from_hub(tmp_path)
    assert_equal_variables(model, again)
    assert {v.dtype for v in again.state.network.weights} == {"bfloat16", "float32"}
    for mine, other in (
        (model.state.sde, again.state.sde),
        (preconditioning(model), preconditioning(again)),
    ):
        assert mine.measured.keys() == other.measured.keys()
        for name, value in mine.measured.items():
            np.testing.assert_array_equal(other.measured[name], value)


def preconditioning(model):
    return model.state.score.preconditioning


class _policy:
    def __init__(self, name):
        self.name = name

    def __enter__(self):
        self.before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(self.name)
        return self

    def __exit__(self, *_):
        keras.config.set_dtype_policy(self.before)


def test_tensors_of_every_width_come_back(tmp_path):
    arrays = {
        "a/b": np.arange(6, dtype=np.float32).reshape(2, 3).T,
        "half": np.ones(3, ml_dtypes.bfloat16),
        "scalar": np.float64(3),
        "none": np.zeros((0, 3), np.int64),
        "flag": np.array([True]),
    }
    hub.write_tensors(tmp_path / "t.safetensors", arrays)
    with hub.TensorFile(tmp_path / "t.safetensors") as file:
        assert file.names == sorted(arrays)
        for name, array in arrays.items():
            claim, read = file.claim(name), file.read(name, np.shape(array))
            assert (claim.shape, claim.dtype) == (np.shape(array), np.asarray(array).dtype)
            assert read.dtype == np.asarray(array).dtype
            np.testing.assert_array_equal(read, array)
        with pytest.raises(ArchiveError, match=r"'a/b' has the shape \(3, 2\)"):
            file.read("a/b", (2, 2))


def packed(header, numbers=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def entry(shape, end, dtype="F32", begin=0):
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is damaged"),
        (struct.pack("<Q", 2**40) + b"{}", "claims a header of 1,099,511,627,776 bytes"),
        (struct.pack("<Q", 2**24 + 1) + b" " * 100, "claims a header"),
        (packed(b'{"a":'), "is damaged"),
        (packed(b"[" * 10_000), "is damaged"),
        (packed(entry([2**40], 8), bytes(8)), "is damaged"),
        (packed(entry([2], 2**40), bytes(8)), "is damaged"),
        (packed(entry([2], 16, begin=8), bytes(16)), "is damaged"),
        (packed(entry([-1], 8), bytes(8)), "is damaged"),
        (packed(entry([2], 8), bytes(4)), "is damaged"),
        (packed(entry([2], 8, "PICKLE"), bytes(8)), "is damaged"),
    ],
)
def test_a_file_made_to_deceive_is_refused(content, message, tmp_path):
    path = tmp_path / "t.safetensors"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        hub.TensorFile(path)


def test_what_does_not_fit_the_network_is_refused_before_it_is_read(folder, monkeypatch):
    with hub.TensorFile(folder / hub.WEIGHTS) as file:
        arrays = {name: file.read(name) for name in file.names}
    wide = next(name for name in arrays if name.startswith("ema/") and arrays[name].ndim == 2)
    hub.write_tensors(folder / hub.WEIGHTS, arrays | {wide: np.zeros((3, 3), np.float32)})
    monkeypatch.setattr(hub.TensorFile, "read", lambda *_: pytest.fail("it was read"))
    with pytest.raises(CheckpointError, match=r"(?s)shape.*\(3, 3\)"):
        lcss.ScoreModel.from_hub(folder)
    hub.write_tensors(folder / hub.WEIGHTS, {n: a for n, a in arrays.items() if n != wide})
    with pytest.raises(CheckpointError, match="1 .* are missing"):
        lcss.ScoreModel.from_hub(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], "is damaged"),
        (lambda text: text.replace('"format": 2', '"format": 3'), "reads format 2"),
        (lambda text: text.replace('"step": 7', '"step": -7'), "step"),
        (lambda text: text.replace('"class": "VPSDE"', '"class": "EvilSDE"'),
         r"EvilSDE is not registered.*Nothing that comes from the hub is run.*--import"),
        (lambda text: text.replace('"registered_name": "lcss_tf>MLP"',
                                   '"registered_name": "lcss_tf>Evil"')
                          .replace('"class_name": "MLP"', '"class_name": "Evil"')
                          .replace('"module": null', '"module": "evil"'),
         r"No network can be made.*Nothing that comes from the hub is run"),
        (lambda text: text + " " * 2**24, "more than 16,777,216 bytes"),
    ],
)  # fmt: skip
def test_a_description_that_cannot_be_used_says_why(change, message, folder):
    text = (folder / hub.CONFIG).read_text()
    assert change(text) != text
    (folder / hub.CONFIG).write_text(change(text))
    with pytest.raises(CheckpointError, match=rf"(?s){message}"):
        lcss.ScoreModel.from_hub(folder)


def test_the_description_holds_no_names_of_files_or_hashes(tmp_path, model):
    model._source = {"files": ["/home/me/secret.csv"], "sha256": "abc"}
    try:
        model.save_pretrained(tmp_path / "b")
    finally:
        model._source = None
    assert "secret" not in (tmp_path / "b" / hub.CONFIG).read_text()


def head_of(card):
    _, head, body = card.split("---\n", 2)
    return dict(line.split(": ", 1) for line in head.splitlines()), body


def test_the_card_says_what_a_stranger_wants_to_know(model):
    figures = {"step": 7, "SlicedWasserstein_1000": 0.031, "SlicedWasserstein_1000_error": 0.002}
    card = hub.model_card(
        model, "me/moons", "cc-by-4.0", "fit.steps = 7\n# ```\n", figures, "lcss train --x=1"
    )
    head, body = head_of(card)
    assert json.loads(head["license"]) == "cc-by-4.0"
    assert json.loads(head["library_name"]) == "lcss_tf"
    assert {"score-based-diffusion", "VPSDE"} <= set(json.loads(head["tags"]))
    for text in ('from_hub("me/moons")', "lcss train --x=1", "````\nfit.steps = 7", "0.031",
                 "0.002", "## Limits", "after 7 steps", "float32"):  # fmt: skip
        assert text in body
    assert "not been measured" in hub.model_card(model)
    assert json.loads(head_of(hub.model_card(model))[0]["license"]) == "unknown"


def test_names_of_others_are_shown_and_do_not_act(tmp_path):
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    model = moved(lcss.ScoreModel(lcss.networks.MLP(width=8, depth=1)), lcss.data.from_user(x))
    name = "a\n---\nlicense: mit\n<script>"
    model.info = dataclasses.replace(model.info, name=name)
    head, body = head_of(hub.model_card(model))
    assert set(head) == {"library_name", "license", "tags"}
    outside = "".join(body.split("```")[::2])
    assert "<script>" not in outside.replace("\\<", "")
    assert "\nlicense: mit" not in outside


# The hub --------------------------------------------------------------------------------------


@pytest.fixture
def fake(monkeypatch, tmp_path):
    """huggingface_hub, whose hub is a folder."""
    site = tmp_path / "site"
    calls = []

    class HfApi:
        def create_repo(self, repo_id, private, exist_ok):
            calls.append((repo_id, private, exist_ok))

        def upload_folder(self, repo_id, folder_path, allow_patterns, commit_message):
            shutil.copytree(folder_path, site / repo_id, dirs_exist_ok=True)
            calls.append((sorted(allow_patterns), commit_message))

    def snapshot_download(repo_id, revision, allow_patterns):
        if not (site / repo_id).is_dir():
            raise ConnectionError("no route to host\nmore")
        calls.append((revision, sorted(allow_patterns)))
        return str(site / repo_id)

    module = types.SimpleNamespace(HfApi=HfApi, snapshot_download=snapshot_download, calls=calls)
    monkeypatch.setitem(sys.modules, "huggingface_hub", module)
    return module


@pytest.mark.slow
def test_a_model_goes_to_the_hub_and_comes_back(model, fake):
    assert model.push_to_hub("me/moons", private=True) == "https://huggingface.co/me/moons"
    again = lcss.ScoreModel.from_hub("me/moons", revision="v1")
    np.testing.assert_array_equal(samples(again), samples(model))
    assert fake.calls[0] == ("me/moons", True, True)
    assert fake.calls[1][0] == ["README.md", "config.json", "model.safetensors"]
    assert fake.calls[2] == ("v1", ["config.json", "model.safetensors"])  # no code, ever


def test_without_a_network_the_message_says_what_to_put_where(fake):
    with pytest.raises(UsageError) as error:
        lcss.ScoreModel.from_hub("me/missing")
    text = str(error.value)
    assert "no route to host" in text
    assert "more" not in text
    assert "https://huggingface.co/me/missing/resolve/main/config.json" in text
    assert "from_hub('folder')" in text


def test_what_cannot_be_uploaded_is_said(model, fake, monkeypatch):
    def refuse(self, **_):
        raise PermissionError("401 Unauthorized")

    monkeypatch.setattr(fake.HfApi, "create_repo", refuse)
    with pytest.raises(UsageError, match="401 Unauthorized.*hf auth login"):
        model.push_to_hub("me/moons")


@pytest.mark.parametrize("name", ["moons", "a/b/c", "../up", "me/..", "https://x/y"])
def test_a_name_that_is_none_is_refused(name, model, fake):
    with pytest.raises(UsageError, match="'owner/model'"):
        model.push_to_hub(name)
    with pytest.raises(UsageError, match="'owner/model'"):
        lcss.ScoreModel.from_hub(name)


def test_without_the_packages_the_extra_is_named(model, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(MissingPackageError, match=r"lcss_tf\[hub\]"):
        lcss.ScoreModel.from_hub("me/moons")
    monkeypatch.setitem(sys.modules, "safetensors", None)
    with pytest.raises(MissingPackageError, match=r"lcss_tf\[hub\]"):
        model.save_pretrained(tmp_path)


def test_the_client_takes_what_it_is_given():
    client = pytest.importorskip("huggingface_hub")
    takes = lambda function: set(inspect.signature(function).parameters)
    api = client.HfApi
    assert {"repo_id", "private", "exist_ok"} <= takes(api.create_repo)
    assert {"repo_id", "folder_path", "allow_patterns", "commit_message"} <= takes(
        api.upload_folder
    )
    assert {"repo_id", "revision", "allow_patterns"} <= takes(client.snapshot_download)
