"""Exact densities and scores p_t of known data under an SDE: the truth to measure models by."""

from lcss_tf.exact.fokker_planck import Grid, Solution, solve
from lcss_tf.exact.mixtures import ExactMixture

__all__ = ["ExactMixture", "Grid", "Solution", "solve"]
