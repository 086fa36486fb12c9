"""Predictions of rows by models fitted without them, at the variance components of one fit.

At given relative covariances the predictions are linear in y, so that leaving rows out needs no
refit. With V and the GLS estimate of all rows, for one row of weight w,

    y - prediction without it = (y - fitted) / (1 - h),
    h = w (z'C z + d'(X'V^-1 X)^-1 d),   d = x - (z'Omega Z'V^-1 X)',

where C is the conditional covariance of the random effects relative to sigma^2 (for linear
smoothers: Craven & Wahba 1979, doi:10.1007/BF01404567; for mixed models h is the diagonal of the
hat matrix of Demidenko & Stukel 2005, doi:10.1002/sim.1974). For all rows of a level l that no
coarser factor contains, with S_l = X_l'V_l^-1 X_l,

    beta without it = beta - (X'V^-1 X - S_l)^-1 X_l'V_l^-1 (y_l - X_l beta).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skmixed.core.basis import apply_basis
from skmixed.core.chain import Chain
from skmixed.core.fit import Fit
from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray, Rows
from skmixed.core.summation import gram_matrix, level_sums
from skmixed.core.table import ScaledTable

_CHUNK_BYTES = 2**26
_UNDETERMINED = 1e-9
_SAME = 1e-8


def leave_rows_out(fit: Fit, rows: Rows) -> FloatArray:
    """Predict every row of the data without it.

    Parameters
    ----------
    fit : Fit
        The model.
    rows : Rows
        The rows it was fitted to, in any order.

    Returns
    -------
    ndarray of shape (n,)
        X beta + Z b of the other rows, in units of y.

    Notes
    -----
    One evaluation of the criterion and a pass over the rows. Rows without which a coefficient is
    no longer determined are rare and cost an evaluation each.
    """
    rows = aligned(fit, rows)
    table = ScaledTable.of(fit, rows)
    evaluation = fit.evaluation
    weights = np.ones(table.n_rows) if rows.weights is None else rows.weights
    leverage = np.zeros(table.n_rows)
    if table.random:
        leverage += evaluation.factorisation.effect_variances(table.random, table.codes)
    residuals = np.empty(table.n_rows)
    p = len(evaluation.contrast) - 1
    root = linalg.cholesky(evaluation.beta_covariance, lower=True) if p else np.empty((0, 0))
    for chosen, reduced in table.reduced(evaluation.factors, evaluation.cross):
        residuals[chosen] = reduced[:, p] - reduced[:, :p] @ evaluation.beta
        leverage[chosen] += np.square(reduced[:, :p] @ root).sum(axis=1)
    left = 1.0 - weights * leverage
    lost = left < _UNDETERMINED
    predictions = rows.columns[:, -1] - residuals / np.where(lost, 1.0, left) / table.scale
    for row in np.flatnonzero(lost):
        predictions[row] = predict_without(fit, rows, np.array([row]))[0]
    return predictions


def leave_levels_out(fit: Fit, rows: Rows, position: int) -> FloatArray:
    """Predict every row without any row of its level of one factor.

    Parameters
    ----------
    fit : Fit
        The model.
    rows : Rows
        The rows it was fitted to.
    position : int
        Position of the factor in the layout.

    Returns
    -------
    ndarray of shape (n,)
        Predictions by the model of the other levels: X beta and the random effects of other
        factors, in units of y.

    Notes
    -----
    One evaluation of the criterion and a pass over the rows for a factor that contains all others,
    a single one included. For one that is crossed with others or lies within one, an evaluation a
    level.
    """
    rows = aligned(fit, rows)
    codes = rows.codes[position]
    if _contains_all(fit, position):
        predictions, lost = _without_outer_levels(fit, rows, position)
    else:
        predictions = np.empty(len(rows.columns))
        lost = np.arange(len(rows.indexes[position]))
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.stack([lost, lost + 1]))
    for first, last in ends.T:
        chosen = order[first:last]
        predictions[chosen] = predict_without(fit, rows, chosen)
    return predictions


def aligned(fit: Fit, rows: Rows) -> Rows:
    """Return the rows of a fit with codes that count its levels.

    Parameters
    ----------
    fit : Fit
        The model.
    rows : Rows
        Its rows, their levels in any order.

    Returns
    -------
    Rows
        The same rows.

    Raises
    ------
    ValueError
        If these are other rows: their number, their levels or sums of squares differ.
    """
    known = fit.products
    other = ValueError(
        "these are not the rows the model was fitted to: leaving rows out needs the same X, y, "
        "sample_weight and groups as fit, in any order"
    )
    if len(rows.columns) != known.n_rows:
        raise other
    try:
        rows = rows.at_levels(known.levels)
    except ValueError:
        raise other from None
    gram = gram_matrix(replace(rows, columns=apply_basis(rows.columns, known.basis)))
    roots = np.sqrt(np.diag(known.gram))
    if (np.abs(gram - known.gram) > _SAME * np.outer(roots, roots)).any():
        raise other
    return rows


def predict_without(fit: Fit, rows: Rows, chosen: IntArray) -> FloatArray:
    """Predict some rows by the model of all others, its relative covariances unchanged.

    Parameters
    ----------
    fit : Fit
        The model.
    rows : Rows
        The rows it was fitted to.
    chosen : ndarray of int of shape (m,)
        The rows to leave out.

    Returns
    -------
    ndarray of shape (m,)
        X beta + Z b in units of y; levels without other rows have no effect.
    """
    out = rows.take(chosen)
    rest = fit.products.without(out)
    other = fit.at(rest)
    prediction: FloatArray = out.columns[:, list(fit.spec.fixed)] @ other.beta
    for factor, effects in zip(fit.spec.used_factors, other.modes, strict=True):
        kept = fit.products.factors[factor].counts > np.bincount(
            out.codes[factor], minlength=len(fit.products.factors[factor].counts)
        )
        spread = np.zeros((len(kept), effects.shape[1]))
        spread[kept] = effects
        z = out.columns[:, list(fit.spec.factor_columns(factor))]
        prediction += (spread[out.codes[factor]] * z).sum(axis=1)
    return prediction


def _contains_all(fit: Fit, position: int) -> bool:
    elimination = fit.problem.elimination
    if not isinstance(elimination, Chain):
        return False
    return fit.spec.used_factors.index(position) == elimination.order[-1]


def _without_outer_levels(fit: Fit, rows: Rows, position: int) -> tuple[FloatArray, IntArray]:
    """Predict by the coefficients without each level; return the levels they depend on, too."""
    table, evaluation = ScaledTable.of(fit, rows), fit.evaluation
    p, n_levels = len(evaluation.beta), len(rows.indexes[position])
    fixed = table.fixed[:, :p]
    reduced = np.concatenate(
        [part for _, part in table.reduced(evaluation.factors, evaluation.cross)]
    )
    reduced[:, p] -= reduced[:, :p] @ evaluation.beta
    total = fixed.T @ _weighted(reduced[:, :p], rows.weights)
    beta = np.empty((n_levels, p))
    lost = [np.empty(0, dtype=np.intp)]
    codes = rows.codes[position]
    order = np.argsort(codes, kind="stable")
    chunk = max(1, _CHUNK_BYTES // (8 * max(1, p * (p + 1))))
    for start in range(0, n_levels, chunk):
        stop = min(start + chunk, n_levels)
        first, last = np.searchsorted(codes[order], [start, stop])
        chosen = order[first:last]
        weights = None if rows.weights is None else rows.weights[chosen]
        sums = level_sums(
            codes[chosen] - start, stop - start, list(fixed[chosen].T), reduced[chosen], weights
        )
        beta[start:stop], determined = _downdated(evaluation.beta, total, sums)
        lost.append(start + np.flatnonzero(~determined))
    residuals = table.fixed[:, p] - (fixed * beta[codes]).sum(axis=1)
    return rows.columns[:, -1] - residuals / table.scale, np.concatenate(lost)


def _downdated(
    beta: FloatArray, total: FloatArray, sums: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the coefficients without each level, and whether the others determine them."""
    p = len(total)
    if not p:
        return np.empty((sums.shape[2], 0)), np.ones(sums.shape[2], dtype=bool)
    units = 1.0 / np.sqrt(np.diag(total))
    left = total - sums[:, :p].transpose(2, 0, 1)
    left = (left + left.transpose(0, 2, 1)) * (0.5 * np.outer(units, units))
    values, vectors = np.linalg.eigh(left)
    determined = values[:, 0] > _UNDETERMINED
    score = sums[:, p].T * units
    along = np.einsum("lij,li->lj", vectors, score) / np.where(determined[:, None], values, 1.0)
    return beta - units * np.einsum("lij,lj->li", vectors, along), determined


def _weighted(columns: FloatArray, weights: FloatArray | None) -> FloatArray:
    return columns if weights is None else columns * weights[:, None]
