"""The whole posterior of linear mixed models, from what a fit holds without rows."""

from skmixed.bayes.distributions import (
    LKJ,
    Exponential,
    Flat,
    Gamma,
    HalfNormal,
    HalfT,
    InverseGamma,
    Normal,
)
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.priors import Prior
from skmixed.bayes.sampling import sample

__all__ = [
    "LKJ",
    "Exponential",
    "Flat",
    "Gamma",
    "HalfNormal",
    "HalfT",
    "InverseGamma",
    "Normal",
    "PosteriorDraws",
    "Prior",
    "sample",
]
