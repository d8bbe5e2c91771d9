"""Elementwise SDEs: drift and diffusion act on each coordinate by itself.

    dx_i = f(x_i, t) dt + g(x_i, t) dw_i

All work is done in the *latent* coordinate y = ψ(x) in which the noise depends on t alone
(Lamperti's transform; the identity where g does so already). There a step is split
(Strang): the exact linear Gaussian part, and a deterministic flow of one variable. So x_t costs
a few dozen elementwise operations, and the weight of its path a derivative of each flow.
"""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import xla
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, with_derivatives
from lcss_tf.sdes import path
from lcss_tf.sdes.base import SDE
from lcss_tf.typing import Seed, Tensor


class ElementwiseSDE(SDE):
    """An SDE whose drift and diffusion of x_i depend on x_i and t alone.

    An author writes the four methods of `SDE`. Where the diffusion depends on x, three
    more: `to_latent`, `from_latent` and `latent_slope`, with g(x, t) = γ(x) b(t). Closed
    forms of `flow` and `linear_step` make simulation more exact, and cheaper.
    """

    has_latent = True
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
        x = self._origin(t.shape[0])
        ratio = self.diffusion(x, t) / self.latent_slope(x)
        return tf.reshape(ratio, (x.shape[0], -1))[:, 0]

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

        Here by one linearised (exponential Rosenbrock) step y + f h φ₁(f' h), φ₁(u) = (eᵘ − 1)/u,
        of second order and stable for stiff drifts; f at mid-time.
        """
        h, middle = like(t - s, y), 0.5 * (s + t)
        f, slope = with_derivatives(lambda y: self.latent_drift(y, middle), y, 1)
        return y + f * h * phi1(slope * h)

    # What follows -----------------------------------------------------------------------

    def state_drift(self, y: Tensor, t: Tensor) -> Tensor:
        """(latent drift) − λ y, λ of `linear_step` by a difference in time."""
        h = 1e-3 * self.T
        rate = tf.math.log(self.linear_step(t - h, t + h)[0]) / (2 * h)
        return self.latent_drift(y, t) - like(rate, y) * y

    def state_diffusion(self, y: Tensor, t: Tensor) -> Tensor:
        return like(self.latent_noise(t), y)

    def noise_step(self, y: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(a y, std), as `linear_step` has them."""
        a, std = (like(value, y) for value in self.linear_step(s, t))
        return a * y, std

    def known_noise(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        return self.linear_step(s, t)

    def check(self) -> None:
        """Raises UsageError unless drift and noise are elementwise, as this class takes them."""
        shape = self.example_shape if "example_shape" in vars(self) else (7,)
        x = tf.cast(tf.linspace(-1.5, 1.5, 2 * math.prod(shape)), tf.float32)
        # Both rows at one time; the second differs from the first in its first coordinate alone.
        x = tf.concat([tf.reshape(x, (2, -1))[:1]] * 2, axis=0)
        x = tf.reshape(tf.concat([x[:, :1] + [[0.0], [0.7]], x[:, 1:]], axis=1), (2, *shape))
        t = tf.fill([2], 0.5 * (self.t_min + self.T))
        name = type(self).__name__
        drift = tf.reshape(tf.broadcast_to(self.drift(x, t), x.shape), (2, -1))
        if not np.allclose(drift[0, 1:], drift[1, 1:], rtol=1e-4, atol=1e-5):
            raise UsageError(
                f"{name} is an ElementwiseSDE, but its drift of one coordinate depends on the "
                "others. Derive it from lcss_tf.SDE instead."
            )
        g = tf.broadcast_to(self.diffusion(x, t), x.shape)
        origin = tf.broadcast_to(self.diffusion(tf.zeros_like(x), t), x.shape)
        expected = origin * self.latent_slope(x) / self.latent_slope(tf.zeros_like(x))
        if not np.allclose(g, expected, rtol=1e-3):
            raise UsageError(
                f"{name}: the diffusion depends on x, and is not latent_slope(x) latent_noise(t). "
                "Define to_latent, from_latent and latent_slope for it (y = ψ(x) with "
                "ψ' = 1/latent_slope), or derive it from lcss_tf.SDE instead."
            )

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        return self.from_latent(super().simulation_step(self.to_latent(x), s, t, seed))

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 by `simulation_steps` split steps: weak order 2."""
        return tf.stop_gradient(self.from_latent(super().sample_xt(self.to_latent(x0), t, seed)))

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, w): as `sample_xt`, with the Stein weight of all noise on the path."""
        y, weight = super().sample_with_weight(self.to_latent(x0), t, seed)
        x = self.from_latent(y)
        return tf.stop_gradient(x), tf.stop_gradient(self.weight_from_latent(x, weight))

    def last_step(self, x0: Tensor, t: Tensor, std: Tensor, seed: Seed) -> Any:
        """The kernel of a last step of standard deviation `std` (in x, at x = 0) before t."""
        kernel = xla.call(super().last_step, self.to_latent(x0), t, std, seed)
        return path.LatentKernel(tf.stop_gradient(kernel.mean), kernel.std, self)


def phi1(u: Tensor) -> Tensor:
    """(eᵘ − 1)/u, 1 at 0."""
    small = tf.abs(u) < 1e-3
    safe = tf.where(small, tf.ones_like(u), u)
    return tf.where(small, 1 + u / 2 + u**2 / 6, tf.math.expm1(safe) / safe)


__all__ = ["ElementwiseSDE", "phi1"]
