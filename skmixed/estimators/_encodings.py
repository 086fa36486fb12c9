"""BLUPs of the levels of labels: of all rows, of the rows outside a fold, and without each row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.rows.row_effects import effects_without_rows
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.design import empty_columns
from skmixed.design.records import stored

_LEAST_RESIDUAL = 1e-9  # of the target's variance: far above rounding, and no encoding shows it


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """What is known of the levels of some columns, a list entry a column."""

    effects: Blocks  # (n_levels, k), BLUPs; zero for levels without rows
    variances: Blocks  # (n_levels, k), conditional; `prior` for levels without rows
    counts: list[IntArray]  # (n_levels,), rows of every level
    prior: Blocks  # (k,), variances of the distribution; zeros if no deviations are wanted

    def of_rows(self, codes: Sequence[IntArray]) -> list[FloatArray]:
        """Return effects, standard deviations and counts of rows, (n, 2 k + 1) a column.

        Negative codes are unknown levels: zero effects, the deviations of their distribution, and
        no rows.
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
    """Put a line for unknown levels last, where code -1 finds it: (n_levels + 1, 2 k + 1)."""
    known = np.column_stack([effects, deviations, counts])
    return np.vstack([known, np.concatenate([np.zeros(len(prior)), prior, [0.0]])])


@dataclass(frozen=True, slots=True, eq=False)
class LevelModel:
    """A linear mixed model of a target on the levels of one column or, crossed, of several.

    Constant and slopes are fixed, and vary over the levels of every column.
    """

    summed: SummedRows  # [1, slopes, target] of the rows that have all labels
    places: IntArray  # (n,), where each of these rows stands in the table
    spec: ModelSpec
    deviations: bool  # whether conditional variances are wanted; they are zeros otherwise

    @classmethod
    def of_targets(
        cls,
        slopes: FloatArray,  # (n, s), columns whose effects vary beside the constant
        targets: FloatArray,  # (n, n_targets)
        names: Sequence[str],  # of the columns of labels
        codes: Sequence[IntArray],  # (n,) a column, negative where there is no label
        sizes: Sequence[int],  # their numbers of levels
        *,
        deviations: bool,
    ) -> list[LevelModel]:
        """Sum over the rows of a table that have all labels, for a model of every target."""
        varying = tuple(range(slopes.shape[1] + 1))
        layout = Layout(
            (*(f"c{i}" for i in range(len(varying) + 1)),),
            tuple(FactorLayout((name,), varying) for name in names),
        )
        terms = tuple(Term(factor, varying) for factor in range(len(names)))
        spec = ModelSpec(varying, terms)
        indexes = tuple(
            GroupIndex((name,), (np.arange(size),)) for name, size in zip(names, sizes, strict=True)
        )
        places = np.flatnonzero(np.logical_and.reduce([of_rows >= 0 for of_rows in codes]))
        plan: Plan | None = None
        models = []
        for target in targets.T:
            columns = empty_columns(len(target), len(varying) + 1)
            columns[:, CONSTANT], columns[:, 1:-1], columns[:, -1] = 1.0, slopes, target
            rows = Rows(columns, tuple(codes), indexes)
            if len(places) < len(target):
                rows = rows.take(places)
            plan = plan or Plan.of(layout, rows)
            products = _with_a_residual(CrossProducts.filled(plan, rows.columns))
            models.append(cls(SummedRows(rows, products, plan), places, spec, deviations))
        return models

    def fit(self) -> Fit:
        """Fit to all rows."""
        return self._fitted(self.summed.products)

    def _fitted(self, products: CrossProducts) -> Fit:
        return Fit.of(products, self.spec, Newton())

    def encodings(self, fit: Fit | None) -> Encodings:
        """Return what a fit to all rows or some knows of every level; None knows nothing."""
        k, sizes = len(self.spec.fixed), [len(index) for index in self.summed.rows.indexes]
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
        """Return what the rows of the table other than those chosen, (m,), say of every level.

        The model is fitted to the sums of all rows less those of the chosen ones.
        """
        out = np.zeros(max(self.places[-1], chosen.max()) + 1, dtype=bool)
        out[chosen] = True
        taken = np.flatnonzero(out[self.places])
        if len(taken) == len(self.places):
            return self.encodings(None)
        products = self.summed.without(taken) if len(taken) else self.summed.products
        return self.encodings(self._fitted(products))

    def leave_each_row_out(self, fit: Fit, table: list[FloatArray]) -> None:
        """Write over the encodings of rows by all, (n, 2 k + 1) a column, those by the others.

        The variances of the model stay those of `fit`, to all rows. Nothing is written if it left
        no residual.
        """
        if not fit.is_determined:
            return
        found = effects_without_rows(fit, self.summed)
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
