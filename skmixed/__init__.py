"""Mixed-effects models as scikit-learn estimators."""

from skmixed import bayes, datasets, display, distributed, exceptions, inference, model_selection
from skmixed.core.search.average_information import IterativeSolver
from skmixed.design.relationships import Relationship
from skmixed.estimators.bayesian import BayesianMixedRegressor
from skmixed.estimators.classifier import MixedClassifier
from skmixed.estimators.effects import MixedEffectsRegressor
from skmixed.estimators.effects_classifier import MixedEffectsClassifier
from skmixed.estimators.encoder import BLUPEncoder
from skmixed.estimators.formulas import clmm, glmer, lmer, nlmer
from skmixed.estimators.generalized_regressor import MixedGeneralizedRegressor
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.many_responses import ManyFits, fit_many
from skmixed.estimators.nonlinear_regressor import MixedNonlinearRegressor
from skmixed.estimators.ordinal_classifier import OrdinalMixedClassifier
from skmixed.model_selection import MixedLinearRegressorCV

__version__ = "0.2.0"

__all__ = [
    "BLUPEncoder",
    "BayesianMixedRegressor",
    "GroupedModels",
    "IterativeSolver",
    "ManyFits",
    "MixedClassifier",
    "MixedEffectsClassifier",
    "MixedEffectsRegressor",
    "MixedGeneralizedRegressor",
    "MixedLinearRegressor",
    "MixedLinearRegressorCV",
    "MixedNonlinearRegressor",
    "OrdinalMixedClassifier",
    "Relationship",
    "bayes",
    "clmm",
    "datasets",
    "display",
    "distributed",
    "exceptions",
    "fit_many",
    "glmer",
    "inference",
    "lmer",
    "model_selection",
    "nlmer",
]
