"""Cross-validation with groups, and changes of a fitted model."""

from skmixed.model_selection._range import RangeProfile, profile_range
from skmixed.model_selection._regressor_cv import MixedLinearRegressorCV
from skmixed.model_selection._scorers import GroupScorer, make_group_scorer
from skmixed.model_selection._splitters import WithinGroupKFold
from skmixed.model_selection._validation import cross_val_predict, cross_validate
from skmixed.model_selection.changed._ratio_bootstrap import RatioBootstrap, bootstrap_test
from skmixed.model_selection.changed._refitting import refit
from skmixed.model_selection.changed._searches import all_fits
from skmixed.model_selection.changed._stepping import Steps, step
from skmixed.model_selection.changed._term_changes import add1, drop1
from skmixed.model_selection.changed._updates import update

__all__ = [
    "GroupScorer",
    "MixedLinearRegressorCV",
    "RangeProfile",
    "RatioBootstrap",
    "Steps",
    "WithinGroupKFold",
    "add1",
    "all_fits",
    "bootstrap_test",
    "cross_val_predict",
    "cross_validate",
    "drop1",
    "make_group_scorer",
    "profile_range",
    "refit",
    "step",
    "update",
]
