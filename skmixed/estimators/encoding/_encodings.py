"""BLUPs of levels: from all rows, from the rows outside a fold, and without each row."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.rows.row_effects import effects_without_rows
from skmixed.core.search.newton import Newton
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.column_collection import empty_columns
from skmixed.design.records import stored

_LEAST_RESIDUAL = 1e-9  # of the target's variance: far above rounding, and no encoding shows it


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Encodings:
    """What is known of the levels of some columns, a list entry a column."""

    effects: Blocks  # (n_levels, k), BLUPs; zero for levels without rows
    variances: Blocks  # (n_levels, k), conditional; `prior` for levels without rows
    counts: Blocks  # (n_levels,), rows of every level, or the sum of their weights
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
    effects: FloatArray, deviations: FloatArray, counts: FloatArray, prior: FloatArray
) -> FloatArray:
    """Put a line for unknown levels last, where code -1 finds it: (n_levels + 1, 2 k + 1)."""
    known = np.column_stack([effects, deviations, counts])
    return np.vstack([known, np.concatenate([np.zeros(len(prior)), prior, [0.0]])])


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRows:
    """Rows of a table with the labels of one column or, crossed, of several."""

    slopes: FloatArray  # (n, s), columns whose effects vary beside the constant
    adjusting: FloatArray  # (n, p), further columns whose effects are fixed
    weights: FloatArray | None  # (n,), how many rows each stands for
    names: Sequence[str]  # of the columns of labels
    codes: Sequence[IntArray]  # (n,) a column, negative where there is no label
    sizes: Sequence[int]  # their numbers of levels

    @property
    def places(self) -> IntArray:
        """Where the rows stand that have all labels, and a weight, (n_used,)."""
        used = np.logical_and.reduce([of_rows >= 0 for of_rows in self.codes])
        return np.flatnonzero(used if self.weights is None else used & (self.weights > 0.0))

    @property
    def varying(self) -> tuple[int, ...]:
        """Places of the columns whose effects vary: the constant and the slopes."""
        return tuple(range(self.slopes.shape[1] + 1))

    @property
    def layout(self) -> Layout:
        """The columns [1, slopes, adjusting, target], and a factor a column of labels."""
        n_columns = len(self.varying) + self.adjusting.shape[1] + 1
        return Layout(
            tuple(f"c{i}" for i in range(n_columns)),
            tuple(FactorLayout((name,), self.varying) for name in self.names),
        )

    @property
    def spec(self) -> ModelSpec:
        """All columns are fixed, and some vary over the levels of every column of labels."""
        terms = tuple(Term(factor, self.varying) for factor in range(len(self.names)))
        return ModelSpec(tuple(range(self.layout.response)), terms)

    def rows(self, target: FloatArray, places: IntArray) -> Rows:
        """Return the rows at some places with a target, (n,)."""
        k = len(self.varying)
        columns = empty_columns(len(target), self.layout.response + 1)
        columns[:, CONSTANT], columns[:, 1:k], columns[:, k:-1] = 1.0, self.slopes, self.adjusting
        columns[:, -1] = target
        indexes = tuple(
            GroupIndex((name,), (np.arange(size),))
            for name, size in zip(self.names, self.sizes, strict=True)
        )
        rows = Rows(columns, tuple(self.codes), indexes, self.weights)
        return rows if len(places) == len(target) else rows.take(places)


class EncodingModel(Protocol):
    """A model of a target on levels: what it says of them from all rows, or from some."""

    def fit(self) -> Any:
        """Fit to all rows; returns what has `covariances`, `sigma2`, `unidentified`, `report`."""
        ...

    def encodings(self, fit: Any) -> Encodings:
        """Return what a fit says of every level; None knows nothing."""
        ...

    def without_each(self, folds: Sequence[IntArray], fit: Any) -> Iterable[Encodings]:
        """Yield what the rows outside every fold, (m,) each, say; `fit` is that to all rows."""
        ...

    def leave_each_row_out(self, fit: Any, table: list[FloatArray]) -> None:
        """Write over the encodings of rows by all, (n, 2 k + 1) a column, those by the others."""
        ...

    def explained_by_others(self, fit: Any) -> str:
        """Say how the columns beside the labels explain all, so that these have no effects.

        Empty if they do not.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class LevelModel:
    """A linear mixed model of a target."""

    summed: SummedRows  # [1, slopes, adjusting, target] of the rows that are used
    places: IntArray  # (n,), where each of these rows stands in the table
    spec: ModelSpec
    deviations: bool  # whether conditional variances are wanted; they are zeros otherwise

    @classmethod
    def of(cls, labelled: LabelledRows, target: FloatArray, *, deviations: bool) -> LevelModel:
        """Sum over the rows of a table, with a target, (n,)."""
        places = labelled.places
        summed = SummedRows.of(labelled.layout, labelled.rows(target, places))
        summed = replace(summed, products=_with_a_residual(summed.products))
        return cls(summed, places, labelled.spec, deviations)

    def fit(self) -> Fit:
        """Fit to all rows."""
        return self._fitted(self.summed.products)

    def _fitted(self, products: CrossProducts) -> Fit:
        return Fit.of(products, self.spec, Newton())

    def encodings(self, fit: Fit | None) -> Encodings:
        """Return what a fit to all rows or some knows of every level; None knows nothing."""
        sizes = [len(index) for index in self.summed.rows.indexes]
        if fit is None:
            return nothing_known(sizes, len(self.spec.terms[0].columns))
        levels = [block.index.labels[0] for block in fit.products.factors]
        counts = [block.counts.astype(np.float64) for block in fit.products.factors]
        if self.summed.rows.weights is not None:
            unit = fit.products.unit
            counts = [block.products[0, CONSTANT] * unit for block in fit.products.factors]
        variances, prior = None, None
        if self.deviations:
            variances, prior = deviations_of(fit, range(len(sizes))), fit.covariances
        return spread_over(sizes, levels, fit.modes, counts, variances, prior)

    def without_each(self, folds: Sequence[IntArray], fit: Fit) -> Iterator[Encodings]:
        """Yield what the rows of the table outside every fold, (m,) each, say of every level.

        The models are fitted to the sums of all rows less those of a fold.
        """
        for fold in folds:
            taken = taken_out(self.places, fold)
            if len(taken) == len(self.places):
                yield self.encodings(None)
                continue
            products = self.summed.without(taken) if len(taken) else self.summed.products
            yield self.encodings(self._fitted(products))

    def leave_each_row_out(self, fit: Fit, table: list[FloatArray]) -> None:
        """Write over the encodings of rows by all, (n, 2 k + 1) a column, those by the others.

        The variances of the model stay those of `fit`, to all rows. Nothing is written if it left
        no residual.
        """
        if not fit.is_determined:
            return
        write_without_rows(fit, self.summed, self.places, table, self.summed.rows.weights)

    def explained_by_others(self, fit: Fit) -> str:
        """Say that there are as many columns as rows, if there are."""
        if fit.rank < fit.products.n_rows or fit.products.n_rows <= 1:
            return ""
        return "the columns to adjust for are as many as the rows and explain everything"


