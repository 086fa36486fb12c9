"""How far the coefficients of groups, shrunk to their parents', may be off.

At given variances their covariance is the posterior one; that of a group that is not known is its
parent's and what varies below. The variances are estimates: as for linear mixed models, whose
formulas these are (`rows.prediction_errors`), twice the variance that follows from it is added, and
degrees of freedom are Satterthwaite's. Derivatives are taken by moving the variances of one stage
at a time and pooling again at what is then given.
"""

from __future__ import annotations

import numpy as np
from scipy import linalg

from skmixed.core.linalg import FloatArray, IntArray, inverse_felt
from skmixed.core.pooling.hierarchy import PooledHierarchy
from skmixed.core.pooling.stage import PooledStage
from skmixed.core.pooling.stage_search import DiagonalSearch, UnstructuredSearch, in_units
from skmixed.core.rows.prediction_errors import (
    NO_CURVATURE,
    THETA_STEP,
    MovedFits,
    PredictionErrors,
)

_ROWS_SPANNED = 2**14  # at a time: their gathered matrices take a megabyte for k = 3


def pooled_errors(
    pooled: PooledHierarchy,
    columns: FloatArray,
    place: IntArray,
    *,
    noise: float,
    degrees: float,
) -> PredictionErrors:
    """Assess x'b of rows, and for an observation x'b + e.

    `columns` are x, (n, k), and `place`, (n,), is the group whose b is meant among those of all
    levels, the root first. The variance of e is `noise` times s^2, and zero for x'b itself; s^2 has
    `degrees` of freedom.
    """

    def variances(moved: PooledHierarchy) -> FloatArray:
        matrices = np.concatenate(moved.covariances_of_new, axis=2)
        return quadratic_forms(columns, matrices, place) + noise * moved.s2

    def logs(moved: PooledHierarchy) -> FloatArray:
        return np.log(np.maximum(variances(moved), np.finfo(float).tiny))

    def predicted(moved: PooledHierarchy) -> FloatArray:
        coef = np.concatenate(moved.means, axis=1).T
        return np.asarray(np.einsum("ij,ij->i", columns, coef[place]))

    found, nearby = variances(pooled), _moved(pooled)
    squares, slopes = found, np.zeros((0, len(found)))
    if nearby.pairs:
        squares = found + 2.0 * nearby.spread(predicted)
        slopes = nearby.slopes(logs)
    return PredictionErrors(squares, found, slopes, nearby.covariance, 2.0 / degrees)


def _moved(pooled: PooledHierarchy) -> MovedFits:
    """Return the hierarchy a small step of each variance parameter away; none where all are zero.

    Parameters are those of the search of a stage, in its units, and independent between stages.
    """
    steps: list[float] = []
    pairs, covariances = [], []
    for level, stage in enumerate(pooled.stages):
        if not stage.lam.any():
            continue
        is_diagonal = not (stage.lam - np.diag(np.diag(stage.lam))).any()
        search = (DiagonalSearch if is_diagonal else UnstructuredSearch)(stage.stage.k)
        scaled, units, inverse = in_units(stage.stage, search)
        point = PooledStage.at(scaled, inverse @ stage.lam)
        hessian = search.derivatives(point)[1]
        covariances.append(2.0 * inverse_felt(hessian, NO_CURVATURE))
        sizes = THETA_STEP * np.maximum(1.0, search.sizes(point.lam))
        for number, size in enumerate(sizes):
            step = size * np.eye(len(sizes))[number]
            ends = [units @ search.moved(point, sign * step).lam for sign in (1.0, -1.0)]
            pairs.append((pooled.with_lambda(level, ends[0]), pooled.with_lambda(level, ends[1])))
        steps += sizes.tolist()
    covariance = linalg.block_diag(*covariances) if pairs else np.zeros((0, 0))
    return MovedFits(np.array(steps), pairs, covariance)


def quadratic_forms(columns: FloatArray, matrices: FloatArray, place: IntArray) -> FloatArray:
    """Return x'M x of rows, (n,), M being the matrix, (k, k, n_groups), at their places."""
    spanned = by_place(columns, matrices, place)
    return np.asarray(np.maximum(np.einsum("ij,ij->i", columns, spanned), 0.0))


def by_place(columns: FloatArray, matrices: FloatArray, place: IntArray) -> FloatArray:
    """Return x'M of rows, (n, k), M being the matrix, (k, k, n_groups), at their places."""
    found, of_place = np.empty(columns.shape), np.ascontiguousarray(np.moveaxis(matrices, -1, 0))
    for first in range(0, len(columns), _ROWS_SPANNED):
        rows = slice(first, first + _ROWS_SPANNED)
        found[rows] = np.matmul(columns[rows, None], of_place[place[rows]])[:, 0]
    return found
