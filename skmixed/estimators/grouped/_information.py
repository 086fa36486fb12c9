"""The information of a fitted generalized linear model on its coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)

FloatArray = NDArray[np.float64]

_LEAST = 1e-12


@dataclass(frozen=True, slots=True)
class Family:
    """Variance and link of a generalized linear model of scikit-learn's.

    Parameters
    ----------
    mean : callable
        Mean from the linear predictor.
    slope : callable
        Derivative of the mean in the linear predictor, from the mean.
    variance : callable
        Variance from the mean, without the dispersion.
    has_dispersion : bool
        Whether a dispersion is estimated.
    penalty : callable
        What the penalty adds to the information of each slope, from the sum of the weights.
    """

    mean: Callable[[FloatArray], FloatArray]
    slope: Callable[[FloatArray], FloatArray]
    variance: Callable[[FloatArray], FloatArray]
    has_dispersion: bool
    penalty: Callable[[float], float]


def _logistic(eta: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(eta, -700.0, 700.0))))


def family_of(estimator: Any, n_classes: int | None) -> Family | None:
    """Return the family of an estimator, None if its coefficients are not shrunk.

    Parameters
    ----------
    estimator : estimator
        Unfitted.
    n_classes : int or None
        Number of classes.

    Returns
    -------
    Family or None
        For `LogisticRegression` of two classes without an L1 penalty or class weights, and for
        `PoissonRegressor`, `GammaRegressor` and `TweedieRegressor`.
    """
    kind = type(estimator)
    if kind is LogisticRegression:
        return _of_logistic(estimator) if n_classes == 2 else None
    if kind not in (PoissonRegressor, GammaRegressor, TweedieRegressor):
        return None
    power = {PoissonRegressor: 1.0, GammaRegressor: 2.0}.get(kind)
    power = float(estimator.power) if power is None else power
    link = getattr(estimator, "link", "log")
    is_log = link == "log" or (link == "auto" and power > 0.0)
    alpha = float(estimator.alpha)
    return Family(
        (lambda eta: np.exp(np.minimum(eta, 700.0))) if is_log else (lambda eta: eta),
        (lambda mean: mean) if is_log else np.ones_like,
        lambda mean: np.maximum(np.abs(mean), _LEAST) ** power,
        kind is not PoissonRegressor,
        lambda total: alpha * total,
    )


def _of_logistic(estimator: Any) -> Family | None:
    params = estimator.get_params()
    penalty, mixing = params.get("penalty", "deprecated"), params.get("l1_ratio")
    if penalty not in ("l2", None, "deprecated") or mixing not in (None, 0):
        return None
    if estimator.class_weight is not None:
        return None
    added = 0.0 if penalty is None or np.isinf(estimator.C) else 1.0 / float(estimator.C)
    return Family(
        _logistic,
        lambda mean: mean * (1.0 - mean),
        lambda mean: np.maximum(mean * (1.0 - mean), _LEAST),
        False,
        lambda _: added,
    )


@dataclass(frozen=True, slots=True, eq=False)
class Information:
    """What the rows of a group say of its coefficients.

    Parameters
    ----------
    estimate : ndarray of shape (k,)
        The coefficients, the intercept, at the origin, first if there is one.
    matrix : ndarray of shape (k, k)
        The information, penalty included, for a dispersion of 1.
    pearson : float
        Weighted sum of squared Pearson residuals.
    total : float
        Sum of the weights.
    """

    estimate: FloatArray
    matrix: FloatArray
    pearson: float
    total: float


def information(
    family: Family,
    estimator: Any,
    table: FloatArray,
    y: FloatArray,
    weights: FloatArray | None,
    origin: FloatArray,
) -> Information:
    """Return the information at the estimate of a group.

    Parameters
    ----------
    family : Family
        Of the estimator.
    estimator : estimator
        Fitted to these rows.
    table : ndarray of shape (n, p)
        The columns.
    y : ndarray of shape (n,)
        The response; of two classes, 1 for the second.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    origin : ndarray of shape (p,)
        Where the intercept is taken.

    Returns
    -------
    Information
        Of the group.
    """
    slopes = np.ravel(estimator.coef_).astype(float)
    intercept = float(np.ravel(estimator.intercept_)[0]) if estimator.fit_intercept else 0.0
    mean = family.mean(table @ slopes + intercept)
    slope, variance = family.slope(mean), family.variance(mean)
    rows = np.ones(len(y)) if weights is None else weights
    total = float(rows.sum())
    design, estimate = table, slopes
    if estimator.fit_intercept:
        design = np.column_stack([np.ones(len(y)), table - origin])
        estimate = np.concatenate([[intercept + origin @ slopes], slopes])
    matrix = design.T @ (design * (rows * slope**2 / variance)[:, None])
    place = np.arange(len(estimate) - len(slopes), len(estimate))
    matrix[place, place] += family.penalty(total)
    pearson = float((rows * (y - mean) ** 2 / variance).sum())
    return Information(estimate, matrix, pearson, total)
