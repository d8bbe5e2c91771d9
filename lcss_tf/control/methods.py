"""Methods for inverse problems: each makes, from any sampler, a sampler of x given y = A x + noise.

A method changes the score (`NullSpace`, `PseudoinverseGuidance`, `TweedieGuidance`), the state
after each step (`Replacement`) or the order of the steps (`TimeTravel`). The inner sampler does
the rest.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.operators import InverseProblem
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import METHODS
from lcss_tf.samplers.base import Reverse, Sampler, Samples, Step
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array, ScoreFn, Seed, Tensor

_TINY = 1e-20
_LARGEST_MOVE = 2.0  # of x̂_0, over the move by A⁺ alone
_SUBSTEPS = 16  # of a jump under an SDE without a closed form


class Method:
    """Base of the methods: `control` composes one over a sampler."""

    def control(self, sampler: Sampler, problem: InverseProblem) -> "Controlled":
        """A sampler of x given y.

        Its `check(sde)` raises UsageError if sampler, method, operator and SDE cannot be
        combined. The check needs no y.
        """
        raise NotImplementedError(f"{type(self).__name__} must define control(sampler, problem).")


class Controlled(Sampler):
    """Base of the controlled samplers. This one only projects the result, where y is exact.

    Args:
      sampler: the inner one, any `Sampler`.
      problem: the `InverseProblem`.

    Raises:
      UsageError: a negative noise_std.
    """

    def __init__(self, sampler: Sampler, problem: InverseProblem) -> None:
        if problem.noise_std < 0:
            raise UsageError(f"noise_std must be at least 0; got {problem.noise_std}.")
        super().__init__(sampler.num_steps, sampler.t_end, sampler.denoise, sampler.schedule)
        self.sampler = sampler
        self.problem = problem
        self.fixed_steps = sampler.fixed_steps
        self.goes_back = sampler.goes_back

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        """The `Reverse` that the inner sampler gets; methods that change the score override it."""
        return reverse

    def check(self, sde: SDE) -> None:
        self.sampler.check(sde)

    def times(self, sde: SDE) -> Array:
        return self.sampler.times(sde)

    def trajectory_times(self, sde: SDE, trajectory_steps: int) -> Array:
        if self.fixed_steps:
            return super().trajectory_times(sde, trajectory_steps)
        return self.sampler.trajectory_times(sde, trajectory_steps)

    def nfe_per_step(self) -> int:
        return self.sampler.nfe_per_step()

    def nfe(self) -> int | None:
        return self.sampler.nfe()

    def sample_from(
        self, score_fn: ScoreFn, sde: SDE, x_T: Tensor, seed: Seed, trajectory_steps: int = 0
    ) -> Samples:
        if self.problem.y is not None:
            self.problem.operator.check(self.problem.y, x_T.shape[1:])
        return super().sample_from(score_fn, sde, x_T, seed, trajectory_steps)

    def run(self, reverse: Reverse, x_T: Tensor, seed: Seed, trajectory_steps: int = 0) -> Samples:
        if self.fixed_steps:
            # Discrete processes take their step size from the inner sampler's number of steps.
            reverse = reverse._replace(num_steps=self.sampler.num_steps)
            return super().run(reverse, x_T, seed, trajectory_steps)
        samples = self.sampler.run(self.controlled_reverse(reverse), x_T, seed, trajectory_steps)
        x, trajectory = self.projected(samples.x), samples.trajectory
        if trajectory is not None:
            trajectory = tf.concat([trajectory[:-1], x[None]], axis=0)
        return samples._replace(x=x, trajectory=trajectory)

    def begin(self, reverse: Reverse, x: Tensor) -> tuple:
        return self.sampler.begin(self.controlled_reverse(reverse), x)

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        return self.sampler.advance(self.controlled_reverse(reverse), x, times, seed, memory)

    def finish(self, reverse: Reverse, step: Step, t: Tensor) -> Tensor:
        return self.projected(self.sampler.finish(self.controlled_reverse(reverse), step, t))

    def projected(self, x: Tensor) -> Tensor:
        """x with A x = y, if y is exact; else x."""
        if self.problem.noise_std > 0:
            return x
        return self.problem.operator.project(x, self.problem.y)

    def require_fixed_steps(self, name: str) -> None:
        """Raises UsageError if the inner sampler chooses its own steps."""
        if not self.fixed_steps:
            innermost = getattr(self.sampler, "sampler", self.sampler)
            raise UsageError(
                f"{name} acts between the steps of a sampler, and {type(innermost).__name__} "
                "chooses its own: use NullSpace, which changes the score, or a sampler of fixed "
                "steps such as ProbabilityFlowODE."
            )


@METHODS.register
class Replacement(Method):
    """x_s ← x_s + A⁺ (A x̃_s − A x_s), x̃_s drawn given x_0 = A⁺ y (Song et al. 2021).

    x̃_s comes from `sde.sample_xt`, by simulation where there is no closed form. A mask works on
    every SDE whose coordinates evolve independently, affine or not. Other operators need an affine
    SDE, under which A x_s depends on A x_0 alone. No further function evaluations. y must be
    exact.

    The hidden part is drawn before the known part is final, so neighbouring parts agree less well
    than with `NullSpace`; `TimeTravel` improves that.
    """

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _ReplacementSampler(sampler, problem)


class _ReplacementSampler(Controlled):
    """See `Replacement`."""

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("Replacement")
        if self.problem.noise_std > 0:
            raise UsageError(
                "Replacement needs an exact y, and this y has noise of standard deviation "
                f"{self.problem.noise_std:g}: use NullSpace or PseudoinverseGuidance."
            )
        if not (sde.has_marginal or self.problem.operator.selects):
            raise UsageError(
                f"{type(self.problem.operator).__name__} mixes coordinates, and under "
                f"{type(sde).__name__}, whose drift is not linear, the distribution of a mix is "
                "unknown: use a Mask, or an affine SDE such as VPSDE."
            )
        super().check(sde)

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        step, memory = super().advance(reverse, x, times, seed, memory)
        operator, y, _ = self.problem
        smallest = operator.pseudo_inverse(y, x.shape[1:])
        noised = reverse.sde.sample_xt(smallest, times[1], random.fold_in(seed, "known"))
        return step._replace(x=operator.project(step.x, operator.apply(noised))), memory


@METHODS.register
class NullSpace(Method):
    """x̂_0 = (x + sigma_t² s)/alpha_t is replaced by x̂_0 + K A⁺ (y − A x̂_0) (Wang et al. 2023).

    As a score: s + K (alpha_t/sigma_t²) A⁺ (y − A x̂_0). Every sampler can use it, without further
    function evaluations. For an exact y, K = 1 (DDNM). For noise of standard deviation σ_y,

        K = r²/(r² + σ_y²/γ),   r² = v_0 sigma_t²/(alpha_t² v_0 + sigma_t²),   A Aᵀ = γ I,

    as if x_0 given x_t were N(x̂_0, r² I) (Song et al. 2023, ΠGDM): the exact posterior for data
    N(m, v_0 I), an approximation for others: y reaches the hidden part through the state only.
    Affine SDEs only.

    Args:
      data_std: √v_0, of the scaled data; matters with noise only. 0.5 is EDM's for images in
        [−1, 1] (Karras et al. 2022).

    Raises:
      UsageError: data_std <= 0.
    """

    def __init__(self, data_std: float = 0.5) -> None:
        if data_std <= 0:
            raise UsageError(f"{type(self).__name__}.data_std must be > 0; got {data_std}.")
        self.data_std = data_std

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _NullSpaceSampler(sampler, problem, self)


class _DenoisingControl(Controlled):
    """Base of those that need the denoised estimate x̂_0."""

    def __init__(self, sampler: Sampler, problem: InverseProblem, method: NullSpace) -> None:
        super().__init__(sampler, problem)
        self.method = method

    def check(self, sde: SDE) -> None:
        if not sde.has_marginal:
            raise UsageError(
                f"{type(self.method).__name__} needs (alpha_t, sigma_t) of an affine SDE, and "
                f"{type(sde).__name__} has none in closed form: use Replacement, optionally "
                "within TimeTravel."
            )
        super().check(sde)

    def levels(self, sde: SDE, x: Tensor, t: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(alpha_t, sigma_t, r²), each broadcastable to x."""
        alpha_t, sigma_t = (like(level, x) for level in sde.marginal(t))
        v_0 = self.method.data_std**2
        return alpha_t, sigma_t, v_0 * sigma_t**2 / (alpha_t**2 * v_0 + sigma_t**2)


