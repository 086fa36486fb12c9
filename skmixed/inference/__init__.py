"""Tests, intervals, comparisons and simulation of fitted mixed models.

From what a fit holds without rows; what needs rows asks for them.
"""

from skmixed.inference.autocorrelation import autocorrelation, variogram
from skmixed.inference.bootstrap import Bootstrap, bootstrap, bootstrap_intervals
from skmixed.inference.compare import compare_models
from skmixed.inference.explained import RSquared, icc, r2, variance_partition
from skmixed.inference.fixed_effects.coefficients import coefficient_table
from skmixed.inference.fixed_effects.hypotheses import LinearHypothesis, linear_hypothesis
from skmixed.inference.fixed_effects.marginal import MarginalMeans, marginal_means
from skmixed.inference.fixed_effects.robust import RobustCovariance, robust_covariance
from skmixed.inference.fixed_effects.term_tests import anova
from skmixed.inference.heritable_share import heritability
from skmixed.inference.imputed import PooledFits, pool
from skmixed.inference.influence import influence
from skmixed.inference.intervals import confidence_intervals
from skmixed.inference.likelihoods import log_likelihood
from skmixed.inference.loadings import loadings_table
from skmixed.inference.parts_of_fit import components, model_matrix
from skmixed.inference.profiling.profiles import Profile, profile
from skmixed.inference.proportional import ProportionalOdds, proportional_odds
from skmixed.inference.random_effects import random_effects_table
from skmixed.inference.random_terms import ranova
from skmixed.inference.residual_tests import residual_tests
from skmixed.inference.residuals import residuals
from skmixed.inference.row_results import linear_predictor, row_table
from skmixed.inference.simulation import Draws, sim
from skmixed.inference.smooth_terms import smooth_table
from skmixed.inference.table import Table
from skmixed.inference.variances import is_singular, variance_table
from skmixed.inference.visit_covariances import visit_covariance

__all__ = [
    "Bootstrap",
    "Draws",
    "LinearHypothesis",
    "MarginalMeans",
    "PooledFits",
    "Profile",
    "ProportionalOdds",
    "RSquared",
    "RobustCovariance",
    "Table",
    "anova",
    "autocorrelation",
    "bootstrap",
    "bootstrap_intervals",
    "coefficient_table",
    "compare_models",
    "components",
    "confidence_intervals",
    "heritability",
    "icc",
    "influence",
    "is_singular",
    "linear_hypothesis",
    "linear_predictor",
    "loadings_table",
    "log_likelihood",
    "marginal_means",
    "model_matrix",
    "pool",
    "profile",
    "proportional_odds",
    "r2",
    "random_effects_table",
    "ranova",
    "residual_tests",
    "residuals",
    "robust_covariance",
    "row_table",
    "sim",
    "smooth_table",
    "variance_partition",
    "variance_table",
    "variogram",
    "visit_covariance",
]
