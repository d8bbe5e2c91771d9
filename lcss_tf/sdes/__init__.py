"""Forward SDEs dx = f(x, t) dt + g(x, t) dw, by kind."""

from lcss_tf.sdes.affine import (
    EDMSDE,
    VESDE,
    VPSDE,
    AffineSDE,
    CosineVPSDE,
    FlowMatchingSDE,
    SubVPSDE,
    VPFamily,
)
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.elementwise import ElementwiseSDE
from lcss_tf.sdes.heavy import GeneralizedNormalSDE, MirafzaliSDE, PearsonSDE
from lcss_tf.sdes.kinetic import KineticSDE
from lcss_tf.sdes.matrix import MatrixOUSDE
from lcss_tf.sdes.mixture import MixtureSDE
from lcss_tf.sdes.rotating import RotatingSDE

__all__ = [
    "EDMSDE",
    "SDE",
    "VESDE",
    "VPSDE",
    "AffineSDE",
    "CosineVPSDE",
    "ElementwiseSDE",
    "FlowMatchingSDE",
    "GeneralizedNormalSDE",
    "KineticSDE",
    "MatrixOUSDE",
    "MirafzaliSDE",
    "MixtureSDE",
    "PearsonSDE",
    "RotatingSDE",
    "SubVPSDE",
    "VPFamily",
]
