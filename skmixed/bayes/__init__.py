"""Posterior draws, priors and Bayesian model comparison for mixed models."""

from skmixed.bayes._pymc import to_pymc
from skmixed.bayes.coefficient_distributions import Normal
from skmixed.bayes.correlation_distributions import LKJ
from skmixed.bayes.covariance_distributions import Wishart
from skmixed.bayes.evidence import compare
from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.leave_one_out import LeaveOneOut, loo
from skmixed.bayes.model_weights import stack
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.predictive_check import PredictiveCheck, posterior_predictive_check
from skmixed.bayes.prior_predictive import prior_predict
from skmixed.bayes.priors import Prior
from skmixed.bayes.sampling import sample
from skmixed.bayes.scale_distributions import (
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    InverseGamma,
)

__all__ = [
    "LKJ",
    "Exponential",
    "Flat",
    "Gamma",
    "GeneralizedDraws",
    "HalfNormal",
    "HalfT",
    "InverseGamma",
    "LeaveOneOut",
    "Normal",
    "PosteriorDraws",
    "PredictiveCheck",
    "Prior",
    "Wishart",
    "compare",
    "loo",
    "posterior_predictive_check",
    "prior_predict",
    "sample",
    "stack",
    "to_pymc",
]
