"""Control by composition over any sampler: guidance by class, and linear inverse problems."""

from lcss_tf.control.controlled import Controlled, InverseProblem, Method
from lcss_tf.control.guidance import check_guidance, guided_score
from lcss_tf.control.null_space import NullSpace
from lcss_tf.control.operators import AveragePooling, Greyscale, LinearOperator, Mask
from lcss_tf.control.pseudoinverse import PseudoinverseGuidance
from lcss_tf.control.replacement import Replacement
from lcss_tf.control.time_travel import TimeTravel
from lcss_tf.control.tweedie import TweedieGuidance

__all__ = [
    "AveragePooling",
    "Controlled",
    "Greyscale",
    "InverseProblem",
    "LinearOperator",
    "Mask",
    "Method",
    "NullSpace",
    "PseudoinverseGuidance",
    "Replacement",
    "TimeTravel",
    "TweedieGuidance",
    "check_guidance",
    "guided_score",
]
