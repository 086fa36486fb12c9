"""Least squares and ridge regression of all groups at once, from cross-products."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LinearRegression, Ridge

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.cells import CellFits, Cells, fit_cells
from skmixed.core.pooling.hierarchy import PooledHierarchy, pool
from skmixed.core.pooling.stage import FirstStageResidual
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._shares import BLUP, Scheme, moved_to_parents, shares_of
from skmixed.estimators.grouped._tree import Failures, Tree, deepest_known

_ROWS_EVALUATED = 2**16  # at a time: their gathered coefficients take half a megabyte a feature
_NOISELESS = 1e-13  # share of y's total sum of squares that residuals keep by rounding alone
_DIGITS_LOST = 1e-8  # share of y's sum of squares: a smaller RSS has lost half its digits


@dataclass(frozen=True, slots=True)
class LinearKind:
    """Penalty and intercept of a linear estimator."""

    penalty: float  # alpha of ridge regression, 0 for least squares
    fit_intercept: bool


def linear_kind(estimator: Any) -> LinearKind | None:
    """Return how an unfitted estimator is linear, None if groups cannot be solved in one batch.

    They can for `LinearRegression` and `Ridge` without constraints, with one penalty and one of the
    exact solvers.
    """
    if type(estimator) not in (LinearRegression, Ridge) or estimator.positive:
        return None
    if type(estimator) is LinearRegression:
        return LinearKind(0.0, bool(estimator.fit_intercept))
    exact = estimator.solver in ("auto", "cholesky", "svd")
    if not exact or np.ndim(estimator.alpha) or not estimator.alpha >= 0.0:
        return None
    return LinearKind(float(estimator.alpha), bool(estimator.fit_intercept))


class LinearGroupFits:
    """Coefficients of all groups, solved in one batch from moments; the rows are not kept."""

    def __init__(
        self,
        tree: Tree,
        kind: LinearKind,
        scheme: Scheme,
        failures: Failures,
        n_outputs: int,
        pooled: Any,
    ) -> None:
        self.tree, self.kind, self.scheme, self.failures = tree, kind, scheme, failures
        self.n_outputs, self.pooled = n_outputs, pooled
        # Coefficients (n_outputs, k) of collinear groups, by level and group.
        self.exact: dict[tuple[int, int], FloatArray] = {}
        # What those of the finest groups are made of, (n_groups, depth + 1); None for "blup".
        self.shares: FloatArray | None = None
        # Those that predict, (n_groups, n_outputs, k) by level from the root, the intercept first.
        self.final: list[FloatArray] = []

    @property
    def k(self) -> int:
        """Number of coefficients of a group."""
        return self.p + self.kind.fit_intercept

    @property
    def p(self) -> int:
        """Number of features."""
        return len(self.cells.origin) - self.n_outputs

    def fit(
        self,
        training: Training,
        codes: tuple[IntArray, ...],
        min_samples: int | None,
    ) -> None:
        """Solve all groups; `codes`, (n,) each, go by level from the root."""
        columns = np.column_stack([training.table, training.y])  # in C order, as both are
        n_cells, centred = self.tree.hierarchy.sizes[-1], self.kind.fit_intercept
        cells = Cells.of(columns, codes[-1], n_cells, training.weights, centred=centred)
        self.cells = replace(cells, counts=self.tree.counts[-1])  # the same, kept once
        fits = self.fits(self.cells)
        self.rss = self._exact_rss(fits, columns, codes[-1], training.weights)
        if min_samples is not None:
            self.failures.add_small(min_samples, f"min_samples={min_samples}")
        if self.scheme.name == BLUP:
            means = [found.means for found in self.pooled_outputs(fits)]
            self.final = [
                np.stack([self.uncentred(of_output[level].T) for of_output in means], axis=1)
                for level in range(self.tree.depth + 1)
            ]
            for output in range(self.n_outputs):  # means of y were taken off
                self._add_origin(output)
            return
        if not self.kind.penalty:
            self.failures.add_small(self.k, f"{self.k} coefficients")
        self._mix(training, codes)

    def _add_origin(self, output: int) -> None:
        if self.kind.fit_intercept:
            for coef in self.final:
                coef[:, output, 0] += self.cells.origin[self.p + output]

    def fits(self, cells: Cells) -> CellFits:
        """Solve the cells of any level."""
        return fit_cells(cells, self.p, self.kind.penalty)

    def _exact_rss(
        self, fits: CellFits, columns: FloatArray, codes: IntArray, weights: FloatArray | None
    ) -> FloatArray:
        """Return the residual sums of squares of the finest groups, (n_outputs, n_groups).

        They are summed over the rows where the cross-products do not keep the digits. `columns` are
        the features and responses side by side, (n, p + n_outputs).
        """
        total = np.einsum("iig->ig", self.cells.products[self.p :, self.p :])
        if not (fits.rss < _DIGITS_LOST * total).any():
            return fits.rss
        coef = np.ascontiguousarray(fits.coef.transpose(2, 0, 1))
        sums = []
        for output in range(self.n_outputs):
            centred = columns - self.cells.origin
            fitted = _evaluate(centred[:, : self.p], coef[:, output], codes, self.kind)
            squares = (centred[:, self.p + output] - fitted) ** 2
            squares = squares if weights is None else squares * weights
            sums.append(np.bincount(codes, squares, minlength=coef.shape[0]))
        return np.array(sums)

    def uncentred(self, coef: FloatArray) -> FloatArray:
        """Return coefficients (..., k), their intercepts moved from the cells' origin to zero."""
        if not self.kind.fit_intercept:
            return coef
        result = coef.copy()
        result[..., 0] -= coef[..., 1:] @ self.cells.origin[: self.p]
        return result

    def own(self, level: int, fits: CellFits | None = None) -> FloatArray:
        """Return the estimates of the groups of a level by themselves, (n_groups, n_outputs, k).

        NaN where the rows of a group do not determine them. `fits` are the solutions of this level,
        if they were made before.
        """
        cells = self.cells_of(level)
        fits = fits or self.fits(cells)
        coef = self.uncentred(fits.coef.transpose(2, 0, 1))
        if self.kind.fit_intercept:
            coef[:, :, 0] += cells.origin[self.p :]
        few = (cells.counts < self.k) & (self.kind.penalty == 0.0)
        coef[few | ~fits.determined] = np.nan
        for (at, group), values in self.exact.items():
            if at == level:
                coef[group] = values
        return coef

    def cells_of(self, level: int) -> Cells:
        """Return the moments of the groups of a level."""
        cells, hierarchy = self.cells, self.tree.hierarchy
        for at in range(hierarchy.depth, level, -1):
            cells = cells.merged(hierarchy.parents[at - 1], hierarchy.sizes[at - 1])
        return cells

    def pooled_outputs(self, fits: CellFits | None = None) -> list[PooledHierarchy]:
        """Shrink the coefficients of the groups to their parents', for every output."""
        usable = self.failures.usable()[-1]
        precision = self.cells.gram(self.p)
        slopes = np.arange(self.k - self.p, self.k)
        precision[slopes, slopes] += self.kind.penalty
        precision[:, :, ~usable] = 0.0
        fits = fits or self.fits(self.cells)
        found = []
        for output in range(self.n_outputs):
            scale, noise = self._noise(fits, output, usable)
            found.append(pool(precision / scale, fits.coef[output], self.tree.hierarchy, noise))
        return found

    def _noise(
        self, fits: CellFits, output: int, usable: NDArray[np.bool_]
    ) -> tuple[float, FirstStageResidual | None]:
        """Return the residual variance and None where it is known, else 1 and what tells of it."""
        counts = self.cells.counts[usable]
        rss = float(self.rss[output, usable].sum())
        if not self.kind.penalty:
            degrees = float(np.maximum(counts - self.k, 0.0).sum())
            return 1.0, FirstStageResidual(rss, float(counts.sum()), degrees)
        own = self.cells.products[: self.p, : self.p]
        traces = np.einsum("ijg,jig->g", fits.inverse, own)[usable] + (self.k - self.p)
        degrees = float(counts.sum() - traces.sum())
        place = self.p + output
        total = float(self.cells.products[place, place, usable].sum())
        total += float(counts @ self.cells.means[place, usable] ** 2)
        if degrees < 1.0 or rss <= _NOISELESS * total:
            return total / max(float(counts.sum()), 1.0) or 1.0, None  # too large if anything
        return rss / degrees, None

    def residual_variance(self, output: int, pooled: PooledHierarchy) -> float:
        """Return the residual variance that all groups have in common, in squared units of y."""
        scale, _ = self._noise(self.fits(self.cells), output, self.failures.usable()[-1])
        return scale * pooled.s2

    def estimator(self, level: int, group: int) -> Any:
        """Return an estimator of the inner class with the coefficients that predict a group."""
        model, coef = copy.copy(self.pooled), self.final[level][group]
        model.coef_ = coef[:, coef.shape[1] - self.p :].reshape(np.shape(self.pooled.coef_))
        if self.kind.fit_intercept:
            intercept = coef[:, 0]
            model.intercept_ = intercept if np.ndim(self.pooled.intercept_) else intercept[0]
        for name in ("rank_", "singular_"):  # of all rows
            model.__dict__.pop(name, None)
        return model

    def _mix(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Combine the estimates of each group and its ancestors by their shares."""
        hierarchy = self.tree.hierarchy
        own = [_of_estimator(self.pooled, self)]
        for level in range(1, hierarchy.depth + 1):
            fits = self.fits(self.cells_of(level))
            self._solve_exactly(level, fits, training, codes[level])
            own.append(self.own(level, fits))
        usable = self.failures.usable()
        shares = moved_to_parents(
            shares_of(self.scheme, hierarchy, self.tree.counts), usable, hierarchy
        )
        self.shares = shares[-1]
        for level in range(hierarchy.depth + 1):
            total = np.zeros_like(own[level])
            for at, group in enumerate(hierarchy.ancestors(level)):
                share = shares[level][:, at]
                total += np.where(share > 0.0, share, 0.0)[:, None, None] * np.where(
                    (share > 0.0)[:, None, None], own[at][group], 0.0
                )
            self.final.append(total)

    def _solve_exactly(
        self, level: int, fits: CellFits, training: Training, codes: IntArray
    ) -> None:
        """Hand collinear groups, whose cross-products lack the digits, to the estimator itself."""
        usable = self.failures.usable()[level]
        doubtful = ~fits.determined & usable
        for group in np.flatnonzero(doubtful).tolist():
            rows = np.flatnonzero(codes == group)
            model = clone(self.pooled)
            weights = None if training.weights is None else training.weights[rows]
            try:
                model.fit(training.table[rows], training.y[rows], sample_weight=weights)
            except Exception as error:
                self.failures.reasons[level, group] = f"{type(error).__name__}: {error}"
                continue
            self.exact[level, group] = _of_estimator(model, self)[0]

    def predict(self, table: FloatArray, codes: tuple[IntArray, ...]) -> FloatArray:
        """Predict rows (n, p) by the coefficients of their groups, (n, n_outputs).

        `codes`, (n,) each, go by level from the root; an unknown group is predicted by its nearest
        known ancestor.
        """
        level = deepest_known(codes)
        offsets = np.cumsum([0, *self.tree.hierarchy.sizes])
        place = np.choose(level, codes) + offsets[level]
        coef = np.concatenate(self.final)
        return np.column_stack(
            [
                _evaluate(table, coef[:, output], place, self.kind)
                for output in range(self.n_outputs)
            ]
        )


def _of_estimator(estimator: Any, group_fits: LinearGroupFits) -> FloatArray:
    """Return the coefficients of a fitted estimator, (1, n_outputs, k)."""
    coef = np.reshape(estimator.coef_, (group_fits.n_outputs, group_fits.p))
    if group_fits.kind.fit_intercept:
        intercept = np.reshape(estimator.intercept_, (group_fits.n_outputs, 1))
        coef = np.concatenate([intercept, coef], axis=1)
    return np.asarray(coef, dtype=np.float64)[None]


def _evaluate(table: FloatArray, coef: FloatArray, place: IntArray, kind: LinearKind) -> FloatArray:
    """Return x'b of every row of a table (n, p), with b the row of `coef` at its place; (n,)."""
    slopes = np.ascontiguousarray(coef[:, 1:] if kind.fit_intercept else coef)
    result = np.empty(len(table))
    for first in range(0, len(table), _ROWS_EVALUATED):
        rows = slice(first, first + _ROWS_EVALUATED)
        result[rows] = np.einsum("ij,ij->i", table[rows], slopes[place[rows]])
    return result + coef[place, 0] if kind.fit_intercept else result
