"""The information of a fitted generalized linear model on its coefficients."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.linear_model import (
    GammaRegressor,
    LogisticRegression,
    PoissonRegressor,
    TweedieRegressor,
)

from skmixed.core.linalg import FloatArray

_GLM_FLOOR = 1e-12  # of p (1 - p) and of |mean|: a fit that is certain is not divided by zero
_LARGEST_EXPONENT = 700.0  # exp(710) is infinite


@dataclass(frozen=True, slots=True)
class Family:
    """Mean, variance and penalty of one of scikit-learn's generalized linear models."""

    mean: Callable[[FloatArray], FloatArray]  # of the linear predictor, (n,)
    slope: Callable[[FloatArray], FloatArray]  # dmean / dpredictor, of the mean, (n,)
    variance: Callable[[FloatArray], FloatArray]  # of the mean, (n,), for a dispersion of 1
    has_dispersion: bool  # whether one is estimated
    penalty: Callable[[float], float]  # added to the information of a slope, of the sum of weights


def _logistic(eta: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-np.clip(eta, -_LARGEST_EXPONENT, _LARGEST_EXPONENT))))


def family_of(estimator: Any, n_classes: int | None) -> Family | None:
    """Return the family of an unfitted estimator, None if its coefficients are not shrunk.

    They are for `LogisticRegression` of two classes without an L1 penalty or class weights, and for
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
        (lambda eta: np.exp(np.minimum(eta, _LARGEST_EXPONENT))) if is_log else (lambda eta: eta),
        (lambda mean: mean) if is_log else np.ones_like,
        lambda mean: np.maximum(np.abs(mean), _GLM_FLOOR) ** power,
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
        lambda mean: np.maximum(mean * (1.0 - mean), _GLM_FLOOR),
        False,
        lambda _: added,
    )


@dataclass(frozen=True, slots=True, eq=False)
class GroupInformation:
    """What the rows of a group say of its coefficients."""

    estimate: FloatArray  # (k,), the intercept, taken at the origin, first if there is one
    matrix: FloatArray  # (k, k), information with the penalty, for a dispersion of 1
    pearson: float  # weighted sum of squared Pearson residuals
    total: float  # sum of the weights


def information(
    family: Family,
    estimator: Any,
    table: FloatArray,
    y: FloatArray,
    weights: FloatArray | None,
    origin: FloatArray,
) -> GroupInformation:
    """Return the information at the estimate of a group, the estimator being fitted to its rows.

    X'WX with the weights of iterated least squares, plus the penalty. `table` is (n, p); `y` and
    `weights` are (n,), y being 1 for the second of two classes; the intercept is taken at `origin`,
    (p,).
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
    return GroupInformation(estimate, matrix, pearson, total)
