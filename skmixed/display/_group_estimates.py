"""Coefficients of groups: unpooled, partially pooled, and common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.linear_model import LinearRegression
from sklearn.utils.validation import check_is_fitted

from skmixed.core.generalized.after_fit.level_estimates import level_estimates
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.prediction_errors import mean_predictions
from skmixed.core.sums.layout import CONSTANT, Rows
from skmixed.display._fitted_models import GroupColumns, as_objects, mixed_model, several_outputs
from skmixed.estimators.grouped._group_tables import coefficient_names
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.estimators.mixed._mixed_state import labels_of
from skmixed.inference.fitted import mixed_fit_of, observations_of_fit, rows_of_fit, series_of_fit


@dataclass(frozen=True, slots=True, eq=False)
class GroupEstimates:
    """Coefficients of the levels of one factor."""

    factor: str
    own: pd.DataFrame  # (n_levels, k), unpooled; NaN if its rows do not determine them
    shrunk: pd.DataFrame  # (n_levels, k), partially pooled
    common: pd.Series  # (k,), of all rows, or fixed; 0 for a column that is not fixed


def group_estimates(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, factor: str | None
) -> GroupEstimates:
    """Return unpooled and shrunken estimates of each level, of `GroupedModels` or a mixed model.

    `GroupedModels` store them. For a mixed model the training rows are needed. Raises ValueError
    for other rows and an unknown factor; None is the factor with the most levels.
    """
    if not isinstance(estimator, GroupedModels):
        model = mixed_model(estimator, "ShrinkageDisplay")
        return _beside_mixed_model(model, X, y, sample_weight, groups, factor)
    if factor is not None:
        raise ValueError("factor is for mixed models only: GroupedModels show their finest groups")
    own, shrunk = (
        _grouped_coefficients(estimator, "ShrinkageDisplay", shrunk=each)[0]
        for each in (False, True)
    )
    factor = GroupColumns.of(estimator).factor()
    return GroupEstimates(factor, own, shrunk, _common_coefficients(estimator))


def grouped_effects(model: GroupedModels, level: float) -> pd.DataFrame:
    """Tabulate the coefficients of the finest groups, as `random_effects_table` does effects.

    Columns are factor, level, column, estimate, std_error, lower and upper, and reference, the
    coefficient of all rows.
    """
    coefficients, std_errors = _grouped_coefficients(model, "RandomEffectsDisplay", shrunk=True)
    common = _common_coefficients(model)
    values, errors = coefficients.to_numpy(float), std_errors.to_numpy(float)
    quantile = float(stats.norm.isf((1.0 - level) / 2.0))
    n_levels, k = values.shape
    return pd.DataFrame(
        {
            "factor": GroupColumns.of(model).factor(),
            "level": np.repeat(as_objects(coefficients.index), k),
            "column": np.tile(np.asarray(coefficients.columns, dtype=object), n_levels),
            "estimate": values.ravel(),
            "std_error": errors.ravel(),
            "lower": (values - quantile * errors).ravel(),
            "upper": (values + quantile * errors).ravel(),
            "reference": np.tile(common.to_numpy(), n_levels),
        }
    )


def _grouped_coefficients(
    model: GroupedModels, display: str, *, shrunk: bool
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the coefficients of the finest groups and their standard errors, both (n_groups, k).

    They are the shrunken ones if `shrunk`, otherwise unpooled. Raises ValueError for models without
    groups, without coefficients or with several outputs.
    """
    check_is_fitted(model)
    if model._state().is_matrix:
        raise several_outputs(display)
    table = model.coef_table(shrunk=shrunk)
    k = (table.shape[1] - 2) // 2  # n, k coefficients, k errors, residual sd
    coefficients = table.iloc[:, 1 : 1 + k]
    return coefficients, table.iloc[:, 1 + k : 1 + 2 * k].set_axis(coefficients.columns, axis=1)


def _common_coefficients(model: GroupedModels) -> pd.Series:
    """Return the coefficients of all rows, (k,), towards which the coarsest groups are shrunk."""
    root = model.parent_estimators_[()]
    values = np.ravel(root.coef_)
    names = list(model._state().inner_names)
    if getattr(root, "fit_intercept", True):
        values = np.concatenate([np.ravel(root.intercept_), values])
    return pd.Series(values, coefficient_names(names, len(values)))


def _beside_mixed_model(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, factor: str | None
) -> GroupEstimates:
    """Fit the columns with random effects in each level, given the rest of a mixed model.

    By least squares, ignoring any correlation of rows, or by maximum likelihood for a generalized
    model.
    """
    fit = mixed_fit_of(model)
    names = list(model.n_groups_)
    if not names:
        raise ValueError("the model has no random effects")
    if factor is None:
        factor = max(names, key=lambda name: model.n_groups_[name])
    if factor not in names:
        raise ValueError(f"factor={factor!r} is not a factor of the model, which has {names}")
    given = (X, y, sample_weight, groups, "ShrinkageDisplay")
    place = names.index(factor)
    position = fit.spec.used_factors[place]
    columns = fit.spec.shown_columns(position)
    labels = labels_of(model.design_.with_levels(fit.products.levels), fit.spec, position)
    effects = labels.of_levels(fit.modes[place])
    of_column = dict(zip(fit.spec.fixed, fit.beta, strict=True))
    common = np.array([of_column.get(column, 0.0) for column in columns])
    shrunk = (effects + common).to_numpy()
    if isinstance(fit, GeneralizedFit):
        own = level_estimates(fit, observations_of_fit(model, *given), place, shrunk)
    else:
        if isinstance(fit, ResidualFit) and fit.structure.is_correlated:
            rows = series_of_fit(model, *given)[0]
        else:
            rows = rows_of_fit(model, *given)
        varying = shrunk[rows.codes[position]] * rows.columns[:, columns]
        response = rows.columns[:, -1] - mean_predictions(fit, rows) + varying.sum(axis=1)
        own = _least_squares(rows, position, columns, response, len(effects))
    return GroupEstimates(
        factor,
        pd.DataFrame(own, effects.index, effects.columns),
        effects + common,
        pd.Series(common, effects.columns),
    )


def _least_squares(
    rows: Rows, position: int, columns: tuple[int, ...], y: FloatArray, n_levels: int
) -> FloatArray:
    """Return weighted least-squares coefficients in each level, (n_levels, k).

    NaN if the rows of a level do not determine them.
    """
    has_constant = CONSTANT in columns
    slopes = [column for column in columns if column != CONSTANT]
    regressor = LinearRegression(fit_intercept=has_constant)
    codes = rows.codes[position]
    if not slopes:  # least squares of a constant: the mean
        weights = np.ones(len(y)) if rows.weights is None else rows.weights
        total = np.bincount(codes, weights, minlength=n_levels)
        sums = np.bincount(codes, weights * y, minlength=n_levels)
        return np.divide(sums, total, out=np.full(n_levels, np.nan), where=total > 0.0)[:, None]
    separate = GroupedModels(regressor, shrinkage=None).fit(
        rows.columns[:, slopes], y, sample_weight=rows.weights, groups=codes
    )
    table = separate.coef_table()
    estimates = np.full((n_levels, len(columns)), np.nan)
    estimates[table.index.to_numpy()] = table.iloc[:, 1 : 1 + len(columns)].to_numpy()
    order = ([CONSTANT] if has_constant else []) + slopes
    return estimates[:, [order.index(column) for column in columns]]
