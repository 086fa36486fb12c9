"""Cross-validation of models whose groups come beside X, and the range of spatial ones."""

from skmixed.model_selection._range import RangeProfile, profile_range
from skmixed.model_selection._regressor_cv import MixedLinearRegressorCV
from skmixed.model_selection._scorers import GroupScorer, make_group_scorer
from skmixed.model_selection._splitters import WithinGroupKFold
from skmixed.model_selection._validation import cross_val_predict, cross_validate

__all__ = [
    "GroupScorer",
    "MixedLinearRegressorCV",
    "RangeProfile",
    "WithinGroupKFold",
    "cross_val_predict",
    "cross_validate",
    "make_group_scorer",
    "profile_range",
]
