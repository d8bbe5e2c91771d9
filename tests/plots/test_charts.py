"""Charts: curves lie where their numbers are; names of runs are drawn as they are."""

import numpy as np
import pytest

from lcss_tf.plots import charts

HOSTILE = r"$\frac{a$"
STEPS = np.arange(10, 1_010, 10)


def test_a_metric_against_nfe():
    """One curve falls: its marks go down to the right; a level crosses the whole picture."""
    curves = {"A": ([5, 10, 20], [1.0, 0.4, 0.1]), "B": ([10, 20], [0.5, np.nan])}
    image = charts.nfe_sweep(curves, {"real": 0.05}, "frechet_pixels_1000").astype(int)
    blue = (image[..., 2] - image[..., 0] > 120) & (image[..., 2] > 150)
    rows, columns = np.nonzero(blue[:, : image.shape[1] * 6 // 10])
    left, right = columns < columns.min() + 15, columns > columns.max() - 15
    assert rows[left].mean() < rows[right].mean() - 50
    without = charts.nfe_sweep(curves, {}, "frechet_pixels_1000")
    assert without.shape[0] == image.shape[0]
    assert without.shape[1] < image.shape[1]  # the legend is narrower, and stands beside


def results(names):
    """Two runs of a comparison, as their result.json holds them."""
    made = []
    for i, name in enumerate(names):
        at = {f"score_error@{t}": (i + 1) * 0.1 / t for t in (0.1, 0.3, 0.7)}
        at |= {"score_error_mean": 0.5, "step": 100, "seconds": 2.0}
        curve = [
            {"step": s, "seconds": s / 50, "score_error_mean": (i + 1) / s} for s in (10, 50, 100)
        ]
        made.append({
            "name": name, "ms_per_step": 2.0 + i, "peak_mib": 100.0 * (i + 1), "curve": curve,
            "budgets": {"steps": at, "seconds": at}, "buckets": [(0.0, 0.5), (0.5, 1.0)],
            "figures": {"variance": [1.0, 10.0], "bias": [0.1, 0.2], "bias_error": [0.01, 0.02]},
        })  # fmt: skip
    return made


def drawn(names):
    """Every chart, with series of these names."""
    values = 1.0 / STEPS
    compared = results(names)
    return {
        "nfe": charts.nfe_sweep(
            {n: ([5, 10], [1.0, 0.5]) for n in names}, {names[0]: 0.4}, names[0]
        ),
        "steps": charts.over_steps(dict.fromkeys(names, (STEPS, values, 0.1 * values)), names[0]),
        "seconds": charts.over_steps_and_seconds(
            dict.fromkeys(names, (STEPS, STEPS / 7.0, values, None)), names[0]
        ),
        "distances": charts.neighbour_distances(dict.fromkeys(names, values)),
        "diagnosis": charts.gradient_diagnosis(compared),
        **charts.comparison(compared),
    }


def test_every_chart_draws_names_that_are_no_formulas():
    for name, picture in drawn([HOSTILE, "plain"]).items():
        assert picture.dtype == np.uint8, name
        assert picture.std() > 5, name


def test_a_comparison_without_score_errors_shows_the_cost_alone():
    cut = results(["a", "b"])
    for result in cut:
        result["budgets"] = {key: {"step": 1} for key in result["budgets"]}
    assert list(charts.comparison(cut)) == ["cost"]


def test_without_a_budget_of_time_nothing_is_said_of_wall_clock():
    both = results(["a", "b"])
    steps_alone = [r | {"budgets": {"steps": r["budgets"]["steps"]}} for r in both]
    assert charts.budgets(both) == ["steps", "seconds"]
    assert charts.budgets(steps_alone) == ["steps"]
    two, one = (charts.comparison(given)["errors"] for given in (both, steps_alone))
    assert one.shape[1] < 0.7 * two.shape[1], "one plot in place of two"


def test_the_loss_by_time_starts_at_the_left():
    curves = {f"{k / 10:.1f}-{(k + 1) / 10:.1f}": (STEPS, (k + 1) / STEPS) for k in range(10)}
    picture = charts.loss_by_time(curves)
    assert picture.shape[1] > 1.5 * picture.shape[0]
    assert picture.std() > 5


@pytest.mark.parametrize("count", [1, 7, 8, 100, 400])
def test_smoothing_keeps_the_length_and_looks_back_only(count):
    values = np.random.default_rng(0).normal(size=count)
    smooth = charts.smoothed(values)
    width = min(25, 1 + (count - 1) // 8)
    assert len(smooth) == count
    assert smooth[0] == values[0]
    assert smooth[-1] == pytest.approx(values[-width:].mean())
    changed = values.copy()
    changed[-1] += 1.0
    np.testing.assert_array_equal(charts.smoothed(changed)[:-1], smooth[:-1])
