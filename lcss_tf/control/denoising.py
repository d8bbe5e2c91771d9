"""Methods that steer by the denoised estimate x̂_0 = (x + sigma_t² s)/alpha_t, for affine SDEs.

`NullSpace`, `PseudoinverseGuidance` and `TweedieGuidance` change the score; `DiffPIR` takes a step
of its own; `DPS` moves the state after each step.
"""

from typing import Any

import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.methods import Controlled, Method
from lcss_tf.control.operators import InverseProblem
from lcss_tf.control.solvers import conjugate_gradients
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import METHODS
from lcss_tf.samplers.affine import alpha_sigma, data_and_noise
from lcss_tf.samplers.base import Reverse, Sampler, Step
from lcss_tf.sdes import SDE
from lcss_tf.typing import Seed, Tensor

_TINY = 1e-20
_LARGEST_MOVE = 2.0  # of x̂_0, over the move by A⁺ alone


@METHODS.register
class NullSpace(Method):
    """x̂_0 = (x + sigma_t² s)/alpha_t is replaced by x̂_0 + K A⁺ (y − A x̂_0) (Wang et al. 2023).

    As a score: s + K (alpha_t/sigma_t²) A⁺ (y − A x̂_0). Every sampler can use it, without further
    function evaluations. For an exact y, K = 1 (DDNM). For noise of standard deviation σ_y,

        K = r²/(r² + σ_y²/γ),   r² = v_0 sigma_t²/(alpha_t² v_0 + sigma_t²),   A Aᵀ = γ I;

    for other A, K A⁺ is Wiener's filter r² Aᵀ (r² A Aᵀ + σ_y² I)⁻¹. It is

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

    def __init__(self, sampler: Sampler, problem: InverseProblem, method: Any) -> None:
        super().__init__(sampler, problem)
        self.method = method

    def check(self, sde: SDE) -> None:
        super().check(sde)
        if not sde.has_marginal:
            raise UsageError(
                f"{type(self.method).__name__} needs (alpha_t, sigma_t) of an affine SDE, and "
                f"{type(sde).__name__} has none in closed form: use Replacement, optionally "
                "within TimeTravel, or an affine SDE such as VPSDE."
            )

    def variance(self, sde: SDE, t: Tensor) -> Tensor:
        """r² [B], of x_0 given x_t."""
        alpha_t, sigma_t = sde.marginal(t)
        v_0 = self.method.data_std**2
        return v_0 * sigma_t**2 / (alpha_t**2 * v_0 + sigma_t**2)


class _NullSpaceSampler(_DenoisingControl):
    """See `NullSpace`."""

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        operator, y, noise_std = self.problem

        def score_fn(x: Tensor, t: Tensor) -> Tensor:
            alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
            score = reverse.score_fn(x, t)
            estimate = (x + sigma_t**2 * score) / alpha_t
            residual, variance = y - operator.apply(estimate), self.variance(reverse.sde, t)
            change = operator.wiener(residual, x.shape[1:], variance, noise_std**2)
            return score + alpha_t / sigma_t**2 * change

        return reverse._replace(score_fn=score_fn)


@METHODS.register
class PseudoinverseGuidance(NullSpace):
    """s + (∂x̂_0/∂x)ᵀ Aᵀ (r² A Aᵀ + σ_y² I)⁻¹ (y − A x̂_0) (Song et al. 2023, ΠGDM).

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
            alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
            variance = self.variance(reverse.sde, t)
            with tf.GradientTape() as tape:
                tape.watch(x)
                score = reverse.score_fn(x, t)
                estimate = (x + sigma_t**2 * score) / alpha_t
            residual = y - operator.apply(estimate)
            pull = operator.wiener(residual, x.shape[1:], variance, noise_std**2)
            pull /= like(variance, x)
            return score + tape.gradient(estimate, x, output_gradients=pull)

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
      damping: δ, in units of r² γ, γ the largest eigenvalue of A Aᵀ.

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
            alpha_t, sigma_t = alpha_sigma(reverse.sde, t, x)
            variance = self.variance(reverse.sde, t)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                score = reverse.score_fn(x, t)
                estimate = (x + sigma_t**2 * score) / alpha_t

            def pulled(u: Tensor) -> Tensor:
                seeds = operator.transpose(u, shape)
                return tape.gradient(estimate, x, output_gradients=seeds)

            added = noise_std**2 + self.method.damping * variance * operator.largest_gain(shape)

            def covariance(u: Tensor) -> Tensor:
                # J is symmetric, as far as the network is a score.
                image = operator.apply(sigma_t**2 / alpha_t * pulled(u))
                return image + like(added, u) * u

            residual = y - operator.apply(estimate)
            change = pulled(conjugate_gradients(covariance, residual, self.method.iterations))
            # With a true covariance the bound hardly acts; a network's J may ask for any move.
            allowed = _LARGEST_MOVE * _norms(operator.pseudo_inverse(residual, shape))
            moved = _norms(sigma_t**2 / alpha_t * change)
            return score + like(tf.minimum(1.0, allowed / tf.maximum(moved, _TINY)), x) * change

        return reverse._replace(score_fn=score_fn)


