"""LCSS: score matching without the Jacobian's trace (Osada et al., NeurIPS 2024).

Implicit score matching minimises ½‖S‖² + tr ∇S. Stein's identity gives the trace,
averaged over a Gaussian of deviation σ about x, from values of S alone:

    E_{x' ~ N(x, σ²I)}[tr ∇S(x')] = E_{x'}[S(x')·(x' − x)]/σ²

so that neither a derivative nor the transition density is needed, and the SDE is free.
"""

from typing import NamedTuple

import tensorflow as tf

from lcss_tf import rng
from lcss_tf.losses.base import Loss
from lcss_tf.registry import LOSSES
from lcss_tf.sdes.shapes import like, shape_of, sum_over_data

_DIRECTIONS = {"gaussian": rng.normal, "sphere": rng.sphere, "rademacher": rng.rademacher}


class Estimator(NamedTuple):
    """How the smoothed trace and the norm are estimated; see `LCSSLoss`."""

    kind: str
    norm_at: str
    directions: str
    num_directions: int


@LOSSES.register
class LCSSLoss(Loss):
    """J = ½‖S‖² + (trace smoothed over a Gaussian of deviation σ = radius · noise_scale(t)).

    smoothing="gaussian": x ~ p_t, x' = x + σz.
      "plain" with norm_at="center" is LCSS as the identity gives it:
      ½‖S(x)‖² + S(x')·z/σ. Its minimiser is ∇p_σ/p, so σ must stay well below the
      noise in x_t (radius about 0.1).
    smoothing="transition": z is the SDE's own last Gaussian step, x' = mean + σz ~ p_t,
      and the norm is taken at x'. The minimiser is the score itself at every radius (up
      to the local scheme's error), and "plain" needs one evaluation. On an affine SDE,
      radius 1 is DSM up to a constant.

    estimator:
      "plain":           S(x')·z/σ
      "control_variate": (S(x') − S(x))·z/σ, x the centre; same expectation, less variance
      "antithetic":      (S(x + σz) − S(x − σz))·z/(2σ)
    Where S is evaluated at several points, they go through the network in one pass.

    Args:
      smoothing: "transition" or "gaussian".
      estimator: "plain", "control_variate" or "antithetic".
      norm_at: "center", where x is, or "perturbed", at x'; by default the centre for
        gaussian smoothing; always "perturbed" for transition smoothing. Gaussian
        smoothing with the norm at x' estimates ∇log of p_t convolved with N(0, σ²I).
      radius: σ in units of noise_scale(t); by default 0.1 gaussian, 0.9 transition.
      directions: z "gaussian", on the "sphere" of radius √d (exact for the average over
        a ball), or "rademacher" (exact as σ → 0).
      num_directions: z drawn per example.
      **options: of `Loss`.

    Raises:
      ValueError: an unknown option, or a combination that estimates something else.
    """

    def __init__(
        self,
        smoothing="transition",
        estimator="plain",
        norm_at=None,
        radius=None,
        directions="gaussian",
        num_directions=1,
        **options,
    ):
        super().__init__(**options)
        transition = smoothing == "transition"
        self.smoothing = smoothing
        self.radius = radius if radius is not None else (0.9 if transition else 0.1)
        norm_at = norm_at or ("perturbed" if transition else "center")
        self.estimator = Estimator(estimator, norm_at, directions, num_directions)
        self._check_options()

    def _check_options(self):
        kind, norm_at, directions, num_directions = self.estimator
        allowed = {
            "smoothing": (self.smoothing, ("transition", "gaussian")),
            "estimator": (kind, ("plain", "control_variate", "antithetic")),
            "norm_at": (norm_at, ("center", "perturbed")),
            "directions": (directions, tuple(_DIRECTIONS)),
        }
        for name, (value, known) in allowed.items():
            if value not in known:
                raise ValueError(f"LCSSLoss.{name} must be one of {known}; got {value!r}.")
        if self.radius <= 0 or num_directions < 1:
            raise ValueError(
                "LCSSLoss expects radius > 0 and num_directions >= 1; got "
                f"radius={self.radius}, num_directions={num_directions}."
            )
        if self.smoothing == "transition":
            if norm_at == "center":
                raise ValueError(
                    "LCSSLoss: transition smoothing takes the norm at x', which is distributed as "
                    "x_t; the centre is not. Use norm_at='perturbed', or smoothing='gaussian'."
                )
            if self.radius > 1:
                raise ValueError(
                    f"LCSSLoss: transition smoothing expects radius <= 1 (the last step is a part "
                    f"of the noise in x_t); got {self.radius}."
                )
        if norm_at == "perturbed" and directions != "gaussian":
            raise ValueError(
                f"LCSSLoss: directions={directions!r} needs norm_at='center': with the norm at x', "
                "norm and trace must average over the same Gaussian. Use directions='gaussian'."
            )

    def check(self, sde):
        if self.smoothing == "transition" and not sde.has_marginal:
            name = type(sde).__name__
            raise ValueError(
                f"LCSSLoss with smoothing='transition' takes the last step of {name} as large as "
                f"{self.radius} of the noise, and its local kernel is one Euler step, which is not "
                "exact. Set LCSSLoss.smoothing = 'gaussian' (and LCSSLoss.estimator = "
                f"'control_variate'), which asks nothing of {name} but samples of x_t."
            )

    def terms(self, score_fn, sde, x0, t, seed):
        """norm = ½‖S‖² and trace, the smoothed trace's estimate, each [B]."""
        self.check(sde)
        std = self.radius * sde.noise_scale(t)
        path_seed, z_seed = rng.fold_in(seed, "path"), rng.fold_in(seed, "direction")
        if self.smoothing == "transition":
            center, sigma = sde.last_step(x0, t, std, path_seed)
        else:
            center, sigma = sde.sample_xt(x0, t, path_seed), like(std, x0)
        draw = _DIRECTIONS[self.estimator.directions]
        z = tf.stack(
            [
                draw(direction_seed, shape_of(x0))
                for direction_seed in rng.split(z_seed, self.estimator.num_directions)
            ]
        )
        return self.terms_for_noise(score_fn, center, sigma, t, z)

    def terms_for_noise(self, score_fn, center, sigma, t, z):
        """`terms` for given centre [B, ...], deviation (broadcastable) and directions [K, B, ...].

        Where sigma depends on the dimension, z/sigma does too: the identity holds
        for any diagonal Gaussian.
        """
        kind, norm_at, _, count = self.estimator
        antithetic = kind == "antithetic"
        at_center = norm_at == "center" or kind == "control_variate"
        points = [center + sigma * z[k] for k in range(count)]
        if antithetic:
            points += [center - sigma * z[k] for k in range(count)]
        if at_center:
            points.append(center)
        # Differences of nearby scores lose bits: score_fn returns float32, whatever the
        # network computes in, and everything below stays in float32.
        scores = _in_one_pass(score_fn, points, t)
        at_x = scores.pop() if at_center else None
        stacked = tf.stack(scores)
        plus = stacked[:count]
        if antithetic:
            difference = 0.5 * (plus - stacked[count:])
        elif kind == "control_variate":
            difference = plus - at_x
        else:
            difference = plus
        trace = tf.reduce_mean(_dot(difference, z / sigma), axis=0)
        if norm_at == "center":
            norm = 0.5 * sum_over_data(at_x**2)
        else:
            norm = 0.5 * tf.reduce_mean(_dot(stacked, stacked), axis=0)
        return {"norm": norm, "trace": trace}


def _dot(a, b):
    """Inner products over the data's axes: [K, B, ...] · [K, B, ...] -> [K, B]."""
    return tf.reduce_sum(a * b, axis=list(range(2, len(a.shape))))


def _in_one_pass(score_fn, points, t):
    """Scores at several points [B, ...] of the same times, by one call on their concatenation."""
    copies = len(points)
    if copies == 1:
        return [score_fn(points[0], t)]
    scores = score_fn(tf.concat(points, axis=0), tf.tile(t, [copies]))
    return tf.split(scores, copies, axis=0)
