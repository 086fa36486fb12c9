"""Residuals of the rows, and random effects by their standard deviations."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from skmixed.display._group_columns import group_columns, labels_of
from skmixed.estimators.grouped.models import GroupedModels


def residuals_of(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, factor: str | None
) -> tuple[pd.DataFrame, str | None]:
    """Return what a fitted model leaves of rows.

    Parameters
    ----------
    estimator : estimator
        Fitted, of this package.
    X, y, sample_weight, groups : array-like or None
        The rows.
    factor : str or None
        The factor whose levels are wanted; None is the one with most levels.

    Returns
    -------
    residuals : DataFrame
        Columns fitted, residual and, if there are groups, group.
    factor : str or None
        The name of the factor; None without any.

    Raises
    ------
    TypeError
        For a classifier or another estimator.
    NotFittedError
        If it is not fitted.
    ValueError
        For an unknown factor.
    """
    kind = type(estimator).__name__
    if not (isinstance(estimator, GroupedModels) or hasattr(estimator, "random")):
        raise TypeError(
            f"ResidualsDisplay shows fitted models of this package, not a {kind}; for others there "
            "is sklearn.metrics.PredictionErrorDisplay"
        )
    check_is_fitted(estimator)
    if is_classifier(estimator):
        raise TypeError(f"ResidualsDisplay is about numbers, and this {kind} predicts classes")
    response = column_or_1d(y, dtype=np.float64)
    check_consistent_length(X, response, sample_weight)
    fitted = np.asarray(estimator.predict(X, groups=groups), dtype=np.float64)
    if fitted.ndim > 1:
        raise ValueError(
            "ResidualsDisplay shows models of one output: fit one for each column of y"
        )
    left = response - fitted
    if sample_weight is not None and getattr(estimator, "weighting", "") == "precision":
        left = left * np.sqrt(column_or_1d(sample_weight, dtype=np.float64))
    residuals = pd.DataFrame({"fitted": fitted, "residual": left})
    found = group_columns(estimator)
    if not found.factors:
        return residuals, None
    factor = found.factor(factor)
    residuals["group"] = labels_of(found, factor, X, groups)
    return residuals, factor


def standardised_effects(estimator: Any) -> pd.DataFrame | None:
    """Return random effects by their standard deviations in the model.

    Parameters
    ----------
    estimator : estimator
        Fitted.

    Returns
    -------
    DataFrame or None
        Columns factor, level, column and standardised, without columns whose variance is zero; None
        if nothing is left.
    """
    tables = []
    for factor, effects in getattr(estimator, "random_effects_", {}).items():
        deviations = np.sqrt(np.diag(estimator.random_covariance_[factor]))
        for place, column in enumerate(effects.columns):
            if deviations[place] > 0.0:
                scaled = effects.iloc[:, place].to_numpy() / deviations[place]
                table = {"factor": factor, "column": column, "standardised": scaled}
                tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True) if tables else None
