"""Tests, intervals and comparisons of fitted mixed models, from what a fit holds without rows."""

from skmixed.inference.analysis_of_variance import anova
from skmixed.inference.coefficients import coefficient_table
from skmixed.inference.compare import compare_models
from skmixed.inference.explained import RSquared, icc, r2, variance_partition
from skmixed.inference.hypotheses import LinearHypothesis, linear_hypothesis
from skmixed.inference.intervals import confidence_intervals
from skmixed.inference.marginal import MarginalMeans, marginal_means
from skmixed.inference.profiles import Profile, profile
from skmixed.inference.random_terms import ranova
from skmixed.inference.table import Table

__all__ = [
    "LinearHypothesis",
    "MarginalMeans",
    "Profile",
    "RSquared",
    "Table",
    "anova",
    "coefficient_table",
    "compare_models",
    "confidence_intervals",
    "icc",
    "linear_hypothesis",
    "marginal_means",
    "profile",
    "r2",
    "ranova",
    "variance_partition",
]
