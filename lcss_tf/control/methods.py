"""What a method for inverse problems is, and `Replacement`.

Each method makes, from any sampler, a sampler of x given y = H(x) + noise. It changes the score
(`lcss_tf.control.denoising`), the state after each step (`Replacement`, `DPS`), the step itself
(`DiffPIR`), the order of the steps (`TimeTravel`) or their beginning (`SDEdit`). The inner sampler
does the rest.
"""

from typing import Any

import tensorflow as tf

from lcss_tf import random
from lcss_tf.control.operators import InverseProblem, eagerly
from lcss_tf.errors import UsageError
from lcss_tf.registry import METHODS
from lcss_tf.samplers.base import Reverse, Sampler, Samples, Step
from lcss_tf.sdes import SDE, noise
from lcss_tf.typing import Array, ScoreFn, Seed, Tensor


class Method:
    """Base of the methods: `control` composes one over a sampler.

    Attributes:
      may_be_repeated: whether `TimeTravel` may repeat its steps.
      may_begin_late: whether `SDEdit` may leave its first steps out.
    """

    may_be_repeated: bool = True
    may_begin_late: bool = True

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

    Attributes:
      needs_linear: whether the operator must be linear.

    Raises:
      UsageError: a negative noise_std.
    """

    needs_linear = True

    def __init__(self, sampler: Sampler, problem: InverseProblem) -> None:
        if problem.noise_std < 0:
            raise UsageError(f"noise_std must be at least 0; got {problem.noise_std}.")
        super().__init__(sampler.num_steps, sampler.t_end, sampler.denoise, sampler.schedule)
        self.sampler = sampler
        self.problem = problem
        self.fixed_steps = sampler.fixed_steps
        self.goes_back = sampler.goes_back
        self.evaluates_at_start = sampler.evaluates_at_start

    def controlled_reverse(self, reverse: Reverse) -> Reverse:
        """The `Reverse` that the inner sampler gets; methods that change the score override it."""
        return reverse

    def check(self, sde: SDE) -> None:
        operator = self.problem.operator
        if sde.has_velocity:
            raise UsageError(
                f"The states of {type(sde).__name__} hold a velocity beside the data, and an "
                "inverse problem asks for data alone: use an SDE without, such as VPSDE."
            )
        if self.needs_linear and not operator.is_linear:
            raise UsageError(
                f"{type(operator).__name__} is not linear, and this method needs A⁺ or Aᵀ: use DPS."
            )
        self.sampler.check(sde)

    @property
    def discrete_steps(self) -> int:
        """The innermost sampler's number of steps, from which discrete processes take theirs."""
        return getattr(self.sampler, "discrete_steps", self.sampler.num_steps)

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
            reverse = reverse._replace(num_steps=self.discrete_steps)
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
        """x with A x = y, if y is exact and A linear; else x."""
        operator, y, noise_std = self.problem
        if noise_std > 0 or not operator.is_linear:
            return x
        return operator.project(x, y)

    def require_fixed_steps(self, name: str) -> None:
        """Raises UsageError if the inner sampler chooses its own steps."""
        if not self.fixed_steps:
            innermost = getattr(self.sampler, "sampler", self.sampler)
            raise UsageError(
                f"{name} acts between the steps of a sampler, and {type(innermost).__name__} "
                "chooses its own: use NullSpace, which changes the score, or a sampler of fixed "
                "steps such as ProbabilityFlowODE."
            )

    def require_downward_steps(self, name: str) -> None:
        """Raises UsageError if the innermost sampler goes up in time by itself, as `Restart`."""
        inner: Any = self.sampler
        while hasattr(inner, "problem"):  # a method inside
            inner = inner.sampler
        if inner.goes_back:
            raise UsageError(
                f"{name} takes steps that go down in time, and those of {type(inner).__name__} go "
                "back by themselves: use the sampler inside it alone, such as EDMHeun."
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
        super().check(sde)
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
        knows_shape = "example_shape" in vars(sde)  # else it is asked again when that is known
        if self.problem.operator.selects and not sde.has_marginal and knows_shape:
            eagerly(self._check_independence, sde)

    def _check_independence(self, sde: SDE) -> None:
        """Raises UsageError if the hidden part drives the known one."""
        x, other = (random.normal(seed, (4, *sde.example_shape)) for seed in (1, 2))
        known = self.problem.operator.known(sde.example_shape)
        t = tf.linspace(0.2 * sde.T, 0.8 * sde.T, 4)
        for name in ("drift", "diffusion"):
            one, two = (getattr(sde, name)(v, t) for v in (x, tf.where(known, x, other)))
            coupled = noise.is_matrix(one, x)
            if not coupled:
                gap = tf.where(known, tf.abs(one - two), 0.0)
                coupled = float(tf.reduce_max(gap)) > 1e-5 * float(tf.reduce_max(tf.abs(one)))
            if coupled:
                raise UsageError(
                    f"Under {type(sde).__name__} what is hidden drives what is known (its {name} "
                    "couples coordinates), so the known part cannot be noised by itself: use an "
                    "SDE whose coordinates evolve independently, such as VPSDE or PearsonSDE."
                )

    def advance(
        self, reverse: Reverse, x: Tensor, times: tuple[Tensor, Tensor], seed: Seed, memory: tuple
    ) -> tuple[Step, tuple]:
        step, memory = super().advance(reverse, x, times, seed, memory)
        operator, y, _ = self.problem
        smallest = operator.pseudo_inverse(y, x.shape[1:])
        noised = reverse.sde.sample_xt(smallest, times[1], random.fold_in(seed, "known"))
        return step._replace(x=operator.project(step.x, operator.apply(noised))), memory


__all__ = ["Controlled", "Method", "Replacement"]
