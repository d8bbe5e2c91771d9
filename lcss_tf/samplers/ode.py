"""The probability-flow ODE: by Heun's fixed steps, or by Dormand and Prince's adaptive ones."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.ops import like, sum_over_data
from lcss_tf.registry import SAMPLERS
from lcss_tf.samplers.base import Reverse, Sampler, Samples, Step
from lcss_tf.samplers.schedules import PowerSchedule
from lcss_tf.sdes import SDE
from lcss_tf.typing import Array, Numbers, ScoreFn, Seed, Tensor


def probability_flow(score_fn: ScoreFn, sde: SDE) -> Callable[[Tensor, Tensor], Tensor]:
    """The field (x, t) -> f − ½ ∂(g²) − ½ g² ∇log p_t, whose flow has the SDE's marginals."""
    return lambda x, t: sde.reverse_drift(x, t, score_fn(x, t), probability_flow=True)


@SAMPLERS.register
class ProbabilityFlowODE(Sampler):
    """dx/dt = f − ½ ∂(g²) − ½ g² ∇log p_t, from T down to t_end, by Heun's second-order steps.

    For every SDE; deterministic given x_T. Two function evaluations a step. Times are quadratic
    by default, which puts short steps where the data's structure appears.

    Args:
      **options: of `Sampler`; `denoise` has no effect.
    """

    default_schedule = PowerSchedule(2.0)
    deterministic = True

    def nfe_per_step(self) -> int:
        return 2

    def step(self, reverse: Reverse, x: Tensor, t: Tensor, s: Tensor, seed: Seed) -> Step:
        flow = probability_flow(reverse.score_fn, reverse.sde)
        h = like(t - s, x)
        slope = flow(x, t)
        predicted = x - h * slope
        x = x - 0.5 * h * (slope + flow(predicted, s))
        return Step(x, x)


@SAMPLERS.register
class DormandPrince(Sampler):
    """dx/dt = f − ½ ∂(g²) − ½ g² ∇log p_t, from T down to t_end, by adaptive steps of order 5.

    For every SDE. Steps are chosen so that their errors stay within the tolerances. The number of
    function evaluations is known afterwards only: `Samples.nfe` is a tensor. A sample that does
    not arrive in `num_steps` steps, or whose score is not finite, becomes NaN.

    Args:
      rtol, atol: tolerances; see `DormandPrinceSolver`.
      control: "sample": each sample has its own steps, and is the same in every batch and on any
        number of replicas. "batch": all of a replica's samples share their steps, as in score_sde.
      num_steps: the most steps tried.
      **options: of `Sampler`; `denoise` has no effect, and `schedule` places the states of the
        trajectory.

    Raises:
      UsageError: a tolerance that is not positive, another control, or num_steps < 1.
    """

    fixed_steps = False

    def __init__(
        self, rtol: float = 1e-5, atol: float = 1e-5, control: str = "sample", **options: Any
    ) -> None:
        super().__init__(**options)
        self.solver = DormandPrinceSolver(rtol, atol, control, self.num_steps)

    def nfe_per_step(self) -> int:
        return 6

    def nfe(self) -> None:
        """None: known only afterwards."""

    def run(self, reverse: Reverse, x_T: Tensor, seed: Seed, trajectory_steps: int = 0) -> Samples:
        """`Samples`; see `Sampler.run`. The seed has no effect."""
        del seed
        sde, flow = reverse.sde, probability_flow(reverse.score_fn, reverse.sde)
        ends = np.array([self.end(sde)])
        if trajectory_steps:
            ends = self.trajectory_times(sde, trajectory_steps)[1:]
        solution = self.solver.solve(lambda t, y: [flow(y[0], t)], [x_T], sde.T, ends)
        x = tf.where(like(solution.finished, x_T), solution.state[0], np.nan)
        trajectory = None
        if trajectory_steps:
            trajectory = tf.concat([x_T[None], solution.trajectory[0][:-1], x[None]], axis=0)
        return Samples(x, solution.nfe, trajectory, solution.failure)

    def trajectory_times(self, sde: SDE, trajectory_steps: int) -> Array:
        """Those of the schedule, at which steps end."""
        return self.schedule.times(sde, self.end(sde), trajectory_steps)

    def explain(self, failure: Array) -> str:
        """What a `Samples.failure` means, and what to do: a sentence."""
        return self.solver.explain(failure)


_CONTROLS = ("sample", "batch")
_SAFETY, _LEAST, _MOST = 0.9, 0.2, 10.0
_SLOPES = 7  # of a step: the last is the next one's first

