"""How the levels of the factors lie to each other: found once, and filled with weights often."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Protocol

import numpy as np

from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.crossed import Crossed
from skmixed.core.elimination.protocol import Blocks, Elimination
from skmixed.core.linalg import WIDE, FloatArray, IntArray
from skmixed.core.sums.blocks import PairBlock
from skmixed.core.sums.plan import PairPlan


class Arrangement(Protocol):
    """An order of elimination."""

    @property
    def is_costly(self) -> bool:
        """Whether V takes much longer than sums over the rows."""
        ...

    def filled(self, random: Blocks, codes: list[IntArray], weights: FloatArray) -> Elimination:
        """Sum the products of the random columns, (k, n) a factor, under weights, (n,).

        `codes`, (n,) a factor, are the levels of the rows.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Nested:
    """Factors of which every one lies within the next, none or a single one too."""

    order: list[int]  # the factors, finest first
    parents: dict[tuple[int, int], IntArray]  # (n_levels_s,), the level of t with that of s, s < t
    sizes: list[int]  # numbers of levels, factors as they come

    @property
    def is_costly(self) -> bool:
        """V of nested factors is made level by level."""
        return False

    @classmethod
    def of(cls, pairs: dict[tuple[int, int], PairPlan], sizes: list[int]) -> Nested | None:
        """Arrange factors by the pairs of their levels; None if some factors cross."""
        if any(pair.of_rows is not None for pair in pairs.values()):
            return None
        order = sorted(range(len(sizes)), key=lambda factor: -sizes[factor])
        parents = {}
        for s, t in combinations(range(len(order)), 2):
            fine, coarse = order[s], order[t]
            pair = pairs[min(fine, coarse), max(fine, coarse)]
            own, its = (pair.rows, pair.columns) if fine < coarse else (pair.columns, pair.rows)
            parents[s, t] = np.empty(sizes[fine], dtype=np.intp)
            parents[s, t][own] = its
        return cls(order, parents, sizes)

    def ranks(self) -> list[IntArray]:
        """Return where levels stand when those of one coarser level are neighbours.

        (n_levels,) a factor.
        """
        found: dict[int, IntArray] = {}
        for s in reversed(range(len(self.order))):
            size = self.sizes[self.order[s]]
            rank = np.arange(size)
            if s + 1 < len(self.order):
                by_parent = np.argsort(found[s + 1][self.parents[s, s + 1]], kind="stable")
                rank[by_parent] = np.arange(size)
            found[s] = rank
        return [found[self.order.index(factor)] for factor in range(len(self.order))]

    def filled(self, random: Blocks, codes: list[IntArray], weights: FloatArray) -> Chain:
        """Sum the products of the random columns, as `Arrangement` says."""
        own, between = [], {}
        for s, fine in enumerate(self.order):
            given = codes[fine], self.sizes[fine]
            own.append(own_products(random[fine], weights, *given))
            for t in range(s + 1, len(self.order)):
                coarse = self.order[t]
                between[s, t] = _products(random[fine], random[coarse], weights, *given)
        return Chain(self.order, own, between, self.parents)


@dataclass(frozen=True, slots=True, eq=False)
class Crossing:
    """Factors in any relation to each other."""

    pairs: dict[tuple[int, int], PairPlan]
    of_rows: dict[tuple[int, int], IntArray]  # (n,), pair of every row
    sizes: list[int]  # numbers of levels
    numbers: Crossed  # entries are their places in the sums, counted from 1; 0 where none is

    @property
    def is_costly(self) -> bool:
        """V of crossed factors takes all pairs of levels."""
        return True

    @classmethod
    def of(
        cls,
        pairs: dict[tuple[int, int], PairPlan],
        sizes: list[int],
        widths: list[int],
        codes: list[IntArray],
    ) -> Crossing:
        """Find the patterns of rows with k = `widths` random columns a factor.

        Raises MemoryError if their complement cannot fit.
        """
        shapes = [(k, k, size) for k, size in zip(widths, sizes, strict=True)]
        shapes += [(widths[i], widths[j], len(pair.rows)) for (i, j), pair in pairs.items()]
        ends = np.cumsum([1, *map(np.prod, shapes)])
        numbered = [
            np.arange(start, start + np.prod(shape), dtype=np.float64).reshape(shape)
            for start, shape in zip(ends, shapes, strict=False)
        ]
        own = [np.minimum(n, n.swapaxes(0, 1)) for n in numbered[: len(sizes)]]
        blocks = {
            ij: PairBlock(pair.rows, pair.columns, np.zeros(len(pair.rows), np.intp), products)
            for (ij, pair), products in zip(pairs.items(), numbered[len(sizes) :], strict=True)
        }
        numbers = arrange(own, blocks, advice="")
        assert isinstance(numbers, Crossed)
        of_rows = {ij: _pair_of_rows(pair, ij, codes) for ij, pair in pairs.items()}
        return cls(pairs, of_rows, sizes, numbers)

    def filled(self, random: Blocks, codes: list[IntArray], weights: FloatArray) -> Crossed:
        """Sum the products of the random columns, as `Arrangement` says."""
        own = [
            own_products(z, weights, of_rows, size)
            for z, of_rows, size in zip(random, codes, self.sizes, strict=True)
        ]
        met = [
            _products(random[i], random[j], weights, self.of_rows[i, j], len(pair.rows))
            for (i, j), pair in self.pairs.items()
        ]
        sums = np.concatenate([np.zeros(1), *[products.ravel() for products in (*own, *met)]])
        return self.numbers.taken(sums, own)


def _pair_of_rows(pair: PairPlan, ij: tuple[int, int], codes: list[IntArray]) -> IntArray:
    """Return the pair of every row, (n,)."""
    if pair.of_rows is not None:
        return pair.of_rows
    finer = (pair.rows, pair.columns)[pair.finer]
    places = np.empty(len(finer), dtype=np.intp)
    places[finer] = np.arange(len(finer))
    return places[codes[ij[pair.finer]]]


def times(column: FloatArray, values: FloatArray) -> FloatArray:
    """Multiply values by a random column, (n,) both; a column that takes no memory is of ones."""
    return values if column.strides == (0,) else column * values


def own_products(
    columns: FloatArray, weights: FloatArray, codes: IntArray, size: int
) -> FloatArray:
    """Return Z'W Z of every level, (k, k, n_levels), of columns, (k, n)."""
    k = len(columns)
    if size == 1 and k >= WIDE:
        return np.asarray((columns * weights) @ columns.T)[:, :, None]
    products = np.empty((k, k, size))
    for a in range(k):
        first = times(columns[a], weights)
        for b in range(a, k):
            products[a, b] = np.bincount(codes, times(columns[b], first), minlength=size)
            products[b, a] = products[a, b]
    return products


def _products(
    first: FloatArray, second: FloatArray, weights: FloatArray, codes: IntArray, size: int
) -> FloatArray:
    """Return Z_1'W Z_2 of every level or pair, (k_1, k_2, size)."""
    if size == 1 and len(first) >= WIDE:
        return np.asarray((first * weights) @ second.T)[:, :, None]
    products = np.empty((len(first), len(second), size))
    for row, z in zip(products, first, strict=True):
        half = times(z, weights)
        for target, other in zip(row, second, strict=True):
            target[:] = np.bincount(codes, times(other, half), minlength=size)
    return products
