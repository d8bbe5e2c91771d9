"""Samples in a file, whoever made them, are measured against any real data."""

import json

import numpy as np
import pytest
from PIL import Image

from lcss_tf.commands._results import figures_text
from lcss_tf.commands._samples import evaluate_samples, reference_data
from lcss_tf.errors import UsageError
from tests.commands.helpers import lcss
from tests.data.helpers import write_family

FEW = [
    "Evaluation.metrics = [@metrics.KID()]",
    "KID.extractor = @features.Pixels()",
    "KID.num_samples = 24",
]
NOISE = np.random.default_rng(0).integers(0, 256, (40, 28, 28), np.uint8)


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("LCSS_TF_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def fashion(tmp_path):
    """(images [80, 28, 28], bindings of few metrics on them)."""
    images, _ = write_family(tmp_path / "fashion", 80, None, held_out=40)
    return images, [*FEW, f"FashionMNIST.data_dir = '{tmp_path}/fashion'"]


def test_the_command_writes_the_figures_and_the_report_of_a_run(tmp_path, fashion, capsys):
    images, bindings = fashion
    np.savez(tmp_path / "theirs.npz", arr_0=images[:40], labels=np.zeros(40))
    words = [f"--samples={tmp_path}/theirs.npz", "--reference=gin/lcss_fashion.gin"]
    assert lcss("evaluate", *words, bindings=bindings) == 0
    place = tmp_path / "theirs_evaluation"
    figures = json.loads((place / "metrics.json").read_text())
    assert figures["held_out_examples"] == 40
    assert figures["samples"] == 40
    value, real = (figures[f"kid_pixels_24{end}"] for end in ("", "_of_training_data"))
    assert figures["kid_pixels_24_error"] > 0
    assert (place / "metrics.csv").read_text().startswith("step,metric,value,error,real\n,kid")
    page = (place / "report.html").read_text()
    assert "40 samples of theirs.npz, against fashion_mnist" in page
    assert "kid_pixels_24" in page
    assert "at step" not in page
    assert Image.open(place / "grid.png").size[0] > 28
    printed = capsys.readouterr().out
    assert f"{place}/report.html" in printed
    np.savez(tmp_path / "theirs.npz", NOISE)
    words += [f"--out={tmp_path}/noise"]
    assert lcss("evaluate", *words, bindings=bindings) == 0
    worse = json.loads((tmp_path / "noise/metrics.json").read_text())
    assert worse["kid_pixels_24"] > 4 * max(abs(value), abs(real))
    assert worse["kid_pixels_24_of_training_data"] == real


def test_a_long_name_keeps_its_distance_from_its_value():
    name = "inception_score_fashion_mnist_1000_of_training_data"
    lines = figures_text({name: 7.5, "step": 20, "step_error": 1.0}).splitlines()
    assert [line.split() for line in lines] == [[name, "7.5"], ["step", "20", "±", "1"]]


def test_real_data_are_taken_from_wherever_they_lie(tmp_path, fashion):
    images, bindings = fashion
    shape = (40, 28, 28)
    data, _ = reference_data("fashionmnist", shape, bindings)
    assert data.size("test") == 40
    data, _ = reference_data(str(tmp_path / "fashion"), shape)
    assert data.size("test") == 40
    np.savez(tmp_path / "real.npz", x=images, labels=np.arange(80) % 2)
    data, _ = reference_data(str(tmp_path / "real.npz"), shape)
    assert (data.shape, data.size("train"), data.size("test")) == ((28, 28, 1), 40, 40)
    assert np.array_equal(data.labels("test"), np.zeros(40))
    (tmp_path / "folder").mkdir()
    for k in range(12):
        Image.fromarray(images[k]).save(tmp_path / f"folder/{k:02}.png")
    data, _ = reference_data(str(tmp_path / "folder"), shape)
    assert (data.shape, data.size()) == ((28, 28, 1), 6)
    (tmp_path / "run").mkdir()
    (tmp_path / "run/config.gin").write_text("fit.data = @datasets.Digits()\nfit.seed = 3")
    (tmp_path / "run/run.json").write_text('{"imports": []}')
    data, seed = reference_data(str(tmp_path / "run"), shape)
    assert (data.name, seed) == ("digits", 3)
    (tmp_path / "none.gin").write_text("fit.seed = 3")
    with pytest.raises(UsageError, match="binds no fit.data"):
        reference_data(str(tmp_path / "none.gin"), shape)
    with pytest.raises(FileNotFoundError, match="no FashionMINST. --reference is a gin file"):
        reference_data("FashionMINST", shape)


def test_samples_that_are_no_images_are_measured_as_what_they_are(tmp_path):
    moons = 3 * np.random.default_rng(0).normal(size=(60, 2))
    np.save(tmp_path / "moons.npy", moons)
    figures = evaluate_samples(tmp_path / "moons.npy", "TwoMoons")
    assert figures["sliced_wasserstein_60"] > figures["sliced_wasserstein_60_of_training_data"]


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (NOISE / 255.0, r"float64 from 0 to 1; expected uint8.*255 \* samples.clip"),
        (NOISE.astype(np.int64) * 2, "int64 from 0 to 510; expected uint8"),
        (NOISE[:, None], r"\(40, 1, 28, 28\).*numpy.moveaxis\(samples, 1, -1\)"),
        (NOISE[:, :20], r"\(40, 20, 28\); expected .*\[N, 28, 28, 1\], like fashion_mnist. Crop"),
        (NOISE[:1], "at least two samples"),
        (np.where(NOISE > 254, np.nan, NOISE / 255), "40 of 40 samples .* NaN or infinity"),
        (NOISE[:20], "holds 20 samples, and kid_pixels_24 takes 24.*KID.num_samples"),
    ],
)
def test_samples_in_other_units_are_refused_with_the_remedy(tmp_path, fashion, samples, message):
    np.savez(tmp_path / "theirs.npz", samples=samples)
    with pytest.raises(UsageError, match=message):
        evaluate_samples(tmp_path / "theirs.npz", "FashionMNIST", bindings=fashion[1])
    assert not (tmp_path / "theirs_evaluation").exists()


def test_wide_integers_and_a_missing_channel_axis_are_taken(tmp_path, fashion):
    figures = []
    for k, samples in enumerate((NOISE, NOISE[..., None], NOISE.astype(np.int64))):
        np.save(tmp_path / f"{k}.npy", samples)
        figures.append(evaluate_samples(tmp_path / f"{k}.npy", "FashionMNIST", None, fashion[1]))
    assert figures[0] == figures[1] == figures[2]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "Give --workdir, a run's directory, or --samples"),
        (["--samples=x.npz"], "--samples needs --reference"),
        (["--samples=x.npz", "--reference=Digits", "--workdir=runs/x"], "--workdir is about a run"),
        (["--samples=x.npz", "--reference=Digits", "--likelihood"], "--likelihood is about a run"),
        (["--workdir=runs/x", "--reference=Digits"], "--reference goes with --samples"),
        (["--samples=nowhere.npz", "--reference=Digits"], "There is no file nowhere.npz"),
    ],
)
def test_flags_that_do_not_fit_are_refused(words, message, capsys):
    assert lcss("evaluate", *words) == 1
    assert message in capsys.readouterr().err


def test_archives_with_several_arrays_are_named(tmp_path):
    np.savez(tmp_path / "theirs.npz", a=NOISE, b=NOISE)
    with pytest.raises(UsageError, match=r"holds \['a', 'b'\]; expected one array"):
        evaluate_samples(tmp_path / "theirs.npz", "Digits")
