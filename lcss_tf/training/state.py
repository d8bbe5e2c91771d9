"""All that training changes and a checkpoint holds, in one place."""

import contextlib
import math
import random as python_random
import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from lcss_tf.averages import Average, Exponential
from lcss_tf.conditioning import ConditionSpec, augmentation_size_of, spec_of
from lcss_tf.errors import UsageError
from lcss_tf.score import Score
from lcss_tf.training.distribution import Distribution
from lcss_tf.training.loss_scale import LossScale
from lcss_tf.training.optimizers import use_kernel
from lcss_tf.typing import Network


class TrainState:
    """Network, averages, optimiser, times' state, measured moments, and the number of steps done.

    The average lives in a second instance of the network, so that sampling needs no swapping of
    weights, and a crash while sampling harms nothing.

    Args:
      score: the `Score`: the SDE and the preconditioning that make a score of the network.
      network: called as network(x, cond). It is trained in place. If it has no weights yet, they
        are created under the distribution's scope, and drawn from `seed`.
      shape: of one example; the network sees the state of the SDE, `state_shape`.
      distribution: the `Distribution`.
      ema_decay: d of the average, an `Exponential`, where `averaging` is None.
      seed: of the initial weights.
      averaging: the `Average`. Samples are drawn by its first; of the others only the weights are
        held, in `more_averages`.

    Raises:
      UsageError: the network cannot be made again from its configuration, or was built outside the
        scope that several replicas need.
    """

    def __init__(
        self,
        score: Score,
        network: Network,
        shape: Sequence[int],
        distribution: Distribution,
        ema_decay: float = 0.999,
        seed: int = 0,
        averaging: Average | None = None,
    ) -> None:
        self.score = score
        self.network = network
        self.shape = tuple(shape)
        self.distribution = distribution
        self.optimizer: Any = None
        self.loss_scale: LossScale | None = None
        self.averaging = averaging or Exponential(ema_decay)
        self.times: dict[str, keras.Variable] = {}  # the state of the loss's time distribution
        self._in_scope = True
        self.description: dict = {}
        self.step = 0
        self.sde.expect(self.state_shape)
        self.nonfinite_steps = 0
        with distribution.scope(), _seeded(seed):
            self.average = _twin(network, self.state_shape)
            if getattr(network, "built", False):
                _check_scope(network, distribution)
                _assign(self.average, network)
            else:
                build(network, self.state_shape)
                _assign(network, self.average)
            self.more_averages = {
                group: [keras.Variable(w, trainable=False, dtype=w.dtype) for w in network.weights]
                for group in self.averaging.groups[1:]
            }
        averages = [self.average.weights, *self.more_averages.values()]
        self.ema = EMA(self.network.weights, averages, self.averaging)

    @property
    def sde(self) -> Any:
        """The forward SDE."""
        return self.score.sde

    @property
    def state_shape(self) -> tuple[int, ...]:
        """Of one state, which the network sees: the example's, or with a velocity."""
        return self.sde.state_shape(self.shape)

    @property
    def condition(self) -> ConditionSpec | None:
        """What condition the network takes; None where it takes none."""
        return spec_of(self.network)

    @property
    def augmentation_size(self) -> int | None:
        """How many numbers tell the network how an example was augmented; None: it is not told."""
        return augmentation_size_of(self.network)

    def attach(self, optimizer: keras.optimizers.Optimizer, loss: Any = None) -> None:
        """Trains with such an optimiser, and such a loss, from now on.

        Keras ties an optimiser to the strategy under which it was made. So it is made again from
        its configuration under the distribution's scope, and the attribute `optimizer` is it. For
        a network that was built before, which one replica takes as it is, the scope is left out.
        """
        self._in_scope = _owned(self.network, self.distribution)
        with self.distribution.scope() if self._in_scope else contextlib.nullcontext():
            optimizer = type(optimizer).from_config(optimizer.get_config())
            # The train step sums the gradients over the replicas, since it clips the sum. Keras
            # would sum once more, and count the replicas' gradients twice.
            optimizer._all_reduce_sum_gradients = lambda grads_and_vars: grads_and_vars
            optimizer.build(self.network.trainable_variables)
            use_kernel(optimizer)
            computes_in = getattr(self.network, "compute_dtype", "float32")
            self.loss_scale = LossScale() if computes_in == "float16" else None
        self.optimizer = optimizer
        self.times = {}
        if loss is not None:
            self.attach_times(loss)

    def attach_times(self, loss: Any) -> None:
        """Makes the variables of the loss's time distribution, if they are not there."""
        times = getattr(loss, "times", None)  # a loss of a user's may have none
        first = times.initial_state() if times is not None else {}
        shapes = {name: tuple(value.shape) for name, value in first.items()}
        if shapes == {name: tuple(v.shape) for name, v in self.times.items()}:
            return
        with self.distribution.scope() if self._in_scope else contextlib.nullcontext():
            self.times = {
                name: keras.Variable(value, trainable=False, dtype="float32", name=name)
                for name, value in first.items()
            }

    def update_times(self, times: Any, sums: Any) -> None:
        """One update of the time distribution's state by the global batch's statistics."""
        before = {name: tf.identity(v.value) for name, v in self.times.items()}
        for name, value in times.update(before, sums).items():
            move = lambda variable, value: variable.assign(value)
            self.distribution.update(self.times[name].value, move, value)

    def apply(self, gradients: Sequence[Any]) -> None:
        """One step of the optimiser, by the replicas' gradients of the trainable variables."""
        optimizer, variables = self.optimizer, self.network.trainable_variables
        if self._in_scope:
            self.distribution.run(lambda g: optimizer.apply(g, variables), gradients)
        else:
            optimizer.apply(gradients, variables)

    def num_parameters(self) -> int:
        """Trainable numbers in the network."""
        return sum(int(np.prod(v.shape)) for v in self.network.trainable_variables)

    def num_bytes(self) -> int:
        """Bytes of all variables: what a checkpoint takes."""
        variables = self.variables_by_name().values()
        return sum(math.prod(v.shape) * tf.as_dtype(v.dtype).size for v in variables)

    def begin_averages(self) -> None:
        """All averages begin as the first: where the weights were trained elsewhere."""
        for average in self.more_averages.values():
            for shadow, weight in zip(average, self.average.weights, strict=True):
                shadow.assign(weight)

    def weights(self) -> list[Any]:
        """The variables of the network and of all averages."""
        more = [w for average in self.more_averages.values() for w in average]
        return [*self.network.weights, *self.average.weights, *more]

    def variables(self) -> dict[str, dict[str, Any]]:
        """{"network" | "ema" | "optimizer" | "times" | …: {path: variable}}, as checkpoints say.

        Paths are those of Keras without the numbers that depend on what else the process has made.
        """
        weights = dict(zip(stable_paths(self.network.weights), self.network.weights, strict=True))
        shadows = dict(zip(weights, self.average.weights, strict=True))
        groups = {"network": weights, "ema": shadows}
        for group, average in self.more_averages.items():
            groups[group] = dict(zip(weights, average, strict=True))
        if self.optimizer is not None:
            paths = {id(v): path for path, v in weights.items()}
            trained = [paths[id(v)] for v in self.network.trainable_variables]
            groups["optimizer"] = optimizer_variables(self.optimizer, trained)
            if self.loss_scale is not None:
                groups["optimizer"] |= self.loss_scale.variables()
        if self.times:
            groups["times"] = dict(self.times)
        return groups

    @property
    def model_groups(self) -> set[str]:
        """The groups of `variables` that a model is made of; the others are of its training."""
        return self.variables().keys() - {"optimizer", "times"}

    def variables_by_name(self) -> dict[str, Any]:
        """{"<group>/<path>": variable} of `variables`: the names of a checkpoint's arrays."""
        return {
            f"{group}/{path}": variable
            for group, variables in self.variables().items()
            for path, variable in variables.items()
        }

    def share(self, distribution: Distribution) -> None:
        """Every worker takes over what the chief has: variables, moments and counts.

        All workers must call it; alone, a process keeps what it has.
        """
        if distribution.num_workers == 1:
            return
        variables = list(self.variables_by_name().values())
        owners = [self.score.preconditioning, self.sde]
        keys = [(owner, k) for owner in owners for k in sorted(owner.measured or {})]
        counts = np.array([self.step, self.nonfinite_steps], np.int64)
        values = [v.numpy() for v in variables] + [o.measured[k] for o, k in keys] + [counts]
        values = distribution.from_chief(values)
        for variable, value in zip(variables, values, strict=False):
            variable.assign(value)
        for owner, _ in keys:
            owner.measured = dict(owner.measured)
        for (owner, key), value in zip(keys, values[len(variables) : -1], strict=True):
            owner.measured[key] = value
        self.step, self.nonfinite_steps = values[-1].tolist()


