"""Results of evaluations on the disk: JSON for each checkpoint, CSV of all, TensorBoard."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lcss_tf import files, forms
from lcss_tf.metrics import MetricValue
from lcss_tf.training.summaries import Summaries

_RESULT = "result.json"
_ROW = dict.fromkeys(("value", "error", "real"), forms.Nullable(forms.NUMBER))
_FORM = {
    "step": forms.COUNT,
    "key": forms.TEXT,
    "figures": {str: _ROW},
    "real_split": forms.Nullable(forms.TEXT),
    "counts": {str: forms.INTEGER},
}


class Results:
    """What was measured of one run, under ``<workdir>/evaluation``.

    Args:
      workdir: the run's directory.
      writes: whether this process writes; of several workers the chief alone does.
    """

    def __init__(self, workdir: str | Path, writes: bool = True) -> None:
        self._workdir, self._writes = Path(workdir), writes
        self.directory = self._workdir / "evaluation"

    def place(self, step: int) -> Path:
        """The folder of one checkpoint's results."""
        return self.directory / f"step_{step:09d}"

    def finished(self, step: int, key: str) -> dict | None:
        """The result at a step, if it was measured under this key; otherwise None."""
        result = self._read(self.place(step) / _RESULT)
        return result if result and result["key"] == key else None

    def _read(self, path: Path) -> dict | None:
        return files.read_json(path, _FORM, f"Remove {path.parent}, and it is evaluated again.")

    def all(self) -> list[dict]:
        """Every finished result, by rising step; what an interrupted run left is not among them."""
        paths = sorted(self.directory.glob(f"step_*/{_RESULT}"))
        return [result for path in paths if (result := self._read(path))]

    def write(self, result: dict) -> dict[str, Any]:
        """Writes a result, and the files made of all of them.

        Args:
          result: {"step", "key", "figures": {name: {"value", "error", "real"}}, …}.

        Returns:
          The flat figures that are written to ``<workdir>/metrics.json`` too.
        """
        if not self._writes:
            return self.publish(result)
        summaries = Summaries(self.directory)
        for kind, key in (("evaluate", "value"), ("evaluate_error", "error")):
            values = {f"{kind}/{name}": row[key] for name, row in result["figures"].items()}
            finite = {name: value for name, value in values.items() if value is not None}
            summaries.scalars(finite, result["step"])
        summaries.close()
        files.write_json(self.place(result["step"]) / _RESULT, result, indent=2)
        return self.publish(result)

    def publish(self, result: dict) -> dict[str, Any]:
        """Writes ``metrics.json`` of one result and ``metrics.csv`` of all; returns the former."""
        flat = flat_figures(result)
        if not self._writes:
            return flat
        files.write_json(self._workdir / "metrics.json", flat, indent=2)
        files.write_text(self._workdir / "metrics.csv", csv_of(self.all()))
        return flat


def flat_figures(result: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a result in one dict, as ``metrics.json`` holds them.

    Args:
      result: {"figures", "real_split", "counts"} and, where there are such, "step" and "facts".
    """
    flat = {"step": result["step"]} if "step" in result else {}
    for name, row in result["figures"].items():
        flat[name] = row["value"]
        flat[f"{name}_error"] = row["error"]
        if row["real"] is not None:
            flat[f"{name}_of_{result['real_split']}_data"] = row["real"]
    return flat | result.get("facts", {}) | result["counts"]


def csv_of(results: Sequence[Mapping[str, Any]]) -> str:
    """The figures of results as CSV, a line each; no step where a result has none."""
    lines = [
        [one.get("step"), name, row["value"], row["error"], row["real"]]
        for one in results
        for name, row in one["figures"].items()
    ]
    return files.csv_table(["step", "metric", "value", "error", "real"], lines)


def rows(
    values: Mapping[str, MetricValue], real: Mapping[str, MetricValue]
) -> dict[str, dict[str, float | None]]:
    """{name: {"value", "error", "real"}}; NaN becomes None, which JSON has.

    Also "standard_error", of values whose ± is something else.
    """
    number = lambda value: float(value) if math.isfinite(value) else None
    return {
        name: {
            "value": number(found.value),
            "error": number(found.error),
            "real": number(real[name].value) if name in real else None,
        }
        | _standard_error(found)
        for name, found in values.items()
    }


def _standard_error(found: MetricValue) -> dict[str, float | None]:
    other = math.isfinite(found.error) and found.standard_error != found.error
    return {"standard_error": float(found.standard_error)} if other else {}


def error_text(error: float | None) -> str:
    """The ± behind a value; nothing where the error is 0 or unknown."""
    return f" ± {error:.2g}" if error and math.isfinite(error) else ""


def figures_text(flat: Mapping[str, Any]) -> str:
    """The flat figures for people: a line each, errors behind their values."""
    lines = []
    width = max([42, *(len(name) + 1 for name in flat)])
    for name, value in flat.items():
        if name.endswith("_error"):
            continue
        try:
            text = f"{value:,}" if value == int(value) else f"{value:,.4g}"
        except (TypeError, ValueError):
            text = str(value)
        error = flat.get(f"{name}_error")
        lines.append(f"{name:<{width}}{text}{error_text(error)}")
    return "\n".join(lines)
