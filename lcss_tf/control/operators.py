"""Linear operators A of the inverse problems y = A x + noise."""

import numpy as np
import tensorflow as tf

from lcss_tf.control import masks
from lcss_tf.errors import UsageError
from lcss_tf.registry import OPERATORS

_LUMA = (0.299, 0.587, 0.114)  # ITU-R 601, by which image programs make greyscale


class LinearOperator:
    """Base of the operators: those with orthogonal rows of one length, A Aᵀ = γ I.

    A subclass writes `observed_shape`, `gain`, `apply` and `transpose`. Examples x have shape
    [B, *shape], observations y [B, *observed_shape(shape)].

    Attributes:
      selects: whether A keeps some coordinates as they are and nothing else.
    """

    selects = False

    def observed_shape(self, shape):
        """The shape of one observation of an example of `shape`.

        Raises:
          ValueError: the operator does not act on such examples.
        """
        raise NotImplementedError(f"{type(self).__name__} must define observed_shape(shape).")

    def gain(self, shape):
        """γ, where A Aᵀ y = γ y for every y = A x."""
        raise NotImplementedError(f"{type(self).__name__} must define gain(shape).")

    def apply(self, x):
        """A x."""
        raise NotImplementedError(f"{type(self).__name__} must define apply(x).")

    def transpose(self, y, shape):
        """Aᵀ y, of shape [B, *shape]."""
        raise NotImplementedError(f"{type(self).__name__} must define transpose(y, shape).")

    def pseudo_inverse(self, y, shape):
        """A⁺ y = Aᵀ y/γ: the smallest x with A x = y."""
        return self.transpose(y, shape) / self.gain(shape)

    def project(self, x, y):
        """x + A⁺ (y − A x): of all that would be observed as y, the nearest to x."""
        return x + self.pseudo_inverse(y - self.apply(x), x.shape[1:])

    def check(self, y, shape):
        """Raises ValueError unless y [B, ...] are observations of examples of `shape`."""
        expected = tuple(self.observed_shape(shape))
        if tuple(y.shape[1:]) != expected:
            raise UsageError(
                f"{type(self).__name__} makes observations of shape {expected} of examples of "
                f"shape {tuple(shape)}; got {tuple(y.shape[1:])}."
            )

    def shown(self, y, shape):
        """y as an example of `shape`, for people to look at."""
        return self.pseudo_inverse(y, shape)

    def known(self, shape):
        """Where an example of `shape` is known, bool, of an operator that selects; else None."""
        del shape


@OPERATORS.register
class Mask(LinearOperator):
    """Inpainting: A x = m·x, m = 1 where x is known; y is 0 where it is hidden.

    Args:
      mask: "half", "box", "random", the path of a file or an array: see `lcss_tf.control.masks`.
    """

    selects = True

    def __init__(self, mask="half"):
        self.mask = mask
        self._made = {}

    def known(self, shape):
        shape = tuple(shape)
        if shape not in self._made:
            self._made[shape] = masks.make(self.mask, shape)
        return self._made[shape]

    def observed_shape(self, shape):
        return self.known(shape).shape

    def gain(self, shape):
        return 1.0

    def apply(self, x):
        return tf.where(self.known(x.shape[1:]), x, tf.zeros_like(x))

    def transpose(self, y, shape):
        return self.apply(y)

    def project(self, x, y):
        # Bit for bit, which x + (y − x) is not.
        return tf.where(self.known(x.shape[1:]), y, x)

    def shown(self, y, shape):
        return y


@OPERATORS.register
class Greyscale(LinearOperator):
    """Colourisation: A x = w·x over the three channels.

    Args:
      weights: w; by default luma, as image programs make greyscale.

    Raises:
      ValueError: not three weights, or none but zeros.
    """

    def __init__(self, weights=_LUMA):
        self.weights = np.float32(weights)
        if self.weights.shape != (3,) or not self.weights.any():
            raise UsageError(f"Greyscale.weights are three numbers, not all 0; got {weights}.")

    def observed_shape(self, shape):
        if len(shape) < 2 or shape[-1] != 3:
            raise UsageError(
                f"Greyscale observes images of three channels; these examples have the shape "
                f"{tuple(shape)}. Colourise with a run on colour images."
            )
        return (*shape[:-1], 1)

    def gain(self, shape):
        return float(np.sum(self.weights**2))

    def apply(self, x):
        return tf.reduce_sum(x * self.weights, axis=-1, keepdims=True)

    def transpose(self, y, shape):
        return y * self.weights

    def shown(self, y, shape):
        return tf.repeat(y, 3, axis=-1)


@OPERATORS.register
class AveragePooling(LinearOperator):
    """Super-resolution: A x are the means of blocks, `factor` long on every axis but channels.

    Args:
      factor: at least 2.

    Raises:
      ValueError: a factor below 2.
    """

    def __init__(self, factor=2):
        if factor < 2 or factor != int(factor):
            raise UsageError(
                f"AveragePooling.factor must be a whole number of at least 2; got {factor}."
            )
        self.factor = int(factor)

    def observed_shape(self, shape):
        places = tuple(shape[:-1])
        if not places or any(n % self.factor for n in places):
            raise UsageError(
                f"AveragePooling averages blocks of {self.factor} pixels along every axis but the "
                f"channels; examples of shape {tuple(shape)} do not divide into such. Choose a "
                f"factor that divides {' and '.join(map(str, places)) or 'the sizes of an image'}."
            )
        return (*(n // self.factor for n in places), shape[-1])

    def gain(self, shape):
        return 1.0 / self.factor ** (len(shape) - 1)

    def apply(self, x):
        small = self.observed_shape(x.shape[1:])
        split = [part for n in small[:-1] for part in (n, self.factor)]
        blocks = tf.reshape(x, [-1, *split, small[-1]])
        return tf.reduce_mean(blocks, axis=list(range(2, 2 * len(small), 2)))

    def transpose(self, y, shape):
        return self.pseudo_inverse(y, shape) * self.gain(shape)

    def pseudo_inverse(self, y, shape):
        for axis in range(1, len(shape)):
            y = tf.repeat(y, self.factor, axis=axis)
        return y
