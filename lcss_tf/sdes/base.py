"""The SDE contract, and everything that follows from drift and diffusion alone.

    dx = f(x, t) dt + g(x, t) dw,   t in [t_min, T]

An author writes four methods: `drift`, `diffusion`, `prior_sample` and `prior_log_prob`. Sampling
x_t, the noise scale, the reverse drift and the last step's kernel then come from here, by
simulation where there is no closed form. Nobody asks an SDE for its type.
"""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.arguments import Recorded
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, square_and_divergence
from lcss_tf.sdes.path import GaussianKernel, simulate
from lcss_tf.typing import Array, Seed, Shape, Tensor

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(16)
_PRIOR_DRAWS = 16_384  # examples from which the prior's standard deviation is measured


class SDE(Recorded):
    """A forward SDE. Times t have shape [B]; data x have shape [B, ...].

    Class attributes, which a constructor may overwrite:
      T: the final time, where x_T is distributed as the prior.
      t_min: smallest time seen in training.
      sampling_t_min: where samplers stop by default.
      label_embedding: how a network embeds `noise_label`: "positional", or "fourier" for a noise
        level that runs over decades.
      has_marginal: whether `marginal` exists (see `AffineSDE`).
      has_latent: whether `to_latent` and `latent_slope` exist (see `ElementwiseSDE`).
      smoothing: the smoothing by which LCSS learns this kind of SDE best; see `LCSSLoss`.
      kernel_cap: largest variance, in units of the prior's, over which `local_kernel` is
        trusted as one step.
      measured: what `prepare` measured on the data, arrays by name; a checkpoint keeps it.

    Args (every SDE takes these two keywords, whatever constructor its author writes):
      simulation_steps: steps from 0 to t, where x_t is simulated.
      simulation_spacing: ρ of their times t (k/N)^ρ; 1 gives equal steps, ½ equal shares of
        a noise whose g² grows like t.

    Raises:
      UsageError: a number out of its range.
    """

    shared_options = ("simulation_steps", "simulation_spacing")

    T: float = 1.0
    t_min: float = 1e-5
    sampling_t_min: float = 1e-3
    simulation_steps: int = 200
    simulation_spacing: float = 1.0
    label_embedding: str = "positional"
    has_marginal: bool = False
    has_latent: bool = False
    smoothing: str = "gaussian"
    kernel_cap: float = 0.01
    measured: Mapping[str, Array] = {}

    def __init__(self) -> None:
        """Nothing to do: class attributes hold the defaults, and authors need not call this."""

    def apply_shared_options(
        self, simulation_steps: int | None = None, simulation_spacing: float | None = None
    ) -> dict:
        """Sets the two options that every SDE takes; None leaves the class's own value."""
        if simulation_steps is not None:
            self.simulation_steps = simulation_steps
        if simulation_spacing is not None:
            self.simulation_spacing = simulation_spacing
        if self.simulation_steps < 1 or self.simulation_spacing <= 0:
            raise UsageError(
                f"{type(self).__name__} expects simulation_steps >= 1 and simulation_spacing > 0; "
                f"got {self.simulation_steps} and {self.simulation_spacing}."
            )
        return {
            "simulation_steps": self.simulation_steps,
            "simulation_spacing": self.simulation_spacing,
        }

    # What the author writes -------------------------------------------------------------

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """f(x, t), of the shape of x."""
        raise NotImplementedError(f"{type(self).__name__} must define drift(x, t).")

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        """g(x, t), broadcastable to x; [B, 1, ...] where it depends on t alone."""
        raise NotImplementedError(f"{type(self).__name__} must define diffusion(x, t).")

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """x_T of `shape` [B, ...]; `seed` [2] as for ``tf.random.stateless_*``."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_sample(shape, seed).")

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log p_T(x) in nats, summed over the data's dimensions: [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_log_prob(x).")

    # The data -----------------------------------------------------------------------------

    def prepare(self, x0: Tensor, seed: Seed = 0) -> None:
        """Measures on examples x0 [B, ...] what the SDE can use of them; see `measured`.

        Optional: every SDE works without. By default there is nothing to measure.
        """

    # Simulation ---------------------------------------------------------------------------

    def check(self) -> None:
        """Raises UsageError if the author's methods contradict one another."""

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """x_t from x_s, s and t [B] close together: one Euler–Maruyama step."""
        h, z = like(t - s, x), random.normal(seed, shape_of(x))
        return x + self.drift(x, s) * h + self.diffusion(x, s) * tf.sqrt(h) * z

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 by `simulation_steps` Euler–Maruyama steps: weak order 1."""
        return simulate(self, x0, t, seed)

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, w): x_t given x_0, and the Stein weight w, of its shape, of all its noise.

        E[tr ∇S(x_t) | x_0] = E[S(x_t)·w | x_0] for every S. See `check_weights`.
        """
        raise NotImplementedError(f"{type(self).__name__} has no sample_with_weight.")

    def check_weights(self) -> None:
        """Raises UsageError if there is no `sample_with_weight`.

        Here always: it takes an AffineSDE or an ElementwiseSDE.
        """
        raise UsageError(
            f"LCSSLoss with smoothing='path' needs the derivative of x_t by its noise, which only "
            f"an AffineSDE or an ElementwiseSDE gives; {type(self).__name__} is neither. Set "
            "LCSSLoss.smoothing = 'gaussian' and LCSSLoss.estimator = 'control_variate', or derive "
            "it from lcss_tf.ElementwiseSDE if its drift acts on each coordinate by itself."
        )

    # Scales -------------------------------------------------------------------------------

    def noise_scale(self, t: Tensor) -> Tensor:
        """s(t) [B]: the typical size of the noise in x_t.

        By default min(√∫₀ᵗ g(0, τ)² dτ, standard deviation of the prior), the
        integral by Gauss–Legendre quadrature with 16 nodes.
        """
        return tf.minimum(tf.sqrt(self.accumulated_noise(t)), self.prior_std())

    def accumulated_noise(self, t: Tensor) -> Tensor:
        """∫₀ᵗ g(0, τ)² dτ [B]."""
        t = tf.convert_to_tensor(t, tf.float32)
        nodes = tf.constant((_QUADRATURE_NODES + 1) / 2, tf.float32)
        weights = tf.constant(_QUADRATURE_WEIGHTS / 2, tf.float32)
        times = tf.reshape(t[:, None] * nodes[None, :], [-1])
        x = tf.zeros_like(times)[:, None]
        g = tf.broadcast_to(self.diffusion(x, times), tf.shape(x))
        g = tf.reshape(g, [-1, weights.shape[0]])
        return t * tf.linalg.matvec(g**2, weights)

    def prior_std(self) -> float:
        """Standard deviation of one dimension of the prior, measured once."""
        if not hasattr(self, "_prior_std"):
            with tf.init_scope():
                draws = self.prior_sample((_PRIOR_DRAWS, 1), random.as_seed(0))
                self._prior_std = float(tf.math.reduce_std(draws))
        return self._prior_std

    def noise_label(self, t: Tensor) -> Tensor:
        """c_noise(t) [B], the time as the network sees it: 999 t/T, as in DDPM."""
        return 999.0 * t / self.T

    # Reverse time -------------------------------------------------------------------------

    def reverse_drift(
        self, x: Tensor, t: Tensor, score: Tensor, probability_flow: bool = False
    ) -> Tensor:
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

    def discretize(self, x: Tensor, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """(f, G) of the recursion x_{i+1} = x_i + f + G z, with `num_steps` steps over [0, T]."""
        dt = self.T / num_steps
        return self.drift(x, t) * dt, self.diffusion(x, t) * np.float32(np.sqrt(dt))

    def check_discretization(self, num_steps: int) -> None:
        """Raises UsageError if `discretize` is not defined for so few steps."""

    def langevin_alpha(self, t: Tensor, num_steps: int) -> Tensor:
        """The factor α of a Langevin corrector's step size, [B] (1 but for VP)."""
        del num_steps
        return tf.ones_like(t)

    # The last step of a path --------------------------------------------------------------

    def local_kernel(self, x_s: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std) of x_t given x_s, for s shortly before t: one Euler step."""
        h = like(t - s, x_s)
        return x_s + self.drift(x_s, s) * h, self.diffusion(x_s, s) * tf.sqrt(h)

    def earlier_time(self, t: Tensor, std: Tensor) -> Tensor:
        """s < t such that the local kernel from s to t has a standard deviation of about `std` [B].

        From g(0, t)² (t − s) = std², and no earlier than 0.
        """
        x = tf.zeros_like(t)[:, None]
        g = tf.reshape(self.diffusion(x, t), [-1])
        return tf.maximum(t - (std / g) ** 2, 0.0)

    def last_step(self, x0: Tensor, t: Tensor, std: Tensor, seed: Seed) -> GaussianKernel:
        """The kernel of x_t given all of its path but a last Gaussian step of about `std` [B].

        Draws x_s given x_0 at s = `earlier_time(t, std)`, then asks `local_kernel`. See
        `lcss_tf.sdes.path.GaussianKernel`.
        """
        s = self.earlier_time(t, std)
        return GaussianKernel(*self.local_kernel(self.sample_xt(x0, s, seed), s, t))

    # What only some SDEs have -------------------------------------------------------------

    def marginal(self, t: Tensor) -> tuple[Tensor, Tensor]:
        """(alpha_t, sigma_t) of an affine SDE; other SDEs have none.

        Raises:
          UsageError: always, here.
        """
        raise UsageError(
            f"{type(self).__name__} has no closed-form marginal (alpha_t, sigma_t): only an "
            "AffineSDE does. Use sample_xt, or a loss and a sampler that need none (LCSSLoss, "
            "EulerMaruyama)."
        )

    def broadcast_prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """`prior_sample`, checked: the author's function must return the shape asked for."""
        x = tf.convert_to_tensor(self.prior_sample(shape, random.plain(seed)), tf.float32)
        if x.shape != tuple(shape):
            raise UsageError(
                f"{type(self).__name__}.prior_sample returned the shape {x.shape}; "
                f"expected {tuple(shape)}."
            )
        return x


__all__ = ["SDE"]
