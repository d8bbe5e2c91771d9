"""What a trained model is asked for: samples, latents, likelihoods, posteriors; one runner."""

from lcss_tf.inference.conditions import (
    conditions_of,
    given_at,
    given_of,
    read_condition,
    require_condition,
)
from lcss_tf.inference.dequantisation import Dequantiser, fit_dequantiser
from lcss_tf.inference.latents import Latents, interpolate
from lcss_tf.inference.likelihood import Likelihood, LikelihoodRunner, bits_per_dim
from lcss_tf.inference.posterior import PosteriorSampling, default_method
from lcss_tf.inference.runner import Runner
from lcss_tf.inference.sampling import Drawn, Sampling

__all__ = [
    "Drawn",
    "Latents",
    "Dequantiser",
    "Likelihood",
    "LikelihoodRunner",
    "PosteriorSampling",
    "Runner",
    "Sampling",
    "bits_per_dim",
    "fit_dequantiser",
    "conditions_of",
    "given_at",
    "given_of",
    "default_method",
    "interpolate",
    "read_condition",
    "require_condition",
]
