"""Where the rows of a table go in its sums: found once, and filled with values often.

Which levels and pairs of levels occur, and in which of them every row is, depends on the codes
alone. It takes longer to find than to sum, and stays the same for other weights, other columns, and
any part of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import combinations, product

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.blocks import FactorBlock, PairBlock, pair_keys
from skmixed.core.sums.layout import CONSTANT, GroupIndex, Layout, Rows
from skmixed.core.sums.summation import index_type, products_by_level

_GLANCE = 4096  # rows that are looked at first: of factors that cross, some level meets two there
_KEY_BITS = 63  # of a signed integer that has a pair of levels and a row in it

Pairs = dict[tuple[int, int], PairBlock]


@dataclass(frozen=True, eq=False)
class PairPlan:
    """The pairs of levels of two factors that occur, and in which of them every row is."""

    rows: IntArray  # (n_pairs,) levels of the first factor; sorted by these, then by `columns`
    columns: IntArray  # (n_pairs,) levels of the second factor
    of_rows: IntArray | None  # (n,) pair of every row; None where one factor lies in the other
    finer: int = 0  # which of the two lies in the other, where one does: its levels are the pairs

    @classmethod
    def of(cls, codes: tuple[IntArray, IntArray], sizes: tuple[int, int]) -> PairPlan:
        """Find the pairs of levels, given those of every row, (n,) each, and their numbers."""
        (first, second), (n_first, n_second) = codes, sizes
        if (parents := _containing_levels(first, second, n_first)) is not None:
            return cls(np.arange(n_first), parents, None)
        if (parents := _containing_levels(second, first, n_second)) is not None:
            order = np.argsort(parents, kind="stable")
            return cls(parents[order], order, None, finer=1)
        order, is_new = _sorted_keys(pair_keys(first, second, n_second), n_first * n_second)
        of_rows = np.empty(
            len(first), dtype=np.intp
        )  # the integers that counting takes as they are
        of_rows[order] = np.cumsum(is_new) - 1
        found = order[is_new]
        return cls(first[found], second[found], of_rows)

    @classmethod
    def among(
        cls, pair: PairBlock, codes: tuple[IntArray, IntArray], sizes: tuple[int, int]
    ) -> PairPlan:
        """Find rows among pairs of levels that are known; see `of`."""
        if pair.parents(sizes[0]) is not None:
            return cls(pair.rows, pair.columns, None)
        return cls(pair.rows, pair.columns, pair.find(*codes, sizes[1]))

    @cached_property
    def counts(self) -> IntArray:
        """Rows of the plan in every pair of factors that cross, (n_pairs,)."""
        assert self.of_rows is not None
        return np.bincount(self.of_rows, minlength=len(self.rows))

    def part(self, chosen: IntArray) -> PairPlan:
        """Return the same pairs for some of the rows."""
        return replace(self, of_rows=None if self.of_rows is None else self.of_rows.take(chosen))

    def sums(
        self,
        blocks: tuple[FactorBlock, FactorBlock],
        columns: FloatArray,
        weights: FloatArray | None,
    ) -> PairBlock:
        """Sum the products of the random columns of both factors, whose own sums are given."""
        places = [list(block.columns) for block in blocks]
        if self.of_rows is not None:
            counts = self.counts
            products = self._crossed_sums(places[0], places[1], columns, weights)
        else:
            fine = blocks[self.finer]
            counts, products = fine.counts, fine.products[:, places[1 - self.finer]]
            if self.finer:
                counts = counts[self.columns]
                products = products.transpose(1, 0, 2)[:, :, self.columns]
        return PairBlock(self.rows, self.columns, counts, np.ascontiguousarray(products))

    def _crossed_sums(
        self,
        first: list[int],
        second: list[int],
        columns: FloatArray,
        weights: FloatArray | None,
    ) -> FloatArray:
        """Sum products of columns at two sets of places within pairs, (k_1, k_2, n_pairs)."""
        assert self.of_rows is not None
        sums: list[FloatArray] = []
        for places in product(first, second):
            values = weights
            for place in places:
                if place != CONSTANT:
                    column = columns[:, place]
                    values = column if values is None else values * column
            if values is None:
                sums.append(self.counts.astype(np.float64))
            else:
                total = np.bincount(self.of_rows, values, minlength=len(self.rows))
                sums.append(total.astype(np.float64, copy=False))
        flat = sums[0][None] if len(sums) == 1 else np.stack(sums)
        return flat.reshape(len(first), len(second), -1)


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


@dataclass(frozen=True, eq=False)
class Plan:
    """Levels and pairs of levels of some rows.

    It has the size of the rows, and is neither kept in a fit nor pickled.
    """

    layout: Layout
    indexes: tuple[GroupIndex, ...]
    codes: tuple[IntArray, ...]  # (n,) a factor: level of every row
    pairs: dict[tuple[int, int], PairPlan]  # one for every two factors i < j

    @classmethod
    def of(cls, layout: Layout, rows: Rows, known: Pairs | None = None) -> Plan:
        """Find the levels and pairs of levels that occur, or where rows are among `known` pairs.

        Raises ValueError if a pair is not there.
        """
        codes, sizes = rows.codes, [len(index) for index in rows.indexes]
        pairs = {}
        for i, j in combinations(range(len(sizes)), 2):
            both = (codes[i], codes[j]), (sizes[i], sizes[j])
            pairs[i, j] = (
                PairPlan.of(*both) if known is None else PairPlan.among(known[i, j], *both)
            )
        small = index_type(len(rows.columns), *sizes)
        narrow = tuple(of_rows.astype(small, copy=False) for of_rows in codes)
        return cls(layout, rows.indexes, narrow, pairs)

    def part(self, chosen: IntArray) -> Plan:
        """Return a plan of some rows, (m,), among the levels and pairs of all."""
        codes = tuple(codes.take(chosen) for codes in self.codes)
        pairs = {ij: pair.part(chosen) for ij, pair in self.pairs.items()}
        return Plan(self.layout, self.indexes, codes, pairs)

    @cached_property
    def counts(self) -> tuple[IntArray, ...]:
        """Rows of the plan in every level, (n_levels,) a factor."""
        return tuple(
            np.bincount(of_rows, minlength=len(index))
            for of_rows, index in zip(self.codes, self.indexes, strict=True)
        )

    def blocks(
        self, columns: FloatArray, weights: FloatArray | None
    ) -> tuple[tuple[FactorBlock, ...], Pairs]:
        """Sum columns of the layout, (n, n_columns), within every level and pair of levels.

        `weights` are (n,). Levels and pairs without rows get zeros.
        """
        factors = []
        for number, (factor, index) in enumerate(
            zip(self.layout.factors, self.indexes, strict=True)
        ):
            codes, z = self.codes[number], factor.columns
            products = products_by_level(codes, len(index), z, columns, weights)
            if weights is None:  # sums of ones are exact
                counts = products[CONSTANT, CONSTANT].astype(np.intp)
            else:
                counts = self.counts[number]
            factors.append(FactorBlock(index, z, counts, products))
        pairs = {
            (i, j): pair.sums((factors[i], factors[j]), columns, weights)
            for (i, j), pair in self.pairs.items()
        }
        return tuple(factors), pairs

    @property
    def n_bytes(self) -> int:
        """Size in bytes: four for every row and factor, and eight for pairs of factors that cross.

        The levels of pairs are those of the sums.
        """
        of_rows = [pair.of_rows for pair in self.pairs.values() if pair.of_rows is not None]
        return sum(array.nbytes for array in (*self.codes, *of_rows))