# Row p holds the weights of the slopes so far, node p the part of the step, at which evaluation p
# takes place. Evaluations 0 and 1 find the first step; 2 to 7 belong to every step, and 7 lies at
# its result of order 5.
WEIGHTS = np.array(
    [
        [0, 0, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [1 / 5, 0, 0, 0, 0, 0, 0],
        [3 / 40, 9 / 40, 0, 0, 0, 0, 0],
        [44 / 45, -56 / 15, 32 / 9, 0, 0, 0, 0],
        [19372 / 6561, -25360 / 2187, 64448 / 6561, -212 / 729, 0, 0, 0],
        [9017 / 3168, -355 / 33, 46732 / 5247, 49 / 176, -5103 / 18656, 0, 0],
        [35 / 384, 0, 500 / 1113, 125 / 192, -2187 / 6784, 11 / 84, 0],
    ]
)
NODES = np.array([0, 1, 1 / 5, 3 / 10, 4 / 5, 8 / 9, 1, 1])
# The result of order 5 less that of order 4.
ERROR = np.array(
    [71 / 57600, 0, -71 / 16695, 71 / 1920, -17253 / 339200, 22 / 525, -1 / 40]
)  # fmt: skip
_PLACES = np.array([0, 1, 1, 2, 3, 4, 5, 6], np.int32)  # where the slope of evaluation p goes
_FIRST, _SECOND, _REPEATED, _LAST = 0, 1, 2, 7


class Solution(NamedTuple):
    """What `DormandPrinceSolver.solve` returns.

    state: the tensors [B, ...] at the last of the ends.
    trajectory: those at each of the ends, [ends, B, ...].
    nfe: int32 scalar, number of evaluations of the slope on the batch.
    steps: int32 [B], accepted steps of each example.
    finished: bool [B], whether an example reached its end; if not, its state is that of the last
      accepted step.
    failure: as in `Samples`.
    """

    state: list[Tensor]
    trajectory: list[Tensor]
    nfe: Tensor
    steps: Tensor
    finished: Tensor
    failure: Tensor


class _Loop(NamedTuple):
    """The loop's variables; t, h, tried, stuck, goal and steps are [B].

    p: the next evaluation. tries: steps tried. h: the next step, unsigned. tried: this step was
    rejected with a longer h before. stuck: h became too short. goal: index of the next end.
    """

    p: Tensor
    tries: Tensor
    t: Tensor
    h: Tensor
    tried: Tensor
    stuck: Tensor
    goal: Tensor
    steps: Tensor
    state: tuple
    slopes: tuple
    trajectory: tuple
    failure: Tensor


class DormandPrinceSolver:
    """Solves dy/dt = slope(t, y) by Dormand and Prince's pair of orders 5 and 4, adaptive steps.

    y is a list of tensors [B, ...]; time runs forwards or backwards. A step is accepted if its
    error, over atol + rtol·max(|y|, |y_new|), has a root mean square below 1. The error estimate,
    the step control and the first step are those of scipy's RK45 (Hairer, Nørsett and Wanner,
    *Solving ODEs I*, II.4 and II.5): on the same numbers it takes the same steps.

    An iteration of the loop is one evaluation of the slope, whichever of a step's six, so that a
    network is compiled once and not eight times.

    Args:
      rtol, atol: tolerances.
      control: "sample": every example has its own time and step, and its result does not depend
        on the others in its batch; the loop runs until the last has finished. "batch": one step
        for all, from the mean over everything, as in scipy and score_sde.
      max_steps: most steps tried, accepted or not.

    Raises:
      UsageError: a tolerance that is not positive, another control, or max_steps < 1.
    """

    def __init__(
        self,
        rtol: float = 1e-5,
        atol: float = 1e-5,
        control: str = "sample",
        max_steps: int = 1_000,
    ) -> None:
        if not (rtol > 0 and atol > 0):
            raise UsageError(
                f"An adaptive solver expects tolerances above 0; got rtol = {rtol} and atol = "
                f"{atol}. 1e-5 is usual; below 1e-6 float32 does not resolve the error."
            )
        if control not in _CONTROLS:
            raise UsageError(f"control must be one of {_CONTROLS}; got {control!r}.")
        if max_steps < 1:
            raise UsageError(f"An adaptive solver expects max_steps >= 1; got {max_steps}.")
        self.rtol, self.atol = rtol, atol
        self.control = control
        self.max_steps = max_steps

    def solve(
        self,
        slope: Callable[[Tensor, list[Tensor]], list[Tensor]],
        state: list[Tensor],
        start: float,
        ends: Numbers,
    ) -> Solution:
        """A `Solution` from `start` to the last of `ends`.

        Args:
          slope: slope(t, y) -> a list like y; t [B], in the state's dtype.
          state: y at `start`, a list of tensors [B, ...] of one float dtype.
          start: the first time.
          ends: times, each beyond the one before, at which the state is kept. Steps end there.

        Raises:
          UsageError: ends that do not go one way.
        """
        ends = np.asarray(ends, np.float64)
        direction = np.sign(ends[-1] - start)
        if not np.all(direction * np.diff([start, *ends]) > 0):
            raise UsageError(f"ends must go one way from start = {start}; got {ends.tolist()}.")
        dtype, batch = state[0].dtype, tf.shape(state[0])[:1]
        path = tf.constant(ends, dtype), tf.constant(direction, dtype)
        no = tf.zeros(batch, tf.bool)
        count = tf.zeros(batch, tf.int32)
        loop = _Loop(
            p=tf.constant(_FIRST),
            tries=tf.constant(0),
            t=tf.fill(batch, tf.constant(start, dtype)),
            h=tf.zeros(batch, dtype),
            tried=no,
            stuck=no,
            goal=count,
            steps=count,
            state=tuple(state),
            slopes=tuple(_copies(tf.zeros_like(y), _SLOPES) for y in state),
            trajectory=tuple(_copies(y, len(ends) - 1) for y in state),
            failure=tf.constant([-1.0, 0.0]),
        )
        going = lambda loop: (loop.goal < len(ends)) & ~loop.stuck
        loop = tf.while_loop(
            lambda *loop: tf.reduce_any(going(_Loop(*loop))) & (loop[1] < self.max_steps),
            lambda *loop: tuple(self._evaluate(slope, path, going, _Loop(*loop))),
            tuple(loop),
        )
        loop = _Loop(*loop)
        finished = loop.goal == len(ends)
        return Solution(
            state=list(loop.state),
            trajectory=[
                tf.concat([kept, y[None]], 0)
                for kept, y in zip(loop.trajectory, loop.state, strict=True)
            ],
            nfe=2 + (_SLOPES - 1) * loop.tries,
            steps=loop.steps,
            finished=finished,
            failure=_first_failure(loop.failure, ~finished, loop.tries, loop.t),
        )

    def explain(self, failure: Array) -> str:
        """What a `failure` of (step, t) means, and what to do: a sentence."""
        step, t = int(failure[0]), float(failure[1])
        if step >= self.max_steps:
            return (
                f"the ODE was not solved in {self.max_steps} steps, and reached t = {t:.4g}. "
                "Allow more steps, or larger tolerances "
                f"(rtol = {self.rtol:g}, atol = {self.atol:g})."
            )
        return (
            f"the ODE cannot be solved beyond t = {t:.4g} (step {step + 1}): there the slope is "
            "not finite, or changes faster than any step. Look at the score there, or take "
            "larger tolerances, or an earlier checkpoint."
        )

    def _evaluate(self, slope, path, going, loop):
        """The loop after one more evaluation."""
        ends, direction = path
        weights, nodes, error = (
            tf.constant(table, loop.t.dtype) for table in (WEIGHTS, NODES, ERROR)
        )
        end = tf.gather(ends, tf.minimum(loop.goal, ends.shape[0] - 1))
        left = tf.abs(end - loop.t)
        shortest = 10.0 * np.finfo(loop.t.dtype.as_numpy_dtype).eps * tf.abs(loop.t)
        h = tf.where(loop.tried, loop.h, tf.maximum(loop.h, shortest))
        arrives = h >= left
        then = tf.where(arrives, end, loop.t + direction * h)
        step = then - loop.t
        point = tuple(
            y + like(step, y) * _combined(weights[loop.p], k)
            for y, k in zip(loop.state, loop.slopes, strict=True)
        )
        time = tf.where(nodes[loop.p] == 1, then, loop.t + nodes[loop.p] * step)
        place = tf.gather(_PLACES, loop.p)
        slopes = tuple(
            tf.tensor_scatter_nd_update(k, [[place]], [new])
            for k, new in zip(loop.slopes, slope(time, list(point)), strict=True)
        )
        h = tf.where(loop.p == _FIRST, self._guess(loop.state, slopes, left), h)
        h = tf.where(loop.p == _SECOND, self._better(loop.state, slopes, h, left), h)
        # What follows has an effect after a step's last evaluation only.
        last = loop.p == _LAST
        errors = [like(step, k[0]) * _combined(error, k) for k in slopes]
        size = self._norm(errors, loop.state, point)
        size = tf.where(tf.math.is_finite(size), size, tf.cast(1e10, size.dtype))
        tried = last & going(loop)
        taken = tried & (size < 1)
        factor = tf.clip_by_value(_SAFETY * size**-0.2, _LEAST, _MOST)
        factor = tf.where(taken & ~loop.tried, factor, tf.minimum(factor, 1.0))
        # A step cut short by an end says little about the next.
        next_h = tf.where(arrives & taken, tf.maximum(h, factor * left), factor * tf.abs(step))
        stuck = loop.stuck | (tried & ~taken & (next_h < shortest))
        arrived = taken & arrives
        state = tuple(
            tf.where(like(taken, y), p, y) for y, p in zip(loop.state, point, strict=True)
        )
        return loop._replace(
            p=tf.where(last, _REPEATED, loop.p + 1),
            tries=loop.tries + tf.cast(last, tf.int32),
            t=tf.where(taken, then, loop.t),
            h=tf.where(tried, next_h, h),
            tried=tf.where(tried, ~taken, loop.tried),
            stuck=stuck,
            goal=loop.goal + tf.cast(arrived, tf.int32),
            steps=loop.steps + tf.cast(taken, tf.int32),
            state=state,
            slopes=tuple(_restarted(k, taken, last) for k in slopes),
            trajectory=tuple(
                _kept(kept, y, loop.goal, arrived)
                for kept, y in zip(loop.trajectory, state, strict=True)
            ),
            failure=_first_failure(loop.failure, stuck, loop.tries, loop.t),
        )

    def _guess(self, state, slopes, left):
        """The first guess at the first step, [B]: Euler's step that changes y by a hundredth."""
        sizes = self._norm(state, state, state)
        changes = self._norm([k[0] for k in slopes], state, state)
        small = ~((sizes >= 1e-5) & (changes >= 1e-5))  # NaN too
        return tf.minimum(tf.where(small, tf.cast(1e-6, left.dtype), 0.01 * sizes / changes), left)

    def _better(self, state, slopes, guess, left):
        """The first step, [B]: the second derivative makes an error of a hundredth."""
        changes = self._norm([k[0] for k in slopes], state, state)
        bends = self._norm([k[1] - k[0] for k in slopes], state, state) / guess
        largest = tf.maximum(changes, bends)
        step = tf.where(largest <= 1e-15, tf.maximum(guess * 1e-3, 1e-6), (0.01 / largest) ** 0.2)
        step = tf.where(tf.math.is_finite(step), step, guess)
        return tf.minimum(tf.minimum(100 * guess, step), left)

    def _norm(self, values, before, after):
        """The root mean square of values over their tolerances, [B]."""
        total, size = 0.0, 0
        for value, y, z in zip(values, before, after, strict=True):
            tolerated = self.atol + self.rtol * tf.maximum(tf.abs(y), tf.abs(z))
            total += sum_over_data((value / tolerated) ** 2)
            size += np.prod(value.shape[1:])
        if self.control == "batch":
            total = tf.fill(tf.shape(total), tf.reduce_mean(total))
        return tf.sqrt(total / size)


def _copies(x, count):
    return tf.tile(x[None], [count] + [1] * len(x.shape))


def _combined(weights, slopes):
    """Σ_j weights_j slopes_j; not a matrix product, which accelerators round."""
    return tf.reduce_sum(tf.reshape(weights, [-1] + [1] * (len(slopes.shape) - 1)) * slopes, axis=0)


def _restarted(slopes, taken, last):
    """After an accepted step its last slope is the next one's first; the others are set to 0.

    They have no weight in the next step's first evaluations, but 0 · NaN is NaN.
    """
    first = tf.where(like(taken, slopes[0]), slopes[-1], slopes[0])
    fresh = tf.concat([first[None], tf.zeros_like(slopes[1:])], axis=0)
    return tf.where(last, fresh, slopes)


def _kept(kept, state, goal, arrived):
    """The states kept so far, with those that have just arrived at an end other than the last."""
    places = tf.range(kept.shape[0])[:, None]
    new = arrived[None] & (goal[None] == places)
    return tf.where(new[(..., *[None] * (len(state.shape) - 1))], state[None], kept)


def _first_failure(failure, failed, step, t):
    """`failure`, or (step, t) of the first example that failed, if none did before."""
    where = tf.gather(t, tf.argmax(tf.cast(failed, tf.int32)))
    here = tf.stack([tf.cast(step, tf.float32), tf.cast(where, tf.float32)])
    return tf.where(tf.reduce_any(failed) & (failure[0] < 0), here, failure)


__all__ = [
    "DormandPrince",
    "DormandPrinceSolver",
    "ProbabilityFlowODE",
    "Solution",
    "probability_flow",
]
