"""The criterion of one small model at many lambdas at once, all random effects together.

Any number of factors that lie to each other in any way; the cost grows with the cube of the number
of effects. Formulas and letters are those of `skmixed.core.model.evaluation`, with A = Z'W Z.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import blas

from skmixed.core.linalg import FloatArray, IntArray, diagonal, diagonals, transposed
from skmixed.core.model.all_effects import places_of, products_of_effects
from skmixed.core.model.covariance import Structure
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
from skmixed.core.model.penalty import ScaledPenalty
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import Eliminated, LockstepPoint, cholesky
from skmixed.core.model.structures.named import joined

MOST_EFFECTS = 200  # random effects: an evaluation takes 10 ms, no more than one in other ways
_MOST_COLUMNS = 20  # random columns whose covariances are all free: the fourth power is stored


def is_small(problem: Problem) -> bool:
    """Tell whether all random effects together are few enough for dense algebra.

    Many columns are not, unless they are independent.
    """
    if problem.n_effects > MOST_EFFECTS or problem.elimination.krylov is not None:
        return False
    structure = joined(problem.structures)
    return structure.size <= _MOST_COLUMNS or diagonals(structure.basis) is not None


@dataclass(frozen=True, slots=True, eq=False)
class DenseStack:
    """One data set, many times over, with the covariances of its factors side by side.

    The effects of a factor stand column by column, and within a column level by level.
    """

    products: FloatArray  # (q, q): Z'W Z of all q random effects
    right: FloatArray  # (q, p + 1): Z'W[X y]
    gram: FloatArray  # (p + 1, p + 1): [X y]'W[X y]
    shapes: tuple[tuple[int, int], ...]  # (k, n_levels) of every factor
    structure: Structure  # of all factors' columns, K of them
    nu: float  # degrees of freedom
    reml: bool  # whether the criterion is restricted
    n: int  # number of searches
    penalty: ScaledPenalty | None  # of all factors' covariances
    sigma2: float | None  # residual variance where it is known

    @classmethod
    def of(cls, problem: Problem, n: int) -> DenseStack:
        """Write the cross-products of a problem out; their levels each stand for one."""
        model = problem.model
        shapes = [(own.shape[0], own.shape[2]) for own in model.own]
        right = [block.transpose(0, 2, 1).reshape(-1, block.shape[1]) for block in model.right]
        return cls(
            products_of_effects(model.own, problem.pairs),
            np.concatenate(right),
            model.gram,
            tuple(shapes),
            joined(problem.structures),
            problem.degrees,
            problem.spec.method == "reml",
            n,
            problem.joint_penalty,
            problem.sigma2,
        )

    def __len__(self) -> int:
        """Return the number of searches."""
        return self.n

    def take(self, chosen: IntArray | slice) -> DenseStack:
        """Return the same for some of the searches."""
        return replace(self, n=len(np.arange(self.n)[chosen]))

    def evaluate(self, theta: FloatArray, orders: IntArray) -> LockstepPoint:
        """Evaluate the criterion at every theta, (R, t), and its derivatives.

        `orders`, (R, K), are pivot orders.
        """
        lam, q = self.structure.lam(theta, orders), len(self.right)
        white, fixed = self._eliminated(lam)
        seen, shrunk = white[:, :, :q], white[:, :, q:]
        information = self.products - transposed(seen) @ seen
        cross = self.right - transposed(seen) @ shrunk
        p = self.right.shape[1] - 1
        outer = cross[:, :, :p] @ fixed.covariance @ transposed(cross[:, :, :p])
        left = information - outer
        score = (cross @ fixed.to_residual[:, :, None])[:, :, 0] / np.sqrt(fixed.sigma2)[:, None]
        kept = left if self.reml else information
        directions = self.structure.directions(theta, orders)
        gradient, along = self._slopes(kept, score)
        if self.penalty is not None:
            gradient += self.penalty.slope(lam)
        flat = directions.reshape(*theta.shape, -1)
        slope = (flat @ gradient.reshape(len(theta), -1, 1))[:, :, 0]
        seen = (flat @ along.reshape(len(theta), -1, 1))[:, :, 0]
        alone = diagonals(directions)
        if alone is None:
            form = self._form(kept, left, score)
        else:
            flat, form = alone, self._entries(kept, left, score)
        profiled = self.nu if self.sigma2 is None else np.inf
        hessian = flat @ form @ transposed(flat) - seen[:, :, None] * seen[:, None, :] / profiled
        hessian += self.structure.curvature(theta, orders, gradient)
        if self.penalty is not None:
            hessian += self.penalty.along(lam, directions)
        hessian = (hessian + transposed(hessian)) / 2.0
        return LockstepPoint(
            fixed.criterion, slope, hessian, gradient, fixed.to_residual, fixed.sigma2
        )

    def criteria(self, theta: FloatArray, orders: IntArray) -> FloatArray:
        """Return the criterion at every theta alone, (R,), as `evaluate` has it."""
        return self._eliminated(self.structure.lam(theta, orders), is_alone=True)[1].criterion

    def _eliminated(self, lam: FloatArray, is_alone: bool = False) -> tuple[FloatArray, Eliminated]:
        """Return L^-1 [Lambda'A, Lambda'Z'W[X y]], (R, q, q + p + 1), and what follows of it.

        Of the criterion `is_alone`, without the first q columns.
        """
        scaled, q = self._scaled(lam), len(self.right)
        inner = self._turned(lam, scaled)
        inner[:, range(q), range(q)] += 1.0
        lower, is_lost = cholesky(inner)
        columns = self._turned(lam, np.broadcast_to(self.right, (len(lam), *self.right.shape)))
        if not is_alone:
            columns = np.concatenate([transposed(scaled), columns], axis=2)
        white = _solved(lower, columns)
        shrunk = white[:, :, columns.shape[2] - self.right.shape[1] :]
        remaining = self.gram - transposed(shrunk) @ shrunk
        log_det = 2.0 * np.log(diagonal(lower)).sum(axis=1)
        fixed = Eliminated.of(
            remaining,
            self.gram[None],
            log_det,
            np.full(len(lam), self.nu),
            self.reml,
            self.sigma2,
        )
        fixed.criterion[is_lost] = np.inf
        if self.penalty is not None:
            fixed.criterion[:] += self.penalty.value(lam)
        return white, fixed

    def rounding(self, criterion: FloatArray, sigma2: FloatArray) -> FloatArray:
        """Return the error to expect in criteria from rounding, (R,), at residual variances."""
        lost = float(np.finfo(float).eps) * self.gram[-1, -1] / sigma2
        return np.asarray(CRITERION_DIGITS * np.abs(criterion) + CRITERION_ROUNDING + lost)

    def _scaled(self, lam: FloatArray) -> FloatArray:
        """Return A Lambda, (R, q, q)."""
        n, q = len(lam), len(self.right)
        result = np.empty((n, q, q))
        for (k, n_levels), rows, own in self._factors():
            part = self.products[:, rows].reshape(q, k, n_levels).transpose(0, 2, 1)
            wide = lam[:, own, own].transpose(1, 0, 2).reshape(k, -1)
            flat = (part.reshape(-1, k) @ wide).reshape(q, n_levels, n, k)
            result[:, :, rows] = flat.transpose(2, 0, 3, 1).reshape(n, q, -1)
        return result

    def _turned(self, lam: FloatArray, columns: FloatArray) -> FloatArray:
        """Return Lambda' times columns, (R, q, m)."""
        result = np.empty(columns.shape)
        for (k, _), rows, own in self._factors():
            part = columns[:, rows]
            flat = transposed(lam[:, own, own]) @ part.reshape(len(lam), k, -1)
            result[:, rows] = flat.reshape(part.shape)
        return result

    def _factors(self) -> list[tuple[tuple[int, int], slice, slice]]:
        """Return the shape of every factor, the places of its effects and of its columns."""
        columns = places_of([(k, 1) for k, _ in self.shapes])
        return list(zip(self.shapes, places_of(self.shapes), columns, strict=True))

    def _slopes(self, kept: FloatArray, score: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return G and the matrix whose product with E is q_E, (R, K, K) each.

        `kept` is F, for REML without what the fixed effects take, (R, q, q); `score` is u / sigma,
        (R, q).
        """
        n, size = len(score), self.structure.size
        gradient, along = np.zeros((n, size, size)), np.zeros((n, size, size))
        for (k, m), rows, a in self._factors():
            own = kept[:, rows, rows].reshape(n, k, m, k, m)
            u = score[:, rows].reshape(n, k, m)
            along[:, a, a] = u @ transposed(u)
            gradient[:, a, a] = np.einsum("ralbl->rab", own) - along[:, a, a]
        return gradient, along

    def _form(self, kept: FloatArray, left: FloatArray, score: FloatArray) -> FloatArray:
        """Return the form in vec E and vec D of second derivatives, (R, K^2, K^2).

        `left` is F without what the fixed effects take, (R, q, q); the others as in `_slopes`.
        """
        n, size = len(score), self.structure.size
        form = np.zeros((n, size, size, size, size))
        outer = 2.0 * score[:, :, None] * score[:, None, :]
        for (k, m), rows, a in self._factors():
            for (c, levels), columns, b in self._factors():
                first = _by_columns(kept[:, rows, columns], k, m, c, levels)
                crossed = _by_columns(outer[:, rows, columns], k, m, c, levels)
                if self.reml:
                    both = first @ transposed(crossed - first)
                else:
                    seen = _by_columns(left[:, rows, columns], k, m, c, levels)
                    both = seen @ transposed(crossed) - first @ transposed(first)
                # in rows (b, c) and columns (a, d) of E_ab and D_cd
                part = both.reshape(n, k, c, k, c).transpose(0, 3, 1, 2, 4)
                form[:, a, a, b, b] = part
        return form.reshape(n, size**2, size**2)

    def _entries(self, kept: FloatArray, left: FloatArray, score: FloatArray) -> FloatArray:
        """Return the entries of `_form` of diagonal E and D, (R, K, K)."""
        outer = 2.0 * score[:, :, None] * score[:, None, :]
        both = left * outer - kept * kept
        starts = [
            rows.start + column * m for (k, m), rows, _ in self._factors() for column in range(k)
        ]
        return np.asarray(np.add.reduceat(np.add.reduceat(both, starts, axis=1), starts, axis=2))


def _solved(lower: FloatArray, right: FloatArray) -> FloatArray:
    """Return L^-1 B of every search, (R, q, m): a fourth of the time of a general solution."""
    result = np.empty(right.shape)
    for number, (factor, columns) in enumerate(zip(lower, right, strict=True)):
        result[number] = blas.dtrsm(1.0, factor.T, columns.T, side=1).T
    return result


def _by_columns(block: FloatArray, k: int, m: int, c: int, levels: int) -> FloatArray:
    """Turn products of effects, (R, k * m, c * levels), into (R, k * c, m * levels)."""
    parts = block.reshape(-1, k, m, c, levels).transpose(0, 1, 3, 2, 4)
    return parts.reshape(-1, k * c, m * levels)
