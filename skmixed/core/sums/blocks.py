"""Cross-products within the levels of factors and within pairs of levels, merged and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.groups import GroupIndex, LevelUnion


@dataclass(frozen=True, slots=True, eq=False)
class FactorBlock:
    """Cross-products within the levels of one grouping factor."""

    index: GroupIndex
    columns: tuple[int, ...]  # positions in `Layout.columns` of the k carried, the constant first
    counts: IntArray  # (n_levels,) rows in every level, whatever their weights
    products: FloatArray  # (k, n_columns, n_levels), Z'W[1, features, y] of every level

    def plus(self, other: FactorBlock, union: LevelUnion) -> FactorBlock:
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
        """Take rows out: their counts, (n_levels,), and products, (k, n_columns, n_levels).

        Returns the block of the levels that still have rows, and where each level stands among
        them, (n_levels,), -1 for those that are gone. Counts of rows decide, not sums of weights,
        of which subtraction leaves a residue. Raises ValueError if a level has fewer rows than are
        taken out.
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
    """Cross-products of the random columns of two factors over the pairs of levels that occur."""

    rows: IntArray  # (n_pairs,) levels of the first factor; sorted by these, then by `columns`
    columns: IntArray  # (n_pairs,) levels of the second factor
    counts: IntArray  # (n_pairs,) rows in every pair, whatever their weights
    products: FloatArray  # (k_first, k_second, n_pairs), Z_first'W Z_second of every pair

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
        """Return the level of the second factor that contains each of the first, (n_levels,).

        The first factor has `n_levels`; None where one of them meets several of the second.
        """
        return self.columns if len(self.rows) == n_levels else None

    def find(self, rows: IntArray, columns: IntArray, width: int) -> IntArray:
        """Return where pairs of levels, (n,) each, stand among those that occur, (n,).

        `width` is the number of levels of the second factor. Raises ValueError if a pair is not
        there.
        """
        keys = pair_keys(self.rows, self.columns, width)
        wanted = pair_keys(rows, columns, width)
        found = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        if not np.array_equal(keys[found], wanted):
            raise ValueError("rows are taken out that are not there: their levels never met")
        return found

    def plus(self, other: PairBlock, rows: LevelUnion, columns: LevelUnion) -> PairBlock:
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
        """Return the same block over the pairs of `like`, given where its own levels stand."""
        where = like.find(rows[self.rows], columns[self.columns], width)
        counts = np.zeros(len(like.rows), dtype=self.counts.dtype)
        products = np.zeros_like(like.products)
        counts[where], products[:, :, where] = self.counts, self.products
        return PairBlock(like.rows, like.columns, counts, products)

    def minus(
        self, counts: IntArray, products: FloatArray, rows: IntArray, columns: IntArray
    ) -> PairBlock:
        """Take rows out: their counts, (n_pairs,), and products, (k_first, k_second, n_pairs).

        `rows` and `columns` are the new places of the levels of both factors, as
        `FactorBlock.minus` returns them. Returns the pairs that still have rows.
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

    `sizes` are the numbers of levels and `n_pairs` the numbers of pairs of levels that occur: of
    nested factors no more than the finer one has levels.
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
    """Return ``left.T @ products[:, :, l] @ right`` of every level l, (c, d, n_levels).

    `products` is (a, b, n_levels), `left` (a, c), `right` (b, d).
    """
    a, _, n_levels = products.shape
    half: FloatArray = np.matmul(right.T, products)
    if left.shape == (1, 1) and left[0, 0] == 1.0:
        return half
    product: FloatArray = left.T @ half.reshape(a, -1)
    return product.reshape(left.shape[1], right.shape[1], n_levels)
