"""Processes: several on one machine, and one that is started again after a fault."""

from lcss_tf.launching.local import launch
from lcss_tf.launching.supervisor import TEMPORARY, supervise

__all__ = ["TEMPORARY", "launch", "supervise"]
