"""The curves of a training run: what `fit` returns, and what a run wrote for TensorBoard."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from lcss_tf.errors import UnknownNameError, UsageError
from lcss_tf.plots import charts, figures, images
from lcss_tf.typing import Array, Numbers

_LOSS = "loss"
_RATE = "speed/steps_per_second"
_OF_EVENTS = {"val_loss": "loss/validation"}


class History(Mapping):
    """Curves by name, as Keras' ``History.history``, with the step of every value.

    ``history["loss"]`` is an array, ``history.steps("loss")`` are its steps, and ``history.plot()``
    is a figure. A notebook shows that figure where a cell ends with the history.

    Args:
      curves: {name: (steps [N], values [N])}, by rising steps.

    Raises:
      UsageError: steps and values of a curve differ in length.
    """

    def __init__(self, curves: Mapping[str, tuple[Numbers, Numbers]]) -> None:
        self._curves: dict[str, tuple[Array, Array]] = {}
        for name, (steps, values) in curves.items():
            steps, values = np.asarray(steps, np.int64), np.asarray(values, np.float64)
            if steps.ndim != 1 or steps.shape != values.shape:
                raise UsageError(
                    f"The curve {name!r} needs one value for each step; got steps of shape "
                    f"{steps.shape} and values of shape {values.shape}."
                )
            self._curves[name] = steps, values

    @classmethod
    def from_workdir(cls, workdir: str | Path) -> History:
        """The scalars in a run's event files; empty if there are none.

        Where a run was interrupted and resumed, a step may occur in several files: the value that
        was written last counts. Files of one moment are taken in the order of the numbers in their
        names, where 9 comes before 10.
        """
        latest: dict[str, dict[int, tuple[float, float]]] = {}
        for path in sorted(Path(workdir).glob("*tfevents*"), key=_numbered):
            for name, step, wall_time, value in _scalars(path):
                known = latest.setdefault(name, {}).get(step)
                if known is None or wall_time >= known[0]:
                    latest[name][step] = wall_time, value
        curves: dict[str, tuple[Numbers, Numbers]] = {}
        for name in sorted(latest):
            steps = sorted(latest[name])
            curves[name] = steps, [latest[name][step][1] for step in steps]
        return cls(curves)

    @property
    def history(self) -> dict[str, Array]:
        """The values by name, as Keras has them."""
        return {name: values for name, (_, values) in self._curves.items()}

    def steps(self, name: str) -> Array:
        """The steps of a curve, int64 [N].

        Raises:
          UnknownNameError: there is no such curve; the message lists those there are.
        """
        return self._curves[self._known(name)][0]

    def __getitem__(self, name: str) -> Array:
        return self._curves[self._known(name)][1]

    def __iter__(self) -> Iterator[str]:
        return iter(self._curves)

    def __len__(self) -> int:
        return len(self._curves)

    def names(self, prefix: str = "") -> list[str]:
        """The names with a prefix, sorted."""
        return sorted(name for name in self._curves if name.startswith(prefix))

    def curve(self, name: str) -> tuple[Array, Array]:
        """(steps [N], values [N]).

        Raises:
          UnknownNameError: there is no such curve; the message lists those there are.
        """
        return self._curves[self._known(name)]

    def _if_there(self, name: str) -> tuple[Array, Array]:
        return self._curves.get(name, (np.zeros(0, np.int64), np.zeros(0)))

    def seconds(self, steps: Numbers) -> Array:
        """Training seconds at steps, from the logged steps per second.

        Checkpoints, pictures and interruptions do not count. NaN where no rate was logged.
        """
        logged, rates = self._if_there(_RATE)
        steps = np.asarray(steps, float)
        good = rates > 0
        if not good.any():
            return np.full(steps.shape, np.nan)
        logged, rates = np.concatenate([[0], logged[good]]), rates[good]
        elapsed = np.concatenate([[0.0], np.cumsum(np.diff(logged) / rates)])
        return np.interp(steps, logged, elapsed)

    def plot(self, names: Sequence[str] | None = None) -> Figure:
        """Curves over steps, smoothed, with the single values behind them.

        Args:
          names: of the curves; by default the loss, and its value on validation data if there is
            one; without a loss all curves.

        Raises:
          UnknownNameError: there is no such curve.
        """
        names = self._main() if names is None else [self._known(name) for name in names]
        figure, (axes,) = figures.new_figure()
        for i, name in enumerate(names):
            steps, values = self._curves[name]
            style = figures.series_style(i)
            if len(steps) > 1:
                axes.plot(steps, values, color=style["color"], alpha=0.25, linewidth=0.8)
            marker = style["marker"] if len(steps) < 20 else ""
            axes.plot(
                steps,
                charts.smoothed(values),
                color=style["color"],
                marker=marker,
                markersize=4.5,
                label=figures.series_label(name),
            )
        charts.log_if_wide(axes, [self._curves[name][1] for name in names])
        title = names[0] if len(names) == 1 else None
        figures.label_axes(axes, "steps", title=title)
        axes.grid(alpha=0.25)
        if len(names) > 1:
            axes.legend(fontsize=8, frameon=False)
        figures.literal_text(figure)
        return figure

    def __repr__(self) -> str:
        last = max((steps[-1] for steps, _ in self._curves.values() if len(steps)), default=0)
        return f"History({', '.join(self._curves) or 'empty'}; {last:,} steps)"

    def _repr_png_(self) -> bytes | None:
        return images.encode_png(figures.render(self.plot())) if self._curves else None

    def _known(self, name: str) -> str:
        """The name itself; ``loss`` and ``val_loss`` also stand for those of a run's events."""
        for candidate in (name, f"{name}/total", _OF_EVENTS.get(name)):
            if candidate in self._curves:
                return candidate
        close = difflib.get_close_matches(name, self._curves, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise UnknownNameError(
            f"No curve named {name!r}.{hint} Known: {', '.join(self.names()) or 'none'}."
        )

    def _main(self) -> list[str]:
        losses = [name for name in (_LOSS, f"{_LOSS}/total") if name in self._curves][:1]
        held_out = [name for name in self._curves if name.startswith(("val_loss", "validation"))]
        return [*losses, *held_out] if losses else list(self._curves)


def _numbered(path: Path) -> list[tuple[int, str]]:
    """Sorts names by the numbers in them."""
    parts = re.split(r"(\d+)", path.name)
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]


def _scalars(path: Path) -> Iterator[tuple[str, int, float, float]]:
    """(name, step, wall time, value) of the scalars in one event file."""
    # TensorBoard's reader takes a while to import.
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.compat.proto import types_pb2
    from tensorboard.util import tensor_util

    for event in EventFileLoader(str(path)).Load():
        for value in event.summary.value:
            tensor = value.tensor
            is_float = tensor.dtype in (types_pb2.DT_FLOAT, types_pb2.DT_DOUBLE)
            if is_float and not tensor.tensor_shape.dim:
                number = float(tensor_util.make_ndarray(tensor))
                yield value.tag, event.step, event.wall_time, number
