"""Pictures: of samples by the kind of data, of curves and comparisons, and their files."""

from lcss_tf.plots import by_kind, charts, figures, images, trajectories
from lcss_tf.plots.by_kind import (
    check_trajectory,
    main_view,
    num_samples,
    shows_data,
    views,
    write_trajectory,
)
from lcss_tf.plots.figures import (
    density_and_samples,
    distributions,
    grid_points,
    label_axes,
    new_figure,
    render,
    score_field,
)
from lcss_tf.plots.given import Given, beside
from lcss_tf.plots.history import History
from lcss_tf.plots.images import (
    column_titles,
    grid,
    read_png,
    rgb,
    save_grid,
    titled,
    write_gif,
    write_png,
)

__all__ = [
    "Given",
    "History",
    "beside",
    "by_kind",
    "charts",
    "check_trajectory",
    "column_titles",
    "density_and_samples",
    "distributions",
    "figures",
    "grid",
    "grid_points",
    "images",
    "label_axes",
    "main_view",
    "new_figure",
    "num_samples",
    "read_png",
    "render",
    "rgb",
    "save_grid",
    "score_field",
    "shows_data",
    "titled",
    "trajectories",
    "views",
    "write_gif",
    "write_png",
    "write_trajectory",
]
