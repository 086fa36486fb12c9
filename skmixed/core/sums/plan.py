"""Where the rows of a table go in its sums: found once, and filled with values often.

Which levels and pairs of levels occur, and in which of them every row is, depends on the codes
alone. It takes longer to find than to sum, and stays the same for other weights, other columns, and
any part of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.blocks import FactorBlock, PairBlock, pair_keys
from skmixed.core.sums.groups import GroupIndex
from skmixed.core.sums.layout import CONSTANT, Layout, Rows
from skmixed.core.sums.summation import index_type, products_by_level

_GLANCE = 4096  # rows that are looked at first: of factors that cross, some level meets two there
_KEY_BITS = 63  # of a signed integer that has a pair of levels and a row in it

Pairs = dict[tuple[int, int], PairBlock]


@dataclass(frozen=True, slots=True, eq=False)
class PairPlan:
    """The pairs of levels of two factors that occur, and in which of them every row is."""

    rows: IntArray  # (n_pairs,) levels of the first factor; sorted by these, then by `columns`
    columns: IntArray  # (n_pairs,) levels of the second factor
    counts: IntArray  # (n_pairs,) rows of the plan in every pair
    of_rows: IntArray | None  # (n,) pair of every row; None where one factor lies in the other
    finer: int = 0  # which of the two lies in the other, where one does: its levels are the pairs

    @classmethod
    def of(cls, codes: tuple[IntArray, IntArray], counts: tuple[IntArray, IntArray]) -> PairPlan:
        """Find the pairs of levels, (n,) each, of two factors with `counts` rows a level."""
        (first, second), (n_first, n_second) = codes, map(len, counts)
        if (parents := _containing_levels(first, second, n_first)) is not None:
            return cls(np.arange(n_first), parents, counts[0], None)
        if (parents := _containing_levels(second, first, n_second)) is not None:
            order = np.argsort(parents, kind="stable")
            return cls(parents[order], order, counts[1][order], None, finer=1)
        keys = pair_keys(first, second, n_second)
        order, is_new = _sorted_keys(keys, n_first * n_second)
        of_rows = np.empty(len(keys), dtype=index_type(len(keys)))
        of_rows[order] = np.cumsum(is_new) - 1
        starts = np.flatnonzero(is_new)
        found = order[starts]
        return cls(first[found], second[found], np.diff(starts, append=len(keys)), of_rows)

    @classmethod
    def among(
        cls,
        pair: PairBlock,
        codes: tuple[IntArray, IntArray],
        counts: tuple[IntArray, IntArray],
    ) -> PairPlan:
        """Find rows among pairs of levels that are known; see `of`."""
        if pair.parents(len(counts[0])) is not None:
            return cls(pair.rows, pair.columns, counts[0], None)
        of_rows = pair.find(*codes, len(counts[1]))
        n_rows = np.bincount(of_rows, minlength=len(pair.rows))
        return cls(pair.rows, pair.columns, n_rows, of_rows)

    def part(self, chosen: IntArray, counts: tuple[IntArray, IntArray]) -> PairPlan:
        """Return the same pairs for some of the rows, which have `counts` rows a level."""
        if self.of_rows is None:
            levels = (self.rows, self.columns)[self.finer]
            return replace(self, counts=counts[self.finer][levels])
        of_rows = self.of_rows.take(chosen)
        return replace(self, counts=np.bincount(of_rows, minlength=len(self.rows)), of_rows=of_rows)

    def sums(
        self,
        blocks: tuple[FactorBlock, FactorBlock],
        columns: FloatArray,
        weights: FloatArray | None,
    ) -> PairBlock:
        """Sum the products of the random columns of both factors, whose own sums are given."""
        places = [list(block.columns) for block in blocks]
        if self.of_rows is None:
            products = blocks[self.finer].products[:, places[1 - self.finer]]
            if self.finer:
                products = products.transpose(1, 0, 2)[:, :, self.columns]
        else:
            products = self._crossed_sums(places[0], places[1], columns, weights)
        return PairBlock(self.rows, self.columns, self.counts, np.ascontiguousarray(products))

    def _crossed_sums(
        self,
        first: list[int],
        second: list[int],
        columns: FloatArray,
        weights: FloatArray | None,
    ) -> FloatArray:
        """Sum products of columns at two sets of places within pairs, (k_1, k_2, n_pairs)."""
        assert self.of_rows is not None
        products = np.empty((len(first), len(second), len(self.rows)))
        for a, b in np.ndindex(products.shape[:2]):
            values = weights
            for place in (first[a], second[b]):
                if place != CONSTANT:
                    column = columns[:, place]
                    values = column if values is None else values * column
            if values is None:
                products[a, b] = self.counts
            else:
                products[a, b] = np.bincount(self.of_rows, values, minlength=len(self.rows))
        return products


def _sorted_keys(keys: IntArray, n_keys: int) -> tuple[IntArray, IntArray]:
    """Return the order that sorts keys below `n_keys`, (n,), and which then differ from the last.

    A key and its place in one integer are sorted twice as fast as keys are by their order.
    """
    bits = len(keys).bit_length()
    if n_keys.bit_length() + bits > _KEY_BITS:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
    else:
        packed = keys << bits
        packed |= np.arange(len(keys))
        packed.sort()
        order, ordered = packed & ((1 << bits) - 1), packed >> bits
    return order, np.append(True, ordered[1:] != ordered[:-1])[: len(keys)]


def _containing_levels(fine: IntArray, coarse: IntArray, n_fine: int) -> IntArray | None:
    """Return the coarse level of every fine one, None where the factors are not nested."""
    parents = np.zeros(n_fine, dtype=np.intp)
    for few in (slice(_GLANCE), slice(None)):
        parents[fine[few]] = coarse[few]
        if not np.array_equal(parents[fine[few]], coarse[few]):
            return None
    return parents


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Levels and pairs of levels of some rows.

    It has the size of the rows, and is neither kept in a fit nor pickled.
    """

    layout: Layout
    indexes: tuple[GroupIndex, ...]
    codes: tuple[IntArray, ...]  # (n,) a factor: level of every row
    counts: tuple[IntArray, ...]  # (n_levels,) a factor: rows of the plan in every level
    pairs: dict[tuple[int, int], PairPlan]  # one for every two factors i < j

    @classmethod
    def of(cls, layout: Layout, rows: Rows, known: Pairs | None = None) -> Plan:
        """Find the levels and pairs of levels that occur, or where rows are among `known` pairs.

        Raises ValueError if a pair is not there.
        """
        codes, sizes = rows.codes, [len(index) for index in rows.indexes]
        counts = _counted(codes, sizes)
        pairs = {}
        for i, j in combinations(range(len(sizes)), 2):
            of_both = (codes[i], codes[j]), (counts[i], counts[j])
            pairs[i, j] = (
                PairPlan.of(*of_both) if known is None else PairPlan.among(known[i, j], *of_both)
            )
        small = index_type(len(rows.columns), *sizes)
        narrow = tuple(of_rows.astype(small, copy=False) for of_rows in codes)
        return cls(layout, rows.indexes, narrow, counts, pairs)

    def part(self, chosen: IntArray) -> Plan:
        """Return a plan of some rows, (m,), among the levels and pairs of all."""
        codes = tuple(codes.take(chosen) for codes in self.codes)
        counts = _counted(codes, [len(index) for index in self.indexes])
        pairs = {
            (i, j): pair.part(chosen, (counts[i], counts[j])) for (i, j), pair in self.pairs.items()
        }
        return Plan(self.layout, self.indexes, codes, counts, pairs)

    def blocks(
        self, columns: FloatArray, weights: FloatArray | None
    ) -> tuple[tuple[FactorBlock, ...], Pairs]:
        """Sum columns of the layout, (n, n_columns), within every level and pair of levels.

        `weights` are (n,). Levels and pairs without rows get zeros.
        """
        factors = tuple(
            FactorBlock(
                index,
                factor.columns,
                counts,
                products_by_level(codes, len(index), factor.columns, columns, weights),
            )
            for factor, index, codes, counts in zip(
                self.layout.factors, self.indexes, self.codes, self.counts, strict=True
            )
        )
        pairs = {
            (i, j): pair.sums((factors[i], factors[j]), columns, weights)
            for (i, j), pair in self.pairs.items()
        }
        return factors, pairs

    @property
    def n_bytes(self) -> int:
        """Size in bytes: four for every row, factor, and pair of factors that cross."""
        arrays = [*self.codes, *self.counts]
        for pair in self.pairs.values():
            arrays += [pair.rows, pair.columns, pair.counts]
            arrays += [] if pair.of_rows is None else [pair.of_rows]
        return sum(array.nbytes for array in arrays)


def _counted(codes: tuple[IntArray, ...], sizes: list[int]) -> tuple[IntArray, ...]:
    """Count the rows of every level, (n_levels,) a factor."""
    return tuple(
        np.bincount(of_rows, minlength=size) for of_rows, size in zip(codes, sizes, strict=True)
    )
