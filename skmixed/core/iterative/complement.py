"""The complement of crossed factors as an operator: what is left after the largest is eliminated.

With H_l = lambda_1 (lambda_1'A_l lambda_1 + I)^-1 lambda_1' of a level of the eliminated factor,

    A' = Z_2'W Z_2 - A_21 H A_12,     C = Lambda_2'A'Lambda_2 + I

is applied by sparse products and never formed. The blocks of its diagonal are known, and so is the
preconditioner (block Jacobi). On two factors this is the system that symmetric over-relaxation of
the full equations amounts to; Kuendig & Sigrist (2025, arXiv:2505.09552) compare preconditioners.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination import Blocks
from skmixed.core.iterative.products import SparseProducts, times_factor, times_levels
from skmixed.core.layout import FloatArray
from skmixed.core.levels import (
    LevelFactor,
    cholesky_plus_identity,
    forward_substitute,
    multiply,
    multiply_right,
    multiply_transposed,
)


@dataclass(frozen=True, slots=True, eq=False)
class Stacking:
    """Where the random effects of the factors that are not eliminated stand in a column.

    Parameters
    ----------
    factors : list of int
        The factors.
    shapes : list of (int, int)
        (k, n_levels) of each.
    """

    factors: list[int]
    shapes: list[tuple[int, int]]

    @property
    def width(self) -> int:
        """Length of a column."""
        return sum(k * n_levels for k, n_levels in self.shapes)

    def place(self, factor: int) -> slice:
        """Return where the effects of a factor stand, column by column, level by level."""
        position = self.factors.index(factor)
        start = sum(k * n_levels for k, n_levels in self.shapes[:position])
        k, n_levels = self.shapes[position]
        return slice(start, start + k * n_levels)

    def parts(self, columns: FloatArray) -> list[FloatArray]:
        """Return views of shape (k, n_levels, m) of the factors of columns of shape (width, m)."""
        m = columns.shape[1]
        return [
            columns[self.place(f)].reshape(*shape, m)
            for f, shape in zip(self.factors, self.shapes, strict=True)
        ]

    def part(self, columns: FloatArray, factor: int) -> FloatArray:
        """Return the view of one factor."""
        return self.parts(columns)[self.factors.index(factor)]


class Complement:
    """C at one value of the lambdas.

    Parameters
    ----------
    products : SparseProducts
        Z'W Z.
    eliminated : int
        The factor that is eliminated.
    stacking : Stacking
        Of the others.
    factors : list of ndarray of shape (k, k)
        The lambdas.
    """

    def __init__(
        self, products: SparseProducts, eliminated: int, stacking: Stacking, factors: Blocks
    ) -> None:
        self.products = products
        self.eliminated = eliminated
        self.stacking = stacking
        self.factors = factors
        self.level = LevelFactor.at(products.own[eliminated], factors[eliminated])
        self.taken = multiply_transposed(self.level.whitener, self.level.whitener)

    @cached_property
    def diagonal(self) -> dict[int, FloatArray]:
        """Blocks of A' of every level, of shape (k, k, n_levels), by factor."""
        return {
            f: self.products.own[f] - self.products.paired_forms(f, self.eliminated, self.taken)
            for f in self.stacking.factors
        }

    @cached_property
    def levels(self) -> dict[int, LevelFactor]:
        """The factors as they would be if their levels did not meet."""
        return {f: LevelFactor.at(block, self.factors[f]) for f, block in self.diagonal.items()}

    @cached_property
    def roots(self) -> dict[int, tuple[FloatArray, FloatArray]]:
        """Cholesky factors of the blocks of C, and the inverses of the blocks."""
        result = {}
        for f, block in self.diagonal.items():
            lam = self.factors[f]
            lower, _ = cholesky_plus_identity(multiply_right(multiply(lam.T, block), lam))
            half = forward_substitute(lower, np.eye(len(lam)))
            result[f] = (lower, multiply_transposed(half, half))
        return result

    @property
    def log_det_diagonal(self) -> float:
        """Log-determinant of the preconditioner."""
        return sum(level.log_det for level in self.levels.values())

    def scaled(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2 times columns of shape (width, m)."""
        return self._by_factor(columns, {f: self.factors[f] for f in self.stacking.factors})

    def scaled_back(self, columns: FloatArray) -> FloatArray:
        """Return Lambda_2' times columns of shape (width, m)."""
        return self._by_factor(columns, {f: self.factors[f].T for f in self.stacking.factors})

    def _by_factor(self, columns: FloatArray, matrices: dict[int, FloatArray]) -> FloatArray:
        result = np.empty_like(columns)
        targets, parts = self.stacking.parts(result), self.stacking.parts(columns)
        for f, target, part in zip(self.stacking.factors, targets, parts, strict=True):
            target[:] = times_factor(matrices[f], part)
        return result

    def seen(self, columns: FloatArray) -> FloatArray:
        """Return A_12 times columns of shape (width, m), of shape (k, n_levels, m)."""
        parts = dict(zip(self.stacking.factors, self.stacking.parts(columns), strict=True))
        products = [self.products.times(self.eliminated, f, part) for f, part in parts.items()]
        return np.asarray(sum(products[1:], start=products[0]))

    def back(self, effects: FloatArray) -> FloatArray:
        """Return A_21 times effects of the eliminated factor, of shape (width, m)."""
        result = np.empty((self.stacking.width, effects.shape[2]))
        for f, target in zip(self.stacking.factors, self.stacking.parts(result), strict=True):
            target[:] = self.products.times(f, self.eliminated, effects)
        return result

    def unscaled(self, columns: FloatArray) -> FloatArray:
        """Return A' times columns of shape (width, m)."""
        result = self.back(times_levels(-self.taken, self.seen(columns)))
        targets, parts = self.stacking.parts(result), self.stacking.parts(columns)
        for f, target in zip(self.stacking.factors, targets, strict=True):
            for g, part in zip(self.stacking.factors, parts, strict=True):
                target += self.products.times(f, g, part)
        return result

    def beside(self, columns: FloatArray) -> FloatArray:
        """Return A' less the blocks on its diagonal times columns of shape (width, m)."""
        result = self.unscaled(columns)
        targets, parts = self.stacking.parts(result), self.stacking.parts(columns)
        for f, target, part in zip(self.stacking.factors, targets, parts, strict=True):
            target -= times_levels(self.diagonal[f], part)
        return result

    def __call__(self, columns: FloatArray) -> FloatArray:
        """Return C times columns of shape (width, m)."""
        return self.scaled_back(self.unscaled(self.scaled(columns))) + columns

    def precondition(self, columns: FloatArray) -> FloatArray:
        """Return the inverse of the blocks on the diagonal of C times columns."""
        return self._by_levels(columns, {f: inverse for f, (_, inverse) in self.roots.items()})

    def root(self, columns: FloatArray) -> FloatArray:
        """Return R times columns, the preconditioner being R R'."""
        return self._by_levels(columns, {f: lower for f, (lower, _) in self.roots.items()})

    def root_transposed(self, columns: FloatArray) -> FloatArray:
        """Return R' times columns."""
        blocks = {f: lower.transpose(1, 0, 2) for f, (lower, _) in self.roots.items()}
        return self._by_levels(columns, blocks)

    def _by_levels(self, columns: FloatArray, blocks: dict[int, FloatArray]) -> FloatArray:
        result = np.empty_like(columns)
        targets, parts = self.stacking.parts(result), self.stacking.parts(columns)
        for f, target, part in zip(self.stacking.factors, targets, parts, strict=True):
            target[:] = times_levels(blocks[f], part)
        return result
