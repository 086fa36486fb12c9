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
from skmixed.core.iterative.products import SparseProducts, times_lambda, times_levels
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
class EffectLayout:
    """Where the effects of the factors that are not eliminated stand in a column, (width, m).

    The k effects of a factor follow each other, each for all levels of the factor.
    """

    factors: list[int]
    shapes: list[tuple[int, int]]  # (k, n_levels) of each factor

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


class Complement:
    """C at one value of the lambdas, as an operator on columns of shape (width, m).

    Effects of the eliminated factor have shape (k, n_levels, m).
    """

    def __init__(
        self, products: SparseProducts, eliminated: int, layout: EffectLayout, lambdas: Blocks
    ) -> None:
        self.products = products
        self.eliminated = eliminated
        self.layout = layout
        self.lambdas = lambdas
        self.level = LevelFactor.at(products.own[eliminated], lambdas[eliminated])
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
    def levels(self) -> dict[int, LevelFactor]:
        """The other factors, each level factored as if it met no level of another."""
        return {f: LevelFactor.at(block, self.lambdas[f]) for f, block in self.diagonal.items()}

    @cached_property
    def roots(self) -> dict[int, tuple[FloatArray, FloatArray]]:
        """Cholesky factors and inverses of the diagonal blocks of C, (k, k, n_levels)."""
        result = {}
        for f, block in self.diagonal.items():
            lam = self.lambdas[f]
            lower, _ = cholesky_plus_identity(multiply_right(multiply(lam.T, block), lam))
            half = forward_substitute(lower, np.eye(len(lam)))
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
        return self._by_levels(columns, {f: inverse for f, (_, inverse) in self.roots.items()})

    def root(self, columns: FloatArray) -> FloatArray:
        """Return R times columns, (width, m); the preconditioner is R R'."""
        return self._by_levels(columns, {f: lower for f, (lower, _) in self.roots.items()})

    def root_transposed(self, columns: FloatArray) -> FloatArray:
        """Return R' times columns, (width, m)."""
        blocks = {f: lower.transpose(1, 0, 2) for f, (lower, _) in self.roots.items()}
        return self._by_levels(columns, blocks)

    def _by_levels(self, columns: FloatArray, blocks: dict[int, FloatArray]) -> FloatArray:
        result = np.empty_like(columns)
        targets, parts = self.layout.parts(result), self.layout.parts(columns)
        for f, target, part in zip(self.layout.factors, targets, parts, strict=True):
            target[:] = times_levels(blocks[f], part)
        return result
