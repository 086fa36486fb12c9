"""Influence of rows and levels on the estimates."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd

from skmixed.core.batch.refits import Refits
from skmixed.core.fit import Fit
from skmixed.core.generalized.after_fit.redrawn import GeneralizedRefits, Refitted
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.generalized_fitting import working_model
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.rows.leave_out import (
    coefficients_without_levels,
    coefficients_without_rows,
    residuals_and_leverage,
)
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.inference.components import parameters_of, values_of
from skmixed.inference.fitted import (
    MixedFit,
    check_maximum,
    coefficient_names,
    design_of,
    determined_mixed_fit_of,
    formula_of,
    observations_of_fit,
    rows_of_fit,
    snapshot,
    stated_places,
)
from skmixed.inference.resampling import estimates_of
from skmixed.inference.table import Table


def influence(
    model: Any,
    X: Any,
    y: Any = None,
    sample_weight: Any = None,
    groups: Any = None,
    *,
    by: str | None = None,
    refit: bool = False,
    missing: Literal["raise", "nan"] | None = None,
) -> Table:
    """Compute leverage, Cook's distance and case-deletion changes of the coefficients.

    Use it to find rows, or with `by` whole groups, that dominate the estimates. For residuals alone
    use `residuals`.

    Read more in the user guide: :doc:`/guide/intervals`.

    Parameters
    ----------
    model : MixedLinearRegressor, MixedClassifier or MixedGeneralizedRegressor
        A fitted mixed model.
    X, y, sample_weight, groups : array-like
        The training data, as passed to ``fit``; the model does not store it. After `lmer`, `glmer`,
        `clmm` or `nlmer` the data frame X is enough: y and the weights, such as trials, are read
        from it.
    by : str or None, default=None
        Name of a grouping factor whose levels are deleted one at a time; None deletes single rows.
    refit : bool, default=False
        Whether to refit the model without each row or level. Otherwise the variances are held at
        their estimates, given which the changes of the coefficients are exact.
    missing : {"raise", "nan"} or None, default=None
        Whether rows with missing values raise an error or get NaN. None means "raise", or "nan" for
        a model fitted with na_action="exclude".

    Returns
    -------
    Table
        A row for each row of X, under its index if it has one: residual (conditional, in units of
        y; for a generalized model that of the working model, on the scale of the link), leverage
        (diagonal of the hat matrix), studentised (residual divided by its standard deviation),
        cooks_distance, and the change of each coefficient when the row is deleted. With `by`, a row
        for each level: leverage (summed over its rows), cooks_distance (of the fixed coefficients)
        and the same changes. With `refit`, changes of all parameters, named as in
        `confidence_intervals`, and Cook's distance of the coefficients; NaN where the model cannot
        be refitted.

    Raises
    ------
    ValueError
        If these are not the training data, for an unknown factor, if the fit leaves no residual, if
        coefficients or variances of a generalized model are infinite, and for a refit of a model
        with a residual structure.

    See Also
    --------
    residuals : Residuals of all kinds.
    skmixed.MixedLinearRegressor.loo_predict : Leave-one-out predictions.
    skmixed.display.ResidualsDisplay : Residual plots, with leverage.

    Notes
    -----
    Unless `refit` is True, the variances are those of the fit. For rows, the leverage h is that of
    lme4's ``hatvalues``; studentised residuals, r w^(1/2) / (sigma (1 - h)^(1/2)), are those of its
    ``rstudent`` (``rstandard`` of ``lm``); and Cook's distance, r^2 w h / ((1 - h)^2 sigma^2 p), is
    that of its ``cooks.distance``, p being the number of independent fixed columns. For levels, and
    with `refit`, it is c'V_b^-1 c / p, c being the change of the coefficients and V_b their
    covariance; that of R's ``influence(model)`` is (n - p) / n times this, n being the number of
    rows or levels. Changes are R's ``dfbeta``, and with `refit` ``dfbeta(influence(model))``, in
    units of the coefficients.

    For rows, and for a factor that contains all others, one pass over the rows is enough. Other
    factors take one evaluation of the model per level, and refits one search each.

    For a generalized model the figures are those of the linear mixed model that approximates it at
    the estimates (weights of one trial or row, residual variance one): the change after one Newton
    step. With many levels this is close to a refit at the same variances. It differs from R's
    ``hatvalues``, which ignores the working weights and warns that it makes no sense for such
    models.

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
    determined_mixed_fit_of(model)
    design_of(model)  # a bare fit has none
    X, y, sample_weight, groups = model._with_response(X, y, sample_weight, groups)
    complete = model._complete_rows(X, y, sample_weight, groups, missing)
    if complete is not None:
        table = influence(model, *complete.arguments, by=by, refit=refit, missing="raise")
        if by is not None:
            return table
        values = complete.spread(lambda *_: table.frame.to_numpy(), n_columns=len(table.frame.T))
        padded = pd.DataFrame(values, _labels_of(X, len(values)), table.frame.columns)
        return Table(table.title, padded, table.notes)
    whole, fit, rows, observations = _read(model, X, y, sample_weight, groups)
    if by is not None and by not in model.n_groups_:
        raise ValueError(
            f"by={by!r} is not a grouping factor of the model, which has {list(model.n_groups_)}"
        )
    if refit and isinstance(fit, ResidualFit):
        raise ValueError(
            f"refit=True is not available with residual={model.residual!r}: use refit=False, or "
            "fit the model to the data without these rows"
        )
    if by is None:
        frame, codes = _by_row(fit, rows), np.arange(len(rows.columns))
        labels = _labels_of(X, len(codes))
        changes = None if refit else _changes_without_rows(fit, rows, frame)
    else:
        position = [index.name for index in fit.products.levels].index(by)
        codes, labels = rows.codes[position], model.random_effects_[by].index
        frame = _by_level(fit, rows, codes, len(labels))
        changes = None if refit else coefficients_without_levels(fit, rows, position) - fit.beta
    if changes is None:
        found = _refitted(whole, rows, observations, codes, len(labels))
        changes = found.iloc[:, : len(fit.beta)].to_numpy()
    else:
        found = pd.DataFrame(changes, columns=coefficient_names(fit))
    if by is not None or refit:
        frame["cooks_distance"] = _distance(fit, changes)
    stated = [*stated_places(whole), *range(len(fit.beta), found.shape[1])]
    frame = pd.concat([frame, found.iloc[:, stated]], axis=1).set_axis(labels, axis=0)
    what = "rows" if by is None else f"the levels of {by}"
    notes = ("The model is refitted without each.",) if refit else ()
    return Table(f"Influence of {what}: {formula_of(model)}", frame, notes)


