"""Forward SDEs dx = f(x, t) dt + g(x, t) dw, one per file."""

from lcss_tf.sdes.affine import AffineSDE
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.elementwise import ElementwiseSDE
from lcss_tf.sdes.generalized_normal import GeneralizedNormalSDE
from lcss_tf.sdes.pearson import PearsonSDE
from lcss_tf.sdes.subvp import SubVPSDE
from lcss_tf.sdes.ve import VESDE
from lcss_tf.sdes.vp import VPSDE

__all__ = [
    "SDE",
    "AffineSDE",
    "ElementwiseSDE",
    "GeneralizedNormalSDE",
    "PearsonSDE",
    "SubVPSDE",
    "VESDE",
    "VPSDE",
]