class _NullSpaceSampler(_DenoisingControl):
    """See `NullSpace`."""

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        operator, y, noise_std = self.problem

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            shape = x.shape[1:]
            alpha_t, sigma_t, r_squared = self.levels(reverse.sde, x, t)
            score = reverse.score_fn(x, t)
            estimate = (x + sigma_t**2 * score) / alpha_t
            change = operator.pseudo_inverse(y - operator.apply(estimate), shape)
            if noise_std > 0:
                change *= r_squared / (r_squared + noise_std**2 / operator.gain(shape))
            return score + alpha_t / sigma_t**2 * change

        return reverse._replace(score_fn=score_fn)


@METHODS.register
class PseudoinverseGuidance(NullSpace):
    """s + (∂x̂_0/∂x)ᵀ Aᵀ (r² γ + σ_y²)⁻¹ (y − A x̂_0) (Song et al. 2023, ΠGDM).

    ∇ log p(y | x_t) with x_0 given x_t taken as N(x̂_0, r² I), r² as in `NullSpace`. The
    derivative carries information from the known part to the hidden part, which `NullSpace` does
    not. It costs a backward pass through the network, about two function evaluations more. Affine
    SDEs only.

    Args:
      data_std: √v_0, of the scaled data. A smaller value pulls harder towards y.
    """

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _PseudoinverseSampler(sampler, problem, self)


