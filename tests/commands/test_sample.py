"""bin/sample.py's tasks on a tiny run: what they write, and what they refuse before any work."""

import gin
import numpy as np
import pytest
from PIL import Image

from lcss_tf import config
from lcss_tf.control import InverseProblem, Mask, TimeTravel
from lcss_tf.data.base import DataInfo
from lcss_tf.data.scaling import Scaling
from lcss_tf.experiment import TASKS, Request, filling, filling_error, train
from lcss_tf.experiment.filling import nearest
from lcss_tf.experiment.recipe import restored
from lcss_tf.experiment.restoration import Restoration
from tests.processes import run

GIN = """
ScoreModel.sde = @sdes.VPSDE()
fit.loss = @losses.LCSSLoss()
fit.data = @datasets.NoiseImages()
ScoreModel.network = @networks.NCSNpp()
fit.steps = 5
fit.batch_size = 4
NoiseImages.shape = (4, 4, 3)
NoiseImages.count = 40
NCSNpp.num_features = 4
NCSNpp.channel_multipliers = (1,)
NCSNpp.num_res_blocks = 1
NCSNpp.dropout = 0.0
TrainStep.jit_compile = False
Pictures.every = 0
check_prior.num_examples = 4
sample.sampler = @samplers.DPMSolverPP()
sample.jit_compile = False
sample.batch_size = 4
DPMSolverPP.num_steps = 4
"""
CLASSES = [
    "NCSNpp.num_classes = 10",
    "TrainStep.class_dropout = 0.2",
    "fit.steps = 20",
    "WarmUp.learning_rate = 0.1",
    "WarmUp.warmup_steps = 0",
]


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
    return _trained(tmp_path_factory.mktemp("restoring"), ())


@pytest.fixture(scope="module")
def with_classes(tmp_path_factory):
    return _trained(tmp_path_factory.mktemp("classes"), CLASSES)


def _trained(directory, bindings):
    (directory / "run.gin").write_text(GIN)
    config.load(directory / "run.gin", bindings)
    train(directory / "run")
    gin.clear_config()
    return directory / "run"


def perform(workdir, task, *bindings, **request):
    config.load_workdir(workdir, bindings)
    return TASKS[task](workdir, Request(**request))


def test_latents_decode_to_what_was_encoded(workdir, tmp_path):
    paths = perform(workdir, "encode", inputs=("test:3",), out=tmp_path / "latents")
    held = np.load(paths[0])
    assert held["latents"].shape == held["examples"].shape == (3, 4, 4, 3)
    gap = held["decoded"].astype(int) - held["examples"].astype(int)
    assert np.abs(gap).max() <= 1  # of 255 levels
    assert Image.open(paths[1]).size


def test_a_way_between_examples_ends_at_them(workdir, tmp_path):
    out = tmp_path / "way"
    paths = perform(workdir, "interpolate", inputs=("test:3",), num_samples=5, out=out)
    samples = np.load(paths[0])["samples"].astype(int)
    assert samples.shape == (2, 5, 4, 4, 3)
    perform(workdir, "encode", inputs=("test:3",), out=tmp_path / "latents")
    examples = np.load(tmp_path / "latents.npz")["examples"].astype(int)
    assert np.abs(samples[:, 0] - examples[:-1]).max() <= 1
    assert np.abs(samples[:, -1] - examples[1:]).max() <= 1
    assert np.abs(samples[:, 2] - examples[:-1]).max() > 10
    with pytest.raises(ValueError, match="two examples or more"):
        perform(workdir, "interpolate", inputs=("test:1",), out=out)


