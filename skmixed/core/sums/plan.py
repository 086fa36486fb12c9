"""Where the rows of a table go in its sums: found once, and filled with values often.

Which levels and pairs of levels occur, and in which of them every row is, depends on the codes
alone. It takes longer to find than to sum, and stays the same for other weights, other columns, and
any part of the rows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations, product

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.blocks import FactorBlock, PairBlock
from skmixed.core.sums.keys import pair_keys, sort_keys, split_keys
from skmixed.core.sums.layout import CONSTANT, GroupIndex, Layout, Rows
from skmixed.core.sums.summation import (
    are_summed_singly,
    index_type,
    level_sums,
    products_singly,
)

_GLANCE = 4096  # rows that are looked at first: of factors that cross, some level meets two there

Pairs = dict[tuple[int, int], PairBlock]


@dataclass(frozen=True, eq=False)
class PairPlan:
    """The pairs of levels of two factors that occur, and in which of them every row is."""

    rows: IntArray  # (n_pairs,) levels of the first factor; sorted by these, then by `columns`
    columns: IntArray  # (n_pairs,) levels of the second factor
    counts: IntArray | None  # (n_pairs,) rows in every pair; None where a factor lies in the other
    order: IntArray | None  # (n,) what sorts the rows by pair; None likewise, and if given:
    given: IntArray | None = None  # (n,) the pair of every row
    finer: int = 0  # which of the two lies in the other, where one does: its levels are the pairs

    @classmethod
    def of(cls, codes: tuple[IntArray, IntArray], sizes: tuple[int, int]) -> PairPlan:
        """Find the pairs of levels, given those of every row, (n,) each, and their numbers."""
        (first, second), (n_first, n_second) = codes, sizes
        if (parents := _containing_levels(first, second, n_first)) is not None:
            return cls(np.arange(n_first), parents, None, None)
        if (parents := _containing_levels(second, first, n_second)) is not None:
            order = np.argsort(parents, kind="stable")
            return cls(parents[order], order, None, None, finer=1)
        order, starts, distinct = sort_keys(pair_keys(first, second, n_second))
        counts = np.diff(starts, append=len(order))
        order = order.astype(index_type(len(order)), copy=False)
        return cls(*split_keys(distinct, n_second), counts, order)

    @cached_property
    def of_rows(self) -> IntArray | None:
        """Return the pair of every row, (n,); None where one factor lies in the other."""
        if self.order is None or self.counts is None:
            return self.given
        of_rows = np.empty(len(self.order), dtype=np.intp)  # which sums take as they are
        of_rows[self.order] = np.repeat(np.arange(len(self.counts)), self.counts)
        return of_rows

    @cached_property
    def ones(self) -> FloatArray:
        """Return the sums of ones over the rows of every pair, (n_pairs,)."""
        assert self.counts is not None
        return self.counts.astype(np.float64)

    @classmethod
    def among(
        cls, pair: PairBlock, codes: tuple[IntArray, IntArray], sizes: tuple[int, int]
    ) -> PairPlan:
        """Find rows among pairs of levels that are known; see `of`."""
        if pair.parents(sizes[0]) is not None:
            return cls(pair.rows, pair.columns, None, None)
        of_rows = pair.find(*codes, sizes[1])
        return cls(pair.rows, pair.columns, _counted(of_rows, len(pair.rows)), None, of_rows)

    def part(self, chosen: IntArray) -> PairPlan:
        """Return the same pairs for some of the rows."""
        if self.of_rows is None:
            return self
        of_rows = self.of_rows.take(chosen)
        counts = _counted(of_rows, len(self.rows))
        return PairPlan(self.rows, self.columns, counts, None, of_rows)

    @property
    def n_bytes(self) -> int:
        """Size in bytes of what there is beside the sums: of rows above all."""
        held = (self.order, self.given, vars(self).get("of_rows"), vars(self).get("ones"))
        return sum({id(array): array.nbytes for array in held if array is not None}.values())

    def sums(
        self,
        blocks: tuple[FactorBlock, FactorBlock],
        columns: FloatArray,
        weighted: Mapping[int, FloatArray] | None,
    ) -> PairBlock:
        """Sum the products of the random columns of both factors, whose own sums are given.

        `weighted` is the random columns of the plan times their weights.
        """
        first, second = (list(block.columns) for block in blocks)
        counts = self.counts
        if counts is None:
            fine = blocks[self.finer]
            counts, products = fine.counts, fine.products[:, first if self.finer else second]
            if self.finer:
                counts = counts[self.columns]
                products = products.transpose(1, 0, 2)[:, :, self.columns]
        elif weighted is None and first == second == [CONSTANT]:
            products = self.ones[None, None]
        else:
            sums = [
                self._summed(z, other, columns, weighted) for z, other in product(first, second)
            ]
            flat = sums[0][None] if len(sums) == 1 else np.stack(sums)
            products = flat.reshape(len(first), len(second), -1)
        return PairBlock(self.rows, self.columns, counts, np.ascontiguousarray(products))

    def _summed(
        self, z: int, other: int, columns: FloatArray, weighted: Mapping[int, FloatArray] | None
    ) -> FloatArray:
        """Sum the product of two columns over the rows of every pair, (n_pairs,)."""
        if weighted is None and z == other == CONSTANT:
            return self.ones
        if weighted is not None:
            values = weighted[z] if other == CONSTANT else weighted[z] * columns[:, other]
        elif CONSTANT in (z, other):
            values = columns[:, max(z, other)]
        else:
            values = columns[:, z] * columns[:, other]
        assert self.of_rows is not None
        total = np.bincount(self.of_rows, values, minlength=len(self.rows))
        return np.asarray(total, dtype=np.float64)


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
    counts: tuple[IntArray, ...]  # (n_levels,) a factor: rows of the plan in every level
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
        counts = tuple(map(_counted, codes, sizes))  # faster before the codes are narrow
        narrow = tuple(of_rows.astype(small, copy=False) for of_rows in codes)
        return cls(layout, rows.indexes, narrow, counts, pairs)

    def part(self, chosen: IntArray) -> Plan:
        """Return a plan of some rows, (m,), among the levels and pairs of all."""
        codes = tuple(codes.take(chosen) for codes in self.codes)
        counts = tuple(map(_counted, codes, map(len, self.indexes)))
        pairs = {ij: pair.part(chosen) for ij, pair in self.pairs.items()}
        return Plan(self.layout, self.indexes, codes, counts, pairs)

    def blocks(
        self,
        columns: FloatArray,
        weights: FloatArray | None,
        gram: FloatArray | None = None,
    ) -> tuple[tuple[FactorBlock, ...], Pairs]:
        """Sum columns of the layout, (n, n_columns), within every level and pair of levels.

        `weights` are (n,), and `gram`, (n_columns, n_columns), the sums over all rows, which a
        factor that has them in one level needs. Levels and pairs without rows get zeros.
        """
        factors, weighted = [], None
        if weights is not None:
            weighted = {
                place: weights if place == CONSTANT else columns[:, place] * weights
                for place in {place for factor in self.layout.factors for place in factor.columns}
            }
        zipped = zip(self.layout.factors, self.indexes, self.codes, self.counts, strict=True)
        for factor, index, codes, counts in zipped:
            z = factor.columns
            if gram is not None and len(index) == 1:
                products = gram[list(z)][:, :, None]
            elif are_summed_singly(codes, len(index), columns):
                every = range(columns.shape[1])
                products = products_singly(codes, counts, z, every, columns, weighted)
            else:
                random = [columns[:, place] for place in z]
                products = level_sums(codes, len(index), random, columns, weights)
            factors.append(FactorBlock(index, z, counts, products))
        pairs = {
            (i, j): pair.sums((factors[i], factors[j]), columns, weighted)
            for (i, j), pair in self.pairs.items()
        }
        return tuple(factors), pairs

    @property
    def n_bytes(self) -> int:
        """Size in bytes of what there is beside the sums: of rows above all."""
        return sum(of_rows.nbytes for of_rows in self.codes) + sum(
            pair.n_bytes for pair in self.pairs.values()
        )


def _counted(codes: IntArray, size: int) -> IntArray:
    """Count the rows of every level or pair, (size,)."""
    return np.bincount(codes, minlength=size)