@METHODS.register
class DiffPIR(NullSpace):
    """x̂_0 is drawn to y, then noised again (Zhu et al. 2023, DiffPIR), from time t to s:

        x̂ = argmin_x ‖y − A x‖² + ρ_t ‖x − x̂_0‖²,   ρ_t = λ σ_y² alpha_t²/sigma_t²,
        x_s = alpha_s x̂ + sigma_s (√(1 − ζ) (x_t − alpha_t x̂)/sigma_t + √ζ z).

    The minimum is that of `NullSpace` with r² = sigma_t²/(λ alpha_t²) in place of its own, and A⁺
    for an exact y. Of the inner sampler it takes the times and the end; the step is its own, of one
    function evaluation. Affine SDEs only.

    Args:
      trust: λ, of x̂_0 against y. Matters with noise only.
      fresh: ζ in [0, 1], the share of fresh noise; 0: deterministic.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(self, trust: float = 1.0, fresh: float = 0.3) -> None:
        if not (trust > 0 and 0 <= fresh <= 1):
            raise UsageError(
                f"DiffPIR expects trust > 0 and 0 <= fresh <= 1; got {trust} and {fresh}."
            )
        self.trust = trust
        self.fresh = fresh

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _DiffPIRSampler(sampler, problem, self)


class _DiffPIRSampler(_NullSpaceSampler):
    """See `DiffPIR`."""

    method: DiffPIR

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("DiffPIR")
        self.require_downward_steps("DiffPIR")
        super().check(sde)

    def variance(self, sde: SDE, t: Tensor) -> Tensor:
        alpha_t, sigma_t = sde.marginal(t)
        return sigma_t**2 / (self.method.trust * alpha_t**2)

    def nfe_per_step(self) -> int:
        return 1

    def nfe(self) -> int | None:
        inner = self.sampler.nfe()
        if inner is None:
            return None
        return inner - self.num_steps * (self.sampler.nfe_per_step() - 1)

    def begin(self, reverse: Reverse, x: Tensor) -> tuple:
        return ()

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        t, s = times
        alpha_s, sigma_s = alpha_sigma(reverse.sde, s, x)
        data, noise = data_and_noise(self.controlled_reverse(reverse), x, t)
        fresh = self.method.fresh
        mean = alpha_s * data + sigma_s * (1.0 - fresh) ** 0.5 * noise
        return Step(mean + sigma_s * fresh**0.5 * random.normal(seed, shape_of(x)), mean), memory


@METHODS.register
class DPS(Method):
    """After each step x_s ← x_s − ζ ∇‖y − H(x̂_0)‖²/‖y − H(x̂_0)‖ (Chung et al. 2023, DPS).

    The gradient is one with respect to x_t, through x̂_0 = (x_t + sigma_t² s)/alpha_t and the
    network: ∇ log p(y | x_t) as if x_0 given x_t were x̂_0, at a step size that keeps the moves as
    long as the authors found best. H may be nonlinear, and the noise need not be known. It costs a
    backward pass a step. Affine SDEs only. It is no approximation that becomes exact: its samples
    are likely ones that fit y rather than draws of p(x | y).

    Args:
      step_size: ζ, half the longest move of a step: a length, in units of the scaled data over all
        dimensions. The authors take 0.3 to 1 over 1,000 steps at 256 pixels. Fewer steps want a
        larger one, small data a smaller one.

    Raises:
      UsageError: step_size <= 0.
    """

    def __init__(self, step_size: float = 1.0) -> None:
        if not step_size > 0:
            raise UsageError(f"DPS.step_size must be > 0; got {step_size}.")
        self.step_size = step_size

    def control(self, sampler: Sampler, problem: InverseProblem) -> Controlled:
        return _DPSSampler(sampler, problem, self)


class _DPSSampler(_DenoisingControl):
    """See `DPS`."""

    needs_linear = False
    method: DPS

    def check(self, sde: SDE) -> None:
        self.require_fixed_steps("DPS")
        super().check(sde)

    def nfe_per_step(self) -> int:
        return self.sampler.nfe_per_step() + self._more

    def nfe(self) -> int | None:
        inner = self.sampler.nfe()
        return None if inner is None else inner + self.num_steps * self._more

    @property
    def _more(self) -> int:
        """Function evaluations beside the sampler's own, of a step."""
        return 0 if self.sampler.evaluates_at_start else 1

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        operator, y, _ = self.problem
        score_fn, start, now = reverse.score_fn, x, times[0]
        alpha_t, sigma_t = alpha_sigma(reverse.sde, now, x)
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = score_fn(x, now)
            estimate = (x + sigma_t**2 * score) / alpha_t
            squared = sum_over_data((y - operator.apply(estimate)) ** 2)
        gradient = tape.gradient(squared, x)
        if gradient is None:
            raise UsageError(
                f"No gradient leads through {type(operator).__name__}, and DPS needs it. Write it "
                "in TensorFlow operations; rounding and comparing have none."
            )
        move = gradient * like(self.method.step_size / tf.sqrt(tf.maximum(squared, _TINY)), x)

        def once(x: Tensor, t: Tensor) -> Tensor:
            # The sampler's first evaluation is this one: of the same tensors.
            return score if x is start and t is now else score_fn(x, t)

        reverse = reverse._replace(score_fn=once)
        step, memory = super().advance(reverse, x, times, seed, memory)
        return Step(step.x - move, step.mean - move), memory


def _norms(x: Tensor) -> Tensor:
    """Euclidean norm of each example, [B]."""
    return tf.sqrt(sum_over_data(x**2))


__all__ = ["DPS", "DiffPIR", "NullSpace", "PseudoinverseGuidance", "TweedieGuidance"]
