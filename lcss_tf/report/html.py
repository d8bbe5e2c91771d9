"""HTML files that need no other file: pictures inside, every text escaped."""

import base64
import math
from pathlib import Path

import jinja2

from lcss_tf import images

_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent / "templates"),
    autoescape=True,  # names and configurations are other people's texts
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def write_html(path, template, **context):
    """Renders a template of this room into a file, written whole; returns its path."""
    text = _ENVIRONMENT.get_template(template).render(**context)
    path = Path(path)
    temporary = path.with_name(f".{path.name}.tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def data_uri(image):
    """A uint8 image [H, W, C] as a ``data:`` address; None for None."""
    if image is None:
        return None
    return "data:image/png;base64," + base64.b64encode(images.encode_png(image)).decode()


def figure_text(value, error=None):
    """A figure with as many digits as its error lets count: "0.1163 ± 0.0021"."""
    if value is None or not math.isfinite(value):
        return "–"
    if not error or not math.isfinite(error):
        return f"{value:.4g}"
    digits = max(0, 1 - math.floor(math.log10(error)))
    if digits > 6:
        return f"{value:.3g} ± {error:.1g}"
    return f"{value:.{digits}f} ± {error:.{digits}f}"


_ENVIRONMENT.filters["figure"] = lambda row: figure_text(row["value"], row["error"])
_ENVIRONMENT.filters["number"] = figure_text
