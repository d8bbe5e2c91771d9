"""A long run of small steps: does the memory grow?"""

from pathlib import Path

import numpy as np

from lcss_tf import images, plots
from lcss_tf.errors import UsageError
from lcss_tf.experiment.train import train
from lcss_tf.files import write_bytes
from lcss_tf.report.history import History

_TAG = "memory/resident_mib"


def soak(workdir):
    """Trains what gin describes, and looks at the memory that TensorBoard has of it.

    The allocator gives memory back now and then, and takes it again: readings jump by tens of MiB
    either way. A leak shows in the most that is held, which is compared between the thirds of the
    run; the first warms up.

    Returns:
      (the most in each third, as text; the paths of a picture and of a table).
    """
    workdir = Path(workdir)
    train(workdir)
    steps, mib = History(workdir).curve(_TAG)
    most = most_by_thirds(steps, mib)
    rows = "\n".join(f"{int(s)},{m:.1f}" for s, m in zip(steps, mib, strict=True))
    paths = workdir / "soak.png", workdir / "soak.csv"
    images.write_png(paths[0], _picture(steps, mib, most))
    write_bytes(paths[1], f"step,resident_mib\n{rows}\n".encode())
    return text(most), paths


def most_by_thirds(steps, mib):
    """The highest reading in each third of the steps.

    Raises:
      ValueError: fewer than nine readings.
    """
    if len(steps) < 9:
        raise UsageError(
            f"{len(steps)} readings of the memory are too few to see growth in: train longer, or "
            "bind a smaller trainer.log_every."
        )
    ends = steps[0] + (steps[-1] - steps[0]) * np.array([1 / 3, 2 / 3])
    return [float(part.max()) for part in np.split(mib, np.searchsorted(steps, ends))]


def text(most):
    """For people."""
    return "the most in each third: " + ", ".join(f"{m:,.0f}" for m in most) + " MiB"


def _picture(steps, mib, most):
    figure, (axes,) = plots.figure_with_axes(1, 1)
    axes.plot(steps, mib, color="#0072b2", linewidth=1.0)
    axes.set_ylim(0, 1.15 * mib.max())
    axes.set_xlabel("step", color=plots.INK, fontsize=9)
    axes.set_ylabel("resident memory, MiB", color=plots.INK, fontsize=9)
    axes.set_title(text(most), loc="left", color=plots.INK, fontsize=9)
    axes.grid(alpha=0.25)
    return plots.render(figure)
