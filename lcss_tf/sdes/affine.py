"""Affine SDEs: drift linear in x, so that x_t given x_0 is Gaussian in closed form."""

import tensorflow as tf

from lcss_tf import random
from lcss_tf.ops import like, shape_of
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.kernels import GaussianKernel

_HALVINGS = 40  # float32 knows no finer times, but very near 0


class AffineSDE(SDE):
    """x_t = alpha_t x_0 + sigma_t z. Subclasses define `marginal` beside the SDE's four."""

    has_marginal = True
    smoothing = "path"
    kernel_cap = float("inf")  # the local kernel is exact

    def marginal(self, t):
        """(alpha_t, sigma_t), each [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define marginal(t).")

    def perturb(self, x0, t, z):
        """alpha_t x_0 + sigma_t z."""
        alpha_t, sigma_t = self.marginal(t)
        return like(alpha_t, x0) * x0 + like(sigma_t, x0) * z

    def sample_xt(self, x0, t, seed):
        """Draws x_t given x_0 from the closed form."""
        return self.perturb(x0, t, random.normal(seed, shape_of(x0)))

    def time_of_log_noise(self, values):
        """The times t [B] in [0, T] at which log(sigma_t/alpha_t) takes `values` [B]; T if beyond.

        By bisection, in the graph: any `marginal` will do in which the ratio rises with t.
        """
        low, high = tf.zeros_like(values), tf.fill(tf.shape(values), tf.constant(self.T))

        def halve(i, low, high):
            middle = 0.5 * (low + high)
            alpha, sigma = self.marginal(middle)
            below = tf.math.log(sigma) - tf.math.log(alpha) < values
            return i + 1, tf.where(below, middle, low), tf.where(below, high, middle)

        state = (tf.constant(0), low, high)
        _, low, high = tf.while_loop(lambda i, *_: i < _HALVINGS, halve, state)
        return high

    def check_weights(self):
        """They are there."""

    def sample_with_weight(self, x0, t, seed):
        """(x_t, z/σ_t): the weight is −∇ log of the transition kernel, as in DSM."""
        z = random.normal(seed, shape_of(x0))
        return self.perturb(x0, t, z), z / like(self.marginal(t)[1], x0)

    def noise_scale(self, t):
        """sigma_t [B]."""
        return self.marginal(t)[1]

    def local_kernel(self, x_s, s, t):
        """Mean and deviation of x_t given x_s, exact: (α_t/α_s) x_s, √(σ_t² − (α_t/α_s)² σ_s²)."""
        alpha_t, sigma_t = self.marginal(t)
        alpha_s, sigma_s = self.marginal(s)
        ratio = alpha_t / alpha_s
        kept = ratio * sigma_s
        # (a − b)(a + b) loses fewer bits than a² − b².
        std = tf.sqrt(tf.maximum((sigma_t - kept) * (sigma_t + kept), 0.0))
        return like(ratio, x_s) * x_s, like(std, x_s)

    def last_step(self, x0, t, std, seed):
        """The kernel of x_t given all of its noise but a last part of deviation `std`.

        x_t = α_t x_0 + √(σ_t² − std²) z' + std z: the split of a Gaussian is exact for
        any std up to σ_t, where it is the transition kernel itself. (At that limit VE's
        noise at time 0 belongs to the kernel too, which `local_kernel` from s = 0 lacks.)
        """
        alpha_t, sigma_t = self.marginal(t)
        std = tf.minimum(std, sigma_t)
        before = tf.sqrt((sigma_t - std) * (sigma_t + std))
        z = random.normal(seed, shape_of(x0))
        mean = like(alpha_t, x0) * x0 + like(before, x0) * z
        return GaussianKernel(mean, like(std, x0))

    def ancestral(self, x, t, score, num_steps):
        """(mean, std) of the ancestral step back from t by T/num_steps (Ho et al. 2020).

        The Gaussian posterior of x_s given x_t and the x_0 that the score implies.
        """
        s = tf.maximum(t - self.T / num_steps, 0.0)
        alpha_t, sigma_t = self.marginal(t)
        alpha_s, sigma_s = self.marginal(s)
        ratio = alpha_t / alpha_s
        step_variance = (sigma_t - ratio * sigma_s) * (sigma_t + ratio * sigma_s)
        mean = (x + like(step_variance, x) * score) / like(ratio, x)
        return mean, like(sigma_s * tf.sqrt(step_variance) / sigma_t, x)

    def measure_moments(self, x0, seed):
        """Mean and variance of the data; `moments` is then exact at every t."""
        del seed
        mean, variance = tf.nn.moments(tf.cast(x0, tf.float32), axes=list(range(len(x0.shape))))
        return {"mean": mean.numpy(), "variance": variance.numpy()}

    def moments(self, t, measured):
        """(α_t m_0, α_t² v_0 + σ_t²)."""
        alpha_t, sigma_t = self.marginal(t)
        return alpha_t * measured["mean"], alpha_t**2 * measured["variance"] + sigma_t**2

    def reference_score(self, x, t, measured):
        """−(x − m_t)/v_t."""
        m_t, v_t = self.moments(t, measured)
        return -(x - like(m_t, x)) / like(v_t, x)

    def network_scale(self, t, measured):
        """c(t) = α_t √v_0 / √v_t: EDM's output scaling, written for the score."""
        alpha_t, _ = self.marginal(t)
        _, v_t = self.moments(t, measured)
        return alpha_t * tf.sqrt(measured["variance"] / v_t)
