"""The way out: compiled programs, with their state, that run where this project is not."""

from lcss_tf.export.formats import sampler_of, write_function, write_model
from lcss_tf.export.onnx import write_onnx
from lcss_tf.export.program import Program, Value, capture
from lcss_tf.export.programs import (
    Function,
    as_program,
    sampler,
    sampler_from,
    save_model,
    score,
    train_step,
)

__all__ = [
    "Function",
    "Program",
    "Value",
    "as_program",
    "capture",
    "sampler",
    "sampler_from",
    "sampler_of",
    "save_model",
    "score",
    "train_step",
    "write_function",
    "write_model",
    "write_onnx",
]
