"""Control of any sampler by composition: guidance by a condition, and linear inverse problems."""

from lcss_tf.control.guidance import check_guidance, guided_score, warn_of_untrained_null
from lcss_tf.control.methods import (
    Controlled,
    Method,
    NullSpace,
    PseudoinverseGuidance,
    Replacement,
    TimeTravel,
    TweedieGuidance,
)
from lcss_tf.control.operators import (
    MASKS,
    AveragePooling,
    Greyscale,
    InverseProblem,
    LinearOperator,
    Mask,
    make_mask,
)

__all__ = [
    "MASKS",
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
    "make_mask",
    "warn_of_untrained_null",
]
