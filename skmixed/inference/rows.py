"""What functions of a fitted estimator ask of it."""

from __future__ import annotations

from typing import Any

from skmixed.core.fit import Fit
from skmixed.core.layout import Rows
from skmixed.core.leave_out import aligned


def check_fitted(model: Any) -> Fit:
    """Return the fit of an estimator that left something for the residual.

    Raises TypeError if it has no fit, ValueError if the fixed part fits the data exactly.
    """
    fit = getattr(model, "fit_", None)
    if not isinstance(fit, Fit):
        raise TypeError(
            f"{type(model).__name__} is no fitted mixed model: call its fit, or pass the model "
            "inside a pipeline"
        )
    if not fit.is_determined:
        raise ValueError(
            "the fixed part fits the data exactly: no variance was estimated, so that nothing can "
            "be drawn or inferred"
        )
    return fit


def rows_of_fit(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, use: str) -> Rows:
    """Read the rows of a fit once more, in any order, with codes of the fit's levels.

    `use` says what needs them. Raises ValueError if they are not given, or are other rows.
    """
    if X is None or y is None:
        raise ValueError(
            f"{use} needs the rows of the fit, which the model does not keep: pass X and y, and "
            "sample_weight and groups if fit had them"
        )
    return aligned(model.fit_, model._rows_of_fit(X, y, sample_weight, groups))
