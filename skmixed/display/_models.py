"""What the displays read of fitted estimators."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.utils.validation import check_is_fitted

from skmixed.core.fit import Fit
from skmixed.estimators.effects import MixedEffectsRegressor
from skmixed.estimators.grouped._tables import coefficient_names
from skmixed.estimators.grouped.models import GroupedModels


def mixed_model(estimator: Any, display: str, *, effects: bool = False) -> Any:
    """Return the linear mixed model of an estimator.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    display : str
        Name of the display, for errors.
    effects : bool, default=False
        Whether the mixed model inside a `MixedEffectsRegressor` will do.

    Returns
    -------
    MixedLinearRegressor
        The model.

    Raises
    ------
    TypeError
        If there is none in it.
    NotFittedError
        If it is not fitted.
    ValueError
        If it was fitted without groups, and these are needed.
    """
    kind = type(estimator).__name__
    if isinstance(estimator, MixedEffectsRegressor):
        if not effects:
            raise TypeError(
                f"{display} is about the coefficients of a fixed part, and that of a {kind} is a "
                "regressor without any: fit a MixedLinearRegressor"
            )
        check_is_fitted(estimator)
        if estimator.mixed_model_ is None:
            raise ValueError(f"this {kind} was fitted without groups")
        return estimator.mixed_model_
    if not hasattr(estimator, "random"):
        raise TypeError(
            f"{display} shows a fitted mixed model, not a {kind}; of a pipeline or a search, pass "
            "the step or the best_estimator_ that is one"
        )
    check_is_fitted(estimator)
    assert isinstance(estimator.fit_, Fit)
    return estimator


def response_of(estimator: Any) -> str:
    """Return what the response is called: its name in a formula, otherwise y."""
    left, _, right = str(getattr(estimator, "formula_", "")).partition("~")
    return left.strip() if right and left.strip() else "y"


def group_coefficients(model: GroupedModels, display: str, *, shrunk: bool) -> pd.DataFrame:
    """Return the coefficients of the groups of a fitted `GroupedModels`.

    Parameters
    ----------
    model : GroupedModels
        Fitted, with one output.
    display : str
        Name of the display, for errors.
    shrunk : bool
        Whether the coefficients that predict are wanted, or those of each group by itself.

    Returns
    -------
    DataFrame
        A row a group, a column a coefficient; and under ``("se", name)`` the standard errors.

    Raises
    ------
    ValueError
        Without groups, without coefficients, and for several outputs.
    """
    check_is_fitted(model)
    if model._is_matrix:
        raise ValueError(f"{display} shows models of one output: fit one for each column of y")
    table = model.coef_table(shrunk=shrunk)
    k = (table.shape[1] - 2) // 2
    coefficients = table.iloc[:, 1 : 1 + k]
    errors = table.iloc[:, 1 + k : 1 + 2 * k].set_axis(coefficients.columns, axis=1)
    return pd.concat({"coef": coefficients, "se": errors}, axis=1)


def common_coefficients(model: GroupedModels) -> pd.Series:
    """Return the coefficients of all rows, which the coarsest groups are shrunk to.

    Parameters
    ----------
    model : GroupedModels
        Fitted, with coefficients and one output.

    Returns
    -------
    Series
        By name.
    """
    root = model.parent_estimators_[()]
    values = np.ravel(root.coef_)
    names = list(model._names)
    if getattr(root, "fit_intercept", True):
        values = np.concatenate([np.ravel(root.intercept_), values])
    return pd.Series(values, coefficient_names(names, len(values)))


def grouped_effects(model: GroupedModels, level: float) -> pd.DataFrame:
    """Tabulate the coefficients of the finest groups as `random_effects_table` does effects.

    Parameters
    ----------
    model : GroupedModels
        Fitted.
    level : float
        Probability of the intervals.

    Returns
    -------
    DataFrame
        Columns factor, level, column, estimate, std_error, lower, upper and reference, which is
        the coefficient of all rows.
    """
    table = group_coefficients(model, "RandomEffectsDisplay", shrunk=True)
    common = common_coefficients(model)
    values, errors = table["coef"].to_numpy(float), table["se"].to_numpy(float)
    quantile = float(stats.norm.isf((1.0 - level) / 2.0))
    levels = np.empty(len(table), dtype=object)
    levels[:] = list(table.index)
    k = len(common)
    return pd.DataFrame(
        {
            "factor": ":".join(map(str, table.index.names)),
            "level": np.repeat(levels, k),
            "column": np.tile(np.asarray(table["coef"].columns, dtype=object), len(table)),
            "estimate": values.ravel(),
            "std_error": errors.ravel(),
            "lower": (values - quantile * errors).ravel(),
            "upper": (values + quantile * errors).ravel(),
            "reference": np.tile(common.to_numpy(), len(table)),
        }
    )
