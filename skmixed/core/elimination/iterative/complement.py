"""The complement of crossed factors as an operator: what is left after the largest is eliminated.

With H_l = lambda_1 (lambda_1'A_l lambda_1 + I)^-1 lambda_1' of a level of the eliminated factor,

    A' = Z_2'W Z_2 - A_21 H A_12,     C = Lambda_2'A'Lambda_2 + I

is applied by sparse products and never formed. The blocks of its diagonal are known, and so is the
preconditioner (block Jacobi). On two factors this is the system that symmetric over-relaxation of
the full equations amounts to; Kuendig & Sigrist (2025, arXiv:2505.09552) compare preconditioners.

Z'W Z is applied by sparse matrices over the pairs of levels. Columns of random effects are arrays
of shape (k, n_levels, m), one a factor: sparse products want the m columns of a level side by side.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from scipy import sparse

from skmixed.core.elimination.levels import (
    LevelShrinkage,
    cholesky_plus_identity,
    multiply,
    multiply_levels,
    multiply_right,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.elimination.stacking import EffectLayout
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.blocks import PairBlock


class Complement:
    """C at one value of the lambdas, as an operator on columns of shape (width, m).

    Effects of the eliminated factor have shape (k, n_levels, m).
    """

    def __init__(self, products: SparseProducts, layout: EffectLayout, lambdas: Blocks) -> None:
        self.products = products
        self.eliminated = eliminated = layout.eliminated
        self.layout = layout
        self.lambdas = lambdas
        self.level = LevelShrinkage.at(products.own[eliminated], lambdas[eliminated])
        # H of every level: the covariance of its effects, given those of the other factors.
        self.level_covariance = multiply_transposed(self.level.whitener, self.level.whitener)

    @cached_property
    def diagonal(self) -> dict[int, FloatArray]:
        """Diagonal blocks of A' of every other factor, (k, k, n_levels)."""
        return {
            f: self.products.own[f]
            - self.products.paired_forms(f, self.eliminated, self.level_covariance)
            for f in self.layout.factors
        }

    @cached_property
    def levels(self) -> dict[int, LevelShrinkage]:
        """The other factors, each level factored as if it met no level of another."""
        return {f: LevelShrinkage.at(block, self.lambdas[f]) for f, block in self.diagonal.items()}

    def n_levels(self, factor: int) -> int:
        """Return the number of levels of a factor."""
        return int(self.products.own[factor].shape[2])

    def alone(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f of every level as if it met none of another, (k, k, n_levels)."""
        if factor == self.eliminated:
            return multiply_levels(self.level.shrinker, self.products.own[factor])
        return multiply_levels(self.levels[factor].shrinker, self.diagonal[factor])

    @cached_property
    def roots(self) -> dict[int, tuple[FloatArray, FloatArray]]:
        """Cholesky factors and inverses of the diagonal blocks of C, (k, k, n_levels)."""
        result = {}
        for f, block in self.diagonal.items():
            lam = self.lambdas[f]
            inner = multiply_right(multiply(lam.T, block), lam)
            lower, half, _ = cholesky_plus_identity(inner)
            result[f] = (lower, multiply_transposed(half, half))
        return result

    @property
    def log_det_diagonal(self) -> float:
        """Log-determinant of the preconditioner."""
        return sum(level.log_det for level in self.levels.values())

    def scale(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2 times columns, (width, m)."""
        return self._by_factor(columns, {f: self.lambdas[f] for f in self.layout.factors})

    def scale_transposed(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2' times columns, (width, m)."""
        return self._by_factor(columns, {f: self.lambdas[f].T for f in self.layout.factors})

    def _by_factor(self, columns: FloatArray, matrices: dict[int, FloatArray]) -> FloatArray:
        result = np.empty_like(columns)
        targets, parts = self.layout.parts(result), self.layout.parts(columns)
        for f, target, part in zip(self.layout.factors, targets, parts, strict=True):
            target[:] = times_lambda(matrices[f], part)
        return result

    def to_eliminated(self, columns: FloatArray) -> FloatArray:
        """Return A_12 times columns of shape (width, m), (k, n_levels, m)."""
        parts = dict(zip(self.layout.factors, self.layout.parts(columns), strict=True))
        products = [self.products.times(self.eliminated, f, part) for f, part in parts.items()]
        return np.asarray(sum(products[1:], start=products[0]))

    def from_eliminated(self, effects: FloatArray) -> FloatArray:
        """Return A_21 times effects of the eliminated factor, (width, m)."""
        result = np.empty((self.layout.width, effects.shape[2]))
        for f, target in zip(self.layout.factors, self.layout.parts(result), strict=True):
            target[:] = self.products.times(f, self.eliminated, effects)
        return result

    def times_unscaled(self, columns: FloatArray) -> FloatArray:
        """Return A' times columns, (width, m)."""
        result = self.from_eliminated(
            times_levels(-self.level_covariance, self.to_eliminated(columns))
        )
        targets, parts = self.layout.parts(result), self.layout.parts(columns)
        for f, target in zip(self.layout.factors, targets, strict=True):
            for g, part in zip(self.layout.factors, parts, strict=True):
                target += self.products.times(f, g, part)
        return result

    def times_off_diagonal(self, columns: FloatArray) -> FloatArray:
        """Return A' without its diagonal blocks times columns, (width, m)."""
        result = self.times_unscaled(columns)
        targets, parts = self.layout.parts(result), self.layout.parts(columns)
        for f, target, part in zip(self.layout.factors, targets, parts, strict=True):
            target -= times_levels(self.diagonal[f], part)
        return result

    def __call__(self, columns: FloatArray) -> FloatArray:
        """Return C times columns, (width, m)."""
        return self.scale_transposed(self.times_unscaled(self.scale(columns))) + columns

    def precondition(self, columns: FloatArray) -> FloatArray:
        """Return the inverse of the diagonal blocks of C times columns, (width, m)."""
        return self.by_levels(columns, {f: inverse for f, (_, inverse) in self.roots.items()})

    def root(self, columns: FloatArray) -> FloatArray:
        """Return R times columns, (width, m); the preconditioner is R R'."""
        return self.by_levels(columns, {f: lower for f, (lower, _) in self.roots.items()})

    def root_transposed(self, columns: FloatArray) -> FloatArray:
        """Return R' times columns, (width, m)."""
        blocks = {f: lower.transpose(1, 0, 2) for f, (lower, _) in self.roots.items()}
        return self.by_levels(columns, blocks)

    def by_levels(self, columns: FloatArray, blocks: dict[int, FloatArray]) -> FloatArray:
        """Return blocks of every other factor, (k, k, n_levels), times columns, (width, m)."""
        result = np.empty_like(columns)
        targets, parts = self.layout.parts(result), self.layout.parts(columns)
        for f, target, part in zip(self.layout.factors, targets, parts, strict=True):
            target[:] = times_levels(blocks[f], part)
        return result


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
