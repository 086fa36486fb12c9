"""Cross-validation of models whose groups come beside X."""

from skmixed.model_selection._regressor_cv import MixedLinearRegressorCV
from skmixed.model_selection._scorers import GroupScorer, make_group_scorer
from skmixed.model_selection._splitters import WithinGroupKFold
from skmixed.model_selection._validation import cross_val_predict, cross_validate

__all__ = [
    "GroupScorer",
    "MixedLinearRegressorCV",
    "WithinGroupKFold",
    "cross_val_predict",
    "cross_validate",
    "make_group_scorer",
]
