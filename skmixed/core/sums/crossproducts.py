"""Weighted cross-products of the columns [Z X y]: everything fitting needs to know of the data.

They are sums over rows, so they are built in one pass, in any order and split, added, and taken out
again. Sums are kept about a shift of every column and in a unit of the weights
(`skmixed.core.sums.summation`), which change no information.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray, triangular_inverse
from skmixed.core.one_thread import one_thread
from skmixed.core.sums.blocks import FactorBlock, PairBlock, transform
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan
from skmixed.core.sums.summation import (
    LEAST_WEIGHT,
    WEIGHTS_TOO_UNLIKE,
    Within,
    apply_basis,
    between_parts,
    by_subtraction,
    change_of_basis,
    check_squares,
    choose_basis,
    gram_matrix,
    in_unit,
    is_far_apart,
    unit_of,
    within_levels,
)

_SPREAD_WORK = 2**18  # multiplications of a product: of fewer, OpenBLAS makes it by one thread
_LARGE_WORK = 10**8  # the same: of more, threads save more than the milliseconds they wake in


@dataclass(frozen=True, slots=True, eq=False)
class CrossProducts:
    """Sums of products of [Z X y] over rows; ``+`` merges those of disjoint sets of rows.

    Memory is O(n_columns^2 + sum over factors of levels * k * n_columns + distinct pairs of
    levels), whatever the number of rows.
    """

    layout: Layout
    basis: FloatArray  # (n_columns, n_columns), T: the products are of [1, features, y] T
    n_rows: int
    sum_weights: float  # of W, as all sums: of the weights divided by `unit`
    sum_log_weights: float
    gram: FloatArray  # (n_columns, n_columns), [1, features, y]'W[1, features, y]
    factors: tuple[FactorBlock, ...]  # one a factor of the layout
    pairs: dict[tuple[int, int], PairBlock]  # one for every two factors i < j
    within: Within | None = None  # of the largest factor, kept where its levels lie far apart
    unit: float = 1.0  # of the weights, a power of four
    plan_bytes: int = 0  # size of the plan that is kept to sum the rows again, if one is
    log_det: float = 0.0  # of the residual covariance of rows of weight one, relative to sigma^2

    @property
    def undo(self) -> FloatArray:
        """Inverse of the basis, (n_columns, n_columns): of the shifted columns it makes the raw."""
        return triangular_inverse(self.basis, lower=False, unit=True)

    def moments(self, combinations: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return means, (m,), and second moments about them, (m, m), weighted, over the rows.

        They are of m combinations of the raw columns, (n_columns, m).
        """
        shifted = self.undo @ combinations
        means = self.gram[CONSTANT] @ shifted / self.sum_weights
        shifted[CONSTANT] -= means
        return means, shifted.T @ self.gram @ shifted / self.sum_weights

    @property
    def total_weight(self) -> float:
        """Sum of the weights as they were given."""
        return self.sum_weights * self.unit

    @property
    def total_log_weight(self) -> float:
        """Sum of the logarithms of the weights as they were given."""
        return self.sum_log_weights + self.n_rows * float(np.log(self.unit))

    @property
    def levels(self) -> tuple[GroupIndex, ...]:
        """The levels of every factor."""
        return tuple(block.index for block in self.factors)

    @classmethod
    def of(cls, layout: Layout, rows: Rows, basis: FloatArray | None = None) -> CrossProducts:
        """Sum over rows of the layout, about a shift that by default the rows choose."""
        return cls._whole(Plan.of(layout, rows), rows.columns, rows.weights, basis)

    @classmethod
    def filled(
        cls,
        plan: Plan,
        columns: FloatArray,
        weights: FloatArray | None = None,
        basis: FloatArray | None = None,
    ) -> CrossProducts:
        """Sum the rows of a plan that is kept: columns, (n, n_columns), and weights, (n,).

        The shift is one that by default the rows choose. Raises ValueError for weights or columns
        whose products leave the range of floating-point numbers.
        """
        products = cls._whole(plan, columns, weights, basis)
        return replace(products, plan_bytes=plan.n_bytes)

    @classmethod
    def _whole(
        cls,
        plan: Plan,
        columns: FloatArray,
        weights: FloatArray | None,
        basis: FloatArray | None,
    ) -> CrossProducts:
        """Sum the rows of a plan, within levels too where these lie far apart."""
        products = cls.summed(plan, columns, weights, basis)
        sizes = [len(block.index) for block in products.factors]
        if sizes:
            largest = sizes.index(max(sizes))
            if is_far_apart(products.gram, products.factors[largest].products):
                weights = in_unit(weights, products.unit)
                return products._with_within(plan, columns, weights, largest)
        return products

    @classmethod
    def summed(
        cls,
        plan: Plan,
        columns: FloatArray,
        weights: FloatArray | None = None,
        basis: FloatArray | None = None,
    ) -> CrossProducts:
        """Do the same without sums within levels, wherever these lie; some may have no rows."""
        work = columns.size * columns.shape[1]
        with one_thread() if _SPREAD_WORK < work < _LARGE_WORK else nullcontext():
            basis = choose_basis(columns) if basis is None else basis
            unit = unit_of(weights)
            products = cls._sums(plan, columns, in_unit(weights, unit), basis, unit)
            check_squares(plan.layout.columns, products.gram, columns, basis)
        return products

    @classmethod
    def _sums(
        cls,
        plan: Plan,
        columns: FloatArray,
        weights: FloatArray | None,
        basis: FloatArray,
        unit: float,
    ) -> CrossProducts:
        """Sum the rows of a plan, weights in a unit; levels and pairs without rows get zeros."""
        shifted = apply_basis(columns, basis)
        with np.errstate(over="ignore", invalid="ignore"):
            if any(len(index) == 1 for index in plan.indexes):
                gram = gram_matrix(shifted, weights)
                factors, pairs = plan.blocks(shifted, weights, gram)
            else:
                factors, pairs = plan.blocks(shifted, weights)
                most = max(factors, key=lambda block: len(block.columns), default=None)
                known = () if most is None else (most.columns, most.products)
                gram = gram_matrix(shifted, weights, *known)
        return cls(
            plan.layout,
            basis,
            n_rows=len(columns),
            sum_weights=float(len(columns) if weights is None else weights.sum()),
            sum_log_weights=0.0 if weights is None else float(np.log(weights).sum()),
            gram=gram,
            factors=factors,
            pairs=pairs,
            unit=unit,
        )

    def _with_within(
        self, plan: Plan, columns: FloatArray, weights: FloatArray | None, factor: int
    ) -> CrossProducts:
        """Add sums within the levels of one factor, by a second pass over the same rows.

        The weights, (n,), are in the unit of the sums.
        """
        shifted = apply_basis(columns, self.basis)
        products = self.factors[factor].products
        gram = within_levels(shifted, weights, plan.codes[factor], products)
        return replace(self, within=Within(factor, gram))

    @classmethod
    def merged(cls, parts: Sequence[CrossProducts]) -> CrossProducts:
        """Merge sums over disjoint sets of rows, of one layout; levels are matched by label.

        Levels are sorted where their labels have an order, and where all parts have the same ones
        stay as they are. The shift is that of the largest part, which knows the best one.
        """
        if len(parts) == 1:
            return parts[0]
        largest = max(parts, key=lambda part: part.n_rows)
        if any(part.layout != largest.layout for part in parts):
            raise ValueError("cannot add cross-products of different columns or factors")
        unit = max(part.unit for part in parts)
        parts = [part.rebased(largest.basis).in_unit(unit) for part in parts]
        blocks = list(zip(*[part.factors for part in parts], strict=True))
        united = [first.index.union(*[block.index for block in rest]) for first, *rest in blocks]
        places = [of_parts for _, of_parts in united]
        return replace(
            largest,
            n_rows=sum(part.n_rows for part in parts),
            sum_weights=sum(part.sum_weights for part in parts),
            sum_log_weights=sum(part.sum_log_weights for part in parts),
            gram=np.sum([part.gram for part in parts], axis=0),
            factors=tuple(
                FactorBlock.merged(of_factor, index, where)
                for of_factor, (index, where) in zip(blocks, united, strict=True)
            ),
            pairs={
                (i, j): PairBlock.merged(
                    [part.pairs[i, j] for part in parts], places[i], places[j], len(united[j][0])
                )
                for i, j in largest.pairs
            },
            within=_merged_within(parts, places),
            unit=unit,
        )

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Merge with the sums over other rows."""
        return CrossProducts.merged([self, other])

    def with_rows(self, rows: Rows) -> CrossProducts:
        """Add further rows of the layout, summed about the shift of the larger part.

        Summed about a shift of their own, few rows lose digits that no merger brings back.
        """
        basis = self.basis if len(rows.columns) <= self.n_rows else None
        return self + CrossProducts.of(self.layout, rows, basis)

    def in_order(self) -> CrossProducts:
        """Return the same sums with sorted levels, those of categories too."""
        ranks = [block.index.ranks() for block in self.factors]
        if all(rank is None for rank in ranks):
            return self
        sorted_indexes = [
            index if rank is None else index.take(np.argsort(rank))
            for rank, index in zip(ranks, self.levels, strict=True)
        ]
        places = [
            np.arange(len(index)) if rank is None else rank
            for rank, index in zip(ranks, self.levels, strict=True)
        ]
        return self._placed(sorted_indexes, places)

    def at_levels(self, indexes: Sequence[GroupIndex]) -> CrossProducts:
        """Return the same sums over other levels, theirs among them; others have no rows."""
        return self._placed(
            indexes, [index.find(own) for index, own in zip(indexes, self.levels, strict=True)]
        )

    def _placed(self, indexes: Sequence[GroupIndex], places: Sequence[IntArray]) -> CrossProducts:
        """Return the same sums with levels at given places of other indexes."""
        return replace(
            self,
            factors=tuple(
                FactorBlock.merged([block], index, [place])
                for block, index, place in zip(self.factors, indexes, places, strict=True)
            ),
            pairs={
                (i, j): PairBlock.merged([pair], [places[i]], [places[j]], len(indexes[j]))
                for (i, j), pair in self.pairs.items()
            },
        )

    def without(self, rows: Rows) -> CrossProducts:
        """Take out some of the rows that were summed, and the levels that have no others.

        The codes of `rows` count the levels of `factors`; no label is looked at. Raises ValueError
        if nothing is left, or rows are taken out that are not there.
        """
        plan = Plan.of(self.layout, rows, self.pairs)
        return self.without_planned(plan, rows.columns, rows.weights)

    def without_planned(
        self, plan: Plan, columns: FloatArray, weights: FloatArray | None
    ) -> CrossProducts:
        """Take out rows, as `without` does, that a plan finds among these levels and pairs."""
        if len(columns) >= self.n_rows:
            raise ValueError(f"{len(columns)} of {self.n_rows} rows are taken out: nothing is left")
        weights = in_unit(weights, self.unit)
        part = self._sums(plan, columns, weights, self.basis, self.unit)
        if self.within is not None:
            part = part._with_within(plan, columns, weights, self.within.factor)
        return self.minus(part)

    def minus(self, part: CrossProducts) -> CrossProducts:
        """Take out the sums of some of the rows, of the same levels, pairs, shift and unit."""
        zipped = zip(self.factors, part.factors, strict=True)
        left = [mine.minus(theirs) for mine, theirs in zipped]
        return replace(
            self,
            n_rows=self.n_rows - part.n_rows,
            sum_weights=self.sum_weights - part.sum_weights,
            sum_log_weights=self.sum_log_weights - part.sum_log_weights,
            gram=self.gram - part.gram,
            factors=tuple(block for block, _ in left),
            pairs={
                (i, j): pair.minus(part.pairs[i, j], left[i][1], left[j][1])
                for (i, j), pair in self.pairs.items()
            },
            within=_within_left(self, part),
        )

    def rebased(self, basis: FloatArray) -> CrossProducts:
        """Return the same sums about another shift, as if summed about it but for rounding."""
        change = change_of_basis(self.basis, basis)
        if change is None:
            return self
        own = [change[np.ix_(block.columns, block.columns)] for block in self.factors]
        return replace(
            self,
            basis=basis,
            gram=change.T @ self.gram @ change,
            factors=tuple(
                replace(block, products=transform(block.products, z_map, change))
                for block, z_map in zip(self.factors, own, strict=True)
            ),
            pairs={
                (i, j): replace(pair, products=transform(pair.products, own[i], own[j]))
                for (i, j), pair in self.pairs.items()
            },
            within=self.within and replace(self.within, gram=change.T @ self.within.gram @ change),
        )

    def in_unit(self, unit: float) -> CrossProducts:
        """Return the same sums of weights in another unit, a power of four: no digit changes.

        Raises ValueError if they vanish beside weights of that size.
        """
        times = self.unit / unit
        if times == 1.0:
            return self
        if times < LEAST_WEIGHT:
            raise ValueError(WEIGHTS_TOO_UNLIKE)
        return replace(
            self,
            unit=unit,
            sum_weights=times * self.sum_weights,
            sum_log_weights=self.sum_log_weights + self.n_rows * float(np.log(times)),
            gram=times * self.gram,
            factors=tuple(
                replace(block, products=times * block.products) for block in self.factors
            ),
            pairs={
                ij: replace(pair, products=times * pair.products) for ij, pair in self.pairs.items()
            },
            within=self.within and replace(self.within, gram=times * self.within.gram),
        )


def _merged_within(
    parts: Sequence[CrossProducts], places: Sequence[Sequence[IntArray]]
) -> Within | None:
    """Merge sums within levels, given where these stand, of a factor whose digits no part lost.

    That is the one with most levels; a part may keep those of another factor, or need not keep any.
    """
    kept = {part.within.factor for part in parts if part.within is not None}
    n_levels = {
        factor: 1 + max(int(where.max(initial=-1)) for where in places[factor])
        for factor in sorted(kept)
        if all(_has_digits_within(part, factor) for part in parts)
    }
    if not n_levels:
        return None
    factor = max(n_levels, key=lambda each: n_levels[each])
    gram = np.zeros_like(parts[0].gram)
    sums = np.zeros((len(gram), n_levels[factor]))
    for part, where in zip(parts, places[factor], strict=True):
        theirs = part.factors[factor].products[0]
        both = sums[0, where] > 0
        gram += _within_gram(part, factor)
        gram += between_parts(sums[:, where[both]], theirs[:, both])
        sums[:, where] += theirs
    return Within(factor, gram)


def _has_digits_within(products: CrossProducts, factor: int) -> bool:
    is_kept = products.within is not None and products.within.factor == factor
    return is_kept or not is_far_apart(products.gram, products.factors[factor].products)


def _within_gram(products: CrossProducts, factor: int) -> FloatArray:
    """Return the sums within the levels of a factor, by subtraction where they are not kept."""
    if products.within is not None and products.within.factor == factor:
        return products.within.gram
    return by_subtraction(products.gram, products.factors[factor].products)


def _within_left(total: CrossProducts, part: CrossProducts) -> Within | None:
    """Return the sums within levels when a part of the rows is gone."""
    if total.within is None or part.within is None:
        return None
    factor = total.within.factor
    theirs = part.factors[factor]
    left = total.factors[factor].products[0] - theirs.products[0]
    both = (theirs.counts > 0) & (total.factors[factor].counts > theirs.counts)
    between = between_parts(left[:, both], theirs.products[0][:, both])
    return Within(factor, total.within.gram - part.within.gram - between)


_ABSENT = -1  # the place of a column that is not there: any number below 0


def united_layout(layouts: Sequence[Layout]) -> Layout:
    """Return a layout with the columns of several, found by name, in the order they are met.

    Raises ValueError if the layouts have different factors.
    """
    keys = [factor.key for factor in layouts[0].factors]
    if any([factor.key for factor in layout.factors] != keys for layout in layouts):
        raise ValueError("cannot unite layouts of different factors")
    names = tuple(dict.fromkeys(name for layout in layouts for name in layout.columns[:-1]))
    factors = []
    for number, key in enumerate(keys):
        used = {layout.columns[i] for layout in layouts for i in layout.factors[number].columns}
        factors.append(FactorLayout(key, tuple(i for i, n in enumerate(names) if n in used)))
    return Layout((*names, layouts[0].columns[-1]), tuple(factors))


def arranged(products: CrossProducts, layout: Layout) -> CrossProducts:
    """Return cross-products as if summed over the columns of another layout, found by name.

    The factors are the same. A column that `products` does not have is zero in all of its rows.
    Raises ValueError if a column is left out that the response was shifted by.
    """
    old = products.layout
    if old == layout:
        return products
    place = {name: i for i, name in enumerate(old.columns[:-1])}
    where = np.array([place.get(name, _ABSENT) for name in layout.columns[:-1]] + [old.response])
    dropped = np.setdiff1d(np.arange(len(old.columns)), where)
    if products.basis[dropped, -1].any():
        raise ValueError("a column is left out that the response was shifted by")
    basis = _spread(products.basis, where, where)
    basis[np.diag_indices_from(basis)] = 1.0
    chosen = [
        _random_places(where, theirs.columns, mine.columns)
        for mine, theirs in zip(products.factors, layout.factors, strict=True)
    ]
    return replace(
        products,
        layout=layout,
        basis=basis,
        gram=_spread(products.gram, where, where),
        factors=tuple(
            FactorBlock(
                block.index, wanted.columns, block.counts, _spread(block.products, rows, where)
            )
            for block, wanted, rows in zip(products.factors, layout.factors, chosen, strict=True)
        ),
        pairs={
            (i, j): PairBlock(
                pair.rows, pair.columns, pair.counts, _spread(pair.products, chosen[i], chosen[j])
            )
            for (i, j), pair in products.pairs.items()
        },
        within=products.within
        and replace(products.within, gram=_spread(products.within.gram, where, where)),
    )


def _random_places(where: IntArray, wanted: Sequence[int], there: Sequence[int]) -> IntArray:
    """Return where the random columns that are wanted stand among those that are there."""
    known = {column: i for i, column in enumerate(there)}
    return np.array([known.get(int(where[column]), _ABSENT) for column in wanted])


def _spread(values: FloatArray, rows: IntArray, columns: IntArray) -> FloatArray:
    """Return rows and columns of a table, zeros where they are absent."""
    result = np.zeros((len(rows), len(columns), *values.shape[2:]))
    to_rows, to_columns = np.flatnonzero(rows >= 0), np.flatnonzero(columns >= 0)
    picked = values[np.ix_(rows[to_rows], columns[to_columns])]
    result[np.ix_(to_rows, to_columns)] = picked
    return result
