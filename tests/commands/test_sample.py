"""bin/sample.py's tasks on a tiny run: what they write, and what they refuse before any work."""

import contextlib
import io

import numpy as np
import pytest
from PIL import Image

from lcss_tf.commands import _runs
from lcss_tf.commands import sample as command
from lcss_tf.control import Mask, TimeTravel
from lcss_tf.inference import PosteriorSampling
from lcss_tf.plots import figures, trajectories
from tests.commands.helpers import ONE, lcss, load_run
from tests.processes import run

ADAPTIVE = (
    "sample.sampler = @samplers.DormandPrince()",
    "DormandPrince.rtol = 0.01",
    "DormandPrince.atol = 0.01",
)


FEW = ("EulerMaruyama.num_steps = 8",)


def perform(workdir, task, *bindings, inputs=(), **request):
    """The paths that ``lcss sample`` writes; its errors are raised, not printed."""
    words = [f"--workdir={workdir}", f"--task={task}", *(f"--input={name}" for name in inputs)]
    words += [f"--{name}={value}" for name, value in request.items()]
    words += [f"--gin_bindings={line}" for line in (ONE, *bindings)]
    for flag in command.FLAGS:
        command.FLAGS[flag].unparse()
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        command.main(command.FLAGS(["sample", *words])[1:])
    return [line.removeprefix("Wrote ") for line in printed.getvalue().splitlines()]


@pytest.mark.slow
def test_latents_decode_to_what_was_encoded(image_run, tmp_path):
    paths = perform(image_run, "encode", inputs=("test:3",), out=tmp_path / "latents")
    held = np.load(paths[0])
    assert held["latents"].shape == held["examples"].shape == (3, 4, 4, 3)
    gap = held["decoded"].astype(int) - held["examples"].astype(int)
    assert np.abs(gap).max() <= 1  # of 255 levels
    assert Image.open(paths[1]).size


@pytest.mark.slow
def test_a_way_between_examples_ends_at_them(image_run, tmp_path):
    out = tmp_path / "way"
    paths = perform(image_run, "interpolate", inputs=("test:3",), num_samples=5, out=out)
    samples = np.load(paths[0])["samples"].astype(int)
    assert samples.shape == (2, 5, 4, 4, 3)
    perform(image_run, "encode", inputs=("test:3",), out=tmp_path / "latents")
    examples = np.load(tmp_path / "latents.npz")["examples"].astype(int)
    assert np.abs(samples[:, 0] - examples[:-1]).max() <= 1
    assert np.abs(samples[:, -1] - examples[1:]).max() <= 1
    assert np.abs(samples[:, 2] - examples[:-1]).max() > 10
    with pytest.raises(ValueError, match="two examples or more"):
        perform(image_run, "interpolate", inputs=("test:1",), out=out)


@pytest.mark.parametrize(
    "task",
    ["inpaint", *(pytest.param(t, marks=pytest.mark.slow) for t in ("colourise", "superresolve"))],
)
def test_a_task_agrees_with_what_is_observed(task, image_run, tmp_path):
    paths = perform(
        image_run, task, inputs=("test:3",), num_samples=2, mask="box", out=tmp_path / "o.png"
    )
    assert [path.rsplit("/")[-1] for path in paths] == ["o.npz", "o.png"]
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
    assert picture.shape[0] == 18 + 3 * (64 + 2) + 2  # under headings
    assert picture.shape[1] == 4 * (64 + 2) + 2 * 2 + 10


