"""Products of Z'W Z with columns of random effects, by sparse matrices over the pairs of levels.

Columns of random effects are arrays of shape (k, n_levels, m), one a factor: sparse products want
the m columns of a level side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import sparse

from skmixed.core.blocks import PairBlock
from skmixed.core.elimination import Blocks
from skmixed.core.layout import FloatArray

_PAIR_CHUNK = 2**21  # pairs at a time: 16 MB for every array over them


def times_levels(blocks: FloatArray, columns: FloatArray) -> FloatArray:
    """Multiply blocks of shape (a, b, n_levels) with columns (b, n_levels, m): (a, n_levels, m)."""
    result: FloatArray = blocks[:, 0, :, None] * columns[0]
    for b in range(1, len(columns)):
        result += blocks[:, b, :, None] * columns[b]
    return result


def times_lambda(lam: FloatArray, columns: FloatArray) -> FloatArray:
    """Multiply one k x k matrix with the columns of every level, (k, n_levels, m)."""
    k, n_levels, m = columns.shape
    if k == 1:
        return np.asarray(lam[0, 0] * columns)
    return np.asarray((lam @ columns.reshape(k, n_levels * m)).reshape(k, n_levels, m))


@dataclass(frozen=True, slots=True, eq=False)
class PairMatrices:
    """Z_i'W Z_j of two factors, a sparse matrix for every two of their columns.

    The matrices share their pattern, and their entries are those of `pair`.
    """

    pair: PairBlock  # the pairs of levels that occur
    matrices: list[list[Any]]  # csr, k_i x k_j of shape (n_levels_i, n_levels_j)

    @classmethod
    def of(cls, pair: PairBlock, shape: tuple[int, int]) -> PairMatrices:
        """Arrange pairs, which are sorted by row; `shape` is (n_levels_i, n_levels_j)."""
        indptr = np.searchsorted(pair.rows, np.arange(shape[0] + 1))
        fits = max(len(pair.rows), *shape) < 2**31  # into 32-bit indices, which halve their memory
        kind = np.int32 if fits else np.int64
        indices, indptr = pair.columns.astype(kind), indptr.astype(kind)
        matrices: list[list[Any]] = [
            [_csr(values, indices, indptr, shape) for values in row] for row in pair.products
        ]
        return cls(pair, matrices)

    def times(self, columns: FloatArray) -> FloatArray:
        """Return Z_i'W Z_j times columns of factor j, (k_i, n_levels_i, m)."""
        return _times(self.matrices, columns)

    def transposed_times(self, columns: FloatArray) -> FloatArray:
        """Return Z_j'W Z_i times columns of factor i, (k_j, n_levels_j, m)."""
        return _times([[m.T for m in row] for row in zip(*self.matrices, strict=True)], columns)


def _csr(values: Any, indices: Any, indptr: Any, shape: tuple[int, int]) -> sparse.csr_matrix:
    return sparse.csr_matrix((values, indices, indptr), shape=shape)


def _times(matrices: list[list[Any]], columns: FloatArray) -> FloatArray:
    k, n_levels = len(matrices), matrices[0][0].shape[0]
    result = np.empty((k, n_levels, columns.shape[2]))
    for target, row in zip(result, matrices, strict=True):
        target[:] = row[0] @ columns[0]
        for matrix, column in zip(row[1:], columns[1:], strict=True):
            target += matrix @ column
    return result


@dataclass(frozen=True, slots=True, eq=False)
class SparseProducts:
    """Z'W Z of all random columns."""

    own: Blocks  # (k, k, n_levels) of every factor with itself
    between: dict[tuple[int, int], PairMatrices]  # of every two factors i < j

    @classmethod
    def of(cls, own: Blocks, pairs: dict[tuple[int, int], PairBlock]) -> SparseProducts:
        """Arrange the products of all factors."""
        sizes = [block.shape[2] for block in own]
        matrices = {
            (i, j): PairMatrices.of(pair, (sizes[i], sizes[j])) for (i, j), pair in pairs.items()
        }
        return cls(own, matrices)

    @property
    def n_pairs(self) -> int:
        """Number of pairs of levels, over all pairs of factors."""
        return sum(len(matrices.pair.rows) for matrices in self.between.values())

    def times(self, i: int, j: int, columns: FloatArray) -> FloatArray:
        """Return Z_i'W Z_j times columns of factor j, (k_i, n_levels_i, m)."""
        if i == j:
            return times_levels(self.own[i], columns)
        if (i, j) in self.between:
            return self.between[i, j].times(columns)
        return self.between[j, i].transposed_times(columns)

    def entries(self, i: int, j: int) -> Iterator[tuple[np.ndarray, np.ndarray, FloatArray]]:
        """Yield levels of i, levels of j, and Z_i'W Z_j, (k_i, k_j, n), of some pairs at a time."""
        flipped = (i, j) not in self.between
        pair = self.between[(j, i) if flipped else (i, j)].pair
        for start in range(0, len(pair.rows), _PAIR_CHUNK):
            some = slice(start, start + _PAIR_CHUNK)
            products = pair.products[:, :, some]
            if flipped:
                yield pair.columns[some], pair.rows[some], products.transpose(1, 0, 2)
            else:
                yield pair.rows[some], pair.columns[some], products

    def paired_forms(self, i: int, j: int, blocks: FloatArray) -> FloatArray:
        """Sum A_ij block A_ij' over the levels j that each level i meets, (k_i, k_i, n_levels_i).

        The factors differ; `blocks` has a matrix for every level of the second, (k_j, k_j,
        n_levels_j).
        """
        k, n_levels = self.own[i].shape[0], self.own[i].shape[2]
        result = np.zeros((k, k, n_levels))
        for of_i, of_j, products in self.entries(i, j):
            there = blocks[:, :, of_j]
            for a in range(k):
                half = (products[a][:, None] * there).sum(axis=0)
                for b in range(a + 1):
                    values = (half * products[b]).sum(axis=0)
                    result[a, b] += np.bincount(of_i, values, minlength=n_levels)
                    result[b, a] = result[a, b]
        return result
