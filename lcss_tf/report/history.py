"""What training wrote for TensorBoard: scalars over steps, and over training seconds."""

from pathlib import Path

import numpy as np
from tensorboard.backend.event_processing import event_accumulator
from tensorboard.util import tensor_util

_RATE = "speed/steps_per_second"
_ALL = 0  # of events kept: no thinning


class History:
    """The scalars in a run's event files.

    Where a run was interrupted and went on, a step may come twice: the later one counts.

    Args:
      workdir: the run's directory.
    """

    def __init__(self, workdir):
        self._scalars = {}
        if not Path(workdir).is_dir():
            return
        sizes = {event_accumulator.TENSORS: _ALL}
        events = event_accumulator.EventAccumulator(str(workdir), size_guidance=sizes)
        events.Reload()
        for tag in events.Tags()["tensors"]:
            values = {}
            for event in events.Tensors(tag):
                array = tensor_util.make_ndarray(event.tensor_proto)
                if array.ndim == 0 and array.dtype.kind == "f":
                    values[event.step] = float(array)
            if values:
                self._scalars[tag] = sorted(values.items())

    def tags(self, prefix=""):
        """Tags of scalars with a prefix, sorted."""
        return sorted(tag for tag in self._scalars if tag.startswith(prefix))

    def curve(self, tag):
        """(steps [N], values [N]); empty arrays where there is no such tag."""
        pairs = self._scalars.get(tag, [])
        return np.array([s for s, _ in pairs], float), np.array([v for _, v in pairs], float)

    def seconds(self, steps):
        """Training seconds at steps, from the rates that training logged.

        Without the time of checkpoints, pictures and interruptions. NaN where nothing was logged.
        """
        logged, rates = self.curve(_RATE)
        steps = np.asarray(steps, float)
        good = rates > 0
        if not good.any():
            return np.full(steps.shape, np.nan)
        logged, rates = logged[good], rates[good]
        lengths = np.diff(np.concatenate([[0.0], logged]))
        elapsed = np.concatenate([[0.0], np.cumsum(lengths / rates)])
        return np.interp(steps, np.concatenate([[0.0], logged]), elapsed)