def _labels_of(X: Any, n_rows: int) -> pd.Index[Any]:
    index = getattr(X, "index", None)
    return index if isinstance(index, pd.Index) else pd.RangeIndex(n_rows)


def studentised(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> FloatArray:
    """Return the studentised residuals, (n,), of the training rows of a linear fit."""
    _, fit, rows, _ = _read(model, X, y, sample_weight, groups)
    return _by_row(fit, rows)["studentised"].to_numpy()


def leverages(model: Any, X: Any, y: Any, sample_weight: Any, groups: Any) -> FloatArray:
    """Return the diagonal of the hat matrix of the rows of a fit, (n,)."""
    _, fit, rows, _ = _read(model, X, y, sample_weight, groups)
    return residuals_and_leverage(fit, rows)[1]


def _read(
    model: Any, X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[MixedFit, Fit, Rows, Observations | None]:
    """Read the training rows again; return the fit, the linear model near it, and its rows."""
    whole = determined_mixed_fit_of(model)
    if not isinstance(whole, GeneralizedFit):
        return whole, whole, rows_of_fit(model, X, y, sample_weight, groups, "influence"), None
    check_maximum(whole, "influence")
    observations = observations_of_fit(model, X, y, sample_weight, groups, "influence")
    return whole, *working_model(whole, observations), observations


def _by_row(fit: Fit, rows: Rows) -> pd.DataFrame:
    residuals, leverage = residuals_and_leverage(fit, rows)
    weights: FloatArray | float = 1.0 if rows.weights is None else rows.weights
    left = 1.0 - leverage
    with np.errstate(divide="ignore", invalid="ignore"):
        studentised = np.sqrt(weights / (fit.sigma2 * left)) * residuals
        distance = np.square(studentised) * leverage / (left * fit.rank)
    return pd.DataFrame(
        {
            "residual": residuals,
            "leverage": leverage,
            "studentised": studentised,
            "cooks_distance": distance,
        }
    )


def _changes_without_rows(fit: Fit, rows: Rows, frame: pd.DataFrame) -> FloatArray:
    residuals, leverage = frame["residual"].to_numpy(), frame["leverage"].to_numpy()
    return coefficients_without_rows(fit, rows, residuals, leverage) - fit.beta


def _by_level(fit: Fit, rows: Rows, codes: IntArray, n_levels: int) -> pd.DataFrame:
    _, leverage = residuals_and_leverage(fit, rows)
    return pd.DataFrame({"leverage": np.bincount(codes, leverage, minlength=n_levels)})


def _distance(fit: Fit, changes: FloatArray) -> FloatArray:
    """Return Cook's distances, (m,), of changes of the coefficients, (m, n_fixed)."""
    kept = list(fit.kept)
    precision = np.linalg.pinv(fit.beta_covariance[np.ix_(kept, kept)], hermitian=True)
    scaled = np.einsum("la,ab,lb->l", changes[:, kept], precision, changes[:, kept])
    return np.asarray(scaled / fit.rank)


def _refitted(
    whole: MixedFit, rows: Rows, observations: Observations | None, codes: IntArray, n_parts: int
) -> pd.DataFrame:
    """Return the changes of all parameters, coefficients first, on deleting each part of the rows.

    `codes`, (n,), hold the part of each row.
    """
    parts = [np.flatnonzero(codes == part) for part in range(n_parts)]
    is_lost = [False] * n_parts  # lost refits of generalized models are NaN already
    refits: Refits | GeneralizedRefits
    if isinstance(whole, GeneralizedFit):
        assert observations is not None
        found = [_generalized_without(whole, observations, chosen) for chosen in parts]
        refits = GeneralizedRefits.of([each.estimates(whole) for each in found])
    else:
        summed = SummedRows.among(whole.products, rows)
        again = [_linear_without(whole, summed, chosen) for chosen in parts]
        is_lost = [each is None for each in again]
        refits = estimates_of(whole, [each or whole for each in again])
    others = [part for part in parameters_of(whole) if part.kind != "coefficient"]
    values = np.hstack([refits.beta, values_of(whole, others, refits)])
    values[is_lost] = np.nan
    own = [*whole.beta, *(part.estimate for part in others)]
    names = [*coefficient_names(whole), *(part.name for part in others)]
    return pd.DataFrame(values - own, columns=names)


def _linear_without(fit: Fit, summed: SummedRows, chosen: IntArray) -> Fit | None:
    """Fit a model to all rows but some, (m,); None if nothing is left for the residual."""
    try:
        again = Fit.of(summed.without(chosen), fit.spec)
    except ValueError:
        return None
    return again if again.is_determined else None


def _generalized_without(
    fit: GeneralizedFit, observations: Observations, chosen: IntArray
) -> Refitted:
    """Fit a generalized model to all rows but some, (m,)."""
    kept = np.setdiff1d(np.arange(len(observations.given.columns)), chosen)
    offset = None if observations.offset is None else observations.offset[kept]
    rows = observations.given.take(kept)
    again = Observations.of(observations.layout, rows, fit.spec, fit.family, offset)
    return Refitted.of(again, fit.quadrature)
