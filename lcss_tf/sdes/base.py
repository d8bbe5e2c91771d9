"""The SDE contract, and everything that follows from drift and diffusion alone.

    dx = f(x, t) dt + g(x, t) dw,   t in [t_min, T]

An author writes four methods: `drift`, `diffusion`, `prior_sample` and
`prior_log_prob`. Sampling x_t, the noise scale, the reverse drift, the last
step's kernel and the moments for preconditioning then come from here, by
simulation where there is no closed form. Nobody asks an SDE for its type.
"""

import numpy as np
import tensorflow as tf

from lcss_tf import rng
from lcss_tf.sdes.shapes import like, shape_of
from lcss_tf.sdes.simulation import euler_maruyama, moments_along_path

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PRIOR_DRAWS = 16_384  # examples from which the prior's standard deviation is measured


class SDE:
    """A forward SDE. Times t have shape [B]; data x have shape [B, ...].

    Class attributes, which a constructor may overwrite:
      T: the final time, where x_T is distributed as the prior.
      t_min: smallest time seen in training.
      sampling_t_min: where samplers stop by default.
      simulation_steps: Euler–Maruyama steps from 0 to t, where x_t is simulated.
      has_marginal: whether `marginal` exists (see `AffineSDE`).
    """

    T = 1.0
    t_min = 1e-5
    sampling_t_min = 1e-3
    simulation_steps = 200
    has_marginal = False

    # What the author writes -------------------------------------------------------------

    def drift(self, x, t):
        """f(x, t), of the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} must define drift(x, t).")

    def diffusion(self, x, t):
        """g(x, t), broadcastable to x; [B, 1, ...] where it depends on t alone."""
        raise NotImplementedError(f"{type(self).__name__} must define diffusion(x, t).")

    def prior_sample(self, shape, seed):
        """x_T of `shape` [B, ...]; `seed` [2] as for ``tf.random.stateless_*``."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_sample(shape, seed).")

    def prior_log_prob(self, x):
        """log p_T(x) in nats, summed over the data's dimensions: [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_log_prob(x).")

    # What follows -----------------------------------------------------------------------

    def sample_xt(self, x0, t, seed):
        """Draws x_t given x_0 by Euler–Maruyama: `simulation_steps` steps from 0 to t."""
        return euler_maruyama(self, x0, t, seed, self.simulation_steps)

    def noise_scale(self, t):
        """s(t) [B]: the typical size of the noise in x_t.

        By default min(√∫₀ᵗ g(0, τ)² dτ, standard deviation of the prior), the
        integral by Gauss–Legendre quadrature with 16 nodes.
        """
        t = tf.convert_to_tensor(t, tf.float32)
        nodes = tf.constant((_QUADRATURE_NODES + 1) / 2, tf.float32)
        weights = tf.constant(_QUADRATURE_WEIGHTS / 2, tf.float32)
        times = tf.reshape(t[:, None] * nodes[None, :], [-1])
        x = tf.zeros_like(times)[:, None]
        g = tf.broadcast_to(self.diffusion(x, times), tf.shape(x))
        g = tf.reshape(g, [-1, weights.shape[0]])
        integral = t * tf.linalg.matvec(g**2, weights)
        return tf.minimum(tf.sqrt(integral), self.prior_std())

    def prior_std(self):
        """Standard deviation of one dimension of the prior, measured once."""
        if not hasattr(self, "_prior_std"):
            with tf.init_scope():
                draws = self.prior_sample((_PRIOR_DRAWS, 1), rng.as_seed(0))
                self._prior_std = float(tf.math.reduce_std(draws))
        return self._prior_std

    def reverse_drift(self, x, t, score, probability_flow=False):
        """Drift of the reverse-time SDE, or of the probability-flow ODE.

        f − ∂(g²) − g² ∇log p_t (Anderson 1982), with both correction terms
        halved for the ODE. ∂(g²) is the derivative of g_i² with respect to x_i,
        taken by automatic differentiation; it is absent where g depends on t
        alone. Time still runs forward: a reverse step subtracts this drift.
        """
        half = 0.5 if probability_flow else 1.0
        with tf.GradientTape() as tape:
            tape.watch(x)
            g_squared = self.diffusion(x, t) ** 2
            total = tf.reduce_sum(tf.broadcast_to(g_squared, tf.shape(x)))
        divergence = tape.gradient(total, x)  # None: g does not depend on x
        correction = g_squared * score
        if divergence is not None:
            correction += divergence
        return self.drift(x, t) - half * correction

    def discretize(self, x, t, num_steps):
        """(f, G) of the recursion x_{i+1} = x_i + f + G z, with `num_steps` steps over [0, T]."""
        dt = self.T / num_steps
        return self.drift(x, t) * dt, self.diffusion(x, t) * np.float32(np.sqrt(dt))

    def check_discretization(self, num_steps):
        """Raises ValueError if `discretize` is not defined for so few steps."""

    def local_kernel(self, x_s, s, t):
        """(mean, std) of x_t given x_s, for s shortly before t: one Euler step."""
        h = like(t - s, x_s)
        return x_s + self.drift(x_s, s) * h, self.diffusion(x_s, s) * tf.sqrt(h)

    def earlier_time(self, t, std):
        """s < t such that the local kernel from s to t has a deviation of about `std` [B].

        From g(0, t)² (t − s) = std², and no earlier than 0.
        """
        x = tf.zeros_like(t)[:, None]
        g = tf.reshape(self.diffusion(x, t), [-1])
        return tf.maximum(t - (std / g) ** 2, 0.0)

    def last_step(self, x0, t, std, seed):
        """(mean, std) of x_t given all of its path but a last Gaussian step of about `std`.

        Draws x_s given x_0 at s = `earlier_time(t, std)`, then asks `local_kernel`.
        """
        s = self.earlier_time(t, std)
        return self.local_kernel(self.sample_xt(x0, s, seed), s, t)

    def noise_label(self, t):
        """What the network is told of the time, [B]: 999 t/T, as in DDPM."""
        return 999.0 * t / self.T

    def langevin_alpha(self, t, num_steps):
        """The factor α of a Langevin corrector's step size, [B] (1 but for VP)."""
        del num_steps
        return tf.ones_like(t)

    def marginal(self, t):
        """(alpha_t, sigma_t) of an affine SDE; other SDEs have none.

        Raises:
          ValueError: always, here.
        """
        raise ValueError(
            f"{type(self).__name__} has no closed-form marginal (alpha_t, sigma_t): only an "
            "AffineSDE does. Use sample_xt, or a loss and a sampler that need none (LCSSLoss, "
            "EulerMaruyama)."
        )

    # Moments of x_t, for preconditioning ------------------------------------------------

    def measure_moments(self, x0, seed):
        """What `moments` needs to know of the data, measured once: a dict of arrays.

        Here: mean and variance of x_t over examples and dimensions, along one
        simulated path from the examples x0 [B, ...].
        """
        times, mean, variance = moments_along_path(self, x0, seed)
        return {"times": times, "mean": mean, "variance": variance}

    def moments(self, t, measured):
        """Mean and variance (m_t, v_t), each [B], of one dimension of x_t."""
        u = tf.sqrt(t / self.T) * tf.cast(tf.shape(measured["mean"])[0] - 1, tf.float32)
        left = tf.clip_by_value(tf.cast(u, tf.int32), 0, tf.shape(measured["mean"])[0] - 2)
        weight = u - tf.cast(left, tf.float32)

        def interpolate(table):
            return (1 - weight) * tf.gather(table, left) + weight * tf.gather(table, left + 1)

        return interpolate(measured["mean"]), interpolate(measured["variance"])

    def network_scale(self, t, measured):
        """c(t) [B]: what the network's output is multiplied by, in units of the noise.

        1 here: x_t need not become Gaussian, so the network keeps its say at all times.
        """
        del measured
        return tf.ones_like(t)

    def broadcast_prior_sample(self, shape, seed):
        """`prior_sample`, checked: the author's function must return the shape asked for."""
        x = tf.convert_to_tensor(self.prior_sample(shape, rng.plain(seed)), tf.float32)
        if x.shape != tuple(shape):
            raise ValueError(
                f"{type(self).__name__}.prior_sample returned the shape {x.shape}; "
                f"expected {tuple(shape)}."
            )
        return x


__all__ = ["SDE", "like", "shape_of"]
