"""Pictures of fitted models, in the form of scikit-learn's displays.

matplotlib is asked for by the methods that draw; the extra `plot` brings it.
"""

from skmixed.display.coefficients import CoefficientDisplay
from skmixed.display.predictions import PredictionDisplay
from skmixed.display.profiles import ProfileDisplay
from skmixed.display.random_effects import RandomEffectsDisplay
from skmixed.display.residuals import ResidualsDisplay
from skmixed.display.shrinkage import ShrinkageDisplay

__all__ = [
    "CoefficientDisplay",
    "PredictionDisplay",
    "ProfileDisplay",
    "RandomEffectsDisplay",
    "ResidualsDisplay",
    "ShrinkageDisplay",
]
