"""The results of evaluations on the disk: one JSON a checkpoint, a CSV, TensorBoard, the newest."""

import csv
import io
import json
import math
from pathlib import Path

from lcss_tf.files import write_bytes
from lcss_tf.training.summaries import Summaries

_RESULT = "result.json"


class Results:
    """What was measured of one run, under ``<workdir>/evaluation``.

    Args:
      workdir: the run's directory.
      writes: whether this process writes; of several workers the chief alone does.
    """

    def __init__(self, workdir, writes=True):
        self._workdir, self._writes = Path(workdir), writes
        self.directory = self._workdir / "evaluation"

    def place(self, step):
        """The folder of one checkpoint's results."""
        return self.directory / f"step_{step:09d}"

    def finished(self, step, key):
        """The result at a step, if it was measured under this key; otherwise None."""
        result = _read(self.place(step) / _RESULT)
        return result if result and result["key"] == key else None

    def all(self):
        """Every finished result, by rising step; what an interrupted run left is not among them."""
        paths = sorted(self.directory.glob(f"step_*/{_RESULT}"))
        return [result for path in paths if (result := _read(path))]

    def write(self, result):
        """Writes a result, and the files made of all of them.

        Args:
          result: {"step", "key", "figures": {name: {"value", "error", "real"}}, …}.

        Returns:
          The flat figures that are written to ``<workdir>/metrics.json`` too.
        """
        if not self._writes:
            return self.publish(result)
        place = self.place(result["step"])
        place.mkdir(parents=True, exist_ok=True)
        summaries = Summaries(self.directory)
        for kind, key in (("evaluate", "value"), ("evaluate_error", "error")):
            values = {f"{kind}/{name}": row[key] for name, row in result["figures"].items()}
            finite = {name: value for name, value in values.items() if value is not None}
            summaries.scalars(finite, result["step"])
        summaries.close()
        _write(place / _RESULT, result)
        return self.publish(result)

    def publish(self, result):
        """Writes ``metrics.json`` of one result and ``metrics.csv`` of all; returns the former."""
        flat = {"step": result["step"]}
        for name, row in result["figures"].items():
            flat[name] = row["value"]
            flat[f"{name}_error"] = row["error"]
            if row["real"] is not None:
                flat[f"{name}_of_{result['real_split']}_data"] = row["real"]
        flat |= result["counts"]
        if not self._writes:
            return flat
        _write(self._workdir / "metrics.json", flat)
        text = io.StringIO()
        writer = csv.writer(text)
        writer.writerow(["step", "metric", "value", "error", "real"])
        for one in self.all():
            for name, row in one["figures"].items():
                writer.writerow([one["step"], name, row["value"], row["error"], row["real"]])
        write_bytes(self._workdir / "metrics.csv", text.getvalue().encode())
        return flat


def rows(figures, real):
    """{name: {"value", "error", "real"}} of `Figure`s; NaN becomes None, which JSON has."""
    number = lambda value: float(value) if math.isfinite(value) else None
    return {
        name: {
            "value": number(figure.value),
            "error": number(figure.error),
            "real": number(real[name].value) if name in real else None,
        }
        for name, figure in figures.items()
    }


def figures_text(flat):
    """The flat figures for people: a line each, errors behind their values."""
    lines = []
    for name, value in flat.items():
        if name.endswith("_error"):
            continue
        try:
            text = f"{value:,}" if value == int(value) else f"{value:,.4g}"
        except (TypeError, ValueError):
            text = str(value)
        error = flat.get(f"{name}_error")
        lines.append(f"{name:<42}{text}" + (f" ± {error:.2g}" if error else ""))
    return "\n".join(lines)


def _read(path):
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None


def _write(path, content):
    write_bytes(path, json.dumps(content, indent=2).encode())
