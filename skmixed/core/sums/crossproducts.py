"""Weighted cross-products of the columns [Z X y]: everything fitting needs to know of the data.

They are sums over rows, so they are built in one pass, in any order and split, added, and taken out
again. Sums are kept about a shift of every column (`skmixed.core.sums.basis`), which changes no
information.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.basis import apply_basis, change_of_basis, choose_basis
from skmixed.core.sums.blocks import FactorBlock, PairBlock, transform
from skmixed.core.sums.groups import GroupIndex, LevelUnion
from skmixed.core.sums.layout import FactorLayout, Layout, Rows
from skmixed.core.sums.summation import (
    Within,
    between_parts,
    by_subtraction,
    factor_blocks,
    gram_matrix,
    pair_blocks,
    pair_blocks_like,
    within_block,
    within_of,
)


@dataclass(frozen=True, slots=True, eq=False)
class CrossProducts:
    """Sums of products of [Z X y] over rows; ``+`` merges those of disjoint sets of rows.

    Memory is O(n_columns^2 + sum over factors of levels * k * n_columns + distinct pairs of
    levels), whatever the number of rows.
    """

    layout: Layout
    basis: FloatArray  # (n_columns, n_columns), T: the products are of [1, features, y] T
    n_rows: int
    sum_weights: float
    sum_log_weights: float
    gram: FloatArray  # (n_columns, n_columns), [1, features, y]'W[1, features, y]
    factors: tuple[FactorBlock, ...]  # one a factor of the layout
    pairs: dict[tuple[int, int], PairBlock]  # one for every two factors i < j
    within: Within | None = None  # of the largest factor, kept where its levels lie far apart

    @property
    def levels(self) -> tuple[GroupIndex, ...]:
        """The levels of every factor."""
        return tuple(block.index for block in self.factors)

    @classmethod
    def of(cls, layout: Layout, rows: Rows, basis: FloatArray | None = None) -> CrossProducts:
        """Sum over rows of the layout, about a shift that by default the rows choose."""
        basis = choose_basis(rows.columns) if basis is None else basis
        shifted = replace(rows, columns=apply_basis(rows.columns, basis))
        gram = gram_matrix(shifted)
        factors = factor_blocks(layout, shifted)
        return cls(
            layout,
            basis,
            n_rows=len(rows.columns),
            sum_weights=rows.sum_weights,
            sum_log_weights=rows.sum_log_weights,
            gram=gram,
            factors=factors,
            pairs=pair_blocks(shifted, factors),
            within=within_block(shifted, gram, factors),
        )

    def __add__(self, other: CrossProducts) -> CrossProducts:
        """Merge with the cross-products of other rows; levels are matched by label."""
        if self.layout != other.layout:
            raise ValueError("cannot add cross-products of different columns or factors")
        if other.n_rows > self.n_rows:  # the larger part knows the better shift
            return other + self
        other = other.rebased(self.basis)
        merged = [
            mine.index.union(theirs.index)
            for mine, theirs in zip(self.factors, other.factors, strict=True)
        ]
        return replace(
            self,
            n_rows=self.n_rows + other.n_rows,
            sum_weights=self.sum_weights + other.sum_weights,
            sum_log_weights=self.sum_log_weights + other.sum_log_weights,
            gram=self.gram + other.gram,
            factors=tuple(
                mine.plus(theirs, union)
                for mine, theirs, union in zip(self.factors, other.factors, merged, strict=True)
            ),
            pairs={
                (i, j): pair.plus(other.pairs[i, j], merged[i], merged[j])
                for (i, j), pair in self.pairs.items()
            },
            within=_add_within(self, other, merged),
        )

    def __sub__(self, other: CrossProducts) -> CrossProducts:
        """Take out the rows that `other` sums; levels are matched by label, empty ones dropped."""
        if self.layout != other.layout:
            raise ValueError("cannot subtract cross-products of different columns or factors")
        other = other.rebased(self.basis)
        places = [
            mine.index.find(theirs.index)
            for mine, theirs in zip(self.factors, other.factors, strict=True)
        ]
        within = self.within
        if within is not None:
            within = replace(within, gram=_within_gram(other, within.factor))
        return self._minus(
            replace(
                other,
                factors=tuple(
                    theirs.spread(place, mine.index)
                    for mine, theirs, place in zip(self.factors, other.factors, places, strict=True)
                ),
                pairs={
                    (i, j): pair.spread(
                        self.pairs[i, j], places[i], places[j], len(self.factors[j].index)
                    )
                    for (i, j), pair in other.pairs.items()
                },
                within=within,
            )
        )

    def without(self, rows: Rows) -> CrossProducts:
        """Take out some of the rows that were summed, and the levels that have no others.

        The codes of `rows` count the levels of `factors`. The cost is that of the rows taken out,
        and no label is looked at. Raises ValueError if nothing is left, or rows are taken out that
        are not there.
        """
        shifted = replace(rows, columns=apply_basis(rows.columns, self.basis))
        factors = factor_blocks(self.layout, shifted)
        within = self.within and within_of(shifted, factors, self.within.factor)
        return self._minus(
            replace(
                self,
                n_rows=len(rows.columns),
                sum_weights=rows.sum_weights,
                sum_log_weights=rows.sum_log_weights,
                gram=gram_matrix(shifted),
                factors=factors,
                pairs=pair_blocks_like(shifted, factors, self.pairs),
                within=within,
            )
        )

    def _minus(self, part: CrossProducts) -> CrossProducts:
        """Subtract sums over the same levels and pairs, zeros among them."""
        if part.n_rows >= self.n_rows:
            raise ValueError(f"{part.n_rows} of {self.n_rows} rows are taken out: nothing is left")
        zipped = zip(self.factors, part.factors, strict=True)
        left = [mine.minus(theirs.counts, theirs.products) for mine, theirs in zipped]
        places = [place for _, place in left]
        return replace(
            self,
            n_rows=self.n_rows - part.n_rows,
            sum_weights=self.sum_weights - part.sum_weights,
            sum_log_weights=self.sum_log_weights - part.sum_log_weights,
            gram=self.gram - part.gram,
            factors=tuple(block for block, _ in left),
            pairs={
                (i, j): pair.minus(
                    part.pairs[i, j].counts, part.pairs[i, j].products, places[i], places[j]
                )
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


def _add_within(
    first: CrossProducts, second: CrossProducts, merged: list[LevelUnion]
) -> Within | None:
    """Merge sums within levels, kept by either side."""
    kept = first.within or second.within
    if kept is None:
        return None
    gram = _within_gram(first, kept.factor) + _within_gram(second, kept.factor)
    union = merged[kept.factor]
    _, mine, theirs = np.intersect1d(union.first, union.second, return_indices=True)
    sums = (
        first.factors[kept.factor].products[0][:, mine],
        second.factors[kept.factor].products[0][:, theirs],
    )
    return Within(kept.factor, gram + between_parts(*sums))


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
