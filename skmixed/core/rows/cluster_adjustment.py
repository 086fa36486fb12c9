"""Adjustments of residuals that make a cluster-robust covariance unbiased: CR2.

With V_j = L L', M = (X'V^-1 X)^-1 and Y = L^-1 X_j M^1/2 of a cluster,

    A_j = L B^-1/2 L',     B = L'(V_j - X_j M X_j')L = R'R,     R = (I - Y Y')^1/2 L'L,

so that A_j (V_j - X_j M X_j') A_j = V_j (Pustejovsky & Tipton 2018,
doi:10.1080/07350015.2016.1247004). B^-1/2 comes from the singular values of R, which have twice the
digits that eigenvalues of B would have; where some are zero, a coefficient being that of one
cluster, it is a generalised inverse.

Rows of a cell, which have the same levels of all factors and the same weight, may be turned by any
rotation: V_j keeps its form. One leaves no more rows of a cell than [Z X] has columns. So a cluster
costs what its cells do, and not its rows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray, transposed
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.layout import LabelArray, Rows, unique_rows

_BATCH_BYTES = 2**26  # of the matrices of clusters at a time: 64 MB
_MATRICES = 8  # of n x n numbers that the adjustment of a cluster of n rows holds at a time
_LEFT_BY_ESTIMATES = 1e-11  # of a row's variance: less is zero but for rounding
_NO_SINGULAR_VALUE = 1e-13  # of the largest: rounding; those of directions left are above 3e-6
_FINE = 4  # widths of batches in an octave: few batches, and few rows of nothing in them


@dataclass(frozen=True, slots=True, eq=False)
class ClusterRows:
    """Rows of clusters in scaled units, those of a cluster together, in the order of clusters."""

    columns: FloatArray  # (n, c): random columns of every factor, X and residuals
    codes: IntArray  # (n, n_factors), levels
    variances: FloatArray  # (n,), of the residual, relative to sigma^2
    starts: IntArray  # (J + 1,), where every cluster starts

    @classmethod
    def of(
        cls,
        fit: Fit,
        rows: Rows,
        table: ScaledTable,
        clusters: IntArray,
        n_clusters: int,
        counts_rows: bool,
    ) -> ClusterRows:
        """Take the rows of a fit, and turn those of every cell into as few as there can be."""
        evaluation, p = fit.evaluation, len(fit.evaluation.beta)
        residuals = table.fixed[:, p] - table.fixed[:, :p] @ evaluation.beta
        columns = np.column_stack([*[z.T for z in table.random], table.fixed[:, :p], residuals])
        cell_columns: list[LabelArray] = [clusters, *table.codes]
        variances = np.ones(len(columns))
        if rows.weights is not None and not counts_rows:
            variances = 1.0 / rows.weights
            cell_columns.append(rows.weights)
        elif rows.weights is not None:
            columns *= np.sqrt(rows.weights)[:, None]
        cells, first = unique_rows(cell_columns)
        turned, of_cell = _turned(columns, cells, len(first))
        codes = np.column_stack(
            [np.empty((len(first), 0), np.intp), *[c[first] for c in table.codes]]
        )
        starts = np.searchsorted(clusters[first][of_cell], np.arange(n_clusters + 1))
        return cls(turned, codes[of_cell], variances[first][of_cell], starts)

    def batches(self) -> Iterator[tuple[IntArray, IntArray]]:
        """Yield clusters, (m,), and where their rows are, (m, width), -1 for none.

        Raises MemoryError where the largest would not fit into this machine.
        """
        sizes = np.diff(self.starts)
        largest = int(sizes.max())
        check_memory(
            8 * _MATRICES * largest**2,
            f"CR2 of a cluster that keeps {largest} rows, once they are put together, needs",
            "; take kind='CR1', or smaller clusters",
        )
        for chosen, places in padded(self.starts[:-1], sizes):
            step = max(1, _BATCH_BYTES // (8 * _MATRICES * places.shape[1] ** 2))
            for start in range(0, len(chosen), step):
                yield chosen[start : start + step], places[start : start + step]


def padded(starts: IntArray, sizes: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield runs of similar size, (m,), and the places of what is in them, (m, width).

    A run begins at its start; places beyond its end are -1.
    """
    octaves = np.floor(np.log2(np.maximum(sizes, 1)))
    steps = np.maximum(2.0**octaves / _FINE, 1.0)
    widths = (np.ceil(sizes / steps) * steps).astype(np.intp)
    for width in np.unique(widths[sizes > 0]):
        chosen = np.flatnonzero((widths == width) & (sizes > 0))
        within = np.arange(width)
        places = starts[chosen, None] + within
        yield chosen, np.where(within < sizes[chosen, None], places, -1)


