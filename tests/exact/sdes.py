"""Small SDEs for these tests: drift and diffusion only."""

import tensorflow as tf

import lcss_tf


class Clocked(lcss_tf.SDE):
    """All noise and all drift run by β(t) = β_min + t (β_max − β_min)."""

    def __init__(self, beta_min=0.1, beta_max=20.0):
        super().__init__()
        self.beta_min, self.beta_max = beta_min, beta_max

    def beta(self, t):
        return (self.beta_min + t * (self.beta_max - self.beta_min))[:, None]

    def clock(self, t):
        """∫₀ᵗ β."""
        return t * self.beta_min + 0.5 * t**2 * (self.beta_max - self.beta_min)


class Power(Clocked):
    """dx = −½β sign(x)|x|^{p−1} dt + √β dw; stationary law ∝ exp(−|x|^p/p)."""

    def __init__(self, power, **betas):
        super().__init__(**betas)
        self.power = power

    def drift(self, x, t):
        return -0.5 * self.beta(t) * tf.sign(x) * tf.abs(x) ** (self.power - 1)

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(t))


class Pearson(Clocked):
    """dx = −½βx dt + √(β a (x² + δ²)) dw; stationary law Student's t, ν = 1 + 1/a, scale δ/√ν."""

    def __init__(self, tail=0.2, scale=1.5, **betas):
        super().__init__(**betas)
        self.tail, self.scale = tail, scale

    def drift(self, x, t):
        return -0.5 * self.beta(t) * x

    def diffusion(self, x, t):
        return tf.sqrt(self.beta(t) * self.tail * (x**2 + self.scale**2))


class TwoClocks(lcss_tf.SDE):
    """dx = −½x dt + √(1 + 4t²) dw: drift and noise share no factor, so steps do not commute."""

    def drift(self, x, t):
        return -0.5 * x

    def diffusion(self, x, t):
        return tf.sqrt(1 + 4 * t**2)[:, None]
