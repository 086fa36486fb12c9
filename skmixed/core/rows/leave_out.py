"""Predictions of rows by models fitted without them, at the variance components of one fit.

At given relative covariances the predictions are linear in y, so that leaving rows out needs no
refit. With V and the GLS estimate of all rows, for one row of weight w,

    y - prediction without it = (y - fitted) / (1 - h),
    h = w (z'C z + d'(X'V^-1 X)^-1 d),   d = x - (z'Omega Z'V^-1 X)',

and without it

    beta = beta of all - (X'V^-1 X)^-1 d w (y - fitted) / (1 - h),

where C is the conditional covariance of the random effects relative to sigma^2 (for linear
smoothers: Craven & Wahba 1979, doi:10.1007/BF01404567; for mixed models h is the diagonal of the
hat matrix of Demidenko & Stukel 2005, doi:10.1002/sim.1974). For all rows of a level l that no
coarser factor contains, with S_l = X_l'V_l^-1 X_l,

    beta without it = beta - (X'V^-1 X - S_l)^-1 X_l'V_l^-1 (y_l - X_l beta).

Effects of a factor of one level, as those of curves, are columns among X for this, times their
lambda, with one added to their sum of squares in X'V^-1 X.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from scipy import linalg

from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.linear_predictor import linear_predictor
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.blocks import pair_between
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summation import apply_basis, gram_matrix, in_unit, level_sums
from skmixed.core.sums.summed_rows import SummedRows

UNDETERMINED = 1e-9  # share of the information left without a row: nine of sixteen digits are lost
_SUMS_BYTES = 2**26  # of the cross-products of levels that are kept at a time
_SAME_SUMS = 1e-8  # relative; sums over the same rows in another order agree far better


def leave_rows_out(fit: Fit, rows: Rows) -> FloatArray:
    """Predict every row by the model of the others, X beta + Z b, (n,), in units of y.

    The rows are those of the fit in any order. This takes one evaluation of the criterion and a
    pass over the rows; the few without which a coefficient is no longer determined cost an
    evaluation each.
    """
    rows = rows_at_levels(fit, rows)
    residuals, leverage = residuals_and_leverage(fit, rows)
    left = 1.0 - leverage
    lost = left < UNDETERMINED
    predictions = rows.columns[:, -1] - residuals / np.where(lost, 1.0, left)
    if lost.any():
        summed = SummedRows.among(fit.products, rows)
        for row in np.flatnonzero(lost):
            predictions[row] = predict_without(fit, summed, np.array([row]))[0]
    return predictions


def residuals_and_leverage(fit: Fit, rows: Rows) -> tuple[FloatArray, FloatArray]:
    """Return residuals y - X beta - Z b in units of y, and leverages h, both (n,).

    h is the diagonal of the hat matrix of the fitted values at the variances of the fit. The rows
    are those of the fit, with codes that count its levels.
    """
    table, evaluation = ScaledTable.of(fit, rows), fit.evaluation
    leverage = np.zeros(table.n_rows)
    if table.random:
        leverage += evaluation.level_effects.effect_variances(table.random, table.codes)
    residuals = np.empty(table.n_rows)
    p = len(evaluation.to_residual) - 1
    root = linalg.cholesky(evaluation.beta_covariance, lower=True) if p else np.empty((0, 0))
    for chosen, reduced in table.reduced(evaluation.lambdas, evaluation.cross_of_levels):
        residuals[chosen] = reduced[:, p] - reduced[:, :p] @ evaluation.beta
        leverage[chosen] += np.square(reduced[:, :p] @ root).sum(axis=1)
    return residuals / table.scale, leverage if rows.weights is None else leverage * rows.weights


def coefficients_without_rows(
    fit: Fit, rows: Rows, residuals: FloatArray, leverage: FloatArray
) -> FloatArray:
    """Return the coefficients without each row, (n, n_fixed), at the variances of the fit.

    Rows, residuals and leverages are those of `residuals_and_leverage`. The few rows of a leverage
    of one, without which a coefficient is no longer determined, take an evaluation each.
    """
    table, evaluation, model = ScaledTable.of(fit, rows), fit.evaluation, fit.problem.model
    left = 1.0 - leverage
    lost = left < UNDETERMINED
    pulls = residuals * table.scale / np.where(lost, 1.0, left)
    pulls = pulls if rows.weights is None else pulls * rows.weights
    to_fixed = model.to_raw[list(fit.spec.fixed), :-1] / model.response_scale
    moves = evaluation.beta_covariance @ to_fixed.T
    beta = np.tile(fit.beta, (table.n_rows, 1))
    for chosen, reduced in table.reduced(evaluation.lambdas, evaluation.cross_of_levels):
        beta[chosen] -= pulls[chosen, None] * (reduced[:, : len(moves)] @ moves)
    if lost.any():
        summed = SummedRows.among(fit.products, rows)
        for row in np.flatnonzero(lost):
            beta[row] = fit.at(summed.without(np.array([row]))).beta
    return beta


def leave_levels_out(fit: Fit, rows: Rows, position: int) -> FloatArray:
    """Predict every row without any row of its level of one factor, (n,), in units of y.

    The prediction is X beta and the random effects of the other factors; `position` is that of the
    factor in the layout. A factor that contains all others, but for those of one level, takes one
    evaluation of the criterion and a pass over the rows; one that is crossed with others or nested
    in one takes an evaluation a level. Raises ValueError for one of which rows have several levels.
    """
    _check_single_levels(fit, position)
    rows = rows_at_levels(fit, rows)
    codes = rows.codes[position]
    if _contains_all(fit, position):
        predictions, lost = _without_outer_levels(fit, rows, position)
    else:
        predictions = np.empty(len(rows.columns))
        lost = np.arange(len(rows.indexes[position]))
    if len(lost):
        summed = SummedRows.among(fit.products, rows)
        for chosen in _rows_of_levels(codes, lost):
            predictions[chosen] = predict_without(fit, summed, chosen)
    return predictions


def _check_single_levels(fit: Fit, position: int) -> None:
    if fit.spec.members(position):
        raise ValueError(
            f"levels of {fit.products.levels[position].name!r} are columns, because they are "
            "related or rows belong to several, so that none is left out without the others: leave "
            "out rows, or levels of another factor"
        )


def _rows_of_levels(codes: IntArray, levels: IntArray) -> Iterator[IntArray]:
    """Yield the rows of each of some levels, given the level of every row, (n,)."""
    order = np.argsort(codes, kind="stable")
    ends = np.searchsorted(codes[order], np.stack([levels, levels + 1]))
    return (order[first:last] for first, last in ends.T)


def rows_at_levels(fit: Fit, rows: Rows, *, with_response: bool = True) -> Rows:
    """Return the rows of a fit, given in any order, with codes that count its levels.

    They may have another response unless it is to be theirs, too. Raises ValueError if these are
    other rows: their number, their levels or sums of squares differ.
    """
    known = fit.products
    if with_response:
        needed = "leaving rows out needs the same X, y, sample_weight and groups as fit"
    else:
        needed = "another response needs the same X, sample_weight and groups as fit"
    other = ValueError(f"these are not the rows the model was fitted to: {needed}, in any order")
    if len(rows.columns) != known.n_rows:
        raise other
    try:
        rows = rows.at_levels(known.levels)
    except ValueError:
        raise other from None
    weights = in_unit(rows.weights, known.unit)
    gram = gram_matrix(apply_basis(rows.columns, known.basis), weights)
    roots = np.sqrt(np.diag(known.gram))
    differs = np.abs(gram - known.gram) > _SAME_SUMS * np.outer(roots, roots)
    compared = slice(None if with_response else -1)
    if differs[compared, compared].any():
        raise other
    return rows


def predict_without(fit: Fit, summed: SummedRows, chosen: IntArray) -> FloatArray:
    """Predict the rows `chosen`, (m,), by the model of all others, in units of y.

    The relative covariances stay as they are; levels without other rows have no effect.
    """
    out = summed.rows.take(chosen)
    other = fit.at(summed.without(chosen))
    codes = list(out.codes)
    for factor in fit.spec.used_factors:
        counts = fit.products.factors[factor].counts
        if len(other.products.factors[factor].index) == len(counts):
            continue
        kept = counts > np.bincount(codes[factor], minlength=len(counts))
        codes[factor] = np.where(kept, np.cumsum(kept) - 1, -1)[codes[factor]]
    return linear_predictor(fit.spec, out.columns, codes, other.beta, other.modes)


def _contains_all(fit: Fit, position: int) -> bool:
    """Tell whether levels of a factor hold whole levels of all others but those of one level."""
    if fit.problem.elimination.outermost is None or fit.problem.directions:
        return False
    own, chosen = fit.problem.model.own, fit.spec.used_factors.index(position)
    sizes = [block.shape[2] for block in own]
    return all(size == 1 or size >= sizes[chosen] for size in sizes)


def coefficients_without_levels(fit: Fit, rows: Rows, position: int) -> FloatArray:
    """Return the coefficients without each level of a factor, (n_levels, n_fixed).

    They are in units of the data, at the variances of the fit. Where the other levels do not
    determine a coefficient, this is one of several solutions; where there are none, it is NaN.
    """
    _check_single_levels(fit, position)
    codes, n_levels = rows.codes[position], len(rows.indexes[position])
    beta = np.full((n_levels, len(fit.spec.fixed)), np.nan)
    if n_levels == 1:
        return beta
    lost = np.arange(n_levels)
    if _contains_all(fit, position):
        model = fit.problem.model
        scaled, determined, _ = _outer_coefficients(fit, rows, position)
        to_fixed = model.to_raw[list(fit.spec.fixed), :-1] / model.response_scale
        moved = scaled[:, : len(fit.evaluation.beta)] - fit.evaluation.beta
        beta = fit.beta + moved @ to_fixed.T
        lost = np.flatnonzero(~determined)
    if len(lost):
        summed = SummedRows.among(fit.products, rows)
        for level, chosen in zip(lost, _rows_of_levels(codes, lost), strict=True):
            beta[level] = fit.at(summed.without(chosen)).beta
    return beta


def _without_outer_levels(fit: Fit, rows: Rows, position: int) -> tuple[FloatArray, IntArray]:
    """Predict without each level, (n,); return the levels that coefficients depend on, too."""
    beta, determined, table = _outer_coefficients(fit, rows, position)
    p = beta.shape[1]
    codes = rows.codes[position]
    residuals = table.fixed[:, p] - (table.fixed[:, :p] * beta[codes]).sum(axis=1)
    return rows.columns[:, -1] - residuals / table.scale, np.flatnonzero(~determined)


def _outer_coefficients(
    fit: Fit, rows: Rows, position: int
) -> tuple[FloatArray, NDArray[np.bool_], ScaledTable]:
    """Return the scaled coefficients without each level, and whether the others determine them.

    The coefficients have shape (n_levels, p), those of the columns of the table, of which the
    effects of factors of one level are the last.
    """
    table, lambdas, cross, whole = _with_whole_effects(fit, ScaledTable.of(fit, rows), position)
    p, n_levels = len(whole), len(rows.indexes[position])
    fixed = table.fixed[:, :p]
    reduced = np.concatenate([part for _, part in table.reduced(lambdas, cross)])
    reduced[:, p] -= reduced[:, :p] @ whole
    total = fixed.T @ _weighted(reduced[:, :p], rows.weights)
    n_fixed = len(fit.evaluation.beta)
    total[n_fixed:, n_fixed:] += np.eye(p - n_fixed)
    beta = np.empty((n_levels, p))
    known = np.empty(n_levels, dtype=bool)
    codes = rows.codes[position]
    order = np.argsort(codes, kind="stable")
    chunk = max(1, _SUMS_BYTES // (8 * max(1, p * (p + 1))))
    for start in range(0, n_levels, chunk):
        stop = min(start + chunk, n_levels)
        first, last = np.searchsorted(codes[order], [start, stop])
        chosen = order[first:last]
        weights = None if rows.weights is None else rows.weights[chosen]
        sums = level_sums(
            codes[chosen] - start, stop - start, list(fixed[chosen].T), reduced[chosen], weights
        )
        beta[start:stop], known[start:stop] = _downdated(whole, total, sums)
    return beta, known, table


def _with_whole_effects(
    fit: Fit, table: ScaledTable, position: int
) -> tuple[ScaledTable, Blocks, Blocks, FloatArray]:
    """Take the effects of other factors of one level for columns like the fixed ones.

    Returns the table of [X Z y], Z times its lambda, and of the factors that are left their
    lambdas, (k, k), and Z_f'V^-1[X Z y], (k, p + 1, n_levels), where V has them alone; and the
    coefficients of [X Z], (p,).
    """
    evaluation, problem, factors = fit.evaluation, fit.problem, fit.spec.used_factors
    lambdas, own, right = evaluation.lambdas, problem.model.own, problem.model.right
    n_fixed, chosen = len(evaluation.beta), factors.index(position)
    whole = [f for f, block in enumerate(own) if block.shape[2] == 1 and f != chosen]
    if not whole:
        return table, lambdas, evaluation.cross, evaluation.beta
    kept = [f for f in range(len(factors)) if f not in whole]
    pairs = {
        (kept.index(i), kept.index(j)): pair
        for (i, j), pair in problem.pairs.items()
        if i in kept and j in kept
    }
    sums = []
    for f in kept:
        between = [
            np.matmul(lambdas[w].T, pair_between(problem.pairs, f, w).products) for w in whole
        ]
        sums.append(np.hstack([right[f][:, :n_fixed], *between, right[f][:, n_fixed:]]))
    factorisation = arrange([own[f] for f in kept], pairs).factorise([lambdas[f] for f in kept])
    scores = evaluation.scores()
    effects = [lambdas[w].T @ scores[w][:, 0] for w in whole]
    columns = [table.random[w].T @ lambdas[w] for w in whole]
    fixed = np.hstack([table.fixed[:, :n_fixed], *columns, table.fixed[:, n_fixed:]])
    left = ScaledTable(
        fixed, [table.random[f] for f in kept], [table.codes[f] for f in kept], table.scale
    )
    coefficients = np.concatenate([evaluation.beta, *effects])
    return left, [lambdas[f] for f in kept], factorisation.reduce(sums).cross(), coefficients


def _downdated(
    beta: FloatArray, total: FloatArray, sums: FloatArray
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Return the coefficients without each level, and whether the others determine them.

    `total` is X'V^-1 X, (p, p); `sums` has the levels' X_l'V_l^-1 [X_l, residuals], (p, p + 1,
    n_levels).
    """
    p = len(total)
    if not p:
        return np.empty((sums.shape[2], 0)), np.ones(sums.shape[2], dtype=bool)
    units = 1.0 / np.sqrt(np.diag(total))
    left = total - sums[:, :p].transpose(2, 0, 1)
    left = (left + left.transpose(0, 2, 1)) * (0.5 * np.outer(units, units))
    values, vectors = np.linalg.eigh(left)
    determined = values[:, 0] > UNDETERMINED
    score = sums[:, p].T * units
    along = np.einsum("lij,li->lj", vectors, score) / np.where(determined[:, None], values, 1.0)
    return beta - units * np.einsum("lij,lj->li", vectors, along), determined


def _weighted(columns: FloatArray, weights: FloatArray | None) -> FloatArray:
    return columns if weights is None else columns * weights[:, None]
