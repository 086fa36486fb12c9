"""Random effects of the factors that are not eliminated first, below each other in one column.

Their lambdas side by side are block diagonal, of as many rows as they have random effects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class EffectLayout:
    """Where the effects of the factors that are not eliminated stand in a column, (width, m).

    The k effects of a factor follow each other, each for all levels of the factor.
    """

    eliminated: int  # the factor with most random effects
    factors: list[int]  # the others
    shapes: list[tuple[int, int]]  # (k, n_levels) of each of the others

    @classmethod
    def of(cls, own: Blocks, first: int | None) -> EffectLayout:
        """Choose what is eliminated, given blocks, (k, k, n_levels), of all factors.

        Of factors with equally many effects it is `first`.
        """
        sizes = [block.shape[0] * block.shape[2] for block in own]
        eliminated = max(range(len(own)), key=lambda f: (sizes[f], f == first))
        factors = [f for f in range(len(own)) if f != eliminated]
        return cls(eliminated, factors, [(own[f].shape[0], own[f].shape[2]) for f in factors])

    @property
    def width(self) -> int:
        """Length of a column."""
        return sum(k * n_levels for k, n_levels in self.shapes)

    def place(self, factor: int) -> slice:
        """Return the slice of a factor's effects in a column."""
        position = self.factors.index(factor)
        start = sum(k * n_levels for k, n_levels in self.shapes[:position])
        k, n_levels = self.shapes[position]
        return slice(start, start + k * n_levels)

    def parts(self, columns: FloatArray) -> list[FloatArray]:
        """Return views of every factor in columns of shape (width, m), (k, n_levels, m) each."""
        m = columns.shape[1]
        return [
            columns[self.place(f)].reshape(*shape, m)
            for f, shape in zip(self.factors, self.shapes, strict=True)
        ]

    def part(self, columns: FloatArray, factor: int) -> FloatArray:
        """Return the view of one factor, (k, n_levels, m)."""
        return self.parts(columns)[self.factors.index(factor)]

    def stack(self, blocks: Blocks) -> FloatArray:
        """Stack blocks, (k, m, n_levels), one a factor, as columns, (width, m)."""
        parts = [blocks[f].transpose(0, 2, 1) for f in self.factors]
        return np.concatenate([part.reshape(-1, part.shape[2]) for part in parts])

    def blocks(self, first: FloatArray, columns: FloatArray) -> Blocks:
        """Return blocks, (k, m, n_levels), of every factor: of the eliminated one and in columns.

        `first` is (k, m, n_levels), `columns` (width, m).
        """
        found = dict(zip(self.factors, self.parts(columns), strict=True))
        return [
            first if f == self.eliminated else found[f].transpose(0, 2, 1)
            for f in range(len(found) + 1)
        ]


@dataclass(frozen=True, slots=True, eq=False)
class StackedScale:
    """Lambda_2 = blockdiag(lambda_f x I); a vector where every factor has one random column."""

    blocks: list[FloatArray]  # (k, k), lambda of every factor
    n_levels: list[int]  # of every factor
    diagonal: FloatArray | None  # (width,), if that is all

    @classmethod
    def of(cls, lambdas: Sequence[FloatArray], n_levels: Sequence[int]) -> StackedScale:
        """Stack lambdas, (k, k) each, over the numbers of levels of their factors.

        The order is column by column, and within a column level by level.
        """
        blocks, diagonal = list(lambdas), None
        if all(len(lam) == 1 for lam in blocks):
            diagonal = np.repeat([lam[0, 0] for lam in blocks], n_levels)
        return cls(blocks, list(n_levels), diagonal)

    def times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2 times columns, (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        return self._multiplied(self.blocks, columns)

    def transpose_times(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2' times columns, (width, m)."""
        if self.diagonal is not None:
            return self.diagonal[:, None] * columns
        return self._multiplied([lam.T for lam in self.blocks], columns)

    def _multiplied(self, blocks: list[FloatArray], columns: FloatArray) -> FloatArray:
        """Multiply the columns of every factor, (k n_levels, m), by its block, (k, k)."""
        product, start = np.empty(columns.shape), 0
        for block, n in zip(blocks, self.n_levels, strict=True):
            stop = start + len(block) * n
            part = columns[start:stop].reshape(len(block), -1)
            product[start:stop] = (block @ part).reshape(stop - start, -1)
            start = stop
        return product

    def inner(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2'A Lambda_2, (width, width).

        `lower` is that of A; both are in Fortran order, and nothing is said of the upper triangle.
        """
        if self.diagonal is not None:
            scaled = lower.T * self.diagonal[:, None]
            scaled *= self.diagonal
            return scaled.T
        full = self.transpose_times(symmetric(lower))
        return np.asfortranarray(self.transpose_times(full.T))

    def outer(self, lower: FloatArray) -> FloatArray:
        """Return the lower triangle of Lambda_2 A Lambda_2', zero above where `lower` is."""
        if self.diagonal is not None:
            return self.inner(lower)
        full = self.times(symmetric(lower))
        return np.asfortranarray(np.tril(self.times(full.T)))


_MIRRORED = 64  # rows at a time: they and what they are mirrored to stay in the cache


def symmetric(lower: FloatArray) -> FloatArray:
    """Return a symmetric matrix in full and in Fortran order, given its lower triangle."""
    full = np.array(lower, order="F")
    for start in range(0, len(full), _MIRRORED):
        stop = start + _MIRRORED
        block = full[start:stop, start:stop]
        block[:] = np.tril(block) + np.tril(block, -1).T
        full[start:stop, stop:] = full[stop:, start:stop].T
    return full


def symmetric_rows(lower: FloatArray, place: slice) -> FloatArray:
    """Return some rows of a symmetric matrix, given its lower triangle."""
    own = symmetric(lower[place, place]).T
    if len(own) == len(lower):
        return own
    return np.concatenate([lower[place, : place.start], own, lower[place.stop :, place].T], axis=1)
