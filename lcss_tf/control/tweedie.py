"""Tweedie guidance: the score of the observation, with the covariance that the network implies."""

import tensorflow as tf

from lcss_tf.control.null_space import DenoisingControl, NullSpace
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, sum_over_data
from lcss_tf.registry import METHODS

_TINY = 1e-20
_FARTHEST = 2.0  # that x̂_0 is moved, over what a correction of the known part alone would move it


@METHODS.register
class TweedieGuidance(NullSpace):
    """s + Jᵀ Aᵀ (A C Aᵀ + (σ_y² + δ r² γ) I)⁻¹ (y − A x̂_0),  J = ∂x̂_0/∂x (Boys et al. 2023).

    x_0 given x_t is taken as N(x̂_0, C), C = (sigma_t²/alpha_t) J being Tweedie's covariance: what
    is hidden and what is known vary together as the network says. With δ = 0 it is exact for
    every Gaussian, whatever its covariance, unless the bound below is reached. The system is
    solved by conjugate gradients, each of which is a backward pass; a network's J is no true
    covariance, so they are few and damped, and x̂_0 is moved no farther than twice what A⁺ alone
    would. Affine SDEs only.

    Args:
      data_std: √v_0, of the scaled data; r² as in `NullSpace`.
      iterations: of conjugate gradients.
      damping: δ.

    Raises:
      ValueError: iterations < 1 or a negative damping.
    """

    def __init__(self, data_std=0.5, iterations=4, damping=0.1):
        super().__init__(data_std)
        if iterations < 1 or damping < 0:
            raise UsageError(
                "TweedieGuidance expects iterations >= 1 and damping >= 0; got "
                f"{iterations} and {damping}."
            )
        self.iterations = iterations
        self.damping = damping

    def control(self, sampler, problem):
        return TweedieSampler(sampler, problem, self)


class TweedieSampler(DenoisingControl):
    """See `TweedieGuidance`."""

    def __init__(self, sampler, problem, method):
        super().__init__(sampler, problem, method.data_std)
        self.method = method

    def seen(self, reverse):
        operator, y, noise_std = self.problem

        def score_fn(x, t):
            shape = x.shape[1:]
            alpha_t, sigma_t, r_squared = self.levels(reverse.sde, x, t)
            with tf.GradientTape(persistent=True) as tape:
                tape.watch(x)
                score = reverse.score_fn(x, t)
                estimate = (x + sigma_t**2 * score) / alpha_t

            def pulled(u):
                seeds = operator.transpose(u, shape)
                return tape.gradient(estimate, x, output_gradients=seeds)

            added = noise_std**2 + self.method.damping * r_squared * operator.gain(shape)

            def covariance(u):
                # J is symmetric, as far as the network is a score.
                return sigma_t**2 / alpha_t * operator.apply(pulled(u)) + added * u

            residual = y - operator.apply(estimate)
            change = pulled(conjugate_gradients(covariance, residual, self.method.iterations))
            # Of a true covariance this never binds by much; a network's J may ask for anything.
            allowed = _FARTHEST * norms(operator.pseudo_inverse(residual, shape))
            moved = norms(sigma_t**2 / alpha_t * change)
            return score + like(tf.minimum(1.0, allowed / tf.maximum(moved, _TINY)), x) * change

        return reverse._replace(score_fn=score_fn)


def norms(x):
    """Euclidean norm of each example, [B]."""
    return tf.sqrt(sum_over_data(x**2))


def conjugate_gradients(matrix, b, iterations):
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
