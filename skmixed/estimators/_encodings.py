"""BLUPs of the levels of labels: of all rows, of the rows outside a fold, and without each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.crossproducts import CrossProducts
from skmixed.core.elimination import Blocks
from skmixed.core.fit import Fit
from skmixed.core.groups import GroupIndex, IntArray
from skmixed.core.layout import CONSTANT, FactorLayout, FloatArray, Layout, Rows
from skmixed.core.leave_out_effects import effects_without_rows
from skmixed.core.solvers.newton import Newton
from skmixed.core.spec import ModelSpec, Term

_LEAST_RESIDUAL = 1e-9


@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """What is known of the levels of some columns, a list entry a column.

    Parameters
    ----------
    effects : list of ndarray of shape (n_levels, k)
        BLUPs; zero for levels without rows.
    variances : list of ndarray of shape (n_levels, k)
        Their conditional variances; those of the distribution for levels without rows.
    counts : list of ndarray of shape (n_levels,)
        Rows of every level.
    prior : list of ndarray of shape (k,)
        Variances of the distribution of the effects.
    """

    effects: Blocks
    variances: Blocks
    counts: list[IntArray]
    prior: Blocks

    def of_rows(self, codes: Sequence[IntArray]) -> list[FloatArray]:
        """Look up rows.

        Parameters
        ----------
        codes : sequence of ndarray of int of shape (n,)
            Their levels, a column each; negative where unknown.

        Returns
        -------
        list of ndarray of shape (n, 2 k + 1)
            Effects, standard deviations and count, a column each.
        """
        return [
            _with_unknown(effects, np.sqrt(variances), counts, np.sqrt(prior))[of_rows]
            for effects, variances, counts, prior, of_rows in zip(
                self.effects, self.variances, self.counts, self.prior, codes, strict=True
            )
        ]


def _with_unknown(
    effects: FloatArray, deviations: FloatArray, counts: IntArray, prior: FloatArray
) -> FloatArray:
    """Put a line for unknown levels last, where a negative code finds it."""
    known = np.column_stack([effects, deviations, counts])
    return np.vstack([known, np.concatenate([np.zeros(len(prior)), prior, [0.0]])])


@dataclass(frozen=True, slots=True, eq=False)
class LevelModel:
    """A linear mixed model of a target on the levels of one column or, crossed, of several.

    Parameters
    ----------
    rows : Rows
        [1, slopes, target] and codes of the rows that have all labels.
    places : ndarray of int of shape (n,)
        Where each of these rows stands in the table.
    products : CrossProducts
        Their sums.
    spec : ModelSpec
        The constant and the slopes, fixed and varying over the levels of every column.
    deviations : bool
        Whether conditional variances are wanted; they are zeros otherwise.
    """

    rows: Rows
    places: IntArray
    products: CrossProducts
    spec: ModelSpec
    deviations: bool

    @classmethod
    def of(
        cls,
        slopes: FloatArray,
        target: FloatArray,
        names: Sequence[str],
        codes: Sequence[IntArray],
        sizes: Sequence[int],
        *,
        deviations: bool,
    ) -> LevelModel:
        """Sum over a table.

        Parameters
        ----------
        slopes : ndarray of shape (n, s)
            Columns whose effects vary beside the constant.
        target : ndarray of shape (n,)
            Numbers.
        names : sequence of str
            Names of the columns of labels.
        codes : sequence of ndarray of int of shape (n,)
            Their levels; negative where there is no label.
        sizes : sequence of int
            Their numbers of levels.
        deviations : bool
            Whether conditional variances are wanted.

        Returns
        -------
        LevelModel
            Rows without one of the labels are left out.
        """
        columns = np.empty((len(target), slopes.shape[1] + 2))
        columns[:, CONSTANT], columns[:, 1:-1], columns[:, -1] = 1.0, slopes, target
        varying = tuple(range(slopes.shape[1] + 1))
        layout = Layout(
            (*(f"c{i}" for i in range(columns.shape[1])),),
            tuple(FactorLayout((name,), varying) for name in names),
        )
        terms = tuple(Term(factor, varying) for factor in range(len(names)))
        indexes = tuple(
            GroupIndex((name,), (np.arange(size),)) for name, size in zip(names, sizes, strict=True)
        )
        rows = Rows(columns, tuple(codes), indexes)
        places = np.flatnonzero(np.logical_and.reduce([of_rows >= 0 for of_rows in codes]))
        if len(places) < len(target):
            rows = rows.take(places)
        products = _with_a_residual(CrossProducts.of(layout, rows))
        return cls(rows, places, products, ModelSpec(varying, terms), deviations)

    def fit(self) -> Fit:
        """Fit to all rows."""
        return Fit.of(self.products, self.spec, Newton())

    def encodings(self, fit: Fit | None) -> Encodings:
        """Return what a fit to all rows or some knows of every level; None knows nothing."""
        k, sizes = len(self.spec.fixed), [len(index) for index in self.rows.indexes]
        prior = [np.zeros(k) for _ in sizes]
        if fit is not None and self.deviations:
            prior = [np.diag(covariance).copy() for covariance in fit.covariances]
        effects = [np.zeros((size, k)) for size in sizes]
        variances = [np.tile(prior[number], (size, 1)) for number, size in enumerate(sizes)]
        counts = [np.zeros(size, dtype=np.intp) for size in sizes]
        for number, modes in enumerate([] if fit is None else fit.modes):
            assert fit is not None
            block = fit.products.factors[number]
            at = block.index.labels[0]
            effects[number][at], counts[number][at] = modes, block.counts
            if self.deviations:
                spread = fit.conditional_covariance(number).diagonal(axis1=1, axis2=2)
                variances[number][at] = np.maximum(spread, 0.0)
        return Encodings(effects, variances, counts, prior)

    def without(self, chosen: IntArray) -> Encodings:
        """Return what the other rows say of every level.

        Parameters
        ----------
        chosen : ndarray of int of shape (m,)
            Rows of the table that are left out.

        Returns
        -------
        Encodings
            Of a model fitted to the sums of all rows less those of these.
        """
        out = np.zeros(max(self.places[-1], chosen.max()) + 1, dtype=bool)
        out[chosen] = True
        taken = np.flatnonzero(out[self.places])
        if len(taken) == len(self.places):
            return self.encodings(None)
        products = self.products if not len(taken) else self.products.without(self.rows.take(taken))
        return self.encodings(replace(self, products=products).fit())

    def left_out(self, fit: Fit, table: list[FloatArray]) -> None:
        """Write over the encodings of all rows those without the row itself.

        Parameters
        ----------
        fit : Fit
            Of all rows.
        table : list of ndarray of shape (n, 2 k + 1)
            What `Encodings.of_rows` returned for the table.
        """
        if not fit.is_determined:
            return
        found = effects_without_rows(fit, self.rows)
        for columns, mean, variance in zip(table, found.means, found.variances, strict=True):
            columns[self.places, :-1] = np.hstack([mean, np.sqrt(np.maximum(variance, 0.0))])
            columns[self.places, -1] -= 1.0


def _with_a_residual(products: CrossProducts) -> CrossProducts:
    """Add a billionth of the variance of the target to its residual.

    Labels may determine the target, all classes of a sample for instance. Its residual would then
    be sought between zero and rounding.
    """
    gram = products.gram.copy()
    floor = _LEAST_RESIDUAL * (gram[-1, -1] - gram[CONSTANT, -1] ** 2 / gram[CONSTANT, CONSTANT])
    gram[-1, -1] += floor
    within = products.within
    if within is not None:
        inner = within.gram.copy()
        inner[-1, -1] += floor
        within = replace(within, gram=inner)
    return replace(products, gram=gram, within=within)
