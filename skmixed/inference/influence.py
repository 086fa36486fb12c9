"""How much rows and levels pull the estimates."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit, working_model
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.leave_out import coefficients_without_levels, residuals_and_leverage
from skmixed.core.sums.layout import Rows
from skmixed.inference.fitted import (
    check_maximum,
    coefficient_names,
    determined_mixed_fit_of,
    formula_of,
    observations_of_fit,
    rows_of_fit,
    snapshot,
    stated_places,
)
from skmixed.inference.table import Table


def influence(
    model: Any,
    X: Any,
    y: Any,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    by: str | None = None,
) -> Table:
    """Measure the influence of rows, or of whole levels of a factor.

    Parameters
    ----------
    model : MixedLinearRegressor, MixedClassifier or MixedGeneralizedRegressor
        Fitted.
    X, y, sample_weight, groups : array-like
        The rows of the fit, as given to `fit`; the model does not keep them.
    by : str or None, default=None
        Name of a factor whose levels are left out one at a time; None is about rows.

    Returns
    -------
    Table
        A row for every row of X, under its index if it has one: residual (conditional, in units of
        y; of a generalized model that of the working model, on the scale of the link), leverage
        (diagonal of the hat matrix of the fitted values) and cooks_distance. With
        `by`, a row a level: leverage (the sum over its rows), cooks_distance (of the fixed
        coefficients), and the change of every coefficient when the level is left out.

    Raises
    ------
    ValueError
        If these are not the rows of the fit, for an unknown factor, if the fit left no residual,
        and if coefficients or variances of a generalized model are infinite.

    See Also
    --------
    skmixed.MixedLinearRegressor.loo_predict : Predictions without a row or level.

    Notes
    -----
    All is at the variances of the fit. For rows h is as in lme4's ``hatvalues``, and Cook's
    distance, r^2 w h / ((1 - h)^2 sigma^2 p), as in its ``cooks.distance``; p is the number of
    independent fixed columns. For levels it is c'V_b^-1 c / (sigma^2 p), c being the change of the
    coefficients, which is exact at these variances. One pass over the rows does for rows and for a
    factor that contains all others; other factors take an evaluation of the model a level.

    Of a generalized model it is the influence in the linear mixed model that it is near its
    estimates, with weights of one trial or row and a residual variance of one: what one step of
    Newton's method changes. For many levels that is near what a refit without the level finds at
    these variances. R's ``hatvalues`` warns that for such models it makes no sense: it is not of
    their weights, and can exceed one.

    References
    ----------
    .. [1] Demidenko, E. & Stukel, T. A. (2005). Influence analysis for linear mixed-effects models.
       Statistics in Medicine 24(6), :doi:`10.1002/sim.1974`, eq. 12.
    .. [2] Christensen, R., Pearson, L. M. & Johnson, W. (1992). Case-deletion diagnostics for mixed
       models. Technometrics 34(1), :doi:`10.2307/1269550`, section 3.

    Examples
    --------
    >>> from skmixed import MixedLinearRegressor
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import influence
    >>> X, y = load_sleepstudy(return_X_y=True)
    >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
    >>> float(influence(model, X, y).to_frame()["leverage"].sum().round(2))
    29.02
    >>> influence(model, X, y, by="Subject").to_frame()["cooks_distance"].idxmax()
    '309'
    """
    model = snapshot(model)
    fit: Fit
    whole = determined_mixed_fit_of(model)
    if isinstance(whole, GeneralizedFit):
        check_maximum(whole, "influence")
        observations = observations_of_fit(model, X, y, sample_weight, groups, "influence")
        fit, rows = working_model(whole, observations)
    else:
        fit, rows = whole, rows_of_fit(model, X, y, sample_weight, groups, "influence")
    if by is not None and by not in model.n_groups_:
        raise ValueError(f"by={by!r} is no factor of the model, which has {list(model.n_groups_)}")
    if by is None:
        frame = _by_row(fit, rows, getattr(X, "index", None))
        return Table(f"Influence of rows: {formula_of(model)}", frame)
    frame = _by_level(fit, rows, by, model.random_effects_[by].index, stated_places(whole))
    return Table(f"Influence of the levels of {by}: {formula_of(model)}", frame)


def _by_row(fit: Fit, rows: Rows, index: Any) -> pd.DataFrame:
    residuals, leverage = residuals_and_leverage(fit, rows)
    weights: FloatArray | float = 1.0 if rows.weights is None else rows.weights
    left = 1.0 - leverage
    with np.errstate(divide="ignore", invalid="ignore"):
        distance = weights * np.square(residuals / left) * leverage / (fit.sigma2 * fit.rank)
    columns = {"residual": residuals, "leverage": leverage, "cooks_distance": distance}
    return pd.DataFrame(columns, index=index if isinstance(index, pd.Index) else None)


def _by_level(
    fit: Fit, rows: Rows, name: str, labels: pd.Index[Any], stated: list[int]
) -> pd.DataFrame:
    names = [index.name for index in fit.products.levels]
    position = names.index(name)
    _, leverage = residuals_and_leverage(fit, rows)
    change = coefficients_without_levels(fit, rows, position) - fit.beta
    kept = list(fit.kept)
    precision = np.linalg.pinv(fit.beta_covariance[np.ix_(kept, kept)], hermitian=True)
    scaled = np.einsum("la,ab,lb->l", change[:, kept], precision, change[:, kept])
    columns = {
        "leverage": np.bincount(rows.codes[position], leverage, minlength=len(labels)),
        "cooks_distance": scaled / fit.rank,
    }
    table = pd.DataFrame(columns, index=labels)
    changes = pd.DataFrame(change, index=labels, columns=coefficient_names(fit))
    return pd.concat([table, changes.iloc[:, stated]], axis=1)
