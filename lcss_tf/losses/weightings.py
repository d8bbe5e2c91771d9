"""The weighting λ(t): how much the error of the score counts at each time.

A loss minimises E_t λ(t) ½‖S − s‖² up to a constant, s the score. On an affine SDE the same error
reads as one of the noise or of the data that the score implies, with SNR = α²/σ²:

    S = −ε̂/σ,  x̂_0 = (x + σ² S)/α      λ ‖S − s‖² = (λ/σ²) ‖ε̂ − ε‖² = (λ α²/σ⁴) ‖x̂_0 − x_0‖²

A weighting is a function (sde, t [B]) -> λ [B], or an object that is called so. With
``@lcss_tf.register_weighting`` it has a name: ``LCSSLoss(weighting="likelihood")``.
"""

from typing import Any

import tensorflow as tf

from lcss_tf.errors import UsageError
from lcss_tf.registry import WEIGHTINGS
from lcss_tf.typing import Tensor


@WEIGHTINGS.register
def noise_scale(sde: Any, t: Tensor) -> Tensor:
    """λ = s(t)² [B]: every time counts alike in units of its own noise. For sample quality.

    Factor of the noise error: 1; of the data error: SNR.
    """
    return sde.noise_scale(t) ** 2


@WEIGHTINGS.register
def likelihood(sde: Any, t: Tensor) -> Tensor:
    """λ = g(0, t)² [B]: the weighted loss bounds the negative log-likelihood (Song et al. 2021).

    Factor of the noise error: g²/σ²; of the data error: g² α²/σ⁴.
    """
    return sde.noise_rate(t)


class SNRWeighting:
    """Base of the weightings that are functions of SNR = α²/σ²: λ = σ² w(SNR).

    A subclass defines `noise_factor`, w. Its factor of the data error is SNR · w.
    """

    def noise_factor(self, snr: Tensor) -> Tensor:
        """w(SNR) [B], the factor of the error of the noise prediction."""
        raise NotImplementedError(f"{type(self).__name__} must define noise_factor(snr).")

    def check(self, sde: Any) -> None:
        """Raises UsageError if the SDE has no noise level."""
        check_noise_level(type(self).__name__, sde, "weighting='noise_scale'")

    def __call__(self, sde: Any, t: Tensor) -> Tensor:
        """λ(t), [B]."""
        alpha_t, sigma_t = sde.marginal(t)
        return sigma_t**2 * self.noise_factor((alpha_t / sigma_t) ** 2)


@WEIGHTINGS.register
class MinSNRWeighting(SNRWeighting):
    """λ = σ² min(1, γ/SNR): min-SNR-γ (Hang et al. 2023).

    Factor of the noise error: min(1, γ/SNR); of the data error: min(SNR, γ). Small noise no
    longer dominates the data error: training converges faster.

    Args:
      gamma: γ > 0.

    Raises:
      UsageError: γ is not positive.
    """

    def __init__(self, gamma: float = 5.0) -> None:
        if not gamma > 0:
            raise UsageError(f"MinSNRWeighting expects gamma > 0; got {gamma}.")
        self.gamma = gamma

    def noise_factor(self, snr: Tensor) -> Tensor:
        return tf.minimum(1.0, self.gamma / snr)


@WEIGHTINGS.register
class EDMWeighting(SNRWeighting):
    """λ = σ² (1 + 1/(SNR σ_d²)): that of EDM (Karras et al. 2022), with `LogNormalTimes`.

    Factor of the noise error: 1 + σ̃²/σ_d², σ̃ = σ/α; of the data error: (σ̃² + σ_d²)/(σ̃ σ_d)².

    Args:
      sigma_data: σ_d > 0, the standard deviation of the normalised data: 0.5 for images in
        [−1, 1], as in the paper.

    Raises:
      UsageError: σ_d is not positive.
    """

    def __init__(self, sigma_data: float = 0.5) -> None:
        if not sigma_data > 0:
            raise UsageError(f"EDMWeighting expects sigma_data > 0; got {sigma_data}.")
        self.sigma_data = sigma_data

    def noise_factor(self, snr: Tensor) -> Tensor:
        return 1.0 + 1.0 / (snr * self.sigma_data**2)


@WEIGHTINGS.register
class P2Weighting(SNRWeighting):
    """λ = σ² (k + SNR)^−γ: P2, perception prioritised (Choi et al. 2022).

    Factor of the noise error: (k + SNR)^−γ; of the data error: SNR (k + SNR)^−γ. Times at which
    only imperceptible detail is missing count less.

    Args:
      k: > 0.
      gamma: γ >= 0; 0 is `noise_scale`.

    Raises:
      UsageError: a number out of its range.
    """

    def __init__(self, k: float = 1.0, gamma: float = 1.0) -> None:
        if not (k > 0 and gamma >= 0):
            raise UsageError(f"P2Weighting expects k > 0 and gamma >= 0; got {k} and {gamma}.")
        self.k, self.gamma = k, gamma

    def noise_factor(self, snr: Tensor) -> Tensor:
        return (self.k + snr) ** -self.gamma


def check_noise_level(owner: str, sde: Any, instead: str) -> None:
    """Raises UsageError if the SDE has no noise level σ/α, which `owner` needs.

    Args:
      owner: its name.
      sde: an SDE.
      instead: what works on every SDE.
    """
    if not sde.has_marginal:
        name = type(sde).__name__
        raise UsageError(
            f"{owner} needs the noise level sigma_t/alpha_t, and {name} has none: use {instead}, "
            f"or make {name} an AffineSDE by defining marginal(t)."
        )


__all__ = [
    "EDMWeighting",
    "MinSNRWeighting",
    "P2Weighting",
    "SNRWeighting",
    "check_noise_level",
    "likelihood",
    "noise_scale",
]
