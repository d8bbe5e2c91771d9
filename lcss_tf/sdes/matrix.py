"""A linear SDE with full matrices: coupled drift, correlated noise, everything in closed form."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from lcss_tf import random
from lcss_tf.errors import UsageError
from lcss_tf.ops import shape_of
from lcss_tf.registry import SDES
from lcss_tf.sdes.affine import linear_beta
from lcss_tf.sdes.base import SDE
from lcss_tf.typing import Array, Seed, Shape, Tensor


@SDES.register
class MatrixOUSDE(SDE):
    """dx = −½ β(t) A x dt + √β(t) B dw for vectors x [N, d]: a matrix Ornstein–Uhlenbeck process.

    With τ = ∫β and E = exp(−½ τ A), x_t given x_0 is N(E x_0, C), C = Σ − E Σ Eᵀ, and the prior is
    N(0, Σ), A Σ + Σ Aᵀ = 2 B Bᵀ. The weight of the path is C⁻¹ (x_t − E x_0), denoising score
    matching's target.

    Args:
      drift_matrix: A [d, d], diagonalisable, its eigenvalues with positive real parts; by default
        1 on the diagonal, ½ above and −½ below: neighbours turn into one another.
      noise_matrix: B [d, d], invertible; by default 1 on the diagonal and ½ above.
      beta_min, beta_max: β(0) and β(T), T = 1.

    Raises:
      UsageError: matrices that do not fit, or a drift that does not revert to the mean.
    """

    def __init__(
        self,
        drift_matrix: Array | None = None,
        noise_matrix: Array | None = None,
        beta_min: float = 0.1,
        beta_max: float = 20.0,
    ) -> None:
        self.beta = linear_beta(beta_min, beta_max, self)
        self.drift_matrix, self.noise_matrix = drift_matrix, noise_matrix
        self._linear: dict[Any, Any] = {}
        for matrix in (drift_matrix, noise_matrix):
            if matrix is not None:
                self.linear(len(matrix))  # checked at once

    def linear(self, dimension: int) -> "Linear":
        """The matrices for data of this dimension."""
        if dimension not in self._linear:
            above = 0.5 * np.eye(dimension, k=1)
            A = np.eye(dimension) + above - above.T
            B = np.eye(dimension) + above
            A = A if self.drift_matrix is None else np.array(self.drift_matrix, np.float64)
            B = B if self.noise_matrix is None else np.array(self.noise_matrix, np.float64)
            self._linear[dimension] = Linear.of(A, B, dimension)
        return self._linear[dimension]

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        return -0.5 * self.beta(t)[:, None] * tf.linalg.matvec(self.linear(x.shape[-1]).A, x)

    def diffusion(self, x: Tensor, t: Tensor) -> Tensor:
        return tf.sqrt(self.beta(t))[:, None, None] * self.linear(x.shape[-1]).B

    def kernel(self, s: Tensor, t: Tensor, dimension: int) -> tuple[Tensor, Tensor]:
        """(E, C) [B, d, d]: x_t given x_s is N(E x_s, C)."""
        return self.linear(dimension).kernel(self.beta.integral(s, t))

    def sample_xt(self, x0: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """Draws x_t given x_0 from the closed form."""
        return self.sample_with_weight(x0, t, seed)[0]

    def sample_with_weight(self, x0: Tensor, t: Tensor, seed: Seed) -> tuple[Tensor, Tensor]:
        """(x_t, C⁻¹ (x_t − E x_0))."""
        self.expect(x0.shape[1:])
        E, C = self.kernel(tf.zeros_like(t), t, x0.shape[-1])
        root = tf.linalg.cholesky(C)
        z = random.normal(seed, shape_of(x0))
        weight = tf.linalg.triangular_solve(root, z[..., None], adjoint=True)[..., 0]
        return tf.linalg.matvec(E, x0) + tf.linalg.matvec(root, z), weight

    def simulation_step(self, x: Tensor, s: Tensor, t: Tensor, seed: Seed) -> Tensor:
        """x_t from x_s, exactly."""
        E, C = self.kernel(s, t, x.shape[-1])
        # A table of times may hold s = t, where there is no noise.
        root = tf.linalg.cholesky(C + 1e-12 * np.asarray(np.eye(C.shape[-1]), np.float32))
        return tf.linalg.matvec(E, x) + tf.linalg.matvec(root, random.normal(seed, shape_of(x)))

    def prior_std(self) -> float:
        """√(tr Σ/d)."""
        covariance = self.linear(self.example_shape[-1]).covariance
        return math.sqrt(np.trace(covariance) / len(covariance))

    def prior_sample(self, shape: Shape, seed: Seed) -> Tensor:
        return tf.linalg.matvec(self.linear(shape[-1]).root, random.normal(seed, shape))

    def prior_log_prob(self, x: Tensor) -> Tensor:
        root = self.linear(x.shape[-1]).root
        whitened = tf.linalg.matvec(np.asarray(np.linalg.inv(root), np.float32), x)
        log_normaliser = float(np.log(np.diag(root)).sum()) + 0.5 * len(root) * math.log(
            2 * math.pi
        )
        return -0.5 * tf.reduce_sum(whitened**2, 1) - log_normaliser


class Linear(NamedTuple):
    """dx = −½ A x dτ + B dw and what follows from its eigenvectors.

    A, B, root (a Cholesky factor of the stationary covariance): float32. values, vectors, inverse:
    of A = V diag V⁻¹. spread: V⁻¹ B Bᵀ V⁻ᴴ. covariance: Σ, float64.
    """

    A: Array
    B: Array
    root: Array
    values: Array
    vectors: Array
    inverse: Array
    spread: Array
    covariance: Array

    @classmethod
    def of(cls, A: Array, B: Array, dimension: int) -> "Linear":
        """From A and B, checked."""
        if A.shape != (dimension, dimension) or B.shape != A.shape:
            raise UsageError(
                f"MatrixOUSDE expects vectors and two matrices of their dimension; got {dimension} "
                f"dimensions and the shapes {A.shape} and {B.shape}."
            )
        values, vectors = np.linalg.eig(A)
        if values.real.min() <= 0 or np.linalg.cond(vectors) > 1e6:
            raise UsageError(
                "MatrixOUSDE expects a diagonalisable drift_matrix whose eigenvalues have positive "
                f"real parts (the drift reverts to the mean); got the eigenvalues {values}."
            )
        if np.linalg.cond(B) > 1e6:
            left = np.linalg.svd(B)[0]
            raise UsageError(
                "MatrixOUSDE expects an invertible noise_matrix; it puts no noise into the "
                f"direction {np.round(left[:, -1], 3)}."
            )
        inverse = np.linalg.inv(vectors)
        spread = inverse @ B @ B.T @ inverse.conj().T
        stationary = spread * 2 / (values[:, None] + values.conj()[None, :])
        covariance = (vectors @ stationary @ vectors.conj().T).real
        root = np.asarray(np.linalg.cholesky(covariance), np.float32)
        return cls(
            np.asarray(A, np.float32),
            np.asarray(B, np.float32),
            root,
            values,
            vectors,
            inverse,
            spread,
            covariance,
        )

    def kernel(self, tau: Tensor) -> tuple[Tensor, Tensor]:
        """(exp(−½τA), Σ − E Σ Eᵀ) [B, d, d], without cancellation near τ = 0."""
        E = _product(-0.5 * np.diag(self.values), tau, np.eye(len(self.A)), self)
        pair = 0.5 * (self.values[:, None] + self.values.conj()[None, :])
        right = self.vectors.conj().T
        C = _product(-pair, tau, -self.spread / pair, self._replace(inverse=right))
        return E + np.asarray(np.eye(len(self.A)), np.float32), C


def _product(rates: Array, tau: Tensor, factors: Array, linear: Linear) -> Tensor:
    """Re V (factors ∘ (exp(rates τ) − 1)) V⁻¹, [B, d, d]."""
    # Every entry is Σ_pq V_ip f_pq R_qj expm1(r_pq τ): real parts by real arithmetic.
    weights = np.einsum("ip,pq,qj->pqij", linear.vectors, factors, linear.inverse)
    flat = weights.reshape(-1, *weights.shape[2:])
    real, imaginary = (
        np.asarray(rates.real.ravel(), np.float32),
        np.asarray(rates.imag.ravel(), np.float32),
    )
    a, b = tau[:, None] * real, tau[:, None] * imaginary
    cosine = -2 * tf.sin(0.5 * b) ** 2  # cos b − 1
    re, im = tf.math.expm1(a) * (1 + cosine) + cosine, tf.exp(a) * tf.sin(b)
    return tf.tensordot(re, np.asarray(flat.real, np.float32), 1) - tf.tensordot(
        im, np.asarray(flat.imag, np.float32), 1
    )


__all__ = ["Linear", "MatrixOUSDE"]
