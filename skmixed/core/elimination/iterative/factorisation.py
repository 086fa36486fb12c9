"""V of crossed factors, its inverse by conjugate gradients and its traces by random vectors.

Conditional variances of rows take one solution for every row that differs from the others. With H
of the level in the eliminated factor the variance is z_1'H z_1 + r'Lambda_2 C^-1 Lambda_2'r for r =
z_2 - A_21 H z_1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from skmixed.core.elimination.iterative.complement import (
    Complement,
    SparseProducts,
    times_levels,
)
from skmixed.core.elimination.iterative.conjugate_gradients import Solutions, solve
from skmixed.core.elimination.iterative.estimates import (
    BATCH,
    LogDeterminant,
    SharedDirections,
    Solver,
    TraceEstimate,
    estimate_taken,
    estimate_total,
    log_determinant,
)
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.levels import (
    multiply,
    multiply_levels,
    multiply_right,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import (
    Blocks,
    Elimination,
    Factorisation,
    LostPrecisionError,
)
from skmixed.core.elimination.stacking import EffectLayout
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.blocks import PairBlock


@dataclass(frozen=True, slots=True, eq=False)
class Iterative(Elimination):
    """Crossed factors, the largest eliminated in one batch, the others solved for iteratively."""

    products: SparseProducts
    layout: EffectLayout  # of the factors that are not eliminated
    krylov: Krylov

    @classmethod
    def of(
        cls,
        own: Blocks,
        pairs: dict[tuple[int, int], PairBlock],
        first: int | None,
        krylov: Krylov,
    ) -> Iterative:
        """Arrange the random columns, as `skmixed.core.elimination.choose.arrange` does."""
        return cls(SparseProducts.of(own, pairs), EffectLayout.of(own, first), krylov)

    def factorise(self, lambdas: Blocks) -> IterativeFactorisation:
        """Set V up at the lambdas, one a factor in the caller's order."""
        complement = Complement(self.products, self.layout, lambdas)
        return IterativeFactorisation(self, complement)

    def multiply(self, effects: Blocks) -> Blocks:
        """Return Z_f'W times the sum over g of Z_g effects_g, as `Elimination` says."""
        columns = [np.ascontiguousarray(effect.transpose(0, 2, 1)) for effect in effects]
        result: Blocks = []
        for f, column in enumerate(columns):
            total = self.products.times(f, f, column)
            for g, other in enumerate(columns):
                if g != f:
                    total += self.products.times(f, g, other)
            result.append(total.transpose(0, 2, 1))
        return result

    def with_krylov(self, krylov: Krylov) -> Iterative:
        """Return the same with other settings."""
        return replace(self, krylov=krylov)


