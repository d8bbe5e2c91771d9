"""Pseudoinverse guidance: the score of the observation, through the network's derivative."""

import tensorflow as tf

from lcss_tf.control.null_space import DenoisingControl, NullSpace
from lcss_tf.registry import METHODS


@METHODS.register
class PseudoinverseGuidance(NullSpace):
    """s + (∂x̂_0/∂x)ᵀ Aᵀ (r² γ + σ_y²)⁻¹ (y − A x̂_0) (Song et al. 2023, ΠGDM).

    ∇ log p(y | x_t) with x_0 given x_t taken as N(x̂_0, r² I), r² as in `NullSpace`. The
    derivative carries what is observed to what is hidden, which `NullSpace` does not; it costs a
    backward pass through the network, about two evaluations more. Affine SDEs only.

    Args:
      data_std: √v_0, of the scaled data: less of it pulls harder to what is observed.
    """

    def control(self, sampler, problem):
        return PseudoinverseSampler(sampler, problem, self.data_std)


class PseudoinverseSampler(DenoisingControl):
    """See `PseudoinverseGuidance`."""

    def seen(self, reverse):
        operator, y, noise_std = self.problem

        def score_fn(x, t):
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
