"""Forward SDEs dx = f(x, t) dt + g(x, t) dw, by kind."""

from lcss_tf.sdes.affine import VESDE, VPSDE, AffineSDE, SubVPSDE, VPFamily
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.elementwise import ElementwiseSDE
from lcss_tf.sdes.heavy import GeneralizedNormalSDE, PearsonSDE

__all__ = [
    "SDE",
    "AffineSDE",
    "ElementwiseSDE",
    "GeneralizedNormalSDE",
    "PearsonSDE",
    "SubVPSDE",
    "VESDE",
    "VPFamily",
    "VPSDE",
]
