"""A long run of small steps: does the memory grow?"""

from pathlib import Path

import numpy as np

from lcss_tf import images, plots
from lcss_tf.experiment.train import train
from lcss_tf.report.history import History
from lcss_tf.training.checkpoints import write_bytes_whole

_TAG = "memory/resident_mib"


def soak(workdir):
    """Trains what gin describes, and looks at the memory that TensorBoard has of it.

    The first third warms up: pools fill, the first pictures are drawn. Growth is the slope of a
    line through the rest, MiB in 10,000 steps.

    Returns:
      (growth, the paths of a picture and of a table).
    """
    workdir = Path(workdir)
    train(workdir)
    steps, mib = History(workdir).curve(_TAG)
    growth = growth_mib(steps, mib)
    rows = "\n".join(f"{int(s)},{m:.1f}" for s, m in zip(steps, mib, strict=True))
    paths = workdir / "soak.png", workdir / "soak.csv"
    images.write_png(paths[0], _picture(steps, mib, growth))
    write_bytes_whole(paths[1], f"step,resident_mib\n{rows}\n".encode())
    return growth, paths


def growth_mib(steps, mib):
    """MiB in 10,000 steps after the first third, by least squares.

    Raises:
      ValueError: fewer than six readings.
    """
    late = steps > steps[0] + (steps[-1] - steps[0]) / 3 if len(steps) else steps
    if np.sum(late) < 4:
        raise ValueError(
            f"{len(steps)} readings of the memory are too few to see growth in: train longer, or "
            "bind a smaller trainer.log_every."
        )
    slope, _ = np.polyfit(steps[late], mib[late], 1)
    return 10_000 * float(slope)


def _picture(steps, mib, growth):
    figure, (axes,) = plots.figure_with_axes(1, 1)
    axes.plot(steps, mib, color="#0072b2", linewidth=1.0)
    axes.set_ylim(0, 1.15 * mib.max())
    axes.set_xlabel("step", color=plots.INK, fontsize=9)
    axes.set_ylabel("resident memory, MiB", color=plots.INK, fontsize=9)
    title = f"{growth:+.1f} MiB in 10,000 steps after the first third"
    axes.set_title(title, loc="left", color=plots.INK, fontsize=9)
    axes.grid(alpha=0.25)
    return plots.render(figure)
