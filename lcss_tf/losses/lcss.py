"""LCSS: score matching without the Jacobian's trace (Osada et al., NeurIPS 2024).

Implicit score matching minimises ½‖S‖² + tr ∇S. Stein's identity gives the trace,
averaged over a Gaussian of standard deviation σ about x, from values of S alone:

    E_{x' ~ N(x, σ²I)}[tr ∇S(x')] = E_{x'}[S(x')·(x' − x)]/σ²

so that neither a derivative nor the transition density is needed, and the SDE is free.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from lcss_tf import random, xla
from lcss_tf.errors import UsageError
from lcss_tf.losses.base import Loss
from lcss_tf.ops import like, shape_of, sum_over_data
from lcss_tf.registry import LOSSES
from lcss_tf.sdes.path import GaussianKernel
from lcss_tf.typing import ScoreFn, Seed, Tensor

DIRECTIONS = {"gaussian": random.normal, "sphere": random.sphere, "rademacher": random.rademacher}
"""Random directions z with E zzᵀ = I, by name."""

_RADIUS = {"path": None, "transition": 0.9, "gaussian": 0.1}
_ESTIMATORS = ("plain", "control_variate", "antithetic")


class Plan(NamedTuple):
    """How the smoothed trace and the norm are estimated: the arguments of `LCSSLoss`.

    None stands for a default until `LCSSLoss.plan` has chosen.
    """

    smoothing: Any
    estimator: Any
    norm_at: Any
    radius: Any
    directions: str
    num_directions: int
    cap: Any


@LOSSES.register
class LCSSLoss(Loss):
    """J = ½‖S‖² + the trace of ∇S, averaged over a part of the noise by Stein's identity.

    smoothing: which noise.
      "gaussian": added to x ~ p_t: x' = x + σz, σ = radius · noise_scale(t). With
        estimator="plain" and norm_at="center" this is LCSS as the identity gives it:
        ½‖S(x)‖² + S(x')·z/σ. Its minimiser is ∇p_σ/p, p_σ = p_t ∗ N(0, σ²I), so σ must stay
        well below the noise in x_t. It asks nothing of the SDE but samples.
      "transition": the last step of the SDE's own path (local denoising, Singhal et al. 2024):
        x' = mean + σz ~ p_t, the norm taken at x'. The minimiser is the score itself at every
        radius, up to the error of one step, which `cap` bounds; one evaluation is enough for
        "plain".
      "path": all noise on the way from x_0 to x_t; see `lcss_tf.sdes.path`, also for what is known
        and by whom. The minimiser is the exact score of the simulated x_t, by one evaluation, and
        no radius is to be chosen. On an affine SDE this is denoising score matching, as is
        "transition" at radius 1.
      None: the SDE's own choice, `sde.smoothing`: "path", unless its author says otherwise.

    estimator, for gaussian and transition smoothing:
      "plain":           S(x')·z/σ
      "control_variate": (S(x') − S(x))·z/σ, x the centre; same expectation, less variance
      "antithetic":      (S(x + σz) − S(x − σz))·z/(2σ)
    Where S is evaluated at several points, they go through the network in one pass.

    Args:
      smoothing: None, "path", "transition" or "gaussian".
      estimator: "plain", "control_variate" or "antithetic"; by default "control_variate" for
        gaussian smoothing chosen by the SDE, else "plain".
      norm_at: "center", where x is, or "perturbed", at x'; by default the centre for
        gaussian smoothing; always "perturbed" otherwise. Gaussian smoothing with the
        norm at x' estimates ∇log of p_t convolved with N(0, σ²I).
      radius: σ in units of noise_scale(t); by default 0.1 gaussian, 0.9 transition.
      directions: z "gaussian", on the "sphere" of radius √d (exact for the average over a
        ball), or "rademacher" (exact as σ → 0).
      num_directions: z drawn per example.
      cap: for transition smoothing: largest σ², in units of the prior's variance; by default
        `sde.kernel_cap`.
      **options: of `Loss`.

    Raises:
      UsageError: an unknown option, or a combination that estimates something else.
    """

    def __init__(
        self,
        smoothing: str | None = None,
        estimator: str | None = None,
        norm_at: str | None = None,
        radius: float | None = None,
        directions: str = "gaussian",
        num_directions: int = 1,
        cap: float | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        asked = Plan(smoothing, estimator, norm_at, radius, directions, num_directions, cap)
        self._asked = completed(asked)

    def plan(self, sde: Any = None) -> Plan:
        """The options with defaults filled in; where smoothing is None, by the SDE's choice."""
        asked = self._asked
        if asked.smoothing is not None:
            return asked
        if sde.smoothing == "gaussian" and asked.estimator is None:
            asked = asked._replace(estimator="control_variate")
        return completed(asked._replace(smoothing=sde.smoothing))

    def describe(self, sde: Any) -> str:
        """Which smoothing the loss uses on the SDE, and why: a sentence; and its times."""
        return self._about_smoothing(sde) + self.about_times()

    def _about_smoothing(self, sde: Any) -> str:
        plan, name = self.plan(sde), type(sde).__name__
        why = "as asked for" if self._asked.smoothing else f"the choice of {name}"
        if plan.smoothing != "path":
            return (
                f"LCSSLoss: {plan.smoothing} smoothing ({plan.estimator}, radius {plan.radius:g}), "
                f"{why}."
            )
        how = (
            "in closed form, as denoising score matching"
            if sde.has_marginal
            else f"by {sde.simulation_steps} simulated steps"
        )
        return f"LCSSLoss: path smoothing {how}, one network evaluation a step; {why}."

    def noise_mse_offset(self, sde: Any) -> float | None:
        """1 where x_t has a closed form and the path gives the weights: the loss is ε-MSE − 1."""
        by_path = self.plan(sde).smoothing == "path"
        return 1.0 if by_path and self._is_noise_mse(sde) else None

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE contradicts itself, or lacks the weights it would need."""
        super().check(sde)
        sde.check()
        if self.plan(sde).smoothing == "path":
            sde.check_weights()

    def terms(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> dict[str, Tensor]:
        """norm = ½‖S‖² and trace, the smoothed trace's estimate, each [B]."""
        plan = self.plan(sde)
        path_seed, z_seed = random.fold_in(seed, "path"), random.fold_in(seed, "direction")
        if plan.smoothing == "path":
            x, weight = xla.call(sde.sample_with_weight, x0, t, path_seed)
            return terms_by_weight(score_fn(x, t), weight)
        draw = DIRECTIONS[plan.directions]
        z = [draw(z_k, shape_of(x0)) for z_k in random.split(z_seed, plan.num_directions)]
        kernel = _KERNELS[plan.smoothing](plan, sde, x0, t, path_seed)
        return self.terms_for_noise(score_fn, kernel, t, tf.stack(z), plan)

    def terms_and_sizes(
        self, score_fn: ScoreFn, sde: Any, x0: Tensor, t: Tensor, seed: Seed
    ) -> tuple[dict[str, Tensor], Tensor]:
        """By paths the size is ½‖S + w‖², w the Stein weight: J with the constant of its square."""
        own = type(self).terms is LCSSLoss.terms  # not those of a user's subclass
        if not own or self.plan(sde).smoothing != "path":
            return super().terms_and_sizes(score_fn, sde, x0, t, seed)
        x, weight = xla.call(sde.sample_with_weight, x0, t, random.fold_in(seed, "path"))
        score = score_fn(x, t)
        return terms_by_weight(score, weight), 0.5 * sum_over_data((score + weight) ** 2)

    def terms_for_noise(
        self, score_fn: ScoreFn, kernel: Any, t: Tensor, z: Tensor, plan: Plan | None = None
    ) -> dict[str, Tensor]:
        """`terms` for a given kernel (see `lcss_tf.sdes.path`) and directions z [K, B, ...]."""
        plan = plan or self.plan()
        at_center = plan.norm_at == "center" or plan.estimator == "control_variate"
        directions = tf.unstack(z)
        if plan.estimator == "antithetic":
            directions += [-z_k for z_k in directions]
        steps = [kernel.at(z_k) for z_k in directions]
        points = [x for x, _ in steps]
        weights = tf.stack([w for _, w in steps])
        if at_center:
            points.append(kernel.at(tf.zeros_like(z[0]))[0])
        # Differences of nearby scores lose bits: score_fn returns float32, whatever the
        # network computes in, and everything below stays in float32.
        scores = in_one_pass(score_fn, points, t)
        at_x: Any = scores.pop() if at_center else None
        stacked = tf.stack(scores)
        # The weight's mean is 0, so a constant may be subtracted from the score.
        difference = stacked - at_x if plan.estimator == "control_variate" else stacked
        trace = tf.reduce_mean(_dot(difference, weights), axis=0)
        if plan.norm_at == "center":
            norm = 0.5 * sum_over_data(at_x**2)
        else:
            norm = 0.5 * tf.reduce_mean(_dot(stacked, stacked), axis=0)
        return {"norm": norm, "trace": trace}


# Options ------------------------------------------------------------------------------------


def completed(plan: Plan) -> Plan:
    """A checked plan, with the defaults that follow from its smoothing filled in.

    Raises:
      UsageError: an unknown option, or a combination that estimates something else.
    """
    _check_names(plan)
    _check_numbers(plan)
    if plan.smoothing is None:
        return plan
    gaussian = plan.smoothing == "gaussian"
    plan = plan._replace(
        estimator=plan.estimator or "plain",
        norm_at=plan.norm_at or ("center" if gaussian else "perturbed"),
        radius=_RADIUS[plan.smoothing] if plan.radius is None else plan.radius,
    )
    {"path": _check_path, "transition": _check_transition, "gaussian": _check_gaussian}[
        plan.smoothing
    ](plan)
    return plan


def _check_names(plan: Plan) -> None:
    allowed = {
        "smoothing": (None, *_RADIUS),
        "estimator": (None, *_ESTIMATORS),
        "norm_at": (None, "center", "perturbed"),
        "directions": tuple(DIRECTIONS),
    }
    for name, known in allowed.items():
        value = getattr(plan, name)
        if value not in known:
            raise UsageError(f"LCSSLoss.{name} must be one of {known}; got {value!r}.")


def _check_numbers(plan: Plan) -> None:
    too_small = [x for x in (plan.radius, plan.cap) if x is not None and x <= 0]
    if too_small or plan.num_directions < 1:
        raise UsageError(
            "LCSSLoss expects radius > 0, cap > 0 and num_directions >= 1; got "
            f"radius={plan.radius}, cap={plan.cap}, num_directions={plan.num_directions}."
        )


def _check_path(plan: Plan) -> None:
    given = {
        "estimator": plan.estimator != "plain",
        "norm_at": plan.norm_at != "perturbed",
        "radius": plan.radius is not None,
        "directions": plan.directions != "gaussian",
        "num_directions": plan.num_directions != 1,
        "cap": plan.cap is not None,
    }
    wrong = [name for name, is_wrong in given.items() if is_wrong]
    if wrong:
        raise UsageError(
            f"LCSSLoss: path smoothing takes all the noise of x_t's own path, at one evaluation, "
            f"so it has no {', '.join(wrong)}. Leave them out, or set smoothing to 'transition' "
            "or 'gaussian'."
        )


def _check_transition(plan: Plan) -> None:
    if plan.norm_at == "center":
        raise UsageError(
            "LCSSLoss: transition smoothing takes the norm at x', which is distributed as "
            "x_t; the centre is not. Use norm_at='perturbed', or smoothing='gaussian'."
        )
    if plan.radius > 1:
        raise UsageError(
            "LCSSLoss: transition smoothing expects radius <= 1 (the last step is a part of "
            f"the noise in x_t); got {plan.radius}."
        )
    _check_perturbed(plan)


def _check_gaussian(plan: Plan) -> None:
    if plan.cap is not None:
        raise UsageError(
            f"LCSSLoss: cap={plan.cap} bounds the last step of smoothing='transition'; gaussian "
            "smoothing has its radius alone."
        )
    if plan.norm_at == "perturbed":
        _check_perturbed(plan)


def _check_perturbed(plan: Plan) -> None:
    if plan.directions != "gaussian":
        raise UsageError(
            f"LCSSLoss: directions={plan.directions!r} needs norm_at='center': with the norm at "
            "x', norm and trace must average over the same Gaussian. Use directions='gaussian'."
        )


def check_directions(owner: str, directions: str, num_directions: int) -> None:
    """Raises UsageError for an unknown name, or fewer than one direction."""
    if directions not in DIRECTIONS:
        raise UsageError(
            f"{owner}.directions must be one of {tuple(DIRECTIONS)}; got {directions!r}."
        )
    if num_directions < 1:
        raise UsageError(f"{owner} expects num_directions >= 1; got {num_directions}.")


# Points and weights -------------------------------------------------------------------------


def in_one_pass(score_fn: ScoreFn, points: list[Tensor], t: Tensor) -> list[Tensor]:
    """Scores at several points [B, ...] of the same times t [B], by one call on all of them.

    Returns a list of scores, each of the shape of its point.
    """
    copies = len(points)
    if copies == 1:
        return [score_fn(points[0], t)]
    scores = score_fn(tf.concat(points, axis=0), tf.tile(t, [copies]))
    return tf.split(scores, copies, axis=0)


def terms_by_weight(score: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """norm = ½‖S‖² and trace = S·w for the Stein weight w of the point, each [B]."""
    return {"norm": 0.5 * sum_over_data(score**2), "trace": sum_over_data(score * weight)}


def _last_step(plan: Plan, sde: Any, x0: Tensor, t: Tensor, seed: Seed) -> Any:
    """The SDE's own last step, no larger than its kernel is trusted."""
    std = plan.radius * sde.noise_scale(t)
    cap = sde.kernel_cap if plan.cap is None else plan.cap
    if not sde.has_marginal:  # an exact kernel needs no cap
        std = tf.minimum(std, cap**0.5 * sde.prior_std())
    return sde.last_step(x0, t, std, seed)


def _added_noise(plan: Plan, sde: Any, x0: Tensor, t: Tensor, seed: Seed) -> GaussianKernel:
    """x' = x + σz about x ~ p_t."""
    x = xla.call(sde.sample_xt, x0, t, seed)
    return GaussianKernel(x, like(plan.radius * sde.noise_scale(t), x))


_KERNELS = {"transition": _last_step, "gaussian": _added_noise}


def _dot(a: Tensor, b: Tensor) -> Tensor:
    """Inner products over the data's axes: [K, B, ...] · [K, B, ...] -> [K, B]."""
    return tf.reduce_sum(a * b, axis=list(range(2, len(a.shape))))


__all__ = ["DIRECTIONS", "LCSSLoss", "Plan", "check_directions", "completed", "in_one_pass"]