@pytest.mark.parametrize("task", ["inpaint", "colourise", "superresolve"])
def test_a_task_agrees_with_what_is_observed(task, workdir, tmp_path):
    paths = perform(
        workdir, task, inputs=("test:3",), num_samples=2, mask="box", out=tmp_path / "o.png"
    )
    assert [path.name for path in paths] == ["o.npz", "o.png"]
    with np.load(paths[0]) as held:
        samples, truth, observed = (held[k].astype(int) for k in ("samples", "truth", "observed"))
    assert samples.shape == (3, 2, 4, 4, 3)
    assert truth.shape == (3, 4, 4, 3)
    assert (samples[:, 0] != samples[:, 1]).any()
    if task == "inpaint":
        known = Mask("box").known((4, 4, 3))
        for i in range(2):
            np.testing.assert_array_equal(samples[:, i][:, known], truth[:, known])
    # Rounded to bytes and clipped on the way, so near and not equal.
    luma = samples @ np.array([0.299, 0.587, 0.114])
    means = samples.reshape(3, 2, 2, 2, 2, 2, 3).mean((3, 5))
    seen = {"inpaint": None, "colourise": luma[..., None], "superresolve": means}[task]
    if seen is not None:
        inside = (samples > 0) & (samples < 255)
        if task == "colourise":
            inside = inside.all(-1, keepdims=True)
        else:
            inside = inside.reshape(3, 2, 2, 2, 2, 2, 3).all((3, 5))
        assert inside.any()
        gap = np.abs(seen - observed[:, None])
        assert gap[inside].max() <= 1.5
    picture = np.asarray(Image.open(paths[1]))
    assert picture.shape[0] == 3 * (64 + 2) + 2
    assert picture.shape[1] == 4 * (64 + 2) + 2 * 2 + 10


@pytest.mark.slow
def test_files_as_inputs(workdir, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(image[:2, :2]).save(tmp_path / "small.png")
    np.savez(tmp_path / "images.npz", samples=np.stack([image, image]))

    def held(task, *names):
        inputs = tuple(str(tmp_path / name) for name in names)
        paths = perform(workdir, task, inputs=inputs, num_samples=1, out=str(tmp_path / "out"))
        with np.load(paths[0]) as archive:
            return dict(archive)

    arrays = held("inpaint", "image.png", "images.npz")
    np.testing.assert_array_equal(arrays["truth"], np.stack([image] * 3))
    arrays = held("superresolve", "small.png")  # an observation: nobody knows the truth
    assert "truth" not in arrays
    np.testing.assert_array_equal(arrays["observed"][0], image[:2, :2])
    arrays = held("colourise", "grey.png")
    assert "truth" not in arrays
    np.testing.assert_array_equal(arrays["observed"][0], image[..., :1])
    # Elsewhere a grey image is one whose channels are alike.
    np.testing.assert_array_equal(held("inpaint", "grey.png")["truth"][0, ..., 2], image[..., 0])


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        ({}, "needs --input"),
        ({"inputs": ("nowhere.png",)}, "No input nowhere.png"),
        ({"inputs": ("large.png",)}, r"shape \(5, 4, 3\); one example of .* shape \(4, 4, 3\)"),
        ({"inputs": ("float.npz",)}, "holds float64; images are uint8"),
        ({"inputs": ("test:no",)}, "'test' or 'test:16'; got 'test:no'"),
        ({"inputs": ("test",), "mask": "nomask.png"}, "one of box, half, random"),
        ({"inputs": ("test",), "mask": "white.png"}, "hides nothing"),
        ({"inputs": ("test",), "mask": "large.png"}, "not binary|has the shape"),
        ({"inputs": ("test",), "num_samples": 0}, "num_samples must be at least 1; got 0"),
        ({"inputs": ("test",), "label": 3}, "network without classes"),
        ({"inputs": ("test",), "noise_std": -1.0}, "noise_std must be at least 0"),
        ({"inputs": ("test",), "trajectory": True}, "leave --task out"),
    ],
)
def test_bad_input(request_, message, workdir, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((5, 4, 3), 9, np.uint8)).save("large.png")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save("white.png")
    np.savez("float.npz", np.zeros((4, 4, 3)))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        perform(workdir, "inpaint", out="out", **request_)
    assert not list(tmp_path.glob("out*"))


def test_a_factor_that_does_not_divide_and_a_method_that_does_not_fit(workdir):
    with pytest.raises(ValueError, match=r"blocks of 3 .*divides 4 and 4"):
        perform(workdir, "superresolve", inputs=("test",), factor=3)
    gin.clear_config()
    binding = "posterior.method = @methods.Replacement()"
    with pytest.raises(ValueError, match="noise of deviation 0.1: use NullSpace"):
        perform(workdir, "inpaint", binding, inputs=("test",), noise_std=0.1)


