"""What a trained model is asked for: samples, latents, likelihoods, posteriors; one runner."""

from lcss_tf.inference.latents import Latents, interpolate
from lcss_tf.inference.likelihood import Likelihood, LikelihoodRunner, bits_per_dim
from lcss_tf.inference.posterior import PosteriorSampling, default_method
from lcss_tf.inference.runner import Runner
from lcss_tf.inference.sampling import Drawn, Sampling

__all__ = [
    "Drawn",
    "Latents",
    "Likelihood",
    "LikelihoodRunner",
    "PosteriorSampling",
    "Runner",
    "Sampling",
    "bits_per_dim",
    "default_method",
    "interpolate",
]