@pytest.mark.slow
def test_files_as_inputs(image_run, tmp_path):
    image = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    Image.fromarray(image).save(tmp_path / "image.png")
    Image.fromarray(image[..., 0]).save(tmp_path / "grey.png")
    Image.fromarray(image[:2, :2]).save(tmp_path / "small.png")
    np.savez(tmp_path / "images.npz", samples=np.stack([image, image]))

    def held(task, *names):
        inputs = tuple(str(tmp_path / name) for name in names)
        paths = perform(image_run, task, inputs=inputs, num_samples=1, out=str(tmp_path / "out"))
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
def test_bad_input(request_, message, image_run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Image.fromarray(np.full((5, 4, 3), 9, np.uint8)).save("large.png")
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save("white.png")
    np.savez("float.npz", np.zeros((4, 4, 3)))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        perform(image_run, "inpaint", out="out", **request_)
    assert not list(tmp_path.glob("out*"))


def test_a_factor_that_does_not_divide_and_a_method_that_does_not_fit(image_run):
    with pytest.raises(ValueError, match=r"blocks of 3 .*divides 4 and 4"):
        perform(image_run, "superresolve", inputs=("test",), factor=3)
    binding = "posterior.method = @methods.Replacement()"
    with pytest.raises(ValueError, match="noise of standard deviation 0.1: use NullSpace"):
        perform(image_run, "inpaint", binding, inputs=("test",), noise_std=0.1)


def test_posterior_samples_do_not_depend_on_their_batch(image_run):
    load_run(image_run)
    state, mask = _runs.load_model(image_run).state, Mask("half")
    sampler = command._gin.sample()["sampler"]
    draw = PosteriorSampling(
        state, mask, 0.0, TimeTravel(num_travels=2), sampler=sampler, batch_size=4,
        jit_compile=False,
    )  # fmt: skip
    y = mask.apply(np.random.default_rng(0).normal(size=(3, 4, 4, 3))).numpy()
    three, one = draw(y, 2, seed=1, progress=False), draw(y[:1], 2, seed=1, progress=False)
    np.testing.assert_allclose(three.x[:1], one.x, rtol=1e-4, atol=1e-5)
    # Steps down are gone twice, and the last estimate is made once.
    assert three.nfe == 2 * 4 + 1


@pytest.mark.slow
def test_guidance_and_classes(class_run, image_run, tmp_path):
    def samples(*bindings, **request):
        paths = perform(
            class_run, "sample", *bindings, num_samples=4, out=str(tmp_path / "g"), **request
        )
        with np.load(paths[0]) as held:
            return held["samples"].astype(int)

    paths = perform(class_run, "sample", num_samples=12, out=str(tmp_path / "turns"))
    assert paths[-1].startswith("Classes, a column each: 0, 1, 2")
    with np.load(paths[0]) as held:
        assert held["labels"].tolist() == [*range(10), 0, 1]
    assert np.asarray(Image.open(paths[1])).shape[0] == 18 + 2 * 66 + 2
    plain, guided = samples(label=3), samples("sample.guidance = 50.0", label=3)
    assert np.abs(plain - guided).max() > 0
    unconditional = [samples("sample.guidance = 0.0", label=label) for label in (3, 5)]
    np.testing.assert_array_equal(*unconditional)
    perform(class_run, "inpaint", inputs=("test:2",), num_samples=1, out=str(tmp_path / "i"))
    with pytest.raises(ValueError, match="classes run from 0 to 9; got label = 10"):
        perform(class_run, "inpaint", inputs=("test:2",), label=10, out=str(tmp_path / "i"))
    with pytest.raises(ValueError, match="guidance = 2 was asked of a network without classes"):
        perform(image_run, "sample", "sample.guidance = 2.0", num_samples=1)


def test_the_command_says_in_one_message_what_does_not_fit(image_run, tmp_path, capsys):
    words = ["--task=inpaint", "--input=test:2", "--guidance=2", f"--out={tmp_path / 'o'}"]
    assert lcss("sample", f"--workdir={image_run}", *words, bindings=[ONE]) == 1
    printed = capsys.readouterr().err
    assert "network without classes" in printed
    assert "Traceback" not in printed
    assert not list(tmp_path.iterdir())


# Operators by name, edits ----------------------------------------------------------------------

OWN = """
import tensorflow as tf
import lcss_tf as lcss


@lcss.register_operator
def RowSums(scale=1.0):
    return lcss.control.Linear(lambda x: scale * tf.reduce_sum(x, axis=2))
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "operator",
    ["RowSums", *(pytest.param(n, marks=pytest.mark.slow) for n in ("GaussianBlur", "Clipping"))],
)
def test_an_operator_by_its_name(operator, image_run, tmp_path):
    """A user's own from a file, linear with y in its own units; a blur; one that is not linear."""
    (tmp_path / "own_operators.py").write_text(OWN)
    flags = {"operator": operator, "import": tmp_path / "own_operators.py", "noise_std": 0.1}
    flags |= {"out": tmp_path / "o", "num_samples": 2}
    bound = {"RowSums": "RowSums.scale = 0.5", "GaussianBlur": "GaussianBlur.std = 0.7"}
    bindings = (bound.get(operator, "DPS.step_size = 0.1"),)
    paths = perform(image_run, "operator", *bindings, inputs=("test:3",), **flags)
    assert [path.rsplit("/")[-1] for path in paths] == ["o.npz", "o.png"]
    with np.load(paths[0]) as held:
        samples, truth, observed = (held[k] for k in ("samples", "truth", "observed"))
    assert samples.shape == (3, 2, 4, 4, 3)
    if operator != "RowSums":
        assert observed.dtype == np.uint8
        return
    assert observed.shape == (3, 4, 3)
    sums = 0.5 * (truth / 127.5 - 1).sum(2)
    assert 0.05 < (observed - sums).std() < 0.15  # of normalised pixels, with noise of 0.1
    # What was observed comes in again, as such.
    np.save(tmp_path / "y.npy", observed)
    again = perform(image_run, "operator", *bindings, inputs=(tmp_path / "y.npy",), **flags)
    with np.load(again[0]) as held:
        assert "truth" not in held
        np.testing.assert_array_equal(held["observed"], observed)
        np.testing.assert_array_equal(held["samples"], samples)


@pytest.mark.slow
def test_what_has_the_shape_of_an_example_may_be_an_observation(image_run, tmp_path):
    blurred = np.random.default_rng(0).integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
    np.save(tmp_path / "blurred.npy", blurred)
    flags = {"operator": "GaussianBlur", "noise_std": 0.1, "out": tmp_path / "o", "num_samples": 1}
    inputs = (tmp_path / "blurred.npy",)
    paths = perform(image_run, "operator", inputs=inputs, observed=True, **flags)
    with np.load(paths[0]) as held:
        assert "truth" not in held
        np.testing.assert_array_equal(held["observed"], blurred)


@pytest.mark.slow
def test_an_edit_stays_nearer_the_smaller_its_strength(image_run, tmp_path):
    away = {}
    for strength in (0.05, 1.0):
        out = tmp_path / f"{strength}"
        paths = perform(
            image_run, "edit", "DPMSolverPP.num_steps = 12", inputs=("test:3",), num_samples=2,
            strength=strength, out=out,
        )  # fmt: skip
        with np.load(paths[0]) as held:
            gap = held["samples"].astype(int) - held["observed"][:, None]
        away[strength] = np.abs(gap).mean()
    assert away[0.05] < 0.5 * away[1.0]
    with pytest.raises(ValueError, match=r"strength must lie in \(0, 1\]; got 0"):
        perform(image_run, "edit", inputs=("test:3",), strength=0.0, out=tmp_path / "none")


@pytest.mark.slow
def test_guidance_by_flags(class_run, tmp_path):
    def samples(**flags):
        paths = perform(class_run, "sample", num_samples=4, out=tmp_path / "g", **flags)
        with np.load(paths[0]) as held:
            return held["samples"].astype(int)

    plain = samples()
    # A model is no weaker than itself, and no noise is as high as 1e6.
    for flags in ({"weaker": class_run}, {"guidance_interval": "1e6,inf"}):
        assert np.abs(samples(guidance=2000.0, **flags) - plain).max() <= 1
    assert np.abs(samples(guidance=2000.0, guidance_interval="0.1,inf") - plain).max() > 5
    with pytest.raises(ValueError, match=r"as 0.2,5 or 0.2,inf; got '5'"):
        samples(guidance=2.0, guidance_interval="5")
    with pytest.raises(FileNotFoundError, match="no model at"):
        samples(guidance=2.0, weaker=tmp_path / "nowhere")


def test_flags_that_go_together(image_run, capsys):
    for words, message in (
        (["--weaker=runs/x"], "--weaker says how to guide, and not how strongly"),
        (["--guidance_interval=0.2,5"], "add --guidance"),
        (["--task=operator", "--input=test"], "--task=operator and --operator go together"),
        (["--operator=GaussianBlur"], "--task=operator and --operator go together"),
        (["--task=operator", "--operator=GausianBlur", "--input=test"], "Did you mean 'GaussianBl"),
    ):
        assert lcss("sample", f"--workdir={image_run}", *words, bindings=[ONE]) == 1
        assert message in capsys.readouterr().err


@pytest.mark.slow
def test_the_command(image_run, tmp_path):
    out = tmp_path / "filled"
    arguments = (f"--workdir={image_run}", "--task=inpaint", f"--out={out}", "--num_samples=1")
    run("sample", *arguments, "--mask=half", "--input=test:2")
    assert out.with_suffix(".png").exists()


# Trajectories ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fixture", "bindings"),
    [
        ("plane_run", FEW),
        pytest.param("plane_run", ADAPTIVE, marks=pytest.mark.slow),
        pytest.param("image_run", ADAPTIVE, marks=pytest.mark.slow),
        pytest.param(
            "image_run",
            ("sample.sampler = @samplers.EulerMaruyama()", "EulerMaruyama.num_steps = 30"),
            marks=pytest.mark.slow,
        ),
    ],
    ids=["plane", "plane, adaptive", "images, adaptive", "images"],
)
def test_the_trajectory_is_written(fixture, bindings, request, tmp_path, monkeypatch):
    seen, particles = [], trajectories.particle_frames

    def watched(trajectory, times, log_density):
        seen.append(times)
        return particles(trajectory, times, log_density)

    monkeypatch.setattr(trajectories, "particle_frames", watched)
    workdir = request.getfixturevalue(fixture)
    paths = perform(
        workdir, "sample", *bindings, num_samples=4, out=tmp_path / "out", trajectory=True
    )
    names = {path.rsplit("/")[-1] for path in paths}
    assert {"out_trajectory.gif", "out_trajectory.png"} < names
    frames = {ADAPTIVE: 32, FEW: 8}.get(bindings, 30)  # no more than there are steps
    with Image.open(tmp_path / "out_trajectory.gif") as gif:
        assert gif.n_frames <= frames + 1  # equal ones in a row are one
        assert gif.n_frames > frames / 2
    assert bool(seen) == (fixture == "plane_run")
    if seen:  # in the plane: with their times
        assert len(seen[0]) == frames + 1
        np.testing.assert_allclose(seen[0], np.linspace(1.0, seen[0][-1], frames + 1), atol=1e-6)


def test_points_are_drawn_over_the_density(plane_run, tmp_path, monkeypatch):
    """As training's pictures are: a scatter of enough points, the true density below it."""
    seen = {}
    draw = figures.density_and_samples

    def watching(samples, log_density=None, *arguments, **options):
        seen.update(count=len(samples), density=log_density)
        return draw(samples, log_density, *arguments, **options)

    monkeypatch.setattr(figures, "density_and_samples", watching)
    out = tmp_path / "points"
    quick = [ONE, "EulerMaruyama.num_steps = 3"]
    assert lcss("sample", f"--workdir={plane_run}", f"--out={out}", bindings=quick) == 0
    assert out.with_suffix(".png").is_file()
    assert seen["count"] == 2_048
    assert seen["density"] is not None
