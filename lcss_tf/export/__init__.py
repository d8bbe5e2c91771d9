"""The way out: compiled programs, with their state, that run where this project is not."""

from lcss_tf.export.program import Program, Value, capture
from lcss_tf.export.programs import sampler, score, train_step

__all__ = ["Program", "Value", "capture", "sampler", "score", "train_step"]
