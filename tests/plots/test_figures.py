import numpy as np
import pytest
import scipy.stats

from lcss_tf.plots import figures


def gaussian(points):
    return -0.5 * np.sum(np.asarray(points) ** 2, axis=1) - np.log(2 * np.pi)


def redness(image):
    """Where the samples' red is, as coordinates (column, row) in fractions of the picture."""
    pixels = image.astype(int)
    rows, columns = np.nonzero(pixels[..., 0] - pixels[..., 2] > 60)
    return columns / image.shape[1], rows / image.shape[0]


def test_grid_points_cover_the_square_evenly():
    points = figures.grid_points(extent=2.0, resolution=4)
    assert points.shape == (16, 2)
    assert points.dtype == np.float32
    assert points[0].tolist() == [-1.5, -1.5]
    assert points[1].tolist() == [-0.5, -1.5]
    assert np.allclose(points.mean(axis=0), 0.0)


def test_samples_are_drawn_where_they_are():
    samples = np.random.default_rng(0).normal([1.3, 1.3], 0.05, (300, 2))
    image = figures.density_and_samples(samples, gaussian, extent=2.6, title="samples")
    assert image.dtype == np.uint8
    assert image.shape[2] == 3
    columns, rows = redness(image)
    assert len(columns) > 50
    assert columns.min() > 0.6  # to the right
    assert rows.max() < 0.45  # and above the middle


def test_the_density_is_darkest_at_its_mode():
    image = figures.density_and_samples(np.zeros((0, 2)), gaussian, extent=2.6).astype(int)
    height, width, _ = image.shape
    middle = image[int(0.4 * height) : int(0.55 * height), int(0.45 * width) : int(0.6 * width)]
    corner = image[int(0.1 * height) : int(0.15 * height), int(0.15 * width) : int(0.2 * width)]
    assert middle[..., 0].mean() < 190
    assert corner.mean() > 245


def test_wild_samples_do_not_break_the_picture():
    samples = np.array([[np.nan, 0.0], [np.inf, 1.0], [1e30, -1e30], [0.0, 0.0]])
    image = figures.density_and_samples(samples)
    assert len(redness(image)[0]) > 0  # the one good sample


def test_arrows_follow_the_score():
    points = figures.grid_points(2.0, 8)
    field = figures.score_field(points, -points, gaussian, extent=2.0)
    still = figures.score_field(points, 0.0 * points, gaussian, extent=2.0)
    turned = figures.score_field(points, points[:, ::-1], gaussian, extent=2.0)
    ink = lambda image: np.sum(image.max(axis=2) < 80)
    assert field.shape == still.shape
    assert ink(field) > ink(still) + 1_000
    assert np.mean(np.any(field != turned, axis=2)) > 0.01


def test_scores_that_are_not_finite_are_left_out():
    points = figures.grid_points(2.0, 4)
    scores = np.array(-points)
    scores[0] = np.nan
    assert figures.score_field(points, scores).shape[2] == 3
    assert figures.score_field(points, np.full_like(scores, np.nan)).shape[2] == 3


def test_pictures_are_deterministic_and_leave_pyplot_alone():
    samples = np.random.default_rng(1).normal(size=(100, 2))
    first, second = (figures.density_and_samples(samples, gaussian) for _ in range(2))
    assert np.array_equal(first, second)
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(5, 3\)"):
        figures.density_and_samples(np.zeros((5, 3)))
    with pytest.raises(ValueError, match="got 4 and 3"):
        figures.score_field(np.zeros((4, 2)), np.zeros((3, 2)))


def test_styles_of_many_curves_differ():
    styles = {tuple(sorted(figures.series_style(i).items())) for i in range(20)}
    assert len(styles) == 20


def test_two_distributions_side_by_side():
    """A wider one: its quantiles leave the diagonal."""
    levels = scipy.stats.norm.ppf((np.arange(200) + 0.5) / 200)
    names = ("x_T", "the prior")
    same = figures.distributions({"pooled": (levels, levels)}, names, "equal")
    wide = figures.distributions({"pooled": (2 * levels, levels)}, names, "wider")
    assert same.shape == wide.shape
    # Below the middle of the right plot: the lowest quantiles, which both lie at the bottom.
    lower = lambda picture: picture[len(picture) // 2 :, picture.shape[1] // 2 :]
    left = [redness(lower(picture))[0].min() for picture in (same, wide)]
    assert left[1] > left[0] + 0.1


HOSTILE = r"$\frac{a$"


def test_names_of_others_are_literal_text():
    """A name that is no valid formula is drawn, in titles, labels, legends and at ticks."""
    figure, (axes,) = figures.new_figure()
    axes.plot([1, 2], [1, 2], label=HOSTILE)
    axes.text(1, 1, HOSTILE)
    axes.legend()
    figure.suptitle(HOSTILE)
    figures.label_axes(axes, HOSTILE, HOSTILE, HOSTILE)
    figures.note(axes, HOSTILE)
    figures.name_ticks(axes, [HOSTILE, "b"])
    assert figures.render(figure).std() > 5
    with_dollars, without = (
        figures.density_and_samples(np.zeros((1, 2)), title=title) for title in ("$x$", "x")
    )
    assert not np.array_equal(with_dollars, without), "the dollars are drawn"


def test_powers_of_ten_at_logarithmic_axes_stay_formulas():
    pictures = []
    for parsed in (True, False):
        figure, (axes,) = figures.new_figure()
        axes.plot([1, 1e5], [1, 1e5])
        axes.set(xscale="log", yscale="log")
        for label in [*axes.get_xticklabels(), *axes.get_yticklabels()]:
            label.set_parse_math(parsed)
        pictures.append(figures.render(figure))
    assert not np.array_equal(*pictures)


@pytest.mark.parametrize("name", ["caf\udce9", "\x1b[2J\x00", "a\nb", 10_000 * "long ", r"\u{$"])
def test_names_that_are_no_text_are_drawn_too(name):
    figure, (axes,) = figures.new_figure()
    axes.plot([1, 2], [1, 2], label=name)
    axes.legend()
    figures.label_axes(axes, title=name)
    figures.name_ticks(axes, [name])
    picture = figures.render(figure)
    assert picture.shape[1] < 1_000
    shown = axes.get_title(loc="left")
    assert "\x1b" not in shown
    assert len(shown) <= 120


@pytest.mark.parametrize("centre", [(0.0, 0.0), (48.0, 11.0), (-3e4, 2.0)])
@pytest.mark.parametrize("size", [0.01, 1.0, 500.0])
def test_the_frame_holds_nearly_all_samples_and_little_else(centre, size):
    samples = np.random.default_rng(0).normal(centre, size, (2_000, 2))
    frame = figures.frame_of(samples)
    inside = np.all(np.abs(samples - frame[:2]) <= frame.half, axis=1)
    assert inside.mean() > 0.98
    assert 2 * size < frame.half < 6 * size
    columns, rows = redness(figures.density_and_samples(samples))
    assert 0.4 < columns.mean() < 0.65  # in the middle
    assert 0.35 < rows.mean() < 0.6


def test_the_frame_of_samples_of_unit_size_stays():
    """So that pictures of one run compare."""
    samples = np.random.default_rng(0).normal(0, 0.8, (2_000, 2))
    assert figures.frame_of(samples) == (0.0, 0.0, figures.EXTENT)
    assert figures.frame_of(np.full((3, 2), np.nan)) == (0.0, 0.0, figures.EXTENT)
    assert figures.frame_of(np.full((3, 2), 7.0)).half > 0
