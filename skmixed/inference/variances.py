"""Variances and covariances of random effects and residuals, and whether the fit is singular."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import wholes
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.inference.components import deviations_and_correlations
from skmixed.inference.fitted import (
    AnyFit,
    any_fit_of,
    determined_any_fit_of,
    formula_of,
    snapshot,
)
from skmixed.inference.summary import residual_terms
from skmixed.inference.table import Table


def variance_table(model: Any) -> Table:
    """Tabulate variances, covariances, standard deviations and correlations of the random effects.

    Read more in the user guide: :doc:`/guide/random_effects`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.

    Returns
    -------
    Table
        A row for each variance and covariance of the random effects, then the residual, indexed by
        factor, first and second column: covariance (the variance if first and second are the same),
        sd (of variances) and correlation (of pairs).

    Raises
    ------
    ValueError
        If the model is not fitted or leaves no residual.
    TypeError
        If the model is not a mixed model.

    See Also
    --------
    confidence_intervals : Standard deviations and correlations with intervals.
    variance_partition : Shares of the variance of the response.
    is_singular : Whether one of these covariance matrices is singular.

    Notes
    -----
    In R: ``as.data.frame(VarCorr(model))``, with its columns vcov and sdcor.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import variance_table
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> print(variance_table(model))
    Variances: Reaction ~ Days + (Days | Subject)
                                     covariance      sd correlation
    factor   first       second
    Subject  (Intercept) (Intercept)     612.09   24.74
             Days        Days            35.072  5.9221
                         (Intercept)     9.6043            0.065551
    Residual                             654.94  25.592
    """
    model = snapshot(model)
    if hasattr(model, "posterior_"):
        found = _of_covariances(model.random_covariance_)
        found.append(("Residual", "", "", model.residual_variance_, model.sigma_, np.nan))
    else:
        found = _of_fit(determined_any_fit_of(model))
    index = pd.MultiIndex.from_tuples(
        [row[:3] for row in found], names=["factor", "first", "second"]
    )
    columns = ["covariance", "sd", "correlation"]
    frame = pd.DataFrame([row[3:] for row in found], index, columns, dtype=np.float64)
    return Table(f"Variances: {formula_of(model)}", frame)


Row = tuple[str, str, str, float, float, float]


def _of_covariances(covariances: dict[str, pd.DataFrame]) -> list[Row]:
    rows: list[Row] = []
    for factor, frame in covariances.items():
        rows += _rows_of(factor, list(frame.columns), frame.to_numpy())
    return rows


def _rows_of(factor: str, names: list[str], covariance: FloatArray) -> list[Row]:
    """List the entries of one covariance matrix, (k, k), the variances first."""
    deviations, correlations = deviations_and_correlations(covariance)
    rows: list[Row] = [
        (factor, name, name, float(covariance[i, i]), float(deviations[i]), np.nan)
        for i, name in enumerate(names)
    ]
    for j in range(len(names)):
        for i in range(j):
            both = float(covariance[j, i]), np.nan, float(correlations[j, i])
            rows.append((factor, names[j], names[i], *both))
    return rows


def _of_fit(fit: AnyFit) -> list[Row]:
    rows: list[Row] = []
    columns = fit.products.layout.columns
    for parts in wholes(fit.ordered_terms):
        term = parts[0]
        covariance = np.sum([fit.term_covariance(part) for part in parts], axis=0)
        factor = ":".join(fit.products.layout.factors[term.factor].key)
        if term.curve:
            deviation = float(np.sqrt(covariance[0, 0]))
            name = (factor, term.curve, term.curve) if factor else (term.curve, "", "")
            rows.append((*name, deviation**2, deviation, np.nan))
            continue
        names = [columns[place] for place in term.columns]
        tabulated = {frozenset(pair) for pair in term.structure.tabulated}
        of_term = _rows_of(factor, names, covariance)
        rows += of_term[: len(names)]
        pairs = [(j, i) for j in range(len(names)) for i in range(j)]
        zipped = zip(pairs, of_term[len(names) :], strict=True)
        rows += [row for pair, row in zipped if frozenset(pair) in tabulated]
    if isinstance(fit, Fit):
        for group, name, deviation, *_ in residual_terms(fit):
            label = group or "Residual"
            rows.append((label, name, name, float(deviation) ** 2, float(deviation), np.nan))
    elif isinstance(fit, NonlinearFit):
        rows.append(("Residual", "", "", fit.sigma2, float(np.sqrt(fit.sigma2)), np.nan))
    return rows


def is_singular(model: Any, *, tol: float = 1e-4) -> bool:
    """Tell whether the fit is singular, or nearly so.

    A fit is singular if a covariance matrix of the random effects is: a variance is zero, or a
    correlation is 1 or -1.

    Read more in the user guide: :doc:`/guide/reml`.

    Parameters
    ----------
    model : estimator
        A fitted mixed model.
    tol : float, default=1e-4
        Diagonal entries of the Cholesky factors of the covariance matrices, relative to the
        residual standard deviation, count as zero if they are smaller than this.

    Returns
    -------
    bool
        Whether one is singular. The attribute ``is_singular_`` corresponds to a tolerance of zero,
        since searches end exactly on the boundary.

    Raises
    ------
    TypeError
        If the model is not a mixed model or has posterior draws instead of a fit.
    ValueError
        If the model is not fitted, and for a negative tolerance.

    See Also
    --------
    variance_table : The variances and covariances.
    ranova : Tests of the random terms.

    Notes
    -----
    In R: ``isSingular(model, tol)``. For a generalized model the residual standard deviation is
    one.

    Examples
    --------
    >>> from skmixed import lmer
    >>> from skmixed.datasets import load_sleepstudy
    >>> from skmixed.inference import is_singular
    >>> model = lmer("Reaction ~ Days + (Days | Subject)", load_sleepstudy())
    >>> is_singular(model), is_singular(model, tol=0.5)
    (False, True)
    """
    if not tol >= 0.0:
        raise ValueError(f"tol={tol!r} is not a number of at least 0")
    fit = any_fit_of(snapshot(model))
    if fit.is_singular:
        return True
    for place, factor in enumerate(fit.spec.used_factors):
        for block, columns, _ in fit.spec.structure(factor).slices():
            lam = fit.lambdas[place][columns, columns]
            if np.sort(np.abs(np.diag(lam)))[-block.rank_of_covariances :].min() < tol:
                return True
    return False