class _PseudoinverseSampler(_DenoisingControl):
    """See `PseudoinverseGuidance`."""

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        operator, y, noise_std = self.problem

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            shape = x.shape[1:]
            alpha_t, sigma_t, r_squared = self.levels(reverse.sde, x, t)
            with tf.GradientTape() as tape:
                tape.watch(x)
                score = reverse.score_fn(x, t)
                estimate = (x + sigma_t**2 * score) / alpha_t
            residual = operator.transpose(y - operator.apply(estimate), shape)
            residual /= r_squared * operator.gain(shape) + noise_std**2
            return score + tape.gradient(estimate, x, output_gradients=residual)

        return reverse._replace(score_fn=score_fn)


@METHODS.register
class TweedieGuidance(NullSpace):
    """s + Jᵀ Aᵀ (A C Aᵀ + (σ_y² + δ r² γ) I)⁻¹ (y − A x̂_0),  J = ∂x̂_0/∂x (Boys et al. 2023).

    x_0 given x_t is taken as N(x̂_0, C), where C = (sigma_t²/alpha_t) J is Tweedie's covariance:
    the network says how the hidden and the known part vary together. With δ = 0 it is exact for
    every Gaussian, whatever its covariance, unless the bound below is reached.

    Conjugate gradients solve the system; each iteration is a backward pass. A network's J is not
    quite a covariance, so the iterations are few and damped, and x̂_0 moves at most twice as far
    as by A⁺ alone. Affine SDEs only.

    Args:
      data_std: √v_0, of the scaled data; r² as in `NullSpace`.
      iterations: of conjugate gradients.
      damping: δ.

    Raises:
      UsageError: iterations < 1 or a negative damping.
    """

    def __init__(self, data_std: float = 0.5, iterations: int = 4, damping: float = 0.1) -> None:
        super().__init__(data_std)
        if iterations < 1 or damping < 0:
            raise UsageError(
                "TweedieGuidance expects iterations >= 1 and damping >= 0; got "
                f"{iterations} and {damping}."
            )
        self.iterations = iterations
        self.damping = damping

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _TweedieSampler(sampler, problem, self)


class _TweedieSampler(_DenoisingControl):
    """See `TweedieGuidance`."""

    method: TweedieGuidance

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        operator, y, noise_std = self.problem

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            shape = x.shape[1:]
            alpha_t, sigma_t, r_squared = self.levels(reverse.sde, x, t)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                score = reverse.score_fn(x, t)
                estimate = (x + sigma_t**2 * score) / alpha_t

            def pulled(u: Tensor) -> Tensor:
                seeds = operator.transpose(u, shape)
                return tape.gradient(estimate, x, output_gradients=seeds)

            added = noise_std**2 + self.method.damping * r_squared * operator.gain(shape)

            def covariance(u: Tensor) -> Tensor:
                # J is symmetric, as far as the network is a score.
                return sigma_t**2 / alpha_t * operator.apply(pulled(u)) + added * u

            residual = y - operator.apply(estimate)
            change = pulled(conjugate_gradients(covariance, residual, self.method.iterations))
            # With a true covariance the bound hardly acts; a network's J may ask for any move.
            allowed = _LARGEST_MOVE * _norms(operator.pseudo_inverse(residual, shape))
            moved = _norms(sigma_t**2 / alpha_t * change)
            return score + like(tf.minimum(1.0, allowed / tf.maximum(moved, _TINY)), x) * change

        return reverse._replace(score_fn=score_fn)


def _norms(x: Tensor) -> Tensor:
    """Euclidean norm of each example, [B]."""
    return tf.sqrt(sum_over_data(x**2))


