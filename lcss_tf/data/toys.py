"""Simulated data: two-dimensional toys and mixtures of known density, and vibrations.

Example i is drawn from numbers that belong to (seed, split, i) alone, so splits and seeds are
independent streams, and the data are endless.
"""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf

from lcss_tf.data import hashing
from lcss_tf.data.base import Dataset
from lcss_tf.data.scaling import Scaling
from lcss_tf.errors import UsageError
from lcss_tf.registry import DATASETS
from lcss_tf.typing import Array, Tensor


class Toy(Dataset):
    """The base of vectors from a known density: a subclass defines `draw` and `log_density`.

    Args:
      name: of the dataset.
      dimension: D, the numbers of one example.
      num_uniforms: how many uniform numbers one example is made from.
    """

    kind = "vector"

    def __init__(self, name: str, dimension: int, num_uniforms: int) -> None:
        self.name = name
        self.shape = (dimension,)
        self.scaling = Scaling.identity()
        self._num_uniforms = num_uniforms

    def size(self, split: str = "train") -> None:
        """None: endless."""
        del split

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The examples at `indices`; see `Dataset.examples`."""
        key = hashing.stream_key(seed, self.name, split)
        return self.draw(hashing.uniform(key, indices, self._num_uniforms))

    def draw(self, uniforms: Tensor) -> Tensor:
        """Examples float32 [B, D] from U[0, 1) float32 [B, num_uniforms]."""
        raise NotImplementedError

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, [B], at points [B, D]; −∞ outside the support."""
        raise NotImplementedError