class EMA:
    """Moves the averages of the weights after each update; see `lcss_tf.averages`.

    Args:
      weights: of the trained network.
      averages: the variables of each average, in the weights' order.
      averaging: how they move.
    """

    def __init__(
        self, weights: Sequence[Any], averages: Sequence[Sequence[Any]], averaging: Average
    ) -> None:
        self._averaging = averaging
        self._pairs = [
            [(s.value, w.value) for s, w in zip(average, weights, strict=True)]
            for average in averages
        ]

    def update(self, distribution: Distribution, num_updates: Any) -> None:
        """One update, in cross-replica context; `num_updates` with this one, a scalar tensor."""

        def move(shadow, weight, rate):
            shadow.assign(self._averaging.moved(shadow, weight, rate))

        rates = self._averaging.rates(num_updates)
        for pairs, rate in zip(self._pairs, rates, strict=True):
            for shadow, weight in pairs:
                distribution.update(shadow, move, weight, rate)


def build(network: Network, shape: Sequence[int]) -> None:
    """Creates the network's variables.

    By its own `build`, which computes nothing; a network without one is called on zeros.
    """
    if type(network).build is keras.Model.build:
        network(np.zeros((1, *shape), np.float32), np.ones(1, np.float32))
    else:
        network.build((None, *shape))


