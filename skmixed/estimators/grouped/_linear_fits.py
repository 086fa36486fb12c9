"""Least squares and ridge regression of all groups at once, from cross-products."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.cells import CellFits, Cells, fit_cells
from skmixed.core.pooling.hierarchy import PooledHierarchy, pool
from skmixed.core.pooling.stage import NOISELESS, FirstStageResidual
from skmixed.core.sums.summation import refuse_squares
from skmixed.design.records import stored
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.grouped._group_fits import Estimates, GroupFits, standard_errors, uncentred
from skmixed.estimators.grouped._shares import BLUP, Scheme, moved_to_parents, shares_of
from skmixed.estimators.grouped._tree import Tree, deepest_known
from skmixed.exceptions import warn
from skmixed.inference.summary import deviance_notes

_ROWS_EVALUATED = 2**16  # at a time: their gathered coefficients take half a megabyte a feature
_SAFE = 1e140  # of numbers: no sum of their squares overflows
_DIGITS_LOST = 1e-8  # share of y's sum of squares: a smaller RSS has lost half its digits


def warn_about_weights(weights: NDArray[np.float64] | None, scheme: Scheme) -> None:
    """Warn about weights (n,) that are no frequencies, where variances depend on their scale."""
    if weights is None or scheme.name != BLUP or np.array_equal(weights, np.round(weights)):
        return
    warn(
        "sample weights are not whole numbers but are treated as frequencies, so that the "
        "amount of shrinkage depends on their scale",
        UserWarning,
    )


def refuse_large(training: Training) -> None:
    """Raise ValueError for a column whose squares overflow, before an estimator takes them."""
    numbers = [np.asarray(training.numbers), training.y]
    if all(each.min(initial=0.0) > -_SAFE and each.max(initial=0.0) < _SAFE for each in numbers):
        return
    columns = np.column_stack(numbers).astype(np.float64)
    names = [*training.inner_names, *["y"] * (columns.shape[1] - len(training.inner_names))]
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.square(columns - columns.mean(axis=0)).sum(axis=0)
    squares = np.where(squares < np.inf, 1.0, np.inf)  # small ones are judged with the groups
    refuse_squares(names, squares, lambda: columns)


@stored
class LinearGroupFits(GroupFits):
    """Coefficients of all groups, solved in one batch from moments; the rows are not kept."""

    def __init__(self, tree: Tree, scheme: Scheme, pooled: Any, p: int) -> None:
        super().__init__(tree, scheme, pooled)
        self.penalty = float(getattr(pooled, "alpha", 0.0))  # of ridge regression
        self.fit_intercept = bool(pooled.fit_intercept)
        self.n_outputs, self.p = len(np.atleast_2d(pooled.coef_)), p
        self.k = self.p + self.fit_intercept  # coefficients of a group
        # Coefficients (n_outputs, k) of collinear groups, by level and group.
        self.exact: dict[tuple[int, int], FloatArray] = {}
        # Those that predict, (n_groups, n_outputs, k) by level from the root, the intercept first.
        self.final: list[FloatArray] = []

    def fit(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Solve all groups; see `GroupFits`."""
        warn_about_weights(training.weights, self.scheme)
        columns = np.column_stack([training.numbers, training.y])  # in C order, as both are
        n_cells, centred = self.tree.hierarchy.sizes[-1], self.fit_intercept
        cells = Cells.of(columns, codes[-1], n_cells, training.weights, centred=centred)
        names = [*training.inner_names, *["y"] * self.n_outputs]
        refuse_squares(names, cells.squares, lambda: cells.deviations(columns))
        self.cells = replace(cells, counts=self.tree.counts[-1])  # the same, kept once
        self.origin = self.cells.origin[: self.p]
        fits = self._fits(self.cells)
        self.rss = self._exact_rss(fits, columns, codes[-1], training.weights)
        if self.scheme.name == BLUP:
            means = [found.means for found in self._pool(fits)]
            self.final = [
                self._at_zero(np.stack([of_output[level].T for of_output in means], axis=1))
                for level in range(self.tree.depth + 1)
            ]
            return
        if not self.penalty:
            self.failures.add_small(self.k, f"{self.k} coefficients")
        self._mix(training, codes)

    def _fits(self, cells: Cells) -> CellFits:
        """Solve the cells of any level."""
        return fit_cells(cells, self.p, self.penalty)

    def _at_zero(self, coef: FloatArray) -> FloatArray:
        """Return coefficients (n_groups, n_outputs, k), the intercepts moved to zero of X and y."""
        coef = uncentred(coef, self.origin)
        if self.fit_intercept:
            coef[:, :, 0] += self.cells.origin[self.p :]
        return coef

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
            fitted = _evaluate(centred[:, : self.p], coef[:, output], codes)
            squares = (centred[:, self.p + output] - fitted) ** 2
            squares = squares if weights is None else squares * weights
            sums.append(np.bincount(codes, squares, minlength=coef.shape[0]))
        return np.array(sums)

    def _own(self, level: int, cells: Cells, fits: CellFits) -> FloatArray:
        """Return the estimates of the groups of a level by themselves, (n_groups, n_outputs, k).

        NaN where the rows of a group do not determine them. `fits` are the solutions of `cells`,
        the moments of this level.
        """
        coef = self._at_zero(fits.coef.transpose(2, 0, 1))
        few = (cells.counts < self.k) & (self.penalty == 0.0)
        coef[few | ~fits.determined] = np.nan
        for (at, group), values in self.exact.items():
            if at == level:
                coef[group] = values
        return coef

    def _cells_of(self, level: int) -> Cells:
        """Return the moments of the groups of a level."""
        cells, hierarchy = self.cells, self.tree.hierarchy
        for at in range(hierarchy.depth, level, -1):
            cells = cells.merged(hierarchy.parents[at - 1], hierarchy.sizes[at - 1])
        return cells

    def pooled_outputs(self) -> list[PooledHierarchy]:
        """Shrink the coefficients of the groups to their parents', for every output."""
        return self._pool(self._fits(self.cells))

    def _pool(self, fits: CellFits) -> list[PooledHierarchy]:
        usable = self.failures.usable()[-1]
        precision = self.cells.gram(self.p)
        slopes = np.arange(self.k - self.p, self.k)
        precision[slopes, slopes] += self.penalty
        precision[:, :, ~usable] = 0.0
        return [
            pool(precision / scale, fits.coef[output], self.tree.hierarchy, noise)
            for output, (scale, noise) in enumerate(self._noises(fits))
        ]

    def _noises(self, fits: CellFits) -> list[tuple[float, FirstStageResidual | None]]:
        """Return for every output the residual variance and None, or 1 and what tells of it."""
        usable = self.failures.usable()[-1]
        return [self._noise(fits, output, usable) for output in range(self.n_outputs)]

    def _noise(
        self, fits: CellFits, output: int, usable: NDArray[np.bool_]
    ) -> tuple[float, FirstStageResidual | None]:
        counts = self.cells.counts[usable]
        rss = float(self.rss[output, usable].sum())
        if not self.penalty:
            degrees = float(np.maximum(counts - self.k, 0.0).sum())
            return 1.0, FirstStageResidual(rss, float(counts.sum()), degrees)
        own = self.cells.products[: self.p, : self.p]
        traces = np.einsum("ijg,jig->g", fits.inverse, own)[usable] + (self.k - self.p)
        degrees = float(counts.sum() - traces.sum())
        place = self.p + output
        total = float(self.cells.products[place, place, usable].sum())
        total += float(counts @ self.cells.means[place, usable] ** 2)
        if degrees < 1.0 or rss <= NOISELESS * total:
            return total / max(float(counts.sum()), 1.0) or 1.0, None  # too large if anything
        return rss / degrees, None

    def estimator(self, level: int, group: int) -> Any:
        """Return an estimator of the inner class with the coefficients that predict a group."""
        model, coef = copy.copy(self.pooled), self.final[level][group]
        slopes = coef[:, self.k - self.p :]
        if not self.p:  # of the column of zeros that the estimator was given
            slopes = np.zeros((len(coef), 1))
        model.coef_ = slopes.reshape(np.shape(self.pooled.coef_))
        if self.fit_intercept:
            intercept = coef[:, 0]
            model.intercept_ = intercept if np.ndim(self.pooled.intercept_) else intercept[0]
        for name in ("rank_", "singular_"):  # of all rows
            model.__dict__.pop(name, None)
        return model

    def _mix(self, training: Training, codes: tuple[IntArray, ...]) -> None:
        """Combine the estimates of each group and its ancestors by their shares."""
        hierarchy = self.tree.hierarchy
        own = [_of_estimator(self.pooled)[None, :, : self.k]]
        for level in range(1, hierarchy.depth + 1):
            cells = self._cells_of(level)
            fits = self._fits(cells)
            self._solve_exactly(level, fits, training, codes[level])
            own.append(self._own(level, cells, fits))
        shares = shares_of(self.scheme, hierarchy, self.tree.counts)
        if not self.scheme.uses_pooled:
            self.failures.refuse_last_resort()
        self.shares = moved_to_parents(shares, self.failures.usable(), hierarchy)
        for level in range(hierarchy.depth + 1):
            total = np.zeros_like(own[level])
            for at, group in enumerate(hierarchy.ancestors(level)):
                share = self.shares[level][:, at, None, None]
                total += share * np.where(share > 0.0, own[at][group], 0.0)
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
            self.exact[level, group] = _of_estimator(model)[:, : self.k]

    def predict(self, method: str, table: FloatArray, codes: tuple[IntArray, ...]) -> NDArray[Any]:
        """Predict rows by their groups, (n,) or (n, n_outputs); see `GroupFits`."""
        place = self.tree.places(codes, deepest_known(codes))
        coef = np.concatenate(self.final)
        table = table[:, : self.p]
        columns = [_evaluate(table, coef[:, output], place) for output in range(self.n_outputs)]
        return columns[0] if np.ndim(self.pooled.coef_) == 1 else np.column_stack(columns)

    def estimates(self, *, shrunk: bool) -> Estimates:
        """Return the coefficients of the finest groups; see `GroupFits`.

        Standard errors of those that predict are posterior ones given the variances; by rules other
        than "blup" only groups that keep all of their own have any.
        """
        fits = self._fits(self.cells)
        if shrunk and self.scheme.name == BLUP:
            found = self._pool(fits)
            errors = [standard_errors(each.covariances[-1], self.origin) for each in found]
            variances = [
                scale * each.s2 for (scale, _), each in zip(self._noises(fits), found, strict=True)
            ]
            sd = np.tile(np.sqrt(variances), (len(self.final[-1]), 1))
            return Estimates(self.final[-1], np.stack(errors, axis=1), sd)
        own = self._own_estimates(fits)
        if not shrunk:
            return own
        alone = self.shares[-1][:, -1, None] == 1.0
        se = np.where(alone[:, None], own.se, np.nan)
        return Estimates(self.final[-1], se, np.where(alone, own.sd, np.nan))

    def _own_estimates(self, fits: CellFits) -> Estimates:
        """Return the estimates of each group by itself, with the standard errors of least squares.

        Those of ridge regression are of (C + alpha I)^-1 C (C + alpha I)^-1, C being the
        cross-products.
        """
        cells, p = self.cells, self.p
        coef = self._own(self.tree.depth, cells, fits)
        spare = cells.counts - self.k
        with np.errstate(invalid="ignore", divide="ignore"):
            sd = np.sqrt(np.where(spare > 0.0, self.rss / spare, np.nan)).T
        inverse = np.moveaxis(fits.inverse, -1, 0)
        if self.penalty:
            inverse = inverse @ np.moveaxis(cells.products[:p, :p], -1, 0) @ inverse
        variances = np.einsum("gii->gi", inverse)
        if self.fit_intercept:
            mean = (cells.means[:p] + self.origin[:, None]).T
            at_zero = 1.0 / cells.counts + np.einsum("gi,gij,gj->g", mean, inverse, mean)
            variances = np.column_stack([at_zero, variances])
        se = sd[:, :, None] * np.sqrt(np.maximum(variances, 0.0))[:, None]
        se[~fits.determined] = np.nan
        se[np.isnan(coef)] = np.nan
        return Estimates(coef, se, sd)

    def notes(
        self, group: int, output: int, sd: float, digits: int, *, shrunk: bool
    ) -> tuple[str, ...]:
        """Return the lines under the coefficients of a group in the summary."""
        n, place = float(self.tree.counts[-1][group]), self.p + output
        if shrunk:
            known = f", residual sd = {sd:.{digits}f}" if np.isfinite(sd) else ""
            return (f"n = {n:.15g}, k = {self.k}{known}",)
        null = float(self.cells.products[place, place, group])
        return deviance_notes(n, self.k, float(self.rss[output, group]), null, sd, digits)


def _of_estimator(estimator: Any) -> FloatArray:
    """Return the coefficients of a fitted estimator, (n_outputs, k)."""
    coef = np.atleast_2d(estimator.coef_)
    if estimator.fit_intercept:
        coef = np.column_stack([np.atleast_1d(estimator.intercept_), coef])
    return np.asarray(coef, dtype=np.float64)


def _evaluate(table: FloatArray, coef: FloatArray, place: IntArray) -> FloatArray:
    """Return x'b of every row of a table (n, p), with b the row of `coef` at its place; (n,)."""
    fit_intercept = coef.shape[1] > table.shape[1]
    slopes = np.ascontiguousarray(coef[:, 1:] if fit_intercept else coef)
    result = np.empty(len(table))
    for first in range(0, len(table), _ROWS_EVALUATED):
        rows = slice(first, first + _ROWS_EVALUATED)
        result[rows] = np.einsum("ij,ij->i", table[rows], slopes[place[rows]])
    return result + coef[place, 0] if fit_intercept else result