@DATASETS.register
class Checkerboard(Toy):
    """Sharp edges and holes: uniform on the dark squares of a cells×cells board on [−√3, √3]².

    Each coordinate is uniform on [−√3, √3], so it has mean 0 and variance 1.

    Args:
      cells: squares along one side; even, so that half of them are dark.

    Raises:
      UsageError: an odd number of cells, or fewer than two.

    Attributes:
      means: centres of the dark squares, [cells²/2, 2].
    """

    half_width = math.sqrt(3.0)

    def __init__(self, cells: int = 4) -> None:
        if cells < 2 or cells % 2:
            raise UsageError(f"Checkerboard.cells must be even and at least 2; got {cells}.")
        super().__init__("checkerboard", dimension=2, num_uniforms=3)
        self.cells = cells
        self._cell = 2.0 * self.half_width / cells
        dark = [(i, j) for i in range(cells) for j in range(cells) if (i + j) % 2 == 0]
        self.means = (np.array(dark) + 0.5) * self._cell - self.half_width

    def draw(self, uniforms: Tensor) -> Tensor:
        """See `Toy.draw`: a row of the board, one of its dark squares, a point in it."""
        row = uniforms[:, 1] * self.cells  # in units of one cell
        dark = tf.floor(uniforms[:, 0] * (self.cells // 2))
        column = 2.0 * dark + tf.math.floormod(tf.floor(row), 2.0) + uniforms[:, 2]
        return tf.stack([column, row], axis=1) * self._cell - self.half_width

    def log_density(self, x: Tensor) -> Tensor:
        """See `Toy.log_density`."""
        x = tf.convert_to_tensor(x)
        inside = tf.reduce_all(tf.abs(x) <= self.half_width, axis=1)
        cell = tf.floor((x + self.half_width) / self._cell)
        dark = tf.math.floormod(tf.reduce_sum(cell, axis=1), 2.0) < 0.5
        level = -math.log(2.0 * self.half_width**2)  # half of the board's area
        return tf.where(inside & dark, tf.cast(level, x.dtype), tf.cast(-math.inf, x.dtype))

    def component_log_density(self, u: Tensor) -> Tensor:
        """log density of one coordinate about its square's centre, as of u."""
        level = tf.cast(-math.log(self._cell), u.dtype)
        return tf.where(tf.abs(u) <= 0.5 * self._cell, level, tf.cast(-math.inf, u.dtype))


class Mixture(Toy):
    """p(x) = (1/K)·Σ_k N(x; μ_k, s²I), with its score, at every noise level.

    A density along a curve is such a mixture too, with means close together: see `means_along`.

    Args:
      name: of the dataset.
      means: μ, [K, D].
      component_std: s, positive.
    """

    def __init__(self, name: str, means: Array, component_std: float) -> None:
        if component_std <= 0:
            raise UsageError(f"component_std must be positive; got {component_std}.")
        means = np.asarray(means, np.float64)
        # One uniform chooses the component; the Box–Muller transform takes two for each normal.
        super().__init__(name, means.shape[1], num_uniforms=1 + 2 * means.shape[1])
        self.means = means
        self.component_std = float(component_std)

    def draw(self, uniforms: Tensor) -> Tensor:
        """See `Toy.draw`."""
        component = tf.cast(uniforms[:, 0] * len(self.means), tf.int32)
        mean = tf.gather(tf.constant(self.means, tf.float32), component)
        return mean + self.component_std * hashing.to_normal(uniforms[:, 1:])

    def log_density(
        self, x: Tensor, alpha_t: Tensor | float = 1.0, sigma_t: Tensor | float = 0.0
    ) -> Tensor:
        """log p_t(x) in nats, [B], in x's dtype.

        Args:
          x: [B, D].
          alpha_t, sigma_t: numbers or [B]; p_t is the distribution of alpha_t·x_0 + sigma_t·z,
            z ~ N(0, I): the marginal of an affine SDE that starts from these data.
        """
        x = tf.convert_to_tensor(x)
        log_joint, _, _ = self._log_joint(x, alpha_t, sigma_t)
        return tf.cast(tf.reduce_logsumexp(log_joint, axis=1), x.dtype)

    def score(
        self, x: Tensor, alpha_t: Tensor | float = 1.0, sigma_t: Tensor | float = 0.0
    ) -> Tensor:
        """∇ log p_t(x) [B, D], in x's dtype; the arguments are those of `log_density`."""
        x = tf.convert_to_tensor(x)
        log_joint, alpha_t, variance = self._log_joint(x, alpha_t, sigma_t)
        mean = tf.nn.softmax(log_joint, axis=1) @ tf.constant(self.means)
        return tf.cast((alpha_t * mean - tf.cast(x, tf.float64)) / variance, x.dtype)

    def component_log_density(self, u: Tensor) -> Tensor:
        """log N(u; 0, s²), of the shape of u: one coordinate of a component about its mean."""
        std = self.component_std
        return -0.5 * (u / std) ** 2 - math.log(std * math.sqrt(2 * math.pi))

    def _log_joint(self, x, alpha_t, sigma_t):
        """log (1/K)·N(x; αμ_k, (α²s² + σ²)I) [B, K]; α and the variance, [B, 1] or [1, 1]."""
        alpha_t, sigma_t = (_column(value) for value in (alpha_t, sigma_t))
        variance = alpha_t**2 * self.component_std**2 + sigma_t**2
        # The expanded square needs no [B, K, D]; float64 survives its cancellation.
        x, means = tf.cast(x, tf.float64), tf.constant(self.means)
        square = (
            tf.reduce_sum(x**2, axis=1, keepdims=True)
            - 2.0 * alpha_t * tf.matmul(x, means, transpose_b=True)
            + alpha_t**2 * tf.reduce_sum(means**2, axis=1)
        )
        log_normal = -0.5 * (square / variance + self.shape[0] * tf.math.log(2 * np.pi * variance))
        return log_normal - math.log(len(self.means)), alpha_t, variance


def _column(value: Tensor | float) -> Tensor:
    """A number or [B] as float64 [1, 1] or [B, 1]."""
    return tf.reshape(tf.cast(value, tf.float64), [-1, 1])


def means_along(curve: Callable[[Array], Array], component_std: float) -> Array:
    """Means [K, 2] along a curve, so close together that their Gaussians merge.

    They are centred and scaled so that the mixture has unit variance, averaged over the two
    dimensions and including the component's own.

    Args:
      curve: maps parameters [K], evenly spaced in (0, 1), to points [K, 2].
      component_std: of the mixture, between 0 and 1.

    Raises:
      UsageError: component_std is out of its range.
    """
    if not 0 < component_std < 1:
        raise UsageError(f"The noise must lie between 0 and 1; got {component_std}.")

    def means(count: int) -> Array:
        points = curve((np.arange(count) + 0.5) / count)
        points = points - points.mean(axis=0)
        return points * math.sqrt((1.0 - component_std**2) / np.mean(points**2))

    length = np.linalg.norm(np.diff(means(2048), axis=0), axis=1).sum()
    # At 3/4 of a standard deviation the ripples are 2·exp(−2π²·16/9), 1e-15 of the density. An
    # even number: curves may have two halves.
    return means(2 * math.ceil(length / (1.5 * component_std)))


@DATASETS.register
class TwoMoons(Mixture):
    """Two interleaved half circles with Gaussian noise.

    Args:
      noise: the standard deviation across the moons, between 0 and 1, in the data's units.
    """

    def __init__(self, noise: float = 0.1) -> None:
        super().__init__("two_moons", means_along(_moons, noise), noise)


def _moons(u: Array) -> Array:
    angle = 2.0 * np.pi * u  # each half of the range is one moon
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return np.where((u < 0.5)[:, None], circle, circle + [1.0, 0.5])


@DATASETS.register
class Spiral(Mixture):
    """An Archimedean spiral with Gaussian noise, of even density along the arm.

    Args:
      noise: the standard deviation across the arm, between 0 and 1, in the data's units.
      turns: of the arm round the centre.
    """

    def __init__(self, noise: float = 0.07, turns: float = 2.0) -> None:
        def arm(u: Array) -> Array:
            # The arm's length grows with the square of the angle; the root spaces points evenly.
            angle = 2.0 * np.pi * turns * np.sqrt(u)
            return angle[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)

        super().__init__("spiral", means_along(arm, noise), noise)


@DATASETS.register
class GaussianMixture(Mixture):
    """Equal Gaussians whose means lie on a sphere: evenly on the circle in two dimensions.

    In one dimension the means are evenly spaced on [−radius, radius]; in three and more they point
    in random directions, the same in every process.

    Args:
      num_components: K.
      radius: of the sphere; by default such that a coordinate has unit variance (on average).
      component_std: the standard deviation of one component.
      dimension: D.
      means: [K, D], in place of all of the above but component_std.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        num_components: int = 8,
        radius: float | None = None,
        component_std: float = 0.15,
        dimension: int = 2,
        means: Array | None = None,
    ) -> None:
        if means is not None:
            super().__init__("gaussian_mixture", means, component_std)
            return
        if num_components < 1 or dimension < 1:
            raise UsageError(
                "GaussianMixture needs num_components >= 1 and dimension >= 1; got "
                f"{num_components} and {dimension}."
            )
        means = _directions(num_components, dimension)
        if radius is None:
            if component_std >= 1:
                raise UsageError(
                    f"With component_std = {component_std} >= 1 no radius gives unit variance; "
                    "set GaussianMixture.radius as well."
                )
            radius = math.sqrt((1.0 - component_std**2) / max(np.mean(means**2), 1e-12))
        super().__init__("gaussian_mixture", radius * means, component_std)


def _directions(count: int, dimension: int) -> Array:
    if count == 1:
        return np.eye(1, dimension)
    if dimension == 1:
        return np.linspace(-1.0, 1.0, count)[:, None]
    if dimension == 2:
        angle = 2.0 * np.pi * np.arange(count) / count
        return np.stack([np.cos(angle), np.sin(angle)], axis=1)
    # RandomState, not default_rng: NumPy promises that its stream never changes.
    draws = np.random.RandomState(0).normal(size=(count, dimension))
    return draws / np.linalg.norm(draws, axis=1, keepdims=True)


@DATASETS.register
class StudentMixture(Toy):
    """Heavy tails: p(x) = (1/K)·Σ_k Π_d t_ν((x_d − μ_kd)/a)/a, means as in `GaussianMixture`.

    Args:
      num_components: K.
      radius: of the sphere of means; by default such that a coordinate has unit variance.
      component_std: the standard deviation s of one component; its scale is a = s√((ν − 2)/ν).
      degrees_of_freedom: ν > 2; the tails fall like |x|^{−ν−1}.
      dimension: D.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(
        self,
        num_components: int = 8,
        radius: float | None = None,
        component_std: float = 0.15,
        degrees_of_freedom: float = 6.0,
        dimension: int = 2,
    ) -> None:
        if degrees_of_freedom <= 2:
            raise UsageError(
                "StudentMixture expects degrees_of_freedom > 2, where the variance is finite; got "
                f"{degrees_of_freedom}."
            )
        gaussian = GaussianMixture(num_components, radius, component_std, dimension)
        # One uniform chooses the component; Bailey's method takes two for each coordinate.
        super().__init__("student_mixture", dimension, num_uniforms=1 + 2 * dimension)
        self.means = gaussian.means
        self.component_std = float(component_std)
        self.degrees_of_freedom = float(degrees_of_freedom)
        self.component_scale = self.component_std * math.sqrt(1 - 2 / self.degrees_of_freedom)

    def draw(self, uniforms: Tensor) -> Tensor:
        """See `Toy.draw`. Uniforms of 24 bits keep |t| below √(ν (2^{48/ν} − 1)): 39 at ν = 6."""
        component = tf.cast(uniforms[:, 0] * len(self.means), tf.int32)
        mean = tf.gather(tf.constant(self.means, tf.float32), component)
        return mean + self.component_scale * to_student(uniforms[:, 1:], self.degrees_of_freedom)

    def log_density(self, x: Tensor) -> Tensor:
        """log p(x) in nats, [B], at points [B, D], in x's dtype."""
        x = tf.convert_to_tensor(x)
        offsets = tf.cast(x, tf.float64)[:, None] - tf.constant(self.means)
        log_component = tf.reduce_sum(self.component_log_density(offsets), axis=2)
        log_density = tf.reduce_logsumexp(log_component, axis=1) - math.log(len(self.means))
        return tf.cast(log_density, x.dtype)

    def component_log_density(self, u: Tensor) -> Tensor:
        """The log density of one coordinate of a component about its mean, of the shape of u."""
        nu, scale = self.degrees_of_freedom, self.component_scale
        log_normaliser = math.lgamma((nu + 1) / 2) - math.lgamma(nu / 2)
        log_normaliser -= 0.5 * math.log(math.pi * nu) + math.log(scale)
        return log_normaliser - 0.5 * (nu + 1) * tf.math.log1p((u / scale) ** 2 / nu)


def to_student(uniforms: Tensor, degrees_of_freedom: float) -> Tensor:
    """Student's t [B, n] from U[0, 1) [B, 2n]: √(ν(u^{−2/ν} − 1)) cos(2πw) (Bailey 1994)."""
    half, nu = uniforms.shape[1] // 2, degrees_of_freedom
    log_u = tf.math.log1p(-uniforms[:, :half])  # uniforms < 1: finite
    radius = tf.sqrt(nu * tf.math.expm1(-2.0 / nu * log_u))
    return radius * tf.cos(2.0 * math.pi * uniforms[:, half:])


_MODES = ((0.05, 0.07, 1.0, 0.02), (0.17, 0.20, 0.6, 0.05))  # f from, f to, amplitude, damping
_NOISE = 0.05  # standard deviation of the sensor's own noise, before scaling
_NUM_UNIFORMS = 2 + 3 * len(_MODES)


@DATASETS.register
class Vibrations(Dataset):
    """A simulated accelerometer on a part that is struck: noise, then two damped modes from t₀ on.

        x(t) = Σ_k a_k e^{−γ_k (t − t₀)} sin(2π f_k (t − t₀) + φ_k) 1[t ≥ t₀] + noise

    with t₀ uniform on the first half of the signal; f_k uniform on a band (.05–.07 and .17–.20
    cycles per sample), a_k within ±30 % of 1 and 0.6, φ_k uniform; γ = .02 and .05. Scaled to a
    mean of 0 and a variance of 1 over all times. The mean spectrum is two bands above a floor.

    Args:
      length: samples of one example, of one channel; at least 8.

    Raises:
      UsageError: a shorter one.
    """

    kind = "signal"

    def __init__(self, length: int = 128) -> None:
        if length < 8:
            raise UsageError(f"Vibrations.length must be at least 8; got {length}.")
        self.name = "vibrations"
        self.shape = (length, 1)
        self.scaling = Scaling(0.0, 1.0, 0.0, math.sqrt(self._variance()), "float32")

    def _variance(self):
        """Over the times and all draws: phases make the modes uncorrelated, of mean square ½."""
        length = self.shape[0]
        since = np.arange(length) - np.linspace(0, length / 2, 512)[:, None]
        total = _NOISE**2
        for _, _, amplitude, damping in _MODES:
            decay = np.exp(-2 * damping * np.maximum(since, 0)) * (since >= 0)
            total += 0.5 * amplitude**2 * (1 + 0.3**2 / 3) * decay.mean()
        return total

    def size(self, split: str = "train") -> None:
        """None: endless."""
        del split

    def examples(self, indices: Tensor, split: str = "train", seed: int = 0) -> Tensor:
        """The signals at `indices`; see `Dataset.examples`."""
        key = hashing.stream_key(seed, self.name, split)
        length = self.shape[0]
        draws = hashing.uniform(key, indices, _NUM_UNIFORMS + 2 * length)
        struck = draws[:, :1] * (length / 2)
        since = tf.range(length, dtype=tf.float32) - struck
        signal = _NOISE * hashing.to_normal(draws[:, _NUM_UNIFORMS:])
        for k, (low, high, amplitude, damping) in enumerate(_MODES):
            u = draws[:, 2 + 3 * k : 5 + 3 * k]
            frequency = low + (high - low) * u[:, :1]
            size = amplitude * (0.7 + 0.6 * u[:, 1:2])
            wave = tf.sin(2 * math.pi * (frequency * since + u[:, 2:]))
            decay = tf.exp(-damping * tf.maximum(since, 0.0)) * tf.cast(since >= 0, tf.float32)
            signal += size * decay * wave
        return self.scaling.scale(signal[..., None])


__all__ = [
    "Checkerboard",
    "GaussianMixture",
    "Mixture",
    "Spiral",
    "StudentMixture",
    "Toy",
    "TwoMoons",
    "Vibrations",
    "means_along",
    "to_student",
]
