"""Second derivatives of Laplace's approximation in beta and Omega.

For one factor they are exact and made level by level. E and D are symmetric directions of Omega; F
and U are Z'V^-1 Z and Z'V^-1 X of a level, B = (I + A Omega)^-1, H = Omega B. A parameter moves eta
of the rows at the modes by [X 0] - Z Q with Q = H C for beta and Q = -B'E s for Omega, and with K
the sum of z z' w1 times that move and rho = w2 a - w1 z'Omega t, the derivative in two of them is

    2 U'E s and so on (those of twice the objective)
    + sum rho times both moves - tr(H K H K) + tr(B K B' E) and likewise - tr(F E F D)
    - t'E y and likewise,    y = U for beta and F E s for Omega.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.chain import ChainFactorisation
from skmixed.core.elimination.levels import multiply_levels, multiply_transposed
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.generalized.approximation.arrangement import times
from skmixed.core.generalized.approximation.modes import Modes
from skmixed.core.generalized.approximation.observations import RowBlock
from skmixed.core.linalg import WIDE, FloatArray, traces
from skmixed.core.model.covariance import Structure
from skmixed.core.sums.summation import level_sums


@dataclass(frozen=True, slots=True, eq=False)
class Working:
    """A block at its modes, with the columns after elimination."""

    rows: RowBlock
    lambdas: Blocks  # (k, k) a factor
    modes: Modes
    w: FloatArray  # (n,), second derivatives
    w1: FloatArray  # (n,), third ones, which may be the same array
    curved: FloatArray  # (n,), fourth derivatives times the variances of z'b
    cross: Blocks  # (k, p, n_levels) a factor, C = Z'W X
    through: Blocks  # (k, p, n_levels), U = Z'V^-1 X
    scores: Blocks  # (k, n_levels), s
    leverages: Blocks  # (k, n_levels), t
    fixed_information: FloatArray  # (p, p), X'V^-1 X
    fixed_gram: FloatArray  # (p, p), X'W X


def information_products(working: Working, structures: tuple[Structure, ...]) -> FloatArray:
    """Return [X F]'V^-1[X F], (p + d, p + d), with F = Z E s along the bases of the structures."""
    p = len(working.fixed_information)
    sizes = [len(structure.basis) for structure in structures]
    ends = np.cumsum([0, *sizes])
    variates = []
    for f, (structure, s) in enumerate(zip(structures, working.scores, strict=True)):
        own = np.zeros((structure.size, ends[-1], s.shape[1]))
        own[:, ends[f] : ends[f + 1]] = np.matmul(structure.basis, s).transpose(1, 0, 2)
        variates.append(own)
    weighted = working.modes.tangent.elimination.multiply(variates)
    gram = np.zeros((p + int(ends[-1]),) * 2)
    gram[:p, :p] = working.fixed_gram
    for own, product, cross in zip(variates, weighted, working.cross, strict=True):
        for rows, columns, fixed in zip(own, product, cross, strict=True):
            gram[p:, p:] += rows @ columns.T
            gram[:p, p:] += fixed @ rows.T
    gram[p:, :p] = gram[:p, p:].T
    right = [np.concatenate(both, axis=1) for both in zip(working.cross, weighted, strict=True)]
    return working.modes.factorisation.reduce(right).remaining(gram)


def exact_hessian(working: Working, structures: tuple[Structure, ...]) -> FloatArray:
    """Return the second derivatives in beta and along the basis, (p + d, p + d), of one factor.

    There may be no factor.
    """
    if not structures:
        return 2.0 * working.fixed_information
    if structures[0].size >= WIDE and len(working.rows.levels[0]) == 1:
        return _ExactOfOneLevel(working, structures[0].basis).hessian()
    return _Exact(working, structures[0].basis).hessian()