def conjugate_gradients(matrix: Callable[[Tensor], Tensor], b: Tensor, iterations: int) -> Tensor:
    """u of the shape of b [B, ...] with matrix(u) ≈ b, example by example.

    A direction along which the matrix is not positive ends the search of its example.
    """
    u, rest = tf.zeros_like(b), b
    direction, squared = rest, sum_over_data(rest**2)
    for _ in range(iterations):
        image = matrix(direction)
        bend = sum_over_data(direction * image)
        step = tf.where(bend > _TINY, squared / tf.maximum(bend, _TINY), 0.0)
        u += like(step, u) * direction
        rest -= like(step, u) * image
        before, squared = squared, sum_over_data(rest**2)
        turn = tf.where(bend > _TINY, squared / tf.maximum(before, _TINY), 0.0)
        direction = rest + like(turn, u) * direction
        direction *= like(tf.cast(bend > _TINY, u.dtype), u)
    return u


@METHODS.register
class TimeTravel(Method):
    """Takes every `jump_length` steps `num_travels` times (RePaint, Lugmayr et al. 2022).

    Before each repetition the SDE itself noises the state again: by its transition kernel where it
    is affine, else by simulation. The parts of the state then agree better. The number of function
    evaluations grows by the factor num_travels.

    Args:
      method: what each step does; an object of `METHODS`, `Replacement` by default.
      num_travels: how often each stretch of steps is taken.
      jump_length: steps in a stretch.

    Raises:
      UsageError: num_travels or jump_length below 1.
    """

    def __init__(
        self, method: Method | None = None, num_travels: int = 4, jump_length: int = 4
    ) -> None:
        if num_travels < 1 or jump_length < 1:
            raise UsageError(
                "TimeTravel expects num_travels >= 1 and jump_length >= 1; got "
                f"{num_travels} and {jump_length}."
            )
        self.method = method or Replacement()
        self.num_travels = num_travels
        self.jump_length = jump_length

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        inner = self.method.control(sampler, problem)
        return _TimeTravelSampler(inner, problem, self.num_travels, self.jump_length)


class _TimeTravelSampler(Controlled):
    """See `TimeTravel`."""

    def __init__(
        self, sampler: Sampler, problem: InverseProblem, num_travels: int, jump_length: int
    ) -> None:
        super().__init__(sampler, problem)
        self.goes_back = True
        self._route = route(sampler.num_steps, num_travels, jump_length)
        self.num_steps = len(self._route) - 1

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("TimeTravel")
        if self.sampler.goes_back:
            raise UsageError(
                "TimeTravel takes steps again that all go down in time, and those of this sampler "
                "go back by themselves: use its method without TimeTravel, or a sampler without "
                "restarts such as EDMHeun."
            )
        super().check(sde)

    def times(self, sde: SDE) -> Array:
        return np.asarray(self.sampler.times(sde))[self._route]

    def nfe(self) -> int | None:
        once = self.sampler.nfe()
        more = int(np.sum(np.diff(self._route) > 0)) - self.sampler.num_steps
        return None if once is None else once + more * self.sampler.nfe_per_step()

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        t, s = times

        def jump() -> tuple[Step, tuple]:
            after = forward(reverse.sde, x, t, s, random.fold_in(seed, "jump"))
            # The inner sampler's memory belongs to the path that is left here.
            return Step(after, after), self.sampler.begin(reverse, after)

        def step() -> tuple[Step, tuple]:
            return self.sampler.advance(reverse, x, times, seed, memory)

        return tf.cond(s[0] > t[0], jump, step)


def route(num_steps: int, num_travels: int, jump_length: int) -> Array:
    """The places 0 .. num_steps in the order in which `TimeTravel` takes them, int [·]."""
    visited = [0]
    for start in range(0, num_steps, jump_length):
        end = min(start + jump_length, num_steps)
        for travel in range(num_travels):
            visited += ([start] if travel else []) + list(range(start + 1, end + 1))
    return np.array(visited)


def forward(sde: Any, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
    """x_t given x_s [B, ...], s < t [B]: exact for an affine SDE, else simulated."""
    if sde.has_marginal:
        mean, std = sde.local_kernel(x, s, t)
        return mean + std * random.normal(seed, shape_of(x))

    def step(i: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        now, after = (s + (t - s) * (tf.cast(k, tf.float32) / _SUBSTEPS) for k in (i, i + 1))
        return i + 1, sde.simulation_step(x, now, after, random.fold_in(seed, i))

    state = (tf.constant(0), x)
    return tf.while_loop(lambda i, _: i < _SUBSTEPS, step, state, maximum_iterations=_SUBSTEPS)[1]


__all__ = [
    "Controlled",
    "Method",
    "NullSpace",
    "PseudoinverseGuidance",
    "Replacement",
    "TimeTravel",
    "TweedieGuidance",
    "conjugate_gradients",
    "forward",
    "route",
]