def stable_paths(variables: Sequence[Any]) -> list[str]:
    """A path for each variable that depends on the architecture alone.

    Keras numbers layers by what the process has made before: ``mlp_3/dense_7/kernel``. Here the
    layers of each parent are numbered from the first: ``mlp/dense/kernel``, ``mlp/dense_1/kernel``.
    """
    names: dict[tuple[str, str], str] = {}
    counts: dict[tuple[str, str], int] = {}
    paths: list[str] = []
    seen: dict[str, int] = {}
    for variable in variables:
        path = ""
        for part in variable.path.split("/"):
            if (path, part) not in names:
                base = re.sub(r"_\d+$", "", part)
                number = counts.get((path, base), 0)
                counts[path, base] = number + 1
                names[path, part] = f"{base}_{number}" if number else base
            path = f"{path}/{names[path, part]}".lstrip("/")
        again = seen.get(path, 0)
        seen[path] = again + 1
        paths.append(f"{path}~{again}" if again else path)
    return paths


def optimizer_variables(optimizer: Any, trained: Sequence[str]) -> dict[str, Any]:
    """{path: variable} of an optimiser: its slots by the trained variable's path.

    Args:
      optimizer: a built Keras optimiser.
      trained: `stable_paths` of the trainable variables, in their order.
    """
    left = {id(v): v for v in optimizer.variables}
    named: dict[str, Any] = {}
    for attribute, value in sorted(vars(optimizer).items()):
        is_slot = isinstance(value, list) and len(value) == len(trained)
        if is_slot and value and all(id(v) in left for v in value):
            slot = attribute.strip("_")
            named |= {f"{slot}/{path}": v for path, v in zip(trained, value, strict=True)}
            for v in value:
                left.pop(id(v))
    # What remains are counters, and slots of optimisers that keep them otherwise.
    rest = list(left.values())
    own = [re.sub(r"^[^/]+/", "", path) for path in stable_paths(rest)]
    return {**dict(zip(own, rest, strict=True)), **named}


def _twin(network: Network, shape: Sequence[int]) -> Network:
    """Another instance of the network, from its configuration, built."""
    try:
        twin = type(network).from_config(network.get_config())
        build(twin, shape)
    except (NotImplementedError, TypeError) as error:
        raise UsageError(
            f"{type(network).__name__} cannot be made again from its configuration ({error}). The "
            "average of the weights needs a second instance: define get_config(), which returns "
            "the constructor's arguments."
        ) from error
    return twin


def _assign(target: Network, source: Network) -> None:
    pairs = [(a.shape, b.shape) for a, b in zip(target.weights, source.weights, strict=False)]
    if len(target.weights) != len(source.weights) or any(a != b for a, b in pairs):
        raise UsageError(
            f"{type(source).__name__}.get_config() does not describe the network: made again from "
            f"it, it has {len(target.weights)} weights against {len(source.weights)}, or weights "
            "of other shapes. Let get_config() return all of the constructor's arguments."
        )
    for to, value in zip(target.weights, source.weights, strict=True):
        to.assign(value)


def _owned(network: Network, distribution: Distribution) -> bool:
    """Whether the weights were created under the distribution's scope."""
    return not network.weights or distribution.owns(network.weights[0])


def _check_scope(network: Network, distribution: Distribution) -> None:
    if distribution.num_replicas > 1 and not _owned(network, distribution):
        raise UsageError(
            f"{type(network).__name__} was built before, outside the scope of "
            f"{distribution.num_replicas} replicas, which need a copy of each weight. Hand over "
            "a network that is not built yet, or use ScoreModel(distribution=Distribution("
            "strategy='one_device'))."
        )


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Initialisers draw from `seed`; the caller's generator is left as it was.

    Keras' initialisers draw their seeds from Python's generator when they are made.
    """
    before = python_random.getstate()
    python_random.seed(seed)
    try:
        yield
    finally:
        python_random.setstate(before)


__all__ = ["EMA", "TrainState", "build", "optimizer_variables", "stable_paths"]
