"""Prediction intervals from pooled coefficients."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.base import is_classifier
from sklearn.linear_model import GammaRegressor, PoissonRegressor

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.likelihood_errors import predictor_errors_of
from skmixed.core.pooling.pooled_errors import pooled_errors
from skmixed.core.pooling.stage import NOISELESS
from skmixed.core.rows.prediction_errors import PredictionErrors
from skmixed.estimators.grouped._arguments import solves_at_once
from skmixed.estimators.grouped._generalized_fits import GeneralizedGroupFits
from skmixed.estimators.grouped._group_fits import GroupFits
from skmixed.estimators.grouped._linear_fits import LinearGroupFits
from skmixed.estimators.grouped._shares import BLUP
from skmixed.estimators.grouped._tree import deepest_known

_EXACT = (
    "the models of the groups fit their rows exactly, which leaves no residual variance for "
    "prediction intervals"
)


def is_of_means(estimator: Any) -> bool:
    """Tell whether an estimator is one of those by whose likelihood means are pooled."""
    return type(estimator) in (PoissonRegressor, GammaRegressor)


def why_no_intervals(fits: GroupFits) -> str | None:
    """Say why the predictions of fitted groups have no intervals, None if they have."""
    name = type(fits.pooled).__name__
    if not fits.tree.depth:
        return "prediction intervals require groups, but the model was fitted without"
    if is_classifier(fits.pooled):
        return (
            f"{name} predicts classes, which have no intervals; use predict_proba for their "
            "probabilities, or MixedClassifier for intervals of these"
        )
    if isinstance(fits, GeneralizedGroupFits):
        return None
    if fits.scheme.name != BLUP and (solves_at_once(fits.pooled) or is_of_means(fits.pooled)):
        return (
            f"shrinkage={fits.scheme.name!r} estimates no variances, which intervals require; "
            "use shrinkage='blup'"
        )
    if not isinstance(fits, LinearGroupFits):
        return (
            f"predictions by {name} have no intervals: use LinearRegression, Ridge or "
            "MixedEffectsRegressor"
        )
    if fits.n_outputs > 1:
        return (
            f"y has {fits.n_outputs} columns, but intervals require a single one: fit a model "
            "for each column"
        )
    return None


def limits(
    fits: GroupFits,
    table: Any,
    codes: tuple[IntArray, ...],
    level: float,
    *,
    observation: bool,
) -> FloatArray:
    """Return intervals of rows, (n, 2), by fits that have some.

    `codes`, (n,) each, go by level from the root. Raises a ValueError where no residual is left.
    """
    if isinstance(fits, GeneralizedGroupFits):
        if fits.leaves_no_rest:
            raise ValueError(_EXACT)
        return fits.limits(table, codes, level, observation=observation)
    assert isinstance(fits, LinearGroupFits)
    center, columns = fits.predict("predict", table, codes), table - fits.origin
    if fits.fit_intercept:
        columns = np.column_stack([np.ones(len(columns)), columns])
    place = fits.tree.places(codes, deepest_known(codes))
    half = errors_of_places(fits, columns, place, observation=observation).half_widths(level)
    return np.column_stack([center - half, center + half])


def errors_of_places(
    fits: LinearGroupFits | GeneralizedGroupFits,
    columns: FloatArray,
    places: IntArray,
    *,
    observation: bool = False,
) -> PredictionErrors:
    """Assess x'b of rows, for a linear model also observations of them.

    `columns` are x from the origin of the fit, (n, k), and `places` those of the groups among the
    groups of all levels, (n,), the root first. Raises a ValueError where no residual is left.
    """
    if isinstance(fits, GeneralizedGroupFits):
        if fits.leaves_no_rest or fits.parameter_errors is None:
            raise ValueError(_EXACT)
        return predictor_errors_of(fits.shrunk, fits.parameter_errors, columns, places)
    solved = fits._fits(fits.cells)
    usable = fits.failures.usable()[-1]
    place = fits.p
    total = float(fits.cells.products[place, place, usable].sum())
    degrees = float(np.maximum(fits.cells.counts[usable] - fits.k, 0.0).sum())
    if degrees < 1.0 or not float(fits.rss[0, usable].sum()) > NOISELESS * total:
        raise ValueError(_EXACT)
    (pooled,), ((scale, noise),) = fits._pool(solved), fits._noises(solved)
    if noise is not None:
        degrees = pooled.stages[-1].stage.degrees
    return pooled_errors(
        pooled, columns, places, noise=scale if observation else 0.0, degrees=degrees
    )
