"""SDEs that act on every coordinate by itself: fast simulation, and Stein weights of the path.

    dx_i = f(x_i, t) dt + g(x_i, t) dw_i

All work is done in the *latent* coordinate y = ψ(x) in which the noise depends on t alone
(Lamperti's transform; the identity where g does so already). There a step is split
(Strang): the exact linear Gaussian part, and a deterministic flow, whose derivatives are
those of one variable. So x_t costs a few dozen elementwise operations, and so does the
derivative of x_t by all the noise that made it, which `sample_with_weight` needs.
"""

import numpy as np
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, with_derivatives
from lcss_tf.sdes import path
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.kernels import LatentKernel
from lcss_tf.sdes.linearisation import linearised_kernel, rosenbrock_flow

_HERMITE_NODES, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_HERMITE_WEIGHTS = _HERMITE_WEIGHTS / _HERMITE_WEIGHTS.sum()


class ElementwiseSDE(SDE):
    """An SDE whose drift and diffusion of x_i depend on x_i and t alone.

    An author writes the four methods of `SDE`. Where the diffusion depends on x, three
    more: `to_latent`, `from_latent` and `latent_slope`, with g(x, t) = γ(x) b(t). Closed
    forms of `flow` and `linear_step` make simulation more exact, and cheaper.

    Args:
      simulation_steps, simulation_spacing: as in `SDE`.
    """

    smoothing = "path"
    kernel_cap = 0.1
    simulation_steps = 24

    # The latent coordinate --------------------------------------------------------------

    def to_latent(self, x):
        """y = ψ(x), ψ' = 1/γ: where the noise depends on t alone."""
        return x

    def from_latent(self, y):
        """x = ψ⁻¹(y)."""
        return y

    def latent_slope(self, x):
        """γ(x) = dx/dy, of the shape of x."""
        return tf.ones_like(x)

    def latent_noise(self, t):
        """b(t) [B], where g(x, t) = γ(x) b(t)."""
        x = tf.zeros_like(t)[:, None]
        return tf.reshape(self.diffusion(x, t) / self.latent_slope(x), [-1])

    def latent_drift(self, y, t):
        """Drift of y, by Itô's formula: f/γ − ½ b² γ'(x)."""
        x = self.from_latent(y)
        slope, bend = with_derivatives(self.latent_slope, x, 1)
        b = like(self.latent_noise(t), x)
        return self.drift(x, t) / slope - 0.5 * b**2 * bend

    def weight_from_latent(self, x, weight):
        """The Stein weight in x of one in y: (w_y + γ'(x))/γ(x).

        A weight is −∇ log of a conditional density, and log p(x) = log p(y) − log γ.
        """
        slope, bend = with_derivatives(self.latent_slope, x, 1)
        return (weight + bend) / slope

    def evened(self, x):
        """γ(0) ψ(x)."""
        return self.latent_slope(tf.zeros([])) * self.to_latent(x)

    def local_noise(self, x):
        """γ(x)/γ(0)."""
        return self.latent_slope(x) / self.latent_slope(tf.zeros([]))

    # The parts of a split step ----------------------------------------------------------

    def linear_step(self, s, t):
        """(a, std) [B] of the linear part dy = λ y dt + b dw from s to t: y_t = a y_s + std z.

        Here λ = 0, and the noise by the midpoint rule.
        """
        std = tf.sqrt(tf.maximum(t - s, 0.0)) * self.latent_noise(0.5 * (s + t))
        return tf.ones_like(t), std

    def flow(self, y, s, t):
        """y_t of dy/dt = (latent drift) − λ y from y_s, without noise.

        Here by one linearised (exponential Rosenbrock) step, of second order.
        """
        return rosenbrock_flow(self.latent_drift, y, s, t)

    def flow_with_derivatives(self, y, s, t):
        """[F(y), F'(y), F''(y)] of the flow F from s to t, each of the shape of y.

        Here by automatic differentiation; a closed form is cheaper.
        """
        return with_derivatives(lambda y: self.flow(y, s, t), y, 2)

    # What follows -----------------------------------------------------------------------

    def check(self):
        """Raises ValueError unless drift and noise are elementwise, as this class takes them."""
        x = tf.constant(np.linspace(-1.5, 1.5, 7).reshape(1, 7), tf.float32)
        t = tf.constant([0.5 * (self.t_min + self.T)])
        parts = tf.concat([self.drift(x[:, i : i + 1], t) for i in range(7)], axis=1)
        name = type(self).__name__
        if not np.allclose(parts, self.drift(x, t), rtol=1e-4, atol=1e-5):
            raise UsageError(
                f"{name} is an ElementwiseSDE, but its drift of one coordinate depends on the "
                "others. Derive it from lcss_tf.SDE instead."
            )
        g = tf.broadcast_to(self.diffusion(x, t), x.shape)
        if not np.allclose(g, self.latent_slope(x) * self.latent_noise(t)[:, None], rtol=1e-3):
            raise UsageError(
                f"{name}: the diffusion depends on x, and is not latent_slope(x) latent_noise(t). "
                "Define to_latent, from_latent and latent_slope for it (y = ψ(x) with "
                "ψ' = 1/latent_slope), or derive it from lcss_tf.SDE instead."
            )

    def check_weights(self):
        """They are there, unless the SDE says that it is better learnt otherwise."""
        if self.smoothing != "path":
            raise UsageError(
                f"{type(self).__name__} as configured has no weights of finite variance for "
                "LCSSLoss.smoothing = 'path'. Leave the smoothing out, or set it to "
                "'gaussian' and LCSSLoss.estimator to 'control_variate'."
            )

    def simulation_step(self, x, s, t, seed):
        y = self.to_latent(x)
        y = path.sample(self, y, path.Grid(s, t, 1, 1.0), seed)
        return self.from_latent(y)

    def sample_xt(self, x0, t, seed):
        """Draws x_t given x_0 by `simulation_steps` split steps: weak order 2."""
        return tf.stop_gradient(
            self.from_latent(path.sample(self, self.to_latent(x0), self._grid(t), seed))
        )

    def sample_with_weight(self, x0, t, seed):
        """(x_t, w): as `sample_xt`, with the Stein weight of all noise on the path.

        E[tr ∇S(x_t)] = E[S(x_t)·w], exactly for the simulated x_t; see `lcss_tf.sdes.path`.
        """
        y, weight = path.sample_with_weight(self, self.to_latent(x0), self._grid(t), seed)
        x = self.from_latent(y)
        return tf.stop_gradient(x), tf.stop_gradient(self.weight_from_latent(x, weight))

    def _grid(self, t):
        return path.Grid(tf.zeros_like(t), t, self.simulation_steps, self.simulation_spacing)

    def noise_scale(self, t):
        """s(t) [B]: √∫g(0, τ)² dτ, bending smoothly into the prior's standard deviation.

        s² = v (1 − exp(−∫g²/v)), v the prior's variance; on VP's noise this is σ_t².
        """
        variance = self.prior_std() ** 2
        return tf.sqrt(-variance * tf.math.expm1(-self.accumulated_noise(t) / variance))

    def local_kernel(self, x_s, s, t):
        """(mean, std) of x_t given x_s, by local linearisation in the latent coordinate."""
        mean, std = self.latent_kernel(self.to_latent(x_s), s, t)
        points = [self.from_latent(mean + std * node) for node in _HERMITE_NODES]
        average = lambda values: tf.add_n(
            [w * v for w, v in zip(_HERMITE_WEIGHTS, values, strict=True)]
        )
        centre = average(points)
        return centre, tf.sqrt(average([(x - centre) ** 2 for x in points]))

    def latent_kernel(self, y_s, s, t):
        """(mean, std) of y_t given y_s, by local linearisation."""
        return linearised_kernel(self.latent_drift, self.latent_noise, y_s, s, t)

    def last_step(self, x0, t, std, seed):
        """The kernel of a last step of deviation `std` (in x, at x = 0) before t."""
        s = self.earlier_time(t, std)

        def sampled(x0, s, seed):
            return path.sample(self, self.to_latent(x0), self._grid(s), seed)

        y_s = xla.call(sampled, x0, s, seed)
        return LatentKernel(*self.latent_kernel(tf.stop_gradient(y_s), s, t), self)
