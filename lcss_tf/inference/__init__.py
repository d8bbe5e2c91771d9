"""What a trained score is used for: samples, latents, likelihoods, inverse problems."""
