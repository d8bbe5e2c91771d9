"""Elementwise SDEs: drift and diffusion act on each coordinate by itself.

    dx_i = f(x_i, t) dt + g(x_i, t) dw_i

All work is done in the *latent* coordinate y = ψ(x) in which the noise depends on t alone
(Lamperti's transform; the identity where g does so already). There a step is split
(Strang): the exact linear Gaussian part, and a deterministic flow, whose derivatives are
those of one variable. So x_t costs a few dozen elementwise operations, and so does the
derivative of x_t by all the noise that made it, which `sample_with_weight` needs.
"""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, with_derivatives
from lcss_tf.sdes import path
from lcss_tf.sdes.base import SDE
from lcss_tf.sdes.path import LatentKernel
from lcss_tf.typing import Seed, Tensor

_HERMITE_NODES, _HERMITE_WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
_HERMITE_WEIGHTS = _HERMITE_WEIGHTS / _HERMITE_WEIGHTS.sum()
_SERIES_BELOW = 0.3  # |y|; beyond it (eʸ − 1 − y)/y² keeps six digits in float32


class ElementwiseSDE(SDE):
    """An SDE whose drift and diffusion of x_i depend on x_i and t alone.

    An author writes the four methods of `SDE`. Where the diffusion depends on x, three
    more: `to_latent`, `from_latent` and `latent_slope`, with g(x, t) = γ(x) b(t). Closed
    forms of `flow` and `linear_step` make simulation more exact, and cheaper.
    """

    smoothing = "path"
    has_latent = True
    kernel_cap = 0.1
    simulation_steps = 24

    # The latent coordinate --------------------------------------------------------------

    def to_latent(self, x: Tensor) -> Tensor:
        """y = ψ(x), ψ' = 1/γ: where the noise depends on t alone."""
        return x

    def from_latent(self, y: Tensor) -> Tensor:
        """x = ψ⁻¹(y)."""
        return y

    def latent_slope(self, x: Tensor) -> Tensor:
        """γ(x) = dx/dy, of the shape of x."""
        return tf.ones_like(x)

    def latent_noise(self, t: Tensor) -> Tensor:
        """b(t) [B], where g(x, t) = γ(x) b(t)."""
        x = tf.zeros_like(t)[:, None]
        return tf.reshape(self.diffusion(x, t) / self.latent_slope(x), [-1])

    def latent_drift(self, y: Tensor, t: Tensor) -> Tensor:
        """Drift of y, by Itô's formula: f/γ − ½ b² γ'(x)."""
        x = self.from_latent(y)
        slope, bend = with_derivatives(self.latent_slope, x, 1)
        b = like(self.latent_noise(t), x)
        return self.drift(x, t) / slope - 0.5 * b**2 * bend

    def weight_from_latent(self, x: Tensor, weight: Tensor) -> Tensor:
        """The Stein weight in x of one in y: (w_y + γ'(x))/γ(x).

        A weight is −∇ log of a conditional density, and log p(x) = log p(y) − log γ.
        """
        slope, bend = with_derivatives(self.latent_slope, x, 1)
        return (weight + bend) / slope

    # The parts of a split step ----------------------------------------------------------

    def linear_step(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a, std) [B] of the linear part dy = λ y dt + b dw from s to t: y_t = a y_s + std z.

        Here λ = 0, and the noise by the midpoint rule.
        """
        std = tf.sqrt(tf.maximum(t - s, 0.0)) * self.latent_noise(0.5 * (s + t))
        return tf.ones_like(t), std

    def flow(self, y: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """y_t of dy/dt = (latent drift) − λ y from y_s, without noise.

        Here by one linearised (exponential Rosenbrock) step, of second order.
        """
        return rosenbrock_flow(self.latent_drift, y, s, t)

    def flow_with_derivatives(self, y: Tensor, s: Tensor, t: Tensor) -> list[Tensor]:
        """[F(y), F'(y), F''(y)] of the flow F from s to t, each of the shape of y.

        Here by automatic differentiation; a closed form is cheaper.
        """
        return with_derivatives(lambda y: self.flow(y, s, t), y, 2)

    # What follows -----------------------------------------------------------------------

    def check(self) -> None:
        """Raises UsageError unless drift and noise are elementwise, as this class takes them."""
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

    def check_weights(self) -> None:
        """Raises UsageError if the weights of the SDE have no finite variance."""
        if self.smoothing != "path":
            raise UsageError(
                f"{type(self).__name__} as configured has no weights of finite variance for "
                "LCSSLoss.smoothing = 'path'. Leave the smoothing out, or set it to "
                "'gaussian' and LCSSLoss.estimator to 'control_variate'."
            )

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        y = self.to_latent(x)
        y = path.sample(self, y, path.Grid(s, t, 1, 1.0), seed)
        return self.from_latent(y)

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 by `simulation_steps` split steps: weak order 2."""
        return tf.stop_gradient(
            self.from_latent(path.sample(self, self.to_latent(x0), self._grid(t), seed))
        )

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, w): as `sample_xt`, with the Stein weight of all noise on the path.

        E[tr ∇S(x_t)] = E[S(x_t)·w], exactly for the simulated x_t; see `lcss_tf.sdes.path`.
        """
        y, weight = path.sample_with_weight(self, self.to_latent(x0), self._grid(t), seed)
        x = self.from_latent(y)
        return tf.stop_gradient(x), tf.stop_gradient(self.weight_from_latent(x, weight))

    def _grid(self, t: Tensor) -> path.Grid:
        return path.Grid(tf.zeros_like(t), t, self.simulation_steps, self.simulation_spacing)

    def noise_scale(self, t: Tensor) -> Tensor:
        """s(t) [B]: √∫g(0, τ)² dτ, bending smoothly into the prior's standard deviation.

        s² = v (1 − exp(−∫g²/v)), v the prior's variance; on VP's noise this is σ_t².
        """
        variance = self.prior_std() ** 2
        return tf.sqrt(-variance * tf.math.expm1(-self.accumulated_noise(t) / variance))

    def local_kernel(self, x_s: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std) of x_t given x_s, by local linearisation in the latent coordinate."""
        mean, std = self.latent_kernel(self.to_latent(x_s), s, t)
        points = [self.from_latent(mean + std * node) for node in _HERMITE_NODES]
        average = lambda values: tf.add_n(
            [w * v for w, v in zip(_HERMITE_WEIGHTS, values, strict=True)]
        )
        centre = average(points)
        return centre, tf.sqrt(average([(x - centre) ** 2 for x in points]))

    def latent_kernel(self, y_s: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std) of y_t given y_s, by local linearisation."""
        return linearised_kernel(self.latent_drift, self.latent_noise, y_s, s, t)

    def last_step(self, x0: Tensor, t: Tensor, std: Tensor, seed: Seed) -> LatentKernel:
        """The kernel of a last step of standard deviation `std` (in x, at x = 0) before t."""
        s = self.earlier_time(t, std)

        def sampled(x0, s, seed):
            return path.sample(self, self.to_latent(x0), self._grid(s), seed)

        y_s = xla.call(sampled, x0, s, seed)
        return LatentKernel(*self.latent_kernel(tf.stop_gradient(y_s), s, t), self)


# Local linearisation of a drift: Ozaki's kernel, and a step of the flow. With J = f'(x), h = t − s
# and y = J h they take φ₁(y) = (eʸ − 1)/y and φ₂(y) = (φ₁(y) − 1)/y, drift and noise at mid-time.


def phi1(y: Tensor) -> Tensor:
    """(eʸ − 1)/y, 1 at 0."""
    small = tf.abs(y) < 1e-3
    safe = tf.where(small, tf.ones_like(y), y)
    return tf.where(small, 1 + y / 2 + y**2 / 6, tf.math.expm1(safe) / safe)


def phi2(y: Tensor) -> Tensor:
    """(φ₁(y) − 1)/y = (eʸ − 1 − y)/y², ½ at 0."""
    small = tf.abs(y) < _SERIES_BELOW
    safe = tf.where(small, tf.ones_like(y), y)
    series = 1 / 2 + y / 6 * (1 + y / 4 * (1 + y / 5 * (1 + y / 6 * (1 + y / 7))))
    return tf.where(small, series, (phi1(safe) - 1) / safe)


def linearised_kernel(
    drift: Callable[[Tensor, Tensor], Tensor],
    noise: Callable[[Tensor], Tensor],
    x_s: Tensor,
    s: Tensor,
    t: Tensor,
) -> tuple[Tensor, Tensor]:
    """(mean, std) of x_t given x_s, of the shape of x, for an elementwise drift.

    mean = x + f h φ₁(y) + M h² φ₂(y), std² = g² h φ₁(2y), with M = ½ g² f'' (Ozaki 1992;
    Shoji and Ozaki 1998). Exact where the drift is linear; weak order 1 and more where not.

    Args:
      drift: (x, t) -> f, of the shape of x.
      noise: t -> g [B].
      x_s: [B, ...].
      s, t: [B].
    """
    h, mid = like(t - s, x_s), 0.5 * (s + t)
    f, slope, bend = with_derivatives(lambda x: drift(x, mid), x_s, 2)
    g_squared = like(noise(mid), x_s) ** 2
    y = slope * h
    mean = x_s + f * h * phi1(y) + 0.5 * g_squared * bend * h**2 * phi2(y)
    return mean, tf.sqrt(g_squared * h * phi1(2 * y))


def rosenbrock_flow(
    drift: Callable[[Tensor, Tensor], Tensor], y: Tensor, s: Tensor, t: Tensor
) -> Tensor:
    """y_t of dy/dt = f(y, t) by one exponential Rosenbrock step: y + f h φ₁(f' h); order 2."""
    h, mid = like(t - s, y), 0.5 * (s + t)
    f, slope = with_derivatives(lambda x: drift(x, mid), y, 1)
    return y + f * h * phi1(slope * h)


__all__ = ["ElementwiseSDE", "linearised_kernel", "phi1", "phi2", "rosenbrock_flow"]