class IterativeFactorisation(Factorisation):
    """V at one value of the lambdas."""

    def __init__(self, arranged: Iterative, complement: Complement) -> None:
        self.arranged = arranged
        self.complement = complement
        self._information: dict[int, TraceEstimate] = {}

    @property
    def krylov(self) -> Krylov:
        """Tolerances and numbers of random vectors."""
        return self.arranged.krylov

    @cached_property
    def shared(self) -> SharedDirections:
        """Directions in which C is computed rather than estimated."""
        return SharedDirections.of(self.complement)

    @cached_property
    def log_det_estimate(self) -> LogDeterminant:
        """Estimate of log|C|."""
        return log_determinant(self.complement, self.shared, self.krylov)

    @property
    def log_det(self) -> float:
        """Estimate of log|V|."""
        return self.complement.level.log_det + self.log_det_estimate.value

    @property
    def log_det_error(self) -> float:
        """Monte Carlo standard error of `log_det`."""
        return self.log_det_estimate.error

    def solve(self, right: FloatArray, tol: float) -> Solutions:
        """Solve C x = b for columns b of shape (width, m).

        Raises LostPrecisionError if the iterations run out.
        """
        c = self.complement
        solved = solve(c, c.precondition, right, tol, self.krylov.max_iter)
        if not solved.converged:
            raise LostPrecisionError(
                f"conjugate gradients did not arrive in {self.krylov.max_iter} iterations: some "
                "random effects are nearly determined by others. Drop random terms or rescale the "
                "columns"
            )
        return solved

    def reduce(self, right: Blocks) -> IterativeReduced:
        """Eliminate the random effects from columns R, given as Z_f'R, (k, m, n_levels)."""
        c = self.complement
        first = right[c.eliminated]
        shrunk = multiply_levels(c.level_covariance, first).transpose(0, 2, 1)
        rest = c.layout.stack(right) - c.from_eliminated(np.ascontiguousarray(shrunk))
        scaled = c.scale_transposed(rest)
        solution = self.solve(scaled, self.krylov.tol).solution
        return IterativeReduced(self, first, rest, scaled, solution)

    def estimated(self, factor: int) -> TraceEstimate:
        """Return the estimate of Z_f'V^-1 Z_f summed over levels, and keep it."""
        if factor not in self._information:
            self._information[factor] = estimate_total(
                self.complement, self.shared, factor, self.krylov, self.solve
            )
        return self._information[factor]

    def total_information(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f summed over levels, (k, k), estimated."""
        return self.estimated(factor).total

    def samples(self, factor: int) -> FloatArray:
        """Return what each random vector takes off the total information, (n, k, k)."""
        samples = self.estimated(factor).samples
        is_computed = self.krylov.is_exact(factor, self.complement.n_levels(factor))
        return samples[:0] if is_computed else samples

    def information(self, factor: int) -> FloatArray:
        """Return Z_f'V^-1 Z_f of every level, (k, k, n_levels), estimated."""
        return self.complement.alone(factor) - self._taken(factor)

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta) / sigma^2 of every level, (k, k, n_levels), estimated."""
        c, lam = self.complement, self.complement.lambdas[factor]
        level = c.level if factor == c.eliminated else c.levels[factor]
        omega = lam @ lam.T
        through = multiply_right(multiply(omega, self._taken(factor)), omega)
        return multiply_transposed(level.whitener, level.whitener) + through

    def _taken(self, factor: int) -> FloatArray:
        return estimate_taken(self.complement, self.shared, factor, self.krylov, self.solve)

    def effect_variances(self, random: Blocks, codes: list[IntArray]) -> FloatArray:
        """Return var(z'b | y, beta) / sigma^2 of rows, (n,), by one solution a distinct row."""
        return effect_variances(self.complement, self.solve, random, codes)


class IterativeReduced:
    """Columns R after elimination of crossed factors."""

    def __init__(
        self,
        factorisation: IterativeFactorisation,
        right: FloatArray,
        rest: FloatArray,
        scaled: FloatArray,
        solution: FloatArray,
    ) -> None:
        self.factorisation = factorisation
        self.right = right  # (k, m, n_levels): Z_1'R of the eliminated factor
        self.rest = rest  # (width, m): Z_2'V_1^-1 R
        self.scaled = scaled  # (width, m): Lambda_2' times `rest`
        self.solution = solution  # (width, m): C^-1 times `scaled`

    def remaining(self, gram: FloatArray, within: FloatArray | None = None) -> FloatArray:
        """Return R'V^-1 R, (m, m), from R'W R or its part within levels, as `Reduced` does."""
        c = self.factorisation.complement
        white = multiply_levels(c.level.whitener, self.right)
        own = c.products.own[c.eliminated]
        gram = c.level.remaining(gram, within, own, self.right, white)
        taken = self.scaled.T @ self.solution
        return gram - (taken + taken.T) / 2.0

    def cross(self) -> Blocks:
        """Return Z_f'V^-1 R of every factor, (k, m, n_levels)."""
        c = self.factorisation.complement
        through = c.scale(self.solution)
        seen = c.to_eliminated(through).transpose(0, 2, 1)
        first = multiply_levels(c.level.shrinker, self.right - seen)
        met = self.rest - c.times_off_diagonal(through)
        shrinkers = {f: level.shrinker for f, level in c.levels.items()}
        return c.layout.blocks(first, c.by_levels(met, shrinkers))


_ROW_TOL = 1e-5  # of the residual; a variance errs by its square


def effect_variances(
    c: Complement, solver: Solver, random: Blocks, codes: list[IntArray]
) -> FloatArray:
    """Return var(z'b | y, beta) / sigma^2 of rows, (n,): z'C z, C covering all factors.

    `random` has z of every factor, (k_f, n), zero where a row has no known level; `codes` the
    levels, (n,). Rows that are alike are solved for once.
    """
    table = np.concatenate([*random, np.array(codes)]).T
    _, first, which = np.unique(table, axis=0, return_index=True, return_inverse=True)
    found = np.empty(len(first))
    for start in range(0, len(first), BATCH):
        rows = first[start : start + BATCH]
        found[start : start + BATCH] = _of_rows(
            c, solver, [z[:, rows] for z in random], [level[rows] for level in codes]
        )
    return found[which.ravel()]


def _of_rows(c: Complement, solver: Solver, random: Blocks, codes: list[IntArray]) -> FloatArray:
    m = random[0].shape[1]
    columns = np.arange(m)
    first = np.zeros((*c.products.own[c.eliminated].shape[1:], m))
    first[:, codes[c.eliminated], columns] = random[c.eliminated]
    shrunk = times_levels(c.level_covariance, first)
    variances = (first * shrunk).sum(axis=(0, 1))
    rest = -c.from_eliminated(shrunk)
    for f, part in zip(c.layout.factors, c.layout.parts(rest), strict=True):
        part[:, codes[f], columns] += random[f]
    right = c.scale_transposed(rest)
    solution = solver(right, _ROW_TOL).solution
    return np.asarray(variances + np.einsum("ij,ij->j", right, solution))
