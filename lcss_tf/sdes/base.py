"""The SDE contract, and everything that follows from drift and diffusion alone.

    dx = f(x, t) dt + g(x, t) dw,   t in [t_min, T]

An author writes four methods: `drift`, `diffusion`, `prior_sample` and
`prior_log_prob`. Sampling x_t, the noise scale, the reverse drift, the last
step's kernel and the moments for preconditioning then come from here, by
simulation where there is no closed form. Nobody asks an SDE for its type.
"""

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, square_and_divergence
from lcss_tf.sdes.kernels import GaussianKernel
from lcss_tf.sdes.simulation import moments_along_path, simulate

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PRIOR_DRAWS = 16_384  # examples from which the prior's standard deviation is measured


class SDE:
    """A forward SDE. Times t have shape [B]; data x have shape [B, ...].

    Class attributes, which a constructor may overwrite:
      T: the final time, where x_T is distributed as the prior.
      t_min: smallest time seen in training.
      sampling_t_min: where samplers stop by default.
      has_marginal: whether `marginal` exists (see `AffineSDE`).
      smoothing: the smoothing by which LCSS learns this kind of SDE best; see `LCSSLoss`.
      kernel_cap: largest variance, in units of the prior's, over which `local_kernel` is
        trusted as one step.

    Args:
      simulation_steps: steps from 0 to t, where x_t is simulated.
      simulation_spacing: ρ of their times t (k/N)^ρ; 1 gives equal steps, ½ equal shares of
        a noise whose g² grows like t.

    Raises:
      ValueError: a number out of its range.
    """

    T = 1.0
    t_min = 1e-5
    sampling_t_min = 1e-3
    simulation_steps = 200
    simulation_spacing = 1.0
    has_marginal = False
    smoothing = "gaussian"
    kernel_cap = 0.01

    def __init__(self, simulation_steps=None, simulation_spacing=None):
        # Class attributes hold the defaults: authors need not call this constructor.
        if simulation_steps is not None:
            self.simulation_steps = simulation_steps
        if simulation_spacing is not None:
            self.simulation_spacing = simulation_spacing
        if self.simulation_steps < 1 or self.simulation_spacing <= 0:
            raise UsageError(
                f"{type(self).__name__} expects simulation_steps >= 1 and simulation_spacing > 0; "
                f"got {self.simulation_steps} and {self.simulation_spacing}."
            )

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

    def check(self):
        """Raises ValueError if the author's methods contradict one another."""

    def simulation_step(self, x, s, t, seed):
        """x_t from x_s, s and t [B] close together: one Euler–Maruyama step."""
        h, z = like(t - s, x), random.normal(seed, shape_of(x))
        return x + self.drift(x, s) * h + self.diffusion(x, s) * tf.sqrt(h) * z

    def sample_xt(self, x0, t, seed):
        """Draws x_t given x_0 by `simulation_steps` Euler–Maruyama steps: weak order 1."""
        return simulate(self, x0, t, seed)

    def sample_with_weight(self, x0, t, seed):
        """(x_t, w): x_t given x_0, and the Stein weight w, of its shape, of all its noise.

        E[tr ∇S(x_t) | x_0] = E[S(x_t)·w | x_0] for every S. See `check_weights`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample_with_weight.")

    def check_weights(self):
        """Raises ValueError if there is no `sample_with_weight`.

        Here always: it takes an AffineSDE or an ElementwiseSDE.
        """
        raise UsageError(
            f"LCSSLoss with smoothing='path' needs the derivative of x_t by its noise, which only "
            f"an AffineSDE or an ElementwiseSDE gives; {type(self).__name__} is neither. Set "
            "LCSSLoss.smoothing = 'gaussian' and LCSSLoss.estimator = 'control_variate', or derive "
            "it from lcss_tf.ElementwiseSDE if its drift acts on each coordinate by itself."
        )

    def noise_scale(self, t):
        """s(t) [B]: the typical size of the noise in x_t.

        By default min(√∫₀ᵗ g(0, τ)² dτ, standard deviation of the prior), the
        integral by Gauss–Legendre quadrature with 16 nodes.
        """
        return tf.minimum(tf.sqrt(self.accumulated_noise(t)), self.prior_std())

    def accumulated_noise(self, t):
        """∫₀ᵗ g(0, τ)² dτ [B]."""
        t = tf.convert_to_tensor(t, tf.float32)
        nodes = tf.constant((_QUADRATURE_NODES + 1) / 2, tf.float32)
        weights = tf.constant(_QUADRATURE_WEIGHTS / 2, tf.float32)
        times = tf.reshape(t[:, None] * nodes[None, :], [-1])
        x = tf.zeros_like(times)[:, None]
        g = tf.broadcast_to(self.diffusion(x, times), tf.shape(x))
        g = tf.reshape(g, [-1, weights.shape[0]])
        return t * tf.linalg.matvec(g**2, weights)

    def prior_std(self):
        """Standard deviation of one dimension of the prior, measured once."""
        if not hasattr(self, "_prior_std"):
            with tf.init_scope():
                draws = self.prior_sample((_PRIOR_DRAWS, 1), random.as_seed(0))
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
        g_squared, divergence = square_and_divergence(lambda x: self.diffusion(x, t), x)
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
        """The kernel of x_t given all of its path but a last Gaussian step of about `std` [B].

        Draws x_s given x_0 at s = `earlier_time(t, std)`, then asks `local_kernel`. See
        `lcss_tf.sdes.kernels`.
        """
        s = self.earlier_time(t, std)
        return GaussianKernel(*self.local_kernel(self.sample_xt(x0, s, seed), s, t))

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
        raise UsageError(
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

    def reference_score(self, x, t, measured):
        """The score that the network corrects, of the shape of x.

        ∇log p_T(x) − κ_t (x − m_t), κ_t = max(0, 1/v_t − 1/v_T): the prior's own score, made as
        steep as x_t's variance asks. Samplers so start from the exact score, and in the tails
        the probability flow never loses what holds it: a drift of |x|³ run backwards leaves
        the data for good wherever the score falls short of the prior's.
        """
        m_t, v_t = (like(moment, x) for moment in self.moments(t, measured))
        with tf.GradientTape() as tape:
            tape.watch(x)
            log_prior = self.prior_log_prob(x)
        prior_score = tape.gradient(log_prior, x)
        steepness = tf.maximum(1 / v_t - 1 / self.prior_std() ** 2, 0.0)
        return prior_score - steepness * (x - m_t)

    def evened(self, x):
        """The coordinate, of the shape of x, in which the network sees x: x itself.

        Where the noise grows with x, one in which it does not, and x itself near 0.
        """
        return x

    def local_noise(self, x):
        """The noise at x over that at 0, broadcastable to x: 1."""
        return tf.ones([])

    def mixed_share(self, t):
        """r(t) = s²/v in [0, 1], v the prior's variance: how far x_t has come to the prior, [B]."""
        return tf.minimum((self.noise_scale(t) / self.prior_std()) ** 2, 1.0)

    def network_scale(self, t, measured):
        """c(t) [B]: what the network's output is multiplied by, in units of the noise.

        √(1 − r) as in the affine case, but never below 0.1: x_t need not come to the prior at
        the rate of its noise.
        """
        del measured
        return tf.sqrt(1.0 - self.mixed_share(t) + 0.01)

    def broadcast_prior_sample(self, shape, seed):
        """`prior_sample`, checked: the author's function must return the shape asked for."""
        x = tf.convert_to_tensor(self.prior_sample(shape, random.plain(seed)), tf.float32)
        if x.shape != tuple(shape):
            raise UsageError(
                f"{type(self).__name__}.prior_sample returned the shape {x.shape}; "
                f"expected {tuple(shape)}."
            )
        return x


__all__ = ["SDE", "like", "shape_of"]
