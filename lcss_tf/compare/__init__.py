"""The losses side by side: one seed, data, network and budget; quality, seconds, memory."""

from lcss_tf.compare.contest import Contest
from lcss_tf.compare.finished import report_finished
from lcss_tf.compare.run import compare, diagnose, run_entry

__all__ = ["Contest", "compare", "diagnose", "report_finished", "run_entry"]
