"""Reports: HTML files that need no other file."""

from lcss_tf.reports.html import data_uri, value_text, write_html

__all__ = ["data_uri", "value_text", "write_html"]
