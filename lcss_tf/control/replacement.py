"""Replacement: after every step, the known part of the state is that of the noised observation."""

from lcss_tf import random
from lcss_tf.control.controlled import Controlled, Method
from lcss_tf.errors import UsageError
from lcss_tf.registry import METHODS


@METHODS.register
class Replacement(Method):
    """x_s ← x_s + A⁺ (A x̃_s − A x_s), x̃_s drawn given x_0 = A⁺ y (Song et al. 2021).

    x̃_s comes from `sde.sample_xt`, by simulation where there is no closed form. So masks work on
    every SDE whose coordinates move by themselves, affine or not; other operators need an affine
    one, under which A x_s depends on A x_0 alone. Costs no evaluation. What is hidden is drawn as
    if the known part were still to come: neighbouring parts agree less well than after
    `NullSpace`, which time travel mends. y must be exact.
    """

    def control(self, sampler, problem):
        return ReplacementSampler(sampler, problem)


class ReplacementSampler(Controlled):
    """See `Replacement`."""

    def check(self, sde):
        self.require_steps("Replacement")
        if self.problem.noise_std > 0:
            raise UsageError(
                "Replacement puts y in place as it is, and y has noise of deviation "
                f"{self.problem.noise_std:g}: use NullSpace or PseudoinverseGuidance."
            )
        if not (sde.has_marginal or self.problem.operator.selects):
            raise UsageError(
                f"{type(self.problem.operator).__name__} mixes coordinates, and a mix of them has "
                f"no law of its own under {type(sde).__name__}, whose drift is not linear: use a "
                "Mask, or an affine SDE such as VPSDE."
            )
        super().check(sde)

    def advance(self, reverse, x, times, seed, memory):
        step, memory = super().advance(reverse, x, times, seed, memory)
        operator, y, _ = self.problem
        smallest = operator.pseudo_inverse(y, x.shape[1:])
        noised = reverse.sde.sample_xt(smallest, times[1], random.fold_in(seed, "known"))
        return step._replace(x=operator.project(step.x, operator.apply(noised))), memory
