"""Moments of columns within cells, and the least squares of every cell at once.

Sums of squares are of deviations from the means of the cells. One pass over the rows has them about
the mean of all rows; of cells that lie far from it, a second pass keeps the digits. Those of
coarser cells follow by adding positive terms (Chan, Golub & LeVeque 1983,
doi:10.1080/00031305.1983.10483115).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from skmixed.core.elimination.levels import sum_children
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.summation import level_sums

_FAR_CELL = 1e-2  # share of squares about the overall mean within a cell: less loses two digits
_COLLINEAR = 1e7  # of a variance inflation factor; half the digits are gone there
_NO_SPREAD = 64 * np.finfo(float).eps  # of the values: what rounding leaves of a constant column


@dataclass(frozen=True, slots=True, eq=False)
class Cells:
    """Weighted moments of d columns in every cell."""

    counts: FloatArray  # (n_cells,) sums of the weights
    origin: FloatArray  # (d,) what the means are counted from
    means: FloatArray  # (d, n_cells) less the origin; zeros where `centred` is false
    products: FloatArray  # (d, d, n_cells) sums of products of deviations from the means
    centred: bool  # whether means are taken off; if not, origin and means are zero

    @classmethod
    def of(
        cls,
        columns: FloatArray,
        codes: IntArray,
        n_cells: int,
        weights: FloatArray | None,
        *,
        centred: bool,
    ) -> Cells:
        """Sum `columns`, (n, d), over the rows of every cell; each of the cells has a row.

        `codes`, (n,), says which one; `weights`, (n,), are positive. Means are taken off if
        `centred`.
        """
        counts = np.bincount(codes, weights, minlength=n_cells).astype(float)
        d = columns.shape[1]
        if not centred:
            products = level_sums(codes, n_cells, list(columns.T), columns, weights)
            return cls(counts, np.zeros(d), np.zeros((d, n_cells)), products, centred)
        ones = np.ones(len(columns))
        origin = np.asarray((ones if weights is None else weights) @ columns / counts.sum())
        columns = columns - origin
        sums = level_sums(codes, n_cells, [ones, *columns.T], columns, weights)
        squares = np.einsum("iig->i", sums[1:])
        constant = squares <= (_NO_SPREAD * origin) ** 2 * counts.sum()
        columns[:, constant] = 0.0  # not the rounding of their mean, which would be their spread
        sums[:, constant], sums[1:][constant] = 0.0, 0.0
        means = sums[0] / counts
        products = sums[1:] - counts * means[:, None] * means
        far = np.einsum("iig->ig", products) < _FAR_CELL * np.einsum("iig->ig", sums[1:])
        if (doubtful := far.any(axis=0)).any():
            products[:, :, doubtful] = _deviations(columns, codes, weights, means, doubtful)
        return cls(counts, origin, means, products, centred)

    def merged(self, parents: IntArray, n_parents: int) -> Cells:
        """Return the moments of coarser cells, as if summed over the rows.

        `parents`, (n_cells,), is the coarser cell of each, one of `n_parents`.
        """
        counts = np.bincount(parents, self.counts, minlength=n_parents).astype(float)
        products = sum_children(self.products, parents, n_parents)
        means = np.zeros((len(self.origin), n_parents))
        if self.centred:
            means = sum_children((self.counts * self.means)[None], parents, n_parents)[0] / counts
            apart = self.means - means[:, parents]
            between = apart[:, None] * (self.counts * apart)[None, :]
            products = products + sum_children(between, parents, n_parents)
        return Cells(counts, self.origin, means, products, self.centred)

    def deviations(self, columns: FloatArray) -> FloatArray:
        """Return columns, (n, d), from the origin, zeros where there is but rounding."""
        found = columns - self.origin
        found[np.abs(found) <= _NO_SPREAD * np.abs(self.origin)] = 0.0
        return found

    @property
    def squares(self) -> FloatArray:
        """Sums of squares of the columns, (d,), from the origin."""
        own = np.einsum("iig->i", self.products)
        return np.asarray(own + (self.counts * np.square(self.means)).sum(axis=1))

    def gram(self, p: int) -> FloatArray:
        """Return the cross-products of the constant and the first p columns, from the origin.

        They are (p + 1, p + 1, n_cells); without the constant, (p, p, n_cells), where means are not
        taken off.
        """
        means = self.means[:p]
        inner = self.products[:p, :p] + self.counts * means[:, None] * means[None]
        if not self.centred:
            return inner
        full = np.empty((p + 1, p + 1, len(self.counts)))
        full[0, 0] = self.counts
        full[0, 1:] = full[1:, 0] = self.counts * means
        full[1:, 1:] = inner
        return full


def _deviations(
    columns: FloatArray,
    codes: IntArray,
    weights: FloatArray | None,
    means: FloatArray,
    chosen: NDArray[np.bool_],
) -> FloatArray:
    """Sum products of deviations from the means of the chosen cells, (d, d, n_chosen)."""
    rows = np.flatnonzero(chosen[codes])
    here = codes[rows]
    columns = columns[rows] - np.ascontiguousarray(means.T)[here]
    number = (np.cumsum(chosen) - 1).astype(codes.dtype)[here]
    kept = None if weights is None else weights[rows]
    return level_sums(number, int(chosen.sum()), list(columns.T), columns, kept)


@dataclass(frozen=True, slots=True, eq=False)
class CellFits:
    """Least squares, or ridge regression, of t responses on p features in every cell."""

    coef: FloatArray  # (t, k, n_cells), of centred cells with the intercept, at the origin, first
    rss: FloatArray  # (t, n_cells) residual sums of squares
    inverse: FloatArray  # (p, p, n_cells), of the penalised sums of products of the features
    # Whether the products keep enough digits to say what the coefficients are; the others
    # have the shortest of many solutions, in units of the spread of the columns
    determined: NDArray[np.bool_]  # (n_cells,)


def fit_cells(cells: Cells, p: int, penalty: FloatArray | float = 0.0) -> CellFits:
    """Regress the last t columns on the first p in every cell.

    The penalty is added to the sums of squares of the features: ridge regression. A column without
    spread in a cell has coefficient 0 there.
    """
    products, means = cells.products, cells.means
    own, right = products[:p, :p], products[:p, p:]
    squares = np.einsum("iig->ig", own)
    size = np.abs(means[:p]) + np.abs(means[:p] + cells.origin[:p, None]) * cells.centred
    flat = squares <= (_NO_SPREAD * size) ** 2 * cells.counts
    flat &= np.asarray(penalty) == 0.0
    scale = np.where(flat, 1.0, np.sqrt(np.where(flat, 1.0, squares + penalty)))
    scaled = own / (scale[:, None] * scale[None])
    scaled = np.where(flat[:, None] | flat[None], 0.0, scaled)
    diagonal = np.arange(p)
    scaled[diagonal, diagonal] = 1.0
    inverse, determined = _inverses(np.moveaxis(scaled, -1, 0))
    inverse = np.moveaxis(inverse, 0, -1) / (scale[:, None] * scale[None])
    slopes = np.einsum("ijg,jtg->tig", inverse, np.where(flat[:, None], 0.0, right))
    coef = slopes
    if cells.centred:
        intercept = means[p:] - np.einsum("tig,ig->tg", slopes, means[:p])
        coef = np.concatenate([intercept[:, None], slopes], axis=1)
    return CellFits(coef, _residuals(products, p, slopes), inverse, determined)


def _inverses(matrices: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Invert matrices of unit diagonal, (n, p, p), by pseudo-inverse where nearly singular."""
    n, p = matrices.shape[:2]
    if p == 0:
        return matrices, np.ones(n, dtype=bool)
    try:
        inverse = np.asarray(np.linalg.inv(matrices), dtype=float)
    except np.linalg.LinAlgError:  # some matrix of the batch is exactly singular
        values, vectors = np.linalg.eigh(matrices)
        safe = np.maximum(values, np.finfo(float).eps)
        inverse = (vectors / safe[:, None, :]) @ vectors.transpose(0, 2, 1)
    inflation = np.einsum("gii->gi", inverse)
    determined = np.asarray(((inflation > 0.0) & (inflation < _COLLINEAR)).all(axis=1), dtype=bool)
    if not determined.all():
        doubtful = np.flatnonzero(~determined)
        inverse[doubtful] = np.linalg.pinv(
            matrices[doubtful], rcond=1.0 / _COLLINEAR, hermitian=True
        )
    return inverse, determined


def _residuals(products: FloatArray, p: int, slopes: FloatArray) -> FloatArray:
    """Return residual sums of squares, (t, n_cells), by quadratic forms, never negative."""
    t = len(products) - p
    to_residual = np.zeros((t, len(products), slopes.shape[2]))
    to_residual[:, :p] = -slopes
    to_residual[np.arange(t), p + np.arange(t)] = 1.0
    rss = np.einsum("tig,ijg,tjg->tg", to_residual, products, to_residual, optimize=True)
    return np.asarray(np.maximum(rss, 0.0))
