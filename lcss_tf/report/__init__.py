"""Reports: one self-contained HTML file, its curves, and what training wrote for TensorBoard."""

from lcss_tf.report import charts
from lcss_tf.report.history import History
from lcss_tf.report.html import data_uri, figure_text, write_html

__all__ = ["History", "charts", "data_uri", "figure_text", "write_html"]
