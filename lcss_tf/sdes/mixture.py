"""An SDE whose prior is fitted to the data: a mixture of Gaussians that attracts them."""

import math

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import like, some_of, sum_over_data
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import linear_beta
from lcss_tf.sdes.base import SDE
from lcss_tf.typing import Array, Seed, Shape, Tensor

_ROUNDS = 50  # of k-means
_NUMBERS = 2**20  # of the examples that it sees


@SDES.register
class MixtureSDE(SDE):
    """dx = ½ β(t) ∇log q(x) dt + √β(t) dw, q(x) = Σ_k π_k N(x; μ_k, s² I).

    These are Langevin's dynamics of q. Its prior is q, which `prepare` fits to the data (nonlinear
    diffusion as in Birrell et al. 2024): the modes need not be forgotten, and the score has less
    to learn. Before `prepare`, q is N(0, I). The drift of a coordinate depends on all of them,
    through the shares of the components.

    Args:
      num_components: K; their means are those of k-means, s² the mean variance about them.
      beta_min, beta_max: β(0) and β(T), T = 1.

    Raises:
      UsageError: num_components < 1, or another number out of its range.
    """

    simulation_spacing = 0.5

    def __init__(
        self, num_components: int = 4, beta_min: float = 0.1, beta_max: float = 20.0
    ) -> None:
        if num_components < 1:
            raise UsageError(f"MixtureSDE expects num_components >= 1; got {num_components}.")
        self.num_components = num_components
        self.beta = linear_beta(beta_min, beta_max, self)

    def prepare(self, x0: Tensor, seed: Seed = 0) -> None:
        """Fits the mixture to examples x0 [B, ...], then measures the schedule."""
        most = max(64, _NUMBERS // math.prod(x0.shape[1:]))
        x = np.asarray(some_of(x0, most), np.float32)
        means, weights, std = _k_means(x.reshape(len(x), -1), self.num_components)
        mixture: dict[str, Array] = {
            "mixture_means": means.reshape(-1, *x.shape[1:]),
            "mixture_weights": weights,
            "mixture_std": np.asarray(std, np.float32),
        }
        self.measured = mixture  # the path follows it
        super().prepare(x0, seed)
        self.measured = {**self.measured, **mixture}

    def mixture(self, shape: Shape) -> tuple[Array, Array, float]:
        """(means [K, *shape], weights [K], std) of q."""
        if "mixture_means" not in self.measured:
            return np.zeros((1, *shape), np.float32), np.ones(1, np.float32), 1.0
        names = ("mixture_means", "mixture_weights", "mixture_std")
        means, weights, std = (self.measured[name] for name in names)
        return means, weights, float(std)

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        means, _, std = self.mixture(x.shape[1:])
        shares = tf.nn.softmax(self._log_components(x), axis=1)
        pull = tf.tensordot(shares, means, 1) - x
        return 0.5 * like(self.beta(t), x) * pull / std**2

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return like(tf.sqrt(self.beta(t)), x)

    def _log_components(self, x: Tensor) -> Tensor:
        """log π_k N(x; μ_k, s² I), [B, K]."""
        means, weights, std = self.mixture(x.shape[1:])
        dimension = math.prod(x.shape[1:])
        squares = tf.stack([sum_over_data((x - mean) ** 2) for mean in means], axis=1)
        log_normaliser = dimension * (0.5 * math.log(2 * math.pi) + math.log(std))
        return np.log(weights) - 0.5 * squares / std**2 - np.asarray(log_normaliser, np.float32)

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        means, weights, std = self.mixture(shape[1:])
        u = random.uniform(random.fold_in(seed, "component"), (shape[0],))
        k = tf.searchsorted(np.cumsum(weights)[:-1].astype(np.float32), u)
        return tf.gather(means, k) + std * random.normal(random.fold_in(seed, "noise"), shape)

    def prior_log_prob(self, x: Tensor) -> Tensor:
        return tf.reduce_logsumexp(self._log_components(x), axis=1)


def _k_means(x: Array, count: int) -> tuple[Array, Array, float]:
    """(means [K, d], weights [K], standard deviation about them) of examples [B, d] (Lloyd)."""
    generator = np.random.default_rng(0)
    means = x[:1].copy()
    squares = lambda: ((x[:, None] - means[None]) ** 2).sum(-1)
    while len(means) < min(count, len(x)):  # k-means++
        near = squares().min(1)
        if near.sum() == 0:
            break  # no more distinct examples
        means = np.concatenate([means, x[generator.choice(len(x), p=near / near.sum())][None]])
    for _ in range(_ROUNDS):
        owner = squares().argmin(1)
        used = [k for k in range(len(means)) if (owner == k).any()]
        means = np.stack([x[owner == k].mean(0) for k in used])
    owner = squares().argmin(1)
    kept = np.unique(owner)
    weights = np.array([(owner == k).mean() for k in kept], np.float32)
    std = math.sqrt(max(float(((x - means[owner]) ** 2).mean()), 1e-12))
    return means[kept], weights / weights.sum(), std


__all__ = ["MixtureSDE"]