def test_reconstructions_do_not_depend_on_their_batch(workdir):
    config.load_workdir(workdir)
    _, state, info, distribution = restored(workdir)
    problem = InverseProblem(Mask("half"), None)
    made = Restoration(state, info.shape, distribution, problem, TimeTravel(num_travels=2))
    y = problem.operator.apply(np.random.default_rng(0).normal(size=(3, 4, 4, 3))).numpy()
    three = made.reconstruct(y, 2, seed=1, progress=False)
    one = made.reconstruct(y[:1], 2, seed=1, progress=False)
    np.testing.assert_allclose(three[:1], one, rtol=1e-4, atol=1e-5)
    # Steps down are gone twice, and the last estimate is made once.
    assert made.evaluations == 2 * 4 + 1


@pytest.mark.slow
def test_guidance_and_classes(with_classes, workdir, tmp_path):
    def samples(*bindings, **request):
        gin.clear_config()
        paths = perform(
            with_classes, "sample", *bindings, num_samples=4, out=str(tmp_path / "g"), **request
        )
        with np.load(paths[0]) as held:
            return held["samples"].astype(int)

    plain, guided = samples(label=3), samples("sample.guidance = 50.0", label=3)
    assert np.abs(plain - guided).max() > 0
    unconditional = [samples("sample.guidance = 0.0", label=label) for label in (3, 5)]
    np.testing.assert_array_equal(*unconditional)
    gin.clear_config()
    perform(with_classes, "inpaint", inputs=("test:2",), num_samples=1, out=str(tmp_path / "i"))
    with pytest.raises(ValueError, match="classes run from 0 to 9; got label = 10"):
        perform(with_classes, "inpaint", inputs=("test:2",), label=10, out=str(tmp_path / "i"))
    gin.clear_config()
    with pytest.raises(ValueError, match="guidance = 2 was asked of a network without classes"):
        perform(workdir, "sample", "sample.guidance = 2.0", num_samples=1)


def test_the_nearest_training_image_is_that_of_the_visible_pixels():
    random = np.random.default_rng(0)
    candidates = random.normal(size=(20, 4, 4, 1)).astype(np.float32)
    known = Mask("half").known((4, 4, 1))
    images = np.where(known, candidates[[7, 3]], 100.0)
    assert nearest(images, candidates, known).tolist() == [7, 3]


def test_filling_error_prints_a_table(workdir, tmp_path):
    config.load_workdir(workdir, ["inpainting.methods = {'mine': @methods.NullSpace()}"])
    text, paths = filling_error(workdir, tmp_path, masks=("half",), num_images=4, averages=(1, 2))
    lines, gains = (part.splitlines() for part in text.split("\n\n"))
    assert lines[0] == "| RMSE of hidden pixels | half |"
    names = [line.split("|")[1].strip() for line in lines[2:]]
    assert names == [
        "mean of the training images", "nearest training image", "mine, one", "mine, mean of 2"
    ]  # fmt: skip
    assert [line.split("|")[1].strip() for line in gains[2:]] == [names[0], *names[2:]]
    assert all(path.exists() for path in paths)
    with pytest.raises(ValueError, match=r"from 1 up; got \(0,\)"):
        filling_error(workdir, tmp_path, averages=(0,))


def test_the_mean_of_n_draws_has_the_error_that_is_documented():
    """Truth and draws from one law of variance v: (1 + 1/n) v; and its gain over one draw."""
    info = DataInfo("points", (64,), "vector", Scaling.for_images())
    random = np.random.default_rng(0)
    truth, draws = random.normal(size=(500, 64)), random.normal(size=(16, 500, 64))
    known = np.arange(64) < 32
    squares = {n: filling._squares(draws[:n].mean(0), truth, known, info) for n in (1, 4, 16)}
    for n, values in squares.items():
        rmse, error = filling._error(values)
        assert rmse == pytest.approx(np.sqrt(1 + 1 / n) / 2, abs=4 * error)
        assert error < 0.005
    assert filling._gain(squares[1], squares[16]) > 10
    assert filling._gain(squares[1], squares[1]) == 0.0


@pytest.mark.slow
def test_the_command(workdir, tmp_path):
    out = tmp_path / "filled"
    arguments = (f"--workdir={workdir}", "--task=inpaint", f"--out={out}", "--num_samples=1")
    run("sample", *arguments, "--mask=half", "--input=test:2")
    assert out.with_suffix(".png").exists()
    out.with_suffix(".png").unlink()
    done = run("sample", *arguments, "--guidance=2", "--input=test:2", status=1)
    assert "network without classes" in done.stderr
    assert "Traceback" not in done.stderr
    assert not out.with_suffix(".png").exists()
