"""The way out: compiled programs, with their state, that run where this project is not."""

from lcss_tf.export.program import Program, Value, capture
from lcss_tf.export.programs import Function, as_program, sampler, save_model, score, train_step

__all__ = [
    "Function",
    "Program",
    "Value",
    "as_program",
    "capture",
    "sampler",
    "save_model",
    "score",
    "train_step",
]
