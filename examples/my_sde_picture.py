"""Draws the SDE of examples/my_sde.py and what was learnt on it: paths forwards and backwards.

python bin/train.py --gin_file=examples/my_sde.gin --import=examples/my_sde.py
python examples/my_sde_picture.py runs/my_sde docs/images/my_sde.png
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from matplotlib.collections import LineCollection

sys.path.insert(0, str(Path(__file__).parent))
import my_sde  # noqa: F401  registers SwirlSDE

import lcss_tf as lcss
from lcss_tf import random
from lcss_tf.plots.figures import Frame, draw_density, new_figure, render

FORWARD, REVERSE, EXTENT = 5, 26, 2.9


def forward(model, count, seed):
    """(times, states): [F + 1] and [F + 1, count, 2] of paths from the data, simulated."""
    times = 0.4 * np.linspace(0, 1, 401) ** 2
    x0 = tf.constant(model.normalise(lcss.data.TwoMoons().examples(np.arange(count), "test", seed)))
    states = [x.numpy() for x in model.sde.states_along_path(x0, times.astype(np.float32), 1)]
    return times, np.stack(states)


def reverse(model, sampler, count, seed):
    """(times, states): of a sampler's way from the prior to the data."""
    steps = sampler.num_steps
    run = tf.function(
        lambda s: sampler.sample(model.score_fn, model.sde, (count, 2), s, trajectory_steps=steps),
        autograph=False,
    )
    samples = run(random.as_seed(seed))
    return sampler.trajectory_times(model.sde, steps), samples.trajectory.numpy()


def draw_paths(axes, times, states):
    """Every path as a line, coloured by t, with a dot where the data are."""
    for k in range(states.shape[1]):
        line = states[:, k]
        pieces = np.stack([line[:-1], line[1:]], axis=1)
        axes.add_collection(
            LineCollection(pieces, array=np.sqrt(times[:-1]), cmap="viridis_r", lw=1.0)
        )
    ends = states[np.argmin(times)]
    axes.scatter(*ends.T, s=18, c="#b3261e", zorder=3, linewidths=0)


def main(workdir, output):
    model = lcss.ScoreModel.load(workdir)
    density = lcss.data.TwoMoons().log_density
    figure, axes = new_figure(1, 3)
    figure.set_size_inches(13.2, 4.8)
    titles = (
        "Five paths of the forward SDE, to t = 0.4",
        "The probability-flow ODE back, by the learnt score",
        "2,000 samples of the reverse SDE",
    )
    for one, title in zip(axes, titles, strict=True):
        one.set(xlim=(-EXTENT, EXTENT), ylim=(-EXTENT, EXTENT), aspect="equal")
        one.set_title(title, loc="left", fontsize=11)
        one.grid(False)
        draw_density(one, density, Frame(0.0, 0.0, EXTENT))
    draw_paths(axes[0], *forward(model, FORWARD, 5))
    axes[0].set_xlabel("dots: data at t = 0; from light to dark as t grows")
    flow = lcss.samplers.ProbabilityFlowODE(num_steps=160)
    draw_paths(axes[1], *reverse(model, flow, REVERSE, 3))
    axes[1].set_xlabel("dark: from the prior at t = 1; dots: samples at t = 0")
    samples = model.sample(2_000, sampler=lcss.samplers.EulerMaruyama(num_steps=500))
    axes[2].scatter(*samples.T, s=4, c="#b3261e", alpha=0.7, linewidths=0)
    axes[2].set_xlabel("blue: the density of the data")
    lcss.plots.write_png(output, render(figure))


if __name__ == "__main__":
    main(*sys.argv[1:])
