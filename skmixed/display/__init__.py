"""Plots of fitted models, in the style of scikit-learn's displays.

matplotlib is imported when a plot is drawn; the extra `plot` installs it.
"""

from skmixed.display.autocorrelation_display import AutocorrelationDisplay
from skmixed.display.coefficient_display import CoefficientDisplay
from skmixed.display.explorer import explore
from skmixed.display.prediction_display import PredictionDisplay
from skmixed.display.predictive_check_display import PredictiveCheckDisplay
from skmixed.display.profile_display import ProfileDisplay
from skmixed.display.random_effects_display import RandomEffectsDisplay
from skmixed.display.residuals_display import ResidualsDisplay
from skmixed.display.shrinkage_display import ShrinkageDisplay
from skmixed.display.smooth_display import SmoothDisplay

__all__ = [
    "AutocorrelationDisplay",
    "CoefficientDisplay",
    "PredictionDisplay",
    "PredictiveCheckDisplay",
    "ProfileDisplay",
    "RandomEffectsDisplay",
    "ResidualsDisplay",
    "ShrinkageDisplay",
    "SmoothDisplay",
    "explore",
]
