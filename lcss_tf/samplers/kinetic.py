"""A sampler for states with a velocity: the symmetric splitting of Dockhorn et al. (2022)."""

from typing import Any

import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, shape_of
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Reverse, Sampler, Step
from lcss_tf.typing import Seed, Tensor


@SAMPLERS.register
class SymmetricSplitting(Sampler):
    """The reverse of `KineticSDE` by half a drift, the rest, half a drift; one NFE a step.

    In the clock τ = ∫β backwards: dx = −u dτ and du = [∇U − Γu + 2Γ(S_u + u)] dτ + √(2Γ) dw. The
    part −Γu dτ + √(2Γ) dw is exact, the rest of du a kick, S_u at the middle of the step. The kick
    depends on u and is explicit, so the weak order is 1.
    """

    def check(self, sde: Any) -> None:
        super().check(sde)
        if not sde.has_velocity:
            raise UsageError(
                f"SymmetricSplitting reverses a KineticSDE; {type(sde).__name__} has no velocity. "
                "Use EulerMaruyama."
            )

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        sde: Any = reverse.sde
        middle = 0.5 * (s + t)
        position, velocity = tf.split(x, 2, axis=-1)
        clock = sde.beta.integral(s, t)
        h = like(clock, position)
        half = like(tf.exp(-0.5 * sde.friction * clock), position)
        std = like(tf.sqrt(-tf.math.expm1(-sde.friction * clock)), position)
        z = [random.normal(random.fold_in(seed, k), shape_of(position)) for k in (0, 1)]
        position = position - 0.5 * h * velocity
        velocity = half * velocity + std * z[0]
        score = reverse.score_fn(tf.concat([position, velocity], -1), middle)
        _, score = tf.split(score, 2, axis=-1)
        kick = sde.gradient(position) + 2 * sde.friction * (score + velocity)
        mean = half * (velocity + h * kick)
        velocity = mean + std * z[1]
        ends = [tf.concat([position - 0.5 * h * u, u], -1) for u in (velocity, mean)]
        return Step(*ends)


__all__ = ["SymmetricSplitting"]
