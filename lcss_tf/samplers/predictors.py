"""Predictors: one step of the reverse SDE, with given noise.

Each takes a `Reverse`, the state x, times t > s [B] and noise z of the shape of x,
and returns a `Step`. The discrete ones step by T/num_steps, as their processes do.
"""

from lcss_tf.errors import UsageError
from lcss_tf.ops import like, square_and_divergence
from lcss_tf.registry import PREDICTORS
from lcss_tf.samplers.base import Step


class Predictor:
    """Base of the predictors.

    Class attributes:
      evaluations: of the network, in one step.
      any_times: whether it steps between any two times, or by T/num_steps alone.
    """

    evaluations = 1
    any_times = False

    def check(self, sde, num_steps):
        """Raises ValueError if this predictor cannot reverse the SDE in `num_steps` steps."""

    def step(self, reverse, x, t, s, z):
        """The step from t to s."""
        raise NotImplementedError(f"{type(self).__name__} must define step(reverse, x, t, s, z).")


@PREDICTORS.register
class EulerMaruyamaPredictor(Predictor):
    """x − [f − g² score] (t − s) + g √(t − s) z."""

    any_times = True

    def step(self, reverse, x, t, s, z):
        h = like(t - s, x)
        mean = x - reverse.sde.reverse_drift(x, t, reverse.score_fn(x, t)) * h
        return Step(mean + reverse.sde.diffusion(x, t) * h**0.5 * z, mean)


@PREDICTORS.register
class ReverseDiffusionPredictor(Predictor):
    """The SDE's own discretisation reversed: x − [f − ∂(G²) − G² score] + G z.

    ∂(G²), the derivative of G_i² with respect to x_i, is 0 where the noise does not depend on x.
    """

    def check(self, sde, num_steps):
        sde.check_discretization(num_steps)

    def step(self, reverse, x, t, s, z):
        f, G = reverse.sde.discretize(x, t, reverse.num_steps)
        noise = lambda x: reverse.sde.discretize(x, t, reverse.num_steps)[1]
        square, divergence = square_and_divergence(noise, x)
        mean = x - (f - square * reverse.score_fn(x, t))
        if divergence is not None:
            mean += divergence
        return Step(mean + G * z, mean)


@PREDICTORS.register
class AncestralPredictor(Predictor):
    """Ancestral sampling from the discrete process (Ho et al. 2020); affine SDEs only."""

    def check(self, sde, num_steps):
        if not sde.has_marginal:
            raise UsageError(
                "AncestralPredictor needs a closed-form transition kernel, "
                f"{type(sde).__name__} has none: use EulerMaruyamaPredictor or "
                "ReverseDiffusionPredictor."
            )
        sde.check_discretization(num_steps)

    def step(self, reverse, x, t, s, z):
        score = reverse.score_fn(x, t)
        mean, std = reverse.sde.ancestral(x, t, score, reverse.num_steps)
        return Step(mean + std * z, mean)