def _turned(columns: FloatArray, cells: IntArray, n_cells: int) -> tuple[FloatArray, IntArray]:
    """Rotate rows within cells, (n,); return those that are not zero but for the last column.

    Returns the rows, (m, c), in the order of cells, and the cell of each.
    """
    order, sizes = np.argsort(cells, kind="stable"), np.bincount(cells, minlength=n_cells)
    ordered, most = columns[order], columns.shape[1] - 1
    left = np.minimum(sizes, most)
    starts, ends = np.cumsum(sizes) - sizes, np.cumsum(left)
    turned = np.empty((int(ends[-1]), columns.shape[1]))
    small = np.repeat(sizes <= most, sizes)
    turned[np.repeat(sizes <= most, left)] = ordered[small]
    wide = np.where(sizes > most, sizes, 0)
    for chosen, places in padded(starts, wide):
        step = max(1, _BATCH_BYTES // (8 * columns.shape[1] * places.shape[1]))
        for start in range(0, len(chosen), step):
            part = places[start : start + step]
            block = ordered[part] * (part >= 0)[:, :, None]
            found: FloatArray = np.linalg.qr(block, mode="r")  # type: ignore[assignment]
            to = ends[chosen[start : start + step], None] - most + np.arange(most)
            turned[to] = found[:, :most]
    return turned, np.repeat(np.arange(n_cells), left)


def adjusted_scores(
    fit: Fit,
    rows: Rows,
    table: ScaledTable,
    clusters: IntArray,
    n_clusters: int,
    counts_rows: bool,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return X_j'V_j^-1 A_j e_j, (J, p), X_j'V_j^-1 A_j X_j and the variance of scores, (J, p, p).

    The rows are those of the fit, `clusters`, (n,), which they are in. Weights count rows, or are
    precisions.
    """
    held = ClusterRows.of(fit, rows, table, clusters, n_clusters, counts_rows)
    evaluation = fit.evaluation
    p = len(evaluation.beta)
    root = linalg.cholesky(evaluation.beta_covariance, lower=True)
    scores, seen = np.empty((n_clusters, p)), np.empty((n_clusters, p, p))
    spread = np.empty((n_clusters, p, p))
    for chosen, places in held.batches():
        is_row = places >= 0
        columns = held.columns[places] * is_row[:, :, None]
        x, e = columns[:, :, -p - 1 : -1], columns[:, :, -1]
        covariances = _covariances(held, evaluation.lambdas, places, columns)
        lower = np.asarray(np.linalg.cholesky(covariances), dtype=np.float64)
        upper, adjusted = transposed(lower), _adjusted(lower, x, root)
        scores[chosen] = (transposed(adjusted) @ (upper @ e[:, :, None]))[:, :, 0]
        seen[chosen] = transposed(adjusted) @ (upper @ x)
        along = upper @ (lower @ adjusted)
        spread[chosen] = transposed(along) @ along
    return scores, seen, spread


def _covariances(
    held: ClusterRows, lambdas: Blocks, places: IntArray, columns: FloatArray
) -> FloatArray:
    """Return V_j of clusters, (m, n, n), relative to sigma^2; that of no row is a unit row."""
    is_row = places >= 0
    m, n = places.shape
    found = np.zeros((m, n, n))
    found[:, np.arange(n), np.arange(n)] = np.where(is_row, held.variances[places], 1.0)
    start = 0
    for factor, lam in enumerate(lambdas):
        z = columns[:, :, start : start + len(lam)] @ lam
        codes = held.codes[places, factor]
        found += (z @ transposed(z)) * (codes[:, :, None] == codes[:, None, :])
        start += len(lam)
    return found


def _adjusted(lower: FloatArray, x: FloatArray, root: FloatArray) -> FloatArray:
    """Return B^-1/2 L^-1 X, (m, n, p), of L, (m, n, n), and X; `root` is that of M, (p, p)."""
    white = np.linalg.solve(lower, x)
    y = white @ root
    shares, vectors = np.linalg.eigh(transposed(y) @ y)
    left = np.maximum(1.0 - shares, 0.0)
    left[left < _LEFT_BY_ESTIMATES] = 0.0
    turned, product = y @ vectors, transposed(lower) @ lower
    halves = turned / (1.0 + np.sqrt(left))[:, None]
    _, values, basis = np.linalg.svd(product - halves @ (transposed(turned) @ product))
    is_felt = values > _NO_SINGULAR_VALUE * values[:, :1]
    inverse = np.where(is_felt, 1.0 / np.where(is_felt, values, 1.0), 0.0)
    return np.asarray(transposed(basis) @ (inverse[:, :, None] * (basis @ white)))
