"""HTML files that need no other file: pictures inside, every text escaped."""

import base64
import math
from pathlib import Path
from typing import Any

import jinja2

from lcss_tf import files
from lcss_tf.plots import images
from lcss_tf.texts import visible
from lcss_tf.typing import Array

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and configurations are other people's texts
    finalize=lambda value: visible(value, "\n\t") if type(value) is str else value,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ROUNDING = 1e-12  # of equal numbers' mean: no error that is worth a word


def write_html(path: str | Path, template: str, **context: Any) -> Path:
    """Renders a template of this package into a file, written whole; returns its path.

    Raises:
      jinja2.UndefinedError: `context` lacks a variable of the template.
    """
    return files.write_text(path, _ENVIRONMENT.get_template(template).render(**context))


def data_uri(image: Array | None) -> str | None:
    """A uint8 image [H, W, C] as a ``data:`` address; None for None."""
    if image is None:
        return None
    return "data:image/png;base64," + base64.b64encode(images.encode_png(image)).decode()


def value_text(value: float | None, error: float | None = None) -> str:
    """A value with as many digits as its error leaves: "0.1163 ± 0.0021"; "–" if unknown."""
    if value is None or not math.isfinite(value):
        return "–"
    if not error or not math.isfinite(error) or error < _ROUNDING * abs(value):
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 6:
        return f"{value:.3g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


def like_text(value: float | None, error: float | None) -> str:
    """A value to as many decimals as `value_text` gives one with this error: "0.0783"."""
    return value_text(value, error).split(" ± ")[0]


_ENVIRONMENT.filters["number_like"] = like_text
_ENVIRONMENT.filters["value"] = lambda row: value_text(row["value"], row["error"])
_ENVIRONMENT.filters["number"] = value_text
