"""Heavy-tailed data: separate clusters whose coordinates are Student's t."""

import math

import tensorflow as tf

from lcss_tf.data.gaussian_mixture import GaussianMixture
from lcss_tf.data.toy import Toy
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS


@DATASETS.register
class StudentMixture(Toy):
    """p(x) = (1/K)·Σ_k Π_d t_ν((x_d − μ_kd)/a)/a: means as `GaussianMixture`'s, t for the normal.

    Args:
      num_components: K.
      radius: of the sphere of means; by default such that a coordinate has unit variance.
      component_std: the standard deviation s of one component; its scale is a = s√((ν − 2)/ν).
      degrees_of_freedom: ν > 2; the tails fall like |x|^{−ν−1}.
      dimension: D.

    Raises:
      ValueError: a number out of its range.
    """

    def __init__(
        self,
        num_components=8,
        radius=None,
        component_std=0.15,
        degrees_of_freedom=6.0,
        dimension=2,
    ):
        if degrees_of_freedom <= 2:
            raise UsageError(
                "StudentMixture expects degrees_of_freedom > 2, where there is a variance; got "
                f"{degrees_of_freedom}."
            )
        gaussian = GaussianMixture(num_components, radius, component_std, dimension)
        # One uniform chooses the component; Bailey's method takes two for each coordinate.
        super().__init__("student_mixture", dimension, num_uniforms=1 + 2 * dimension)
        self.means = gaussian.means
        self.component_std = float(component_std)
        self.degrees_of_freedom = float(degrees_of_freedom)
        self.component_scale = self.component_std * math.sqrt(1 - 2 / self.degrees_of_freedom)

    def draw(self, uniforms):
        """See `Toy.draw`. Uniforms of 24 bits keep |t| below √(ν (2^{48/ν} − 1)): 39 at ν = 6."""
        component = tf.cast(uniforms[:, 0] * len(self.means), tf.int32)
        mean = tf.gather(tf.constant(self.means, tf.float32), component)
        return mean + self.component_scale * to_student(uniforms[:, 1:], self.degrees_of_freedom)

    def log_density(self, x):
        """log p(x) [B] at points [B, D], in x's dtype."""
        x = tf.convert_to_tensor(x)
        offsets = tf.cast(x, tf.float64)[:, None] - tf.constant(self.means)
        log_component = tf.reduce_sum(self.component_log_density(offsets), axis=2)
        log_density = tf.reduce_logsumexp(log_component, axis=1) - math.log(len(self.means))
        return tf.cast(log_density, x.dtype)

    def component_log_density(self, u):
        """The log density of one coordinate of a component about its mean, of the shape of u."""
        nu, scale = self.degrees_of_freedom, self.component_scale
        log_normaliser = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
        log_normaliser -= 0.5 * math.log(math.pi * nu) + math.log(scale)
        return log_normaliser - 0.5 * (nu + 1) * tf.math.log1p((u / scale) ** 2 / nu)


def to_student(uniforms, degrees_of_freedom):
    """Student's t [B, n] from U[0, 1) [B, 2n]: √(ν(u^{−2/ν} − 1)) cos(2πw) (Bailey 1994)."""
    half, nu = uniforms.shape[1] // 2, degrees_of_freedom
    log_u = tf.math.log1p(-uniforms[:, :half])  # uniforms < 1: finite
    radius = tf.sqrt(nu * tf.math.expm1(-2.0 / nu * log_u))
    return radius * tf.cos(2.0 * math.pi * uniforms[:, half:])
