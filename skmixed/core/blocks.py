"""Cross-products within the levels of factors and within pairs of levels, merged and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.groups import GroupIndex, IntArray, Union
from skmixed.core.layout import FloatArray


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

    def plus(self, other: FactorBlock, union: Union) -> FactorBlock:
        """Merge with the block of other rows, given the union of the levels."""
        counts = np.zeros(len(union.index), dtype=self.counts.dtype)
        products = np.zeros((*self.products.shape[:2], len(union.index)))
        for block, where in ((self, union.first), (other, union.second)):
            counts[where] += block.counts
            products[:, :, where] += block.products
        return FactorBlock(union.index, self.columns, counts, products)

    def spread(self, places: IntArray, index: GroupIndex) -> FactorBlock:
        """Return the same block over more levels, given where its own stand among them."""
        counts = np.zeros(len(index), dtype=self.counts.dtype)
        products = np.zeros((*self.products.shape[:2], len(index)))
        counts[places], products[:, :, places] = self.counts, self.products
        return FactorBlock(index, self.columns, counts, products)

    def minus(self, counts: IntArray, products: FloatArray) -> tuple[FactorBlock, IntArray]:
        """Take rows out.

        Parameters
        ----------
        counts : ndarray of int of shape (n_levels,)
            How many, in every level.
        products : ndarray of shape (k, n_columns, n_levels)
            Their cross-products.

        Returns
        -------
        block : FactorBlock
            Of the levels that still have rows. Counts of rows decide, not sums of weights, of
            which subtraction leaves a residue.
        places : ndarray of int of shape (n_levels,)
            Where each level stands among them; -1 for those that are gone.
        """
        left = self.counts - counts
        if left.min(initial=0) < 0:
            raise ValueError(f"more rows of {self.index.name!r} are taken out than there are")
        kept, places = _kept(left)
        if len(kept) == len(left):
            return replace(self, counts=left, products=self.products - products), places
        remaining = self.products[:, :, kept] - products[:, :, kept]
        return FactorBlock(self.index.take(kept), self.columns, left[kept], remaining), places


@dataclass(frozen=True, slots=True, eq=False)
class PairBlock:
    """Cross-products of the random columns of two factors over the pairs of levels that occur.

    Parameters
    ----------
    rows, columns : ndarray of int of shape (n_pairs,)
        Levels of the first and of the second factor; sorted by row, then column.
    counts : ndarray of int of shape (n_pairs,)
        Rows in every pair, whatever their weights.
    products : ndarray of shape (k_first, k_second, n_pairs)
        Z_first'W Z_second of every pair.
    """

    rows: IntArray
    columns: IntArray
    counts: IntArray
    products: FloatArray

    @classmethod
    def diagonal(cls, products: FloatArray) -> PairBlock:
        """Pair every level of a factor with itself; rows are not counted."""
        levels = np.arange(products.shape[2])
        return cls(levels, levels, np.zeros_like(levels), products)

    @property
    def transposed(self) -> PairBlock:
        """The same pairs, seen from the other factor."""
        order = np.lexsort((self.rows, self.columns))
        products = np.ascontiguousarray(self.products.transpose(1, 0, 2)[:, :, order])
        return PairBlock(self.columns[order], self.rows[order], self.counts[order], products)

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

    def find(self, rows: IntArray, columns: IntArray, width: int) -> IntArray:
        """Return where pairs of levels stand.

        Parameters
        ----------
        rows, columns : ndarray of int of shape (n,)
            Levels of the first and of the second factor that occur together.
        width : int
            Number of levels of the second factor.

        Returns
        -------
        ndarray of int of shape (n,)
            Positions among the pairs.

        Raises
        ------
        ValueError
            If a pair is not there.
        """
        keys = pair_keys(self.rows, self.columns, width)
        wanted = pair_keys(rows, columns, width)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if not np.array_equal(keys[found], wanted):
            raise ValueError("rows are taken out that are not there: their levels never met")
        return found

    def plus(self, other: PairBlock, rows: Union, columns: Union) -> PairBlock:
        """Merge with the pairs of other rows, given the unions of the levels."""
        width = len(columns.index)
        keys = np.concatenate(
            [
                pair_keys(rows.first[self.rows], columns.first[self.columns], width),
                pair_keys(rows.second[other.rows], columns.second[other.columns], width),
            ]
        )
        pairs, which = np.unique(keys, return_inverse=True)
        counts = np.zeros(len(pairs), dtype=self.counts.dtype)
        products = np.zeros((*self.products.shape[:2], len(pairs)))
        mine, theirs = which[: len(self.rows)], which[len(self.rows) :]
        for block, where in ((self, mine), (other, theirs)):
            counts[where] += block.counts
            products[:, :, where] += block.products
        merged_rows, merged_columns = np.divmod(pairs, width)
        return PairBlock(
            merged_rows.astype(np.intp), merged_columns.astype(np.intp), counts, products
        )

    def spread(self, like: PairBlock, rows: IntArray, columns: IntArray, width: int) -> PairBlock:
        """Return the same block over more pairs, given where its own levels stand."""
        where = like.find(rows[self.rows], columns[self.columns], width)
        counts = np.zeros(len(like.rows), dtype=self.counts.dtype)
        products = np.zeros_like(like.products)
        counts[where], products[:, :, where] = self.counts, self.products
        return PairBlock(like.rows, like.columns, counts, products)

    def minus(
        self, counts: IntArray, products: FloatArray, rows: IntArray, columns: IntArray
    ) -> PairBlock:
        """Take rows out.

        Parameters
        ----------
        counts : ndarray of int of shape (n_pairs,)
            How many, in every pair.
        products : ndarray of shape (k_first, k_second, n_pairs)
            Their cross-products.
        rows, columns : ndarray of int
            New places of the levels of both factors, as `FactorBlock.minus` returns them.

        Returns
        -------
        PairBlock
            Of the pairs that still have rows.
        """
        left = self.counts - counts
        kept, _ = _kept(left)
        return PairBlock(
            rows[self.rows[kept]],
            columns[self.columns[kept]],
            left[kept],
            self.products[:, :, kept] - products[:, :, kept],
        )


def are_nested(
    sizes: Mapping[int, int] | Sequence[int], n_pairs: Mapping[tuple[int, int], int]
) -> bool:
    """Tell whether of every two factors one lies within the other.

    Parameters
    ----------
    sizes : mapping or sequence of int
        Number of levels of every factor.
    n_pairs : mapping of (int, int) to int
        Number of pairs of levels that occur, for every two factors.

    Returns
    -------
    bool
        There are then no more pairs than levels of the finer factor.
    """
    return all(n == max(sizes[i], sizes[j]) for (i, j), n in n_pairs.items())


def pair_keys(rows: IntArray, columns: IntArray, width: int) -> IntArray:
    """Give every pair of levels a number that sorts by row, then column."""
    return np.asarray(rows.astype(np.int64) * width + columns)


def _kept(counts: IntArray) -> tuple[IntArray, IntArray]:
    """Return the levels that have rows, and the place of every level among them."""
    has_rows = counts > 0
    places = np.where(has_rows, np.cumsum(has_rows) - 1, -1)
    return np.flatnonzero(has_rows), places


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
    half: FloatArray = np.matmul(right.T, products)
    if left.shape == (1, 1) and left[0, 0] == 1.0:
        return half
    product: FloatArray = left.T @ half.reshape(a, -1)
    return product.reshape(left.shape[1], right.shape[1], n_levels)
