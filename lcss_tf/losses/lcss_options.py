"""The options of LCSS: their defaults, and which of them go together."""

from typing import NamedTuple

from lcss_tf.errors import UsageError
from lcss_tf.losses.directions import DIRECTIONS

_RADIUS = {"path": None, "transition": 0.9, "gaussian": 0.1}
_ESTIMATORS = ("plain", "control_variate", "antithetic")


class Plan(NamedTuple):
    """How the smoothed trace and the norm are estimated; see `LCSSLoss`. None: the default."""

    smoothing: str | None
    estimator: str | None
    norm_at: str | None
    radius: float | None
    directions: str
    num_directions: int
    cap: float | None


def completed(plan):
    """A checked plan, with the defaults that follow from its smoothing filled in.

    Raises:
      ValueError: an unknown option, or a combination that estimates something else.
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


def _check_names(plan):
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


def _check_numbers(plan):
    too_small = [x for x in (plan.radius, plan.cap) if x is not None and x <= 0]
    if too_small or plan.num_directions < 1:
        raise UsageError(
            "LCSSLoss expects radius > 0, cap > 0 and num_directions >= 1; got "
            f"radius={plan.radius}, cap={plan.cap}, num_directions={plan.num_directions}."
        )


def _check_path(plan):
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


def _check_transition(plan):
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


def _check_gaussian(plan):
    if plan.cap is not None:
        raise UsageError(
            f"LCSSLoss: cap={plan.cap} bounds the last step of smoothing='transition'; gaussian "
            "smoothing has its radius alone."
        )
    if plan.norm_at == "perturbed":
        _check_perturbed(plan)


def _check_perturbed(plan):
    if plan.directions != "gaussian":
        raise UsageError(
            f"LCSSLoss: directions={plan.directions!r} needs norm_at='center': with the norm at "
            "x', norm and trace must average over the same Gaussian. Use directions='gaussian'."
        )
