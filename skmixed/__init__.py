"""Mixed-effects models as scikit-learn estimators."""

from skmixed import datasets, exceptions, model_selection
from skmixed.estimators.formulas import lmer
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.estimators.linear import MixedLinearRegressor

__version__ = "0.1.0"

__all__ = [
    "GroupedModels",
    "MixedLinearRegressor",
    "datasets",
    "exceptions",
    "lmer",
    "model_selection",
]
