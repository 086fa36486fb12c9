"""Cross-products within the levels of factors and within pairs of levels, merged and taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.keys import pair_keys, split_keys, sum_by_key
from skmixed.core.sums.layout import GroupIndex


@dataclass(frozen=True, slots=True, eq=False)
class FactorBlock:
    """Cross-products within the levels of one grouping factor."""

    index: GroupIndex
    columns: tuple[int, ...]  # positions in `Layout.columns` of the k carried, the constant first
    counts: IntArray  # (n_levels,) rows in every level, whatever their weights
    products: FloatArray  # (k, n_columns, n_levels), Z'W[1, features, y] of every level

    @classmethod
    def merged(
        cls, blocks: Sequence[FactorBlock], index: GroupIndex, places: Sequence[IntArray]
    ) -> FactorBlock:
        """Add up blocks of other rows each, whose levels stand at `places` of `index`."""
        counts = np.zeros(len(index), dtype=np.intp)
        products = np.zeros((*blocks[0].products.shape[:2], len(index)))
        flat = products.reshape(-1, len(index))
        for block, where in zip(blocks, places, strict=True):
            counts[where] += block.counts
            sums = block.products.reshape(len(flat), -1)
            spread = np.zeros(len(index))
            for target, row in zip(flat, sums, strict=True):  # one row at a time stays in cache
                spread[where] = row
                target += spread
        return cls(index, blocks[0].columns, counts, products)

    def minus(self, part: FactorBlock) -> tuple[FactorBlock, IntArray | None]:
        """Take out a part of the rows, summed over the same levels.

        Returns the block of the levels that still have rows, and where each level stands among
        them, (n_levels,), -1 for those that are gone; None where all stay. Counts of rows decide,
        not sums of weights, of which subtraction leaves a residue. Raises ValueError if a level has
        fewer rows than are taken out.
        """
        left = self.counts - part.counts
        if left.min(initial=0) < 0:
            raise ValueError(f"more rows of {self.index.name!r} are taken out than there are")
        products = self.products - part.products
        if left.all():
            return replace(self, counts=left, products=products), None
        kept = np.flatnonzero(left)
        places = np.full(len(left), -1)
        places[kept] = np.arange(len(kept))
        remaining = products.take(kept, axis=2)
        return FactorBlock(self.index.take(kept), self.columns, left[kept], remaining), places


_MANY_PAIRS = 2**14  # fewer are written anew in a tenth of a millisecond
_FEW_EMPTY = 0.25  # of the pairs: a search that carries them along takes that much longer at most


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
        return cls(levels, levels, np.zeros(len(levels), dtype=np.intp), products)

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

    @classmethod
    def merged(
        cls,
        pairs: Sequence[PairBlock],
        rows: Sequence[IntArray],
        columns: Sequence[IntArray],
        width: int,
    ) -> PairBlock:
        """Add up pairs of other rows each, whose levels stand at `rows` and `columns`.

        `width` is the number of levels of the second factor.
        """
        keys = [
            pair_keys(of_row[pair.rows], of_column[pair.columns], width)
            for pair, of_row, of_column in zip(pairs, rows, columns, strict=True)
        ]
        values = [[pair.counts, *pair.products.reshape(-1, len(pair.counts))] for pair in pairs]
        distinct, (counts, *sums) = sum_by_key(keys, values)
        flat = sums[0][None] if len(sums) == 1 else np.stack(sums)
        products = flat.reshape(*pairs[0].products.shape[:2], -1)
        return cls(*split_keys(distinct, width), counts, products)

    def minus(self, part: PairBlock, rows: IntArray | None, columns: IntArray | None) -> PairBlock:
        """Take out a part of the rows, summed over the same pairs.

        `rows` and `columns` are the new places of the levels of both factors, as
        `FactorBlock.minus` returns them. Returns the pairs that still have rows. If all levels and
        most of many pairs stay, the others do too, with zeros: writing those anew takes longest.
        """
        counts = self.counts - part.counts
        remain = counts != 0  # of truth values places are found at once
        enough = max(_MANY_PAIRS, (1.0 - _FEW_EMPTY) * len(remain))
        if rows is None and columns is None and np.count_nonzero(remain) >= enough:
            products = self.products - part.products
            products[:, :, np.flatnonzero(~remain)] = 0.0  # but for rounding, of weights
            return PairBlock(self.rows, self.columns, counts, products)
        kept = np.flatnonzero(remain)
        counts = counts.take(kept)  # one array after the other: each takes the room of the last
        products = (self.products - part.products).take(kept, axis=2)
        of_row, of_column = self.rows.take(kept), self.columns.take(kept)
        return PairBlock(
            of_row if rows is None else rows.take(of_row),
            of_column if columns is None else columns.take(of_column),
            counts,
            products,
        )


def pair_between(pairs: Mapping[tuple[int, int], PairBlock], i: int, j: int) -> PairBlock:
    """Return the pairs of levels of two factors, the first of them in the rows."""
    return pairs[i, j] if (i, j) in pairs else pairs[j, i].transposed


def are_nested(
    sizes: Mapping[int, int] | Sequence[int], n_pairs: Mapping[tuple[int, int], int]
) -> bool:
    """Tell whether of every two factors one lies within the other.

    `sizes` are the numbers of levels and `n_pairs` the numbers of pairs of levels that occur: of
    nested factors no more than the finer one has levels.
    """
    return all(n == max(sizes[i], sizes[j]) for (i, j), n in n_pairs.items())


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
