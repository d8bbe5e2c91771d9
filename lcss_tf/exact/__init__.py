"""Exact densities and scores p_t of known data under an SDE: the truth to measure models by."""

from lcss_tf.exact.fokker_planck import Grid, Solution, solve
from lcss_tf.exact.mixtures import ExactMixture
from lcss_tf.exact.plane import PlaneMixture, exact_mixture

__all__ = ["ExactMixture", "Grid", "PlaneMixture", "Solution", "exact_mixture", "solve"]
