"""Pictures: of samples by the kind of data, of curves and comparisons, and their files."""

from lcss_tf.plots import by_kind, charts, figures, images, trajectories
from lcss_tf.plots.by_kind import views
from lcss_tf.plots.figures import (
    density_and_samples,
    distributions,
    grid_points,
    label_axes,
    new_figure,
    render,
    score_field,
)
from lcss_tf.plots.history import History

__all__ = [
    "History",
    "by_kind",
    "charts",
    "density_and_samples",
    "distributions",
    "figures",
    "grid_points",
    "images",
    "label_axes",
    "new_figure",
    "render",
    "score_field",
    "trajectories",
    "views",
]
