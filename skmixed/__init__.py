"""Mixed-effects models as scikit-learn estimators."""

from skmixed import datasets, distributed, exceptions, model_selection
from skmixed.estimators.formulas import lmer
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.model_selection import MixedLinearRegressorCV

__version__ = "0.1.0"

__all__ = [
    "MixedLinearRegressor",
    "MixedLinearRegressorCV",
    "datasets",
    "distributed",
    "exceptions",
    "lmer",
    "model_selection",
]
