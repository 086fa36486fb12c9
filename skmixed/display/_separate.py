"""Estimates of each group by itself, beside those of a mixed model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import LinearRegression

from skmixed.core.fit import Fit
from skmixed.core.layout import CONSTANT, FloatArray, Rows
from skmixed.estimators._labels import RandomLabels
from skmixed.estimators.grouped.models import GroupedModels
from skmixed.inference.rows import rows_of_fit


@dataclass(frozen=True, slots=True, eq=False)
class SeparateEstimates:
    """Coefficients of the levels of one factor.

    Parameters
    ----------
    factor : str
        Its name.
    own : DataFrame of shape (n_levels, k)
        Each level by itself; NaN where its rows do not determine the coefficients.
    shrunk : DataFrame of shape (n_levels, k)
        Fixed coefficient plus BLUP given the rows of the fit.
    common : Series of length k
        The fixed coefficients; 0 of a column that is not fixed.
    """

    factor: str
    own: pd.DataFrame
    shrunk: pd.DataFrame
    common: pd.Series


def separate_estimates(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any, factor: str | None
) -> SeparateEstimates:
    """Fit the columns that vary in each level of a factor, at the rest of a mixed model.

    Parameters
    ----------
    model : MixedLinearRegressor
        Fitted.
    X, y, sample_weight, groups : array-like or None
        The rows of the fit.
    factor : str or None
        Name of the factor; None is the one with most levels.

    Returns
    -------
    SeparateEstimates
        Of every level.

    Raises
    ------
    ValueError
        If these are not the rows of the fit, and for an unknown factor.
    """
    fit: Fit = model.fit_
    names = list(model.n_groups_)
    if not names:
        raise ValueError("the model has no random effects")
    if factor is None:
        factor = max(names, key=lambda name: model.n_groups_[name])
    if factor not in names:
        raise ValueError(f"factor={factor!r} is no factor of the model, which has {names}")
    rows = rows_of_fit(model, X, y, sample_weight, groups, "ShrinkageDisplay")
    place = names.index(factor)
    position = fit.spec.used_factors[place]
    columns = fit.spec.factor_columns(position)
    labels = RandomLabels.of(model.design_.with_levels(fit.products.levels), position, columns)
    effects = pd.DataFrame(fit.modes[place], labels.levels, labels.columns)
    common = _fixed(fit, columns)
    left = rows.columns[:, -1] - _others(fit, rows, place, columns)
    own = _fitted(rows, position, columns, left, len(effects))
    return SeparateEstimates(
        factor,
        pd.DataFrame(own, effects.index, effects.columns),
        effects + common,
        pd.Series(common, effects.columns),
    )


def _fixed(fit: Fit, columns: tuple[int, ...]) -> FloatArray:
    """Return the fixed coefficients of some columns, 0 where there is none."""
    of_column = dict(zip(fit.spec.fixed, fit.beta, strict=True))
    return np.array([of_column.get(column, 0.0) for column in columns])


def _others(fit: Fit, rows: Rows, place: int, columns: tuple[int, ...]) -> FloatArray:
    """Return what the rest of the model says of the response of every row."""
    total = np.zeros(len(rows.columns))
    for column, beta in zip(fit.spec.fixed, fit.beta, strict=True):
        if column not in columns:
            total += beta * rows.columns[:, column]
    for number, factor in enumerate(fit.spec.used_factors):
        if number == place:
            continue
        codes, modes = rows.codes[factor], fit.modes[number]
        for column, effect in zip(fit.spec.factor_columns(factor), modes.T, strict=True):
            total += effect[codes] * rows.columns[:, column]
    return total


def _fitted(
    rows: Rows, position: int, columns: tuple[int, ...], y: FloatArray, n_levels: int
) -> FloatArray:
    """Return the coefficients of least squares in every level, shape (n_levels, k)."""
    has_constant = CONSTANT in columns
    slopes = [column for column in columns if column != CONSTANT]
    regressor = LinearRegression(fit_intercept=has_constant)
    codes = rows.codes[position]
    if not slopes:  # least squares of a constant alone
        weights = np.ones(len(y)) if rows.weights is None else rows.weights
        total = np.bincount(codes, weights, minlength=n_levels)
        sums = np.bincount(codes, weights * y, minlength=n_levels)
        return (sums / total)[:, None]
    separate = GroupedModels(regressor, shrinkage=None).fit(
        rows.columns[:, slopes], y, sample_weight=rows.weights, groups=codes
    )
    table = separate.coef_table()
    found = np.full((n_levels, len(columns)), np.nan)
    found[table.index.to_numpy()] = table.iloc[:, 1 : 1 + len(columns)].to_numpy()
    order = ([CONSTANT] if has_constant else []) + slopes
    return found[:, [order.index(column) for column in columns]]