def taken_out(places: IntArray, chosen: IntArray) -> IntArray:
    """Return which of the rows used, at (n,) places of a table, are among those chosen, (m,)."""
    out = np.zeros(max(places[-1], chosen.max()) + 1, dtype=bool)
    out[chosen] = True
    return np.flatnonzero(out[places])


def nothing_known(sizes: Sequence[int], k: int) -> Encodings:
    """Return the encodings of levels without rows."""
    none: Blocks = [np.empty((0, k)) for _ in sizes]
    nowhere = [np.empty(0, dtype=np.intp) for _ in sizes]
    return spread_over(sizes, nowhere, none, [np.empty(0) for _ in sizes], None, None)


def spread_over(
    sizes: Sequence[int],  # numbers of all levels, an entry a column as in all that follows
    levels: Sequence[IntArray],  # (m,), those that have rows
    modes: Blocks,  # (m, k), their effects
    counts: Blocks,  # (m,)
    variances: Blocks | None,  # (m, k), conditional; None: no deviations are wanted
    covariances: Blocks | None,  # (k, k), of the distribution
) -> Encodings:
    """Return the encodings of all levels from those of the levels that have rows."""
    effects, spread, numbers, prior = [], [], [], []
    for column, (size, own) in enumerate(zip(sizes, levels, strict=True)):
        k = modes[column].shape[1]
        known = np.zeros(k) if covariances is None else np.diag(covariances[column]).copy()
        prior.append(known)
        effects.append(np.zeros((size, k)))
        spread.append(np.tile(known, (size, 1)))
        numbers.append(np.zeros(size))
        effects[-1][own], numbers[-1][own] = modes[column], counts[column]
        if variances is not None:
            spread[-1][own] = variances[column]
    return Encodings(effects, spread, numbers, prior)


def deviations_of(fit: Any, positions: Iterable[int]) -> Blocks:
    """Return conditional variances of the effects of used factors, (n_levels, k) each."""
    return [
        np.maximum(fit.conditional_covariance(position).diagonal(axis1=1, axis2=2), 0.0)
        for position in positions
    ]


def write_without_rows(
    fit: Fit,
    summed: SummedRows,
    places: IntArray,  # (n,), where its rows stand in the table
    table: list[FloatArray],  # (n_table, 2 k + 1) a column
    weights: FloatArray | None,  # (n,), how many rows each stands for
) -> None:
    """Write over encodings by all rows those by the other rows, at the variances of a fit.

    An effect changes by as much as in the fit, and is zero for a level without other rows.
    """
    found = effects_without_rows(fit, summed)
    zipped = zip(fit.modes, summed.rows.codes, table, found.means, found.variances, strict=True)
    for modes, codes, columns, mean, variance in zipped:
        k = mean.shape[1]
        columns[places, :k] += mean - modes[codes]
        columns[places, k:-1] = np.sqrt(np.maximum(variance, 0.0))
        leave_rows_out_of_counts(columns, places, codes, weights)


def leave_rows_out_of_counts(
    columns: FloatArray,  # (n_table, 2 k + 1), effects, deviations and counts of rows
    places: IntArray,  # (n,), where some rows stand
    codes: IntArray,  # (n,), their levels
    weights: FloatArray | None,  # (n,), how many rows each stands for
) -> None:
    """Subtract rows from the counts of their levels, of which those without others know nothing."""
    alone = places[(np.bincount(codes) == 1)[codes]]
    columns[places, -1] -= 1.0 if weights is None else weights
    columns[alone, : columns.shape[1] // 2], columns[alone, -1] = 0.0, 0.0


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
