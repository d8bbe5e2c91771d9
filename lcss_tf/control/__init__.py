"""Control of any sampler by composition: guidance of its score, and inverse problems."""

from lcss_tf.control.degradations import (
    AveragePooling,
    Clipping,
    GaussianBlur,
    Greyscale,
    Identity,
    Mask,
)
from lcss_tf.control.denoising import (
    DPS,
    DiffPIR,
    NullSpace,
    PseudoinverseGuidance,
    TweedieGuidance,
)
from lcss_tf.control.guidance import (
    Guidance,
    as_guidance,
    autoguided_score,
    check_guidance,
    guided_score,
    warn_of_untrained_null,
)
from lcss_tf.control.masks import MASKS, make_mask
from lcss_tf.control.methods import Controlled, Method, Replacement
from lcss_tf.control.operators import (
    InverseProblem,
    Linear,
    LinearOperator,
    Nonlinear,
    NonlinearOperator,
    Operator,
)
from lcss_tf.control.travel import SDEdit, TimeTravel

__all__ = [
    "DPS",
    "MASKS",
    "AveragePooling",
    "Clipping",
    "Controlled",
    "DiffPIR",
    "GaussianBlur",
    "Greyscale",
    "Guidance",
    "Identity",
    "InverseProblem",
    "Linear",
    "LinearOperator",
    "Mask",
    "Method",
    "Nonlinear",
    "NonlinearOperator",
    "NullSpace",
    "Operator",
    "PseudoinverseGuidance",
    "Replacement",
    "SDEdit",
    "TimeTravel",
    "TweedieGuidance",
    "as_guidance",
    "autoguided_score",
    "check_guidance",
    "guided_score",
    "make_mask",
    "warn_of_untrained_null",
]