class _Exact:
    """The terms of the second derivatives of one factor, d being the size of the basis."""

    def __init__(self, working: Working, basis: FloatArray) -> None:
        factorisation = working.modes.factorisation
        assert isinstance(factorisation, ChainFactorisation)
        self.working, self.basis = working, basis
        (level,) = factorisation.levels
        self.shrinker = level.shrinker  # (k, k, n_levels), B
        self.shrunk = multiply_transposed(level.whitener, level.whitener)  # (k, k, n_levels), H
        self.information = factorisation.information(0)  # (k, k, n_levels), F
        (s,), (t,) = working.scores, working.leverages
        along = np.matmul(basis, s).transpose(1, 0, 2)
        tilted = np.matmul(basis, t).transpose(1, 0, 2)
        self.p, self.size = len(working.fixed_information), len(basis)
        self.along = along  # (k, d, n_levels), E s
        self.tilted = tilted  # (k, d, n_levels), E t
        back = multiply_levels(self.shrinker.swapaxes(0, 1), along)
        self.moves = np.concatenate(  # (k, p + d, n_levels), Q
            [multiply_levels(self.shrunk, working.cross[0]), -back], axis=1
        )
        self.solved = np.concatenate(  # (k, p + d, n_levels), y
            [working.through[0], multiply_levels(self.information, along)], axis=1
        )

    def hessian(self) -> FloatArray:
        p, working = self.p, self.working
        result = np.zeros((p + self.size,) * 2)
        result[:p, :p] = 2.0 * working.fixed_information
        result[:p, p:] = 2.0 * _summed(working.through[0], self.along)
        result[p:, :p] = result[:p, p:].T
        result[p:, p:] = 2.0 * _summed(self.along, self.solved[:, p:]) - self._both_ways()
        result += self._moved_weights()
        moved = self._third_order()
        result -= self._products(moved)
        mixed = self._turned(moved) - _summed(self.tilted, self.solved)
        result[p:] += mixed
        result[:, p:] += mixed.T
        return 0.5 * (result + result.T)

    def _both_ways(self) -> FloatArray:
        """Return tr(F E F D) summed over levels, (d, d)."""
        k, _, n_levels = self.information.shape
        flat = self.information.reshape(k * k, n_levels)
        quartic = (flat @ flat.T).reshape(k, k, k, k)
        half = np.tensordot(self.basis, quartic, axes=([1, 2], [1, 2]))  # (d, a, c) of F_ab E_bc
        return np.asarray(np.tensordot(half, self.basis, axes=([1, 2], [2, 1])))

    def _moved_weights(self) -> FloatArray:
        """Return the sum over rows of rho times both moves, (p + d, p + d)."""
        rows, p = self.working.rows, self.p
        (lam,), (t,) = self.working.lambdas, self.working.leverages
        rho = self.working.curved - self.working.w1 * rows.effects([(lam @ (lam.T @ t))[:, None]])
        (cross,), (own,) = rows.cross(rho), rows.own(rho)
        result = _summed(self.moves, multiply_levels(own, self.moves))
        mixed = _summed(cross, self.moves)
        result[:p] -= mixed
        result[:, :p] -= mixed.T
        result[:p, :p] += rows.gram(rho)
        return result

    def _third_order(self) -> FloatArray:
        """Return K of every parameter, (k, k, p + d, n_levels)."""
        rows, w1 = self.working.rows, self.working.w1
        (z,), (codes,), (own,) = rows.random, rows.codes, rows.levels
        k, size = len(z), len(own)
        pairs = [(a, b) for a in range(k) for b in range(a, k)]
        weights = [times(z[b], times(z[a], w1)) for a, b in pairs]
        if k == 1 and w1 is self.working.w and z.strides[1] == 0:
            of_fixed = self.working.cross[0]
        else:
            of_fixed = level_sums(codes, size, weights, rows.fixed)
        result = np.empty((k, k, self.moves.shape[1], size))
        for (a, b), weight, fixed in zip(pairs, weights, of_fixed, strict=True):
            entry = result[a, b]
            entry[: self.p], entry[self.p :] = fixed, 0.0
            for column, move in zip(z, self.moves, strict=True):
                entry -= np.bincount(codes, times(column, weight), minlength=size) * move
            result[b, a] = entry
        return result

    def _products(self, moved: FloatArray) -> FloatArray:
        """Return tr(H K H K) of every two parameters, (p + d, p + d)."""
        k = len(self.shrunk)
        half = np.empty_like(moved)
        for a in range(k):
            for b in range(k):
                half[a, b] = self.shrunk[a, 0] * moved[0, b]
                for c in range(1, k):
                    half[a, b] += self.shrunk[a, c] * moved[c, b]
        result = np.zeros((moved.shape[2],) * 2)
        for a in range(k):
            for b in range(k):
                result += half[a, b] @ half[b, a].T
        return result

    def _turned(self, moved: FloatArray) -> FloatArray:
        """Return tr(B K B'E) of every direction and parameter, (d, p + d)."""
        k, n_parameters = len(self.shrinker), moved.shape[2]
        total = np.zeros((k, k, n_parameters))
        for a in range(k):
            half = self.shrinker[a, 0] * moved[0]  # (k, p + d, n_levels), B K of a row
            for b in range(1, k):
                half += self.shrinker[a, b] * moved[b]
            for e in range(k):
                total[a] += self.shrinker[:, e] @ half[e].T
        return np.asarray(np.tensordot(self.basis, total, axes=([1, 2], [0, 1])))


class _ExactOfOneLevel(_Exact):
    """The same of many columns in one level, by products of whole matrices."""

    def _both_ways(self) -> FloatArray:
        along = self.information[:, :, 0] @ self.basis
        return traces(along, along)

    def _third_order(self) -> FloatArray:
        rows, w1 = self.working.rows, self.working.w1
        (z,) = rows.random
        moved_eta = -z.T @ self.moves[:, :, 0]  # (n, p + d)
        moved_eta[:, : self.p] += rows.fixed
        found = [(z * (w1 * moves)) @ z.T for moves in moved_eta.T]
        return np.stack(found, axis=2)[..., None]

    def _products(self, moved: FloatArray) -> FloatArray:
        half = self.shrunk[:, :, 0] @ np.moveaxis(moved[..., 0], 2, 0)
        return traces(half, half)

    def _turned(self, moved: FloatArray) -> FloatArray:
        b = self.shrinker[:, :, 0]
        return traces(self.basis, b @ np.moveaxis(moved[..., 0], 2, 0) @ b.T)


def _summed(left: FloatArray, right: FloatArray) -> FloatArray:
    """Return left'right of blocks, (k, a, n_levels) and (k, b, n_levels), summed: (a, b)."""
    total = np.zeros((left.shape[1], right.shape[1]))
    for first, second in zip(left, right, strict=True):
        total += first @ second.T
    return total
