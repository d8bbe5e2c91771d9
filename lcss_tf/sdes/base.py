"""The SDE contract, and everything that follows from drift and diffusion alone.

    dx = f(x, t) dt + g(x, t) dw,   t in [t_min, T]

An author writes four methods: `drift`, `diffusion`, `prior_sample` and `prior_log_prob`. Sampling
x_t, the path's weights, the noise scale and the reverse drift then come from here, by simulation
where there is no closed form. Nobody asks an SDE for its type.
"""

import functools
import math
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.arguments import Recorded
from lcss_tf.errors import NotFiniteError, UsageError
from lcss_tf.ops import like, outside_graphs, shape_of, some_of
from lcss_tf.sdes import noise, path
from lcss_tf.typing import Array, Seed, Shape, Tensor

_QUADRATURE_NODES, _QUADRATURE_WEIGHTS = np.polynomial.legendre.leggauss(4)
_NOISE_STEPS = 256  # of the table of ∫g²
_LONG_STEP = 2.0  # h ‖J‖: beyond it an explicit step overshoots and grows
_PRIOR_NUMBERS = 2**16  # from which the prior's standard deviation is measured
_SCHEDULE_NUMBERS = 2**14  # numbers of each state at which the schedule is measured


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
      has_velocity: whether its state holds a velocity beside the data (see `KineticSDE`).
      smoothing: the smoothing by which LCSS learns this kind of SDE best; see `LCSSLoss`.
      kernel_cap: largest variance of a `last_step`, in units of the prior's.
      example_shape: of the data, as `expect` was told last.
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
    simulation_steps: int = 50
    simulation_spacing: float = 1.0
    label_embedding: str = "positional"
    example_shape: tuple[int, ...] = (1,)
    has_marginal: bool = False
    has_latent: bool = False
    has_velocity: bool = False
    smoothing: str = "path"
    kernel_cap: float = 0.1
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
        """g(x, t): one number an example [B, 1, ...], one a coordinate, or for vectors [B, d, d].

        See `lcss_tf.sdes.noise`. It may depend on all of x.
        """
        raise NotImplementedError(f"{type(self).__name__} must define diffusion(x, t).")

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        """x_T of `shape` [B, ...]; `seed` [2] as for ``tf.random.stateless_*``."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_sample(shape, seed).")

    def prior_log_prob(self, x: Tensor) -> Tensor:
        """log p_T(x) in nats, summed over the data's dimensions: [B]."""
        raise NotImplementedError(f"{type(self).__name__} must define prior_log_prob(x).")

    # The data -----------------------------------------------------------------------------

    def prepare(self, x0: Tensor, seed: Seed = 0) -> None:
        """Measures on examples x0 [B, ...] the schedule of the path's weights; see `measured`.

        Optional: without it the schedule is the one at the prior, and training as exact, but the
        loss a little noisier.

        Raises:
          NotFiniteError: the simulated path is not finite; says at which time.
        """
        self.expect(x0.shape[1:])
        if self.has_marginal:
            return  # its weights have a closed form
        most = max(2, _SCHEDULE_NUMBERS // math.prod(self.example_shape))
        x0 = tf.cast(some_of(x0, most), tf.float32)
        states = functools.partial(self.states_along_path, x0, seed=seed)
        self.measured = self.measure_schedule(states, seed)
        self._warn_of_long_steps()

    def _warn_of_long_steps(self) -> None:
        """Warns if a step is too long for the drift: h ‖J‖ > 2 for the typical eigenvalue of J."""
        tables = self.schedule()
        rate = np.sqrt(tables["slope"] ** 2 + tables["slope_variance"])
        if not np.isfinite(rate).all():
            raise NotFiniteError(
                f"{type(self).__name__}: the derivative of the drift is not finite at t = "
                f"{tables['time'][np.argmin(np.isfinite(rate))]:.3g}, at x_t simulated from the "
                "data. Look at its drift for x far from 0."
            )
        grid = path.Grid(0.0, self.T, self.simulation_steps, self.simulation_spacing)
        ends = grid.time(tf.range(self.simulation_steps + 1.0)).numpy()
        middles = 0.5 * (ends[1:] + ends[:-1])
        longest = float(np.max(np.diff(ends) * np.interp(middles, tables["time"], rate)))
        if longest <= _LONG_STEP:
            return
        enough = math.ceil(self.simulation_steps * longest / (_LONG_STEP / 2))
        warnings.warn(
            f"{type(self).__name__}: simulation_steps = {self.simulation_steps} are too few for "
            f"its drift: over one step it changes x by a factor of about {longest:.1f}, where 2 is "
            "the most. x_t is then inaccurate and the weights of path smoothing are noisy. About "
            f"{enough:,} steps would do; a simulation_spacing that gives the steps at large t more "
            "of them may do with fewer.",
            stacklevel=3,
        )

    def states_along_path(self, x0: Tensor, times: Array, seed: Seed) -> Iterator[Tensor]:
        """The states x_t at rising times [n], from those x0 at the first of them; eager only.

        Raises:
          NotFiniteError: a state is not finite; says at which time.
        """
        self.expect(x0.shape[1:])
        step = tf.function(self.simulation_step, jit_compile=True, autograph=False)
        ones, x = tf.ones([x0.shape[0]]), x0
        for i, (s, t) in enumerate(zip(times, [*times[1:], None], strict=True)):
            yield x
            if t is None:
                return
            x = step(x, s * ones, t * ones, random.seed_for(seed, "prepare", i))
            if not tf.reduce_all(tf.math.is_finite(x)):
                raise NotFiniteError(
                    f"{type(self).__name__}: x_t simulated from the data is not finite at t = "
                    f"{t:.3g}, step {i + 1} of {len(times) - 1}. Look at its drift and diffusion "
                    "for x far from 0 (at most about "
                    f"{float(tf.reduce_max(tf.abs(x0))):.3g} here)."
                )

    def expect(self, shape: Shape) -> None:
        """Tells the SDE the shape of one example; its author's methods see no other."""
        self.example_shape = tuple(int(size) for size in shape)

    def _origin(self, count: int) -> Tensor:
        """x = 0, [count, *example_shape]."""
        return tf.zeros((count, *self.example_shape))

    # The state, which may hold more than the data -------------------------------------------

    def state_shape(self, shape: Shape) -> tuple[int, ...]:
        """The shape of one state, as score functions and samplers see it, for data of `shape`."""
        return tuple(shape)

    def to_state(self, x0: Tensor, seed: Seed) -> Tensor:
        """The state at time 0 of data x_0 [B, ...]: here x_0 itself."""
        del seed
        return x0

    def from_state(self, state: Tensor) -> Tensor:
        """The data of a state."""
        return state

    def added_log_prob(self, state: Tensor) -> Tensor:
        """log density of what `to_state` added to the data, [B]: here 0."""
        return tf.zeros([shape_of(state)[0]])

    def noisy(self, field: Tensor) -> Tensor:
        """A field of the state with 0 in the coordinates that noise never enters: here itself."""
        return field

    # Simulation ---------------------------------------------------------------------------

    def check(self) -> None:
        """Raises UsageError if the author's methods contradict one another."""

    def to_latent(self, x: Tensor) -> Tensor:
        """The coordinate in which the path is simulated: here x itself."""
        return x

    def state_drift(self, y: Tensor, t: Tensor) -> Tensor:
        """The drift that `flow` follows, in the coordinate of the path; of the shape of y."""
        return self.drift(y, t)

    def state_diffusion(self, y: Tensor, t: Tensor) -> Tensor:
        """The diffusion of that coordinate."""
        return self.diffusion(y, t)

    def flow(self, y: Tensor, s: Tensor, t: Tensor) -> Tensor:
        """y_t of dy/dt = f from y_s, without noise, over a short time.

        Here by the explicit midpoint rule with a tamed drift, f̃ = f/√(1 + (h f/ℓ)²) with
        ℓ² = y² + (standard deviation of the prior)². Of second order; and no step is longer
        than ℓ, so that no drift towards the data can make the path explode.
        """
        h, middle = like(t - s, y), 0.5 * (s + t)
        rate = self._tamed(y, s, h)
        return y + h * self._tamed(y + 0.5 * h * rate, middle, h)

    def _tamed(self, y: Tensor, t: Tensor, h: Tensor) -> Tensor:
        rate = self.state_drift(y, t)
        return rate * tf.math.rsqrt(1 + (h * rate) ** 2 / (y**2 + self.prior_std() ** 2))

    def noise_step(self, y: Tensor, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor]:
        """(mean, std) of y after the noise of [s, t], std of any kind `diffusion` may be.

        Here mean = y, std = √(t − s) g(y, (s + t)/2).
        """
        g = self.state_diffusion(y, 0.5 * (s + t))
        return y, tf.reshape(tf.sqrt(t - s), [-1] + [1] * (len(g.shape) - 1)) * g

    def known_noise(self, s: Tensor, t: Tensor) -> tuple[Tensor, Tensor] | None:
        """(a, std) [B] of `noise_step`, mean = a y, where they depend on time alone; else None."""
        return None

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """x_t from x_s, s and t [B] close together: noise, flow, noise."""
        self.expect(x.shape[1:])
        return path.sample(self, x, path.Grid(s, t, 1, 1.0), seed)

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 by `simulation_steps` split steps; see `lcss_tf.sdes.path`."""
        self.expect(x0.shape[1:])
        return tf.stop_gradient(path.sample(self, x0, self._grid(t), seed))

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, w): as `sample_xt`, and the Stein weight w, of its shape, of all its noise.

        E[tr ∇S(x_t) | x_0] = E[S(x_t)·w | x_0] for every S, exactly for the simulated x_t; see
        `lcss_tf.sdes.path`.
        """
        self.expect(x0.shape[1:])
        x, weight = path.sample_with_weight(self, x0, self._grid(t), self.schedule(), seed)
        return tf.stop_gradient(x), tf.stop_gradient(weight)

    def _grid(self, t: Tensor) -> path.Grid:
        return path.Grid(tf.zeros_like(t), t, self.simulation_steps, self.simulation_spacing)

    def schedule(self) -> Mapping[str, Array]:
        """The tables of `path.measure_schedule`: measured on the data, or else at the prior."""
        if "slope" in self.measured:
            return self.measured

        def measure():
            count = max(2, _SCHEDULE_NUMBERS // math.prod(self.example_shape))
            x = self.broadcast_prior_sample((count, *self.example_shape), random.as_seed(0))
            return self.measure_schedule(lambda times: [x] * len(times), 0)

        return self._once("schedule", measure)

    def measure_schedule(self, states: Callable[[Array], Any], seed: Seed) -> dict[str, Array]:
        """The tables of `schedule` from states [B, ...] at given times [n]."""
        return path.measure_schedule(self, states, seed)

    def noise_is_matrix(self) -> bool:
        """Whether `diffusion` returns matrices; False while the shape of the data is unknown."""
        if "example_shape" not in vars(self):
            return False
        x = self._origin(1)
        return noise.is_matrix(self.diffusion(x, tf.fill([1], 0.5 * self.T)), x)

    def check_weights(self) -> None:
        """Raises UsageError if there is no `sample_with_weight`.

        The noise must be invertible, and the drift differentiable and finite: asked at a sample
        of the prior.
        """
        if "example_shape" not in vars(self):
            return  # the author's methods are only ever called with the data's own shape
        name, count = type(self).__name__, 16
        x = self.broadcast_prior_sample((count, *self.example_shape), random.as_seed(0))
        t = tf.linspace(0.1 * self.T, self.T, count)
        with tf.GradientTape() as tape:
            tape.watch(x)
            drift = self.drift(x, t)
        slope = tape.gradient(drift, x)
        g = self.diffusion(x, t)
        if not np.isfinite(drift).all() or (slope is not None and not np.isfinite(slope).all()):
            raise UsageError(
                f"{name}.drift or its derivative is not finite at a sample of the prior. "
                "LCSSLoss.smoothing = 'path' needs both; 'gaussian' with "
                "LCSSLoss.estimator = 'control_variate' needs the drift alone."
            )
        noise.check_invertible(g, x, name)

    # Scales -------------------------------------------------------------------------------

    def noise_scale(self, t: Tensor) -> Tensor:
        """s(t) [B]: the typical size of the noise in x_t.

        √∫g(0, τ)² dτ, bending smoothly into the prior's standard deviation:
        s² = v (1 − exp(−∫g²/v)), v the prior's variance; on VP's noise this is σ_t².
        """
        variance = self.prior_std() ** 2
        return tf.sqrt(-variance * tf.math.expm1(-self.accumulated_noise(t) / variance))

    def noise_rate(self, t: Tensor) -> Tensor:
        """tr(g gᵀ)/d at x = 0, [B]."""
        t = tf.convert_to_tensor(t, tf.float32)
        x = self._origin(shape_of(t)[0])
        return noise.mean_square(self.diffusion(x, t), x)

    def accumulated_noise(self, t: Tensor) -> Tensor:
        """∫₀ᵗ tr(g gᵀ)/d dτ at x = 0, [B]: from a table with cubic interpolation."""
        times, rate, integral = self._once("noise", self._noise_table)
        last = len(times) - 1
        t = tf.convert_to_tensor(t, tf.float32)
        left = tf.clip_by_value(tf.cast(tf.sqrt(t / self.T) * last, tf.int32), 0, last - 1)
        (t0, t1), (r0, r1), (i0, i1) = (
            [tf.gather(values, left + k) for k in (0, 1)] for values in (times, rate, integral)
        )
        h = t1 - t0
        u, jump = (t - t0) / h, (i1 - i0) / h
        # Hermite's cubic through both integrals, with both rates as slopes.
        bend = r0 + u * (3 * jump - 2 * r0 - r1 + u * (r0 + r1 - 2 * jump))
        return i0 + h * u * bend

    def _noise_table(self) -> tuple[Array, Array, Array]:
        """(times, noise rate, its integral from 0), float32 [n], times T (i/n)²."""
        times = self.T * (np.arange(_NOISE_STEPS + 1) / _NOISE_STEPS) ** 2
        h = np.diff(times)
        between = (times[:-1, None] + h[:, None] * (_QUADRATURE_NODES + 1) / 2).ravel()
        asked = np.concatenate([times, between])
        size = max(1, _SCHEDULE_NUMBERS // math.prod(self.example_shape))
        parts = np.split(np.asarray(asked, np.float32), range(size, len(asked), size))
        rate = np.concatenate([self.noise_rate(part).numpy() for part in parts]).astype(float)
        rate, inner = rate[: len(times)], rate[len(times) :].reshape(len(h), -1)
        integral = np.concatenate([[0.0], np.cumsum(h * (inner @ _QUADRATURE_WEIGHTS) / 2)])
        return (
            np.asarray(times, np.float32),
            np.asarray(rate, np.float32),
            np.asarray(integral, np.float32),
        )

    def prior_std(self) -> float:
        """Standard deviation of one dimension of the prior, measured once."""

        def measure():
            count = max(2, _PRIOR_NUMBERS // math.prod(self.example_shape))
            shape = (count, *self.example_shape)
            return float(tf.math.reduce_std(self.broadcast_prior_sample(shape, random.as_seed(0))))

        return self._once("prior_std", measure)

    def _once(self, name: str, measure: Callable[[], Any]) -> Any:
        """What `measure` returns, once for every shape of the examples and every `measured`."""
        known = vars(self).setdefault("_known", {})
        key = name, self.example_shape
        if key not in known or known[key][0] is not self.measured:
            known[key] = self.measured, outside_graphs(measure)
        return known[key][1]

    def training_time(self, u: Tensor) -> Tensor:
        """The times in [t_min, T] at which u, uniform in [0, 1], trains: [B] -> [B], rising."""
        return self.t_min + (self.T - self.t_min) * u

    def noise_label(self, t: Tensor) -> Tensor:
        """c_noise(t) [B], the time as the network sees it: 999 t/T, as in DDPM."""
        return 999.0 * t / self.T

    # Reverse time -------------------------------------------------------------------------

    def reverse_drift(
        self, x: Tensor, t: Tensor, score: Tensor, probability_flow: bool = False
    ) -> Tensor:
        """Drift of the reverse-time SDE, or of the probability-flow ODE.

        f − ∇·(G Gᵀ) − G Gᵀ ∇log p_t (Anderson 1982), with both correction terms halved for the
        ODE; G as `diffusion` gives it. Time still runs forward: a reverse step subtracts this
        drift.
        """
        half = 0.5 if probability_flow else 1.0
        g, divergence = self.noise_divergence(x, t)
        correction = noise.apply_covariance(g, score)
        if divergence is not None:
            correction += divergence
        return self.drift(x, t) - half * correction

    def noise_divergence(self, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor | None]:
        """(g, ∇·(G Gᵀ)) at x and t; None where g does not depend on x.

        By automatic differentiation, one backward pass a dimension where g is neither one number
        an example nor elementwise: define it in closed form for many dimensions.
        """
        name = type(self).__name__
        self.expect(x.shape[1:])
        return noise.covariance_divergence(self.diffusion, x, t, name, self.has_latent)

    def discretize(self, x: Tensor, t: Tensor, num_steps: int) -> tuple[Tensor, Tensor]:
        """(f, G) of the recursion x_{i+1} = x_i + f + G z, with `num_steps` steps over [0, T]."""
        dt = self.T / num_steps
        return self.drift(x, t) * dt, self.diffusion(x, t) * np.asarray(np.sqrt(dt), np.float32)

    def check_discretization(self, num_steps: int) -> None:
        """Raises UsageError if `discretize` is not defined for so few steps."""

    def langevin_alpha(self, t: Tensor, num_steps: int) -> Tensor:
        """The factor α of a Langevin corrector's step size, [B] (1 but for VP)."""
        del num_steps
        return tf.ones_like(t)

    # The last step of a path --------------------------------------------------------------

    def last_step(self, x0: Tensor, t: Tensor, std: Tensor, seed: Seed) -> Any:
        """The kernel of x_t given all of its path but a last Gaussian step of about `std` [B].

        The last step of a chain as in `lcss_tf.sdes.path` (noise, flow, noise) from the time s at
        which its last noise, half of the step's, has the variance std²: g(0, t)² (t − s)/2 = std².
        """
        self.expect(x0.shape[1:])
        half = tf.minimum(std**2 / self.noise_rate(t), 0.5 * t)
        s, middle = t - 2 * half, t - half
        y = path.sample(self, x0, self._grid(s), random.fold_in(seed, "path"))
        y = path.add_noise(self, y, s, middle, random.fold_in(seed, "before"))
        return path.GaussianKernel(*self.noise_step(self.flow(y, s, t), middle, t))

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
        self.expect(shape[1:])
        x = tf.convert_to_tensor(self.prior_sample(shape, random.plain(seed)), tf.float32)
        if x.shape != tuple(shape):
            raise UsageError(
                f"{type(self).__name__}.prior_sample returned the shape {x.shape}; "
                f"expected {tuple(shape)}."
            )
        return x


__all__ = ["SDE"]
