"""Random effects in blocks that are independent given the parameters, all blocks in batch.

A block has the effects of one level of the coarsest factor and of all levels within it, in slots.
Factors that cross make one block of all effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray

_MOST_BLOCK_ENTRIES = 40_000_000  # of the matrices of all blocks: 320 MB, a few times


@dataclass(frozen=True, eq=False)
class EffectBlocks:
    """Where the effects of levels, and those of rows, are among blocks."""

    n_blocks: int
    n_slots: int  # of the largest block; the others have some without rows
    of_rows: IntArray  # (n, K), block and slot of the effects of every row, as one number
    of_levels: tuple[IntArray, ...]  # (n_levels, k) a factor, the same
    _pairs: IntArray  # (n * K * K,), where products of effects of a row are in the matrices

    @classmethod
    def of(
        cls, codes: Sequence[IntArray], sizes: Sequence[tuple[int, int]], n_rows: int = 0
    ) -> EffectBlocks:
        """Lay out the levels of factors, (n,) a factor; sizes are numbers of levels and columns.

        Without factors there is one block of no effects, of `n_rows`. Raises ValueError where the
        matrices would be too large.
        """
        if not codes:
            nothing = np.zeros((n_rows, 0), dtype=np.intp)
            return cls(1, 0, nothing, (), nothing.ravel())
        order = sorted(range(len(codes)), key=lambda f: sizes[f][0])
        parents = [_parents(codes[f], codes[order[0]], sizes[f][0]) for f in range(len(codes))]
        is_nested = all(each is not None for each in parents)
        n_blocks = sizes[order[0]][0] if is_nested else 1
        filled = np.zeros(n_blocks, dtype=np.intp)
        of_levels: list[tuple[IntArray, IntArray]] = [(filled, filled)] * len(codes)
        for factor in order:
            n_levels, k = sizes[factor]
            block = parents[factor] if is_nested else None
            if block is None:
                block = np.zeros(n_levels, dtype=np.intp)
            number = _number_within(block, n_blocks)
            slots = filled[block][:, None] + number[:, None] * k + np.arange(k)
            of_levels[factor] = (block, slots)
            filled = filled + np.bincount(block, minlength=n_blocks) * k
        n_slots = int(filled.max())
        if n_blocks * n_slots**2 > _MOST_BLOCK_ENTRIES:
            raise ValueError(
                f"Laplace's approximation needs matrices of {n_blocks} x {n_slots} x {n_slots} "
                "entries for random effects that are not independent of each other, which is too "
                "much: take method='lindstrom-bates'"
            )
        numbers = tuple(block[:, None] * n_slots + slots for block, slots in of_levels)
        of_rows = np.hstack([own[code] for own, code in zip(numbers, codes, strict=True)])
        within = of_rows % n_slots
        pairs = of_rows[:, :, None] * n_slots + within[:, None, :]
        return cls(n_blocks, n_slots, of_rows, numbers, pairs.ravel())

    @property
    def block_of_rows(self) -> IntArray:
        """The block of every row, (n,)."""
        if not self.n_slots:
            return np.zeros(len(self.of_rows), dtype=np.intp)
        return self.of_rows[:, 0] // self.n_slots

    def vectors(self, values: FloatArray) -> FloatArray:
        """Sum values of the effects of rows, (n, K), over rows: (n_blocks, n_slots)."""
        size = self.n_blocks * self.n_slots
        summed = np.bincount(self.of_rows.ravel(), values.ravel(), size)
        return np.asarray(summed, dtype=np.float64).reshape(self.n_blocks, self.n_slots)

    def matrices(self, values: FloatArray) -> FloatArray:
        """Sum products of effects of rows, (n, K, K): (n_blocks, n_slots, n_slots)."""
        shape = (self.n_blocks, self.n_slots, self.n_slots)
        summed = np.bincount(self._pairs, values.ravel(), int(np.prod(shape)))
        return np.asarray(summed, dtype=np.float64).reshape(shape)

    def of_blocks(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (n,), over the rows of every block, (n_blocks,)."""
        summed = np.bincount(self.block_of_rows, values, self.n_blocks)
        return np.asarray(summed, dtype=np.float64)

    def at_rows(self, vectors: FloatArray) -> FloatArray:
        """Return what the effects of every row are, (n, K), of (n_blocks, n_slots)."""
        return vectors.ravel()[self.of_rows]

    def pairs_at_rows(self, matrices: FloatArray) -> FloatArray:
        """Return the entries of every two effects of a row, (n, K, K), of matrices of blocks."""
        n, k = self.of_rows.shape
        return matrices.ravel()[self._pairs].reshape(n, k, k)

    def split(self, vectors: FloatArray) -> Blocks:
        """Return effects by factor, (n_levels, k), of (n_blocks, n_slots)."""
        flat = vectors.ravel()
        return [flat[places] for places in self.of_levels]

    def joined(self, effects: Blocks) -> FloatArray:
        """Return the effects of factors, (n_levels, k), as (n_blocks, n_slots)."""
        flat = np.zeros(self.n_blocks * self.n_slots)
        for places, own in zip(self.of_levels, effects, strict=True):
            flat[places] = own
        return flat.reshape(self.n_blocks, self.n_slots)


def _parents(fine: IntArray, coarse: IntArray, n_levels: int) -> IntArray | None:
    """Return the level of a coarse factor that every fine one lies in, (n_levels,), if it does."""
    parents = np.zeros(n_levels, dtype=np.intp)
    parents[fine] = coarse
    return parents if np.array_equal(parents[fine], coarse) else None


def _number_within(block: IntArray, n_blocks: int) -> IntArray:
    """Count the levels of every block from zero, (n_levels,), given the block of every level."""
    order = np.argsort(block, kind="stable")
    counts = np.bincount(block, minlength=n_blocks)
    first = np.repeat(np.cumsum(counts) - counts, counts)
    number = np.empty(len(block), dtype=np.intp)
    number[order] = np.arange(len(block)) - first
    return number
