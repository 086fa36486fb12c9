"""Weighted cross-products of the columns [Z X y]: everything fitting needs to know of the data.

They are sums over rows, so they are built in one pass, in any order and split, and added. Sums are
kept about a shift of every column (`skmixed.core.basis`), which changes no information.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from scipy import sparse

from skmixed.core.basis import apply_basis, change_of_basis, choose_basis
from skmixed.core.groups import GroupIndex, IntArray, Union
from skmixed.core.layout import CONSTANT, FloatArray, Layout, Rows
from skmixed.core.within import (
    Within,
    between_parts,
    by_subtraction,
    is_far_apart,
    within_levels,
)


@dataclass(frozen=True, slots=True, eq=False)
class FactorBlock:
    """Cross-products within the levels of one grouping factor.

    Parameters
    ----------
    index : GroupIndex
        The levels.
    columns : tuple of int
        Positions in `Layout.columns` of the k random columns carried, the constant first.
    counts : ndarray of int of shape (n_levels,)
        Rows in every level, whatever their weights.
    products : ndarray of shape (k, n_columns, n_levels)
        Z'W[1, features, y] of every level.
    """

    index: GroupIndex
    columns: tuple[int, ...]
    counts: IntArray
    products: FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairBlock:
    """Cross-products of the random columns of two factors over the pairs of levels that occur.

    Parameters
    ----------
    rows, columns : ndarray of int of shape (n_pairs,)
        Levels of the first and of the second factor; sorted by row, then column.
    products : ndarray of shape (k_first, k_second, n_pairs)
        Z_first'W Z_second of every pair.
    """

    rows: IntArray
    columns: IntArray
    products: FloatArray

    @property
    def transposed(self) -> PairBlock:
        """The same pairs, seen from the other factor."""
        order = np.lexsort((self.rows, self.columns))
        products = np.ascontiguousarray(self.products.transpose(1, 0, 2)[:, :, order])
        return PairBlock(self.columns[order], self.rows[order], products)

    def parents(self, n_levels: int) -> IntArray | None:
        """Return the level of the second factor that contains each level of the first.

        Parameters
        ----------
        n_levels : int
            Number of levels of the first factor.

        Returns
        -------
        ndarray of int of shape (n_levels,) or None
            None where some level of the first factor meets several of the second.
        """
        return self.columns if len(self.rows) == n_levels else None


@dataclass(frozen=True, slots=True, eq=False)
class CrossProducts:
    """Sums of products of [Z X y] over rows; ``+`` merges those of disjoint sets of rows.

    Parameters
    ----------
    layout : Layout
        Names of the columns and factors.
    basis : ndarray of shape (n_columns, n_columns)
        T of `choose_basis`: the products are of the columns ``[1, features, y] @ T``.
    n_rows : int
        Number of rows.
    sum_weights, sum_log_weights : float
        Of the weights, and of their logarithms.
    gram : ndarray of shape (n_columns, n_columns)
        [1, features, y]'W[1, features, y].
    factors : tuple of FactorBlock
        One a factor of the layout.
    pairs : dict of (int, int) to PairBlock
        One for every two factors i < j.
    within : Within or None
        Sums of squares within the levels of the largest factor, kept where they lie far apart.

    Notes
    -----
    Memory is O(n_columns^2 + sum over factors of levels * k * n_columns + distinct pairs of
    levels), whatever the number of rows.
    """

    layout: Layout
    basis: FloatArray
    n_rows: int
    sum_weights: float
    sum_log_weights: float
    gram: FloatArray
    factors: tuple[FactorBlock, ...]
    pairs: dict[tuple[int, int], PairBlock]
    within: Within | None = None

    @classmethod
    def of(cls, layout: Layout, rows: Rows, basis: FloatArray | None = None) -> CrossProducts:
        """Sum over a block of rows.

        Parameters
        ----------
        layout : Layout
            Names of the columns and factors.
        rows : Rows
            The rows; their columns and factors are those of `layout`.
        basis : ndarray of shape (n_columns, n_columns), optional
            Shift to sum about; by default the rows choose it.

        Returns
        -------
        CrossProducts
            Of these rows.
        """
        basis = choose_basis(rows.columns) if basis is None else basis
        columns = apply_basis(rows.columns, basis)
        weights = rows.weights
        weighted = columns if weights is None else columns * weights[:, None]
        factors = tuple(
            _factor_block(columns, weights, codes, index, factor.columns)
            for factor, codes, index in zip(layout.factors, rows.codes, rows.indexes, strict=True)
        )
        n = len(columns)
        gram = columns.T @ weighted
        return cls(
            layout,
            basis,
            n_rows=n,
            sum_weights=float(n) if weights is None else float(weights.sum()),
            sum_log_weights=0.0 if weights is None else float(np.log(weights).sum()),
            gram=gram,
            factors=factors,
            pairs={
                (i, j): _pair_block(columns, weights, rows.codes, factors, i, j)
                for i, j in combinations(range(len(factors)), 2)
            },
            within=_within(columns, weights, rows.codes, gram, factors),
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
                _add_factors(mine, theirs, union)
                for mine, theirs, union in zip(self.factors, other.factors, merged, strict=True)
            ),
            pairs={
                (i, j): _add_pairs(self.pairs[i, j], other.pairs[i, j], merged[i], merged[j])
                for i, j in self.pairs
            },
            within=_add_within(self, other, merged),
        )

    def rebased(self, basis: FloatArray) -> CrossProducts:
        """Return the same sums about another shift.

        Parameters
        ----------
        basis : ndarray of shape (n_columns, n_columns)
            The shift wanted.

        Returns
        -------
        CrossProducts
            Equal up to rounding to having summed about `basis` in the first place.
        """
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


def transform(products: FloatArray, left: FloatArray, right: FloatArray) -> FloatArray:
    """Return ``left.T @ products[:, :, l] @ right`` for every level l.

    Parameters
    ----------
    products : ndarray of shape (a, b, n_levels)
        Cross-products of a columns with b others.
    left : ndarray of shape (a, c)
        Linear map of the first columns.
    right : ndarray of shape (b, d)
        Linear map of the others.

    Returns
    -------
    ndarray of shape (c, d, n_levels)
        Cross-products of the mapped columns.
    """
    a, _, n_levels = products.shape
    half = np.matmul(right.T, products)
    product: FloatArray = left.T @ half.reshape(a, -1)
    return product.reshape(left.shape[1], right.shape[1], n_levels)


def level_sums(
    codes: IntArray,
    n_levels: int,
    columns: FloatArray,
    first: tuple[int, ...],
    weights: FloatArray | None = None,
) -> FloatArray:
    """Sum products of columns within levels, in one pass each and without sorting.

    Parameters
    ----------
    codes : ndarray of int of shape (n,)
        Level of every row.
    n_levels : int
        Number of levels.
    columns : ndarray of shape (n, n_columns)
        The columns, in C order.
    first : tuple of int
        Positions of the k columns that are multiplied with all.
    weights : ndarray of shape (n,) or None
        Weights of the rows.

    Returns
    -------
    ndarray of shape (k, n_columns, n_levels)
        The sums.
    """
    n = len(codes)
    sums = np.empty((len(first), columns.shape[1], n_levels))
    indptr = np.arange(n + 1, dtype=codes.dtype)
    for place, target in zip(first, sums, strict=True):
        values = columns[:, place] if weights is None else columns[:, place] * weights
        values = np.ascontiguousarray(values)
        selector = sparse.csc_matrix((values, codes, indptr), shape=(n_levels, n))
        target[:] = np.asarray(selector @ columns).T
    return sums


def _factor_block(
    columns: FloatArray,
    weights: FloatArray | None,
    codes: IntArray,
    index: GroupIndex,
    z_columns: tuple[int, ...],
) -> FactorBlock:
    products = level_sums(codes, len(index), columns, z_columns, weights)
    if weights is None:  # sums of ones are exact
        counts = products[0, CONSTANT].astype(np.intp)
    else:
        counts = np.bincount(codes, minlength=len(index))
    return FactorBlock(index, z_columns, counts, products)


def _pair_block(
    columns: FloatArray,
    weights: FloatArray | None,
    codes: tuple[IntArray, ...],
    factors: tuple[FactorBlock, ...],
    i: int,
    j: int,
) -> PairBlock:
    first, second = factors[i], factors[j]
    if (parents := _containing_levels(codes[i], codes[j], len(first.index))) is not None:
        return _nested_pairs(first, second, parents)
    if (parents := _containing_levels(codes[j], codes[i], len(second.index))) is not None:
        return _nested_pairs(second, first, parents).transposed
    keys = codes[i].astype(np.int64) * len(second.index) + codes[j]
    pairs, which = np.unique(keys, return_inverse=True)
    products = np.empty((len(first.columns), len(second.columns), len(pairs)))
    for a, u in enumerate(first.columns):
        data = columns[:, u] if weights is None else columns[:, u] * weights
        for b, v in enumerate(second.columns):
            products[a, b] = np.bincount(which, data * columns[:, v], minlength=len(pairs))
    rows, cols = np.divmod(pairs, len(second.index))
    return PairBlock(rows.astype(np.intp), cols.astype(np.intp), products)


def _containing_levels(fine: IntArray, coarse: IntArray, n_fine: int) -> IntArray | None:
    """Return the coarse level of every fine one, None where the factors are not nested."""
    parents = np.empty(n_fine, dtype=np.intp)
    parents[fine] = coarse
    return parents if np.array_equal(parents[fine], coarse) else None


def _nested_pairs(fine: FactorBlock, coarse: FactorBlock, parents: IntArray) -> PairBlock:
    """Read the pairs of nested factors off the products of the finer one."""
    return PairBlock(
        np.arange(len(fine.index)), parents, fine.products[:, list(coarse.columns), :].copy()
    )


def _within(
    columns: FloatArray,
    weights: FloatArray | None,
    codes: tuple[IntArray, ...],
    gram: FloatArray,
    factors: tuple[FactorBlock, ...],
) -> Within | None:
    if not factors:
        return None
    largest = max(range(len(factors)), key=lambda i: len(factors[i].index))
    products = factors[largest].products
    if not is_far_apart(gram, products):
        return None
    return Within(largest, within_levels(columns, weights, codes[largest], products))


def _add_within(first: CrossProducts, second: CrossProducts, merged: list[Union]) -> Within | None:
    kept = first.within or second.within
    if kept is None:
        return None
    gram = np.zeros_like(first.gram)
    for part in (first, second):
        if part.within is not None and part.within.factor == kept.factor:
            gram += part.within.gram
        else:
            gram += by_subtraction(part.gram, part.factors[kept.factor].products)
    union = merged[kept.factor]
    _, mine, theirs = np.intersect1d(union.first, union.second, return_indices=True)
    sums = (
        first.factors[kept.factor].products[0][:, mine],
        second.factors[kept.factor].products[0][:, theirs],
    )
    return Within(kept.factor, gram + between_parts(*sums))


def _add_factors(first: FactorBlock, second: FactorBlock, union: Union) -> FactorBlock:
    counts = np.zeros(len(union.index), dtype=first.counts.dtype)
    products = np.zeros((*first.products.shape[:2], len(union.index)))
    for block, where in ((first, union.first), (second, union.second)):
        counts[where] += block.counts
        products[:, :, where] += block.products
    return FactorBlock(union.index, first.columns, counts, products)


def _add_pairs(first: PairBlock, second: PairBlock, rows: Union, columns: Union) -> PairBlock:
    width = len(columns.index)
    keys = np.concatenate(
        [
            rows.first[first.rows].astype(np.int64) * width + columns.first[first.columns],
            rows.second[second.rows].astype(np.int64) * width + columns.second[second.columns],
        ]
    )
    pairs, which = np.unique(keys, return_inverse=True)
    products = np.zeros((*first.products.shape[:2], len(pairs)))
    products[:, :, which[: len(first.rows)]] += first.products
    products[:, :, which[len(first.rows) :]] += second.products
    merged_rows, merged_columns = np.divmod(pairs, width)
    return PairBlock(merged_rows.astype(np.intp), merged_columns.astype(np.intp), products)
