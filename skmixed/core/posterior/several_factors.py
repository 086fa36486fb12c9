"""Several factors at many lambdas at once: the largest by its levels, the others densely.

Once it is eliminated, the others leave a complement S in the scaled effects, and [X y] a matrix G
beside products B of both. The Cholesky factor of [S B; B' c I], with any c that is large enough,
holds that of S and L^-1 B, and [X y]'V^-1[X y] = G - (L^-1 B)'(L^-1 B).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy.linalg import lapack

from skmixed.core.elimination.chain import Chain
from skmixed.core.elimination.choose import arrange_crossed
from skmixed.core.elimination.coupling import Coupling
from skmixed.core.elimination.crossed import Crossed
from skmixed.core.elimination.levels import multiply_levels, multiply_transposed
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.elimination.stacking import EffectLayout, StackedScale
from skmixed.core.linalg import FloatArray, cholesky_in_place, diagonal, triangular_inverse
from skmixed.core.model.problem import Problem
from skmixed.core.posterior.first_factor import CELLS_AT_A_TIME, FirstFactor, LevelRoots

_WIDEST_NESTED = 150  # effects beside the largest factor: with more, a chain is the faster way


@dataclass(frozen=True, eq=False)
class SeveralFactors:
    """The sums of several factors and [X y], of q columns."""

    layout: EffectLayout  # of the w effects of the factors that are not eliminated
    coupling: Coupling  # Z_1'W Z_2
    first: FirstFactor  # the eliminated one beside the w + q columns [Z_2 X y]
    q: int

    @classmethod
    def of(cls, problem: Problem) -> SeveralFactors | None:
        """Arrange the sums of a problem; None where single evaluations are as fast."""
        crossed = _as_crossed(problem)
        if crossed is None:
            return None
        model, layout = problem.model, crossed.layout
        q, w = len(model.gram), layout.width
        columns = crossed.coupling.beside(model.right[layout.eliminated])
        gram = np.empty((w + q, w + q))
        gram[:w, :w] = crossed.others.toarray()
        gram[:w, w:] = layout.stack(model.right)
        gram[w:, w:] = model.gram
        first = FirstFactor.of(crossed.own, columns, gram, model.within, q=q)
        return None if first is None else cls(layout, crossed.coupling, first, q)

    @property
    def n_cells(self) -> int:
        """Numbers that an evaluation takes."""
        return max(self.first.own.size, len(self.first.cells))

    def at(self, lambdas: Blocks) -> tuple[FloatArray, FloatArray]:
        """Return [X y]'V^-1[X y], (R, q, q), and log|V|, (R,), at R lambdas of every factor.

        NaN and minus infinity where digits are lost.
        """
        levels = self.first.levels(lambdas[self.layout.eliminated])
        cells = self.first.left(levels)
        gram, log_det = self.first.inner_left(cells), levels.log_det
        for number, upper in self._uppers(cells, gram, lambdas):
            self._eliminate(gram, log_det, number, upper)
        return gram, log_det

    def with_way_back(self, lambdas: Blocks) -> SeveralReduced:
        """Evaluate at R lambdas of every factor, and keep what derivatives take."""
        levels = self.first.levels(lambdas[self.layout.eliminated])
        cells = self.first.left(levels)
        gram, log_det, uppers = self.first.inner_left(cells), levels.log_det.copy(), []
        for number, upper in self._uppers(cells, gram, lambdas):
            self._eliminate(gram, log_det, number, upper)
            uppers.append(None if upper is None else upper.copy())
        return SeveralReduced(self, lambdas, levels, cells, uppers, gram, log_det)

    def _eliminate(
        self, gram: FloatArray, log_det: FloatArray, number: int, upper: FloatArray | None
    ) -> None:
        if upper is None:
            gram[number], log_det[number] = np.nan, -np.inf
            return
        through = upper[:, len(upper) :]
        log_det[number] += 2.0 * np.log(upper.diagonal()).sum()
        gram[number] -= through.T @ through

    def _uppers(
        self, cells: FloatArray, gram: FloatArray, lambdas: Blocks
    ) -> Iterator[tuple[int, FloatArray | None]]:
        """Give [L' L^-1 B], (w, w + q), lambda by lambda; None where digits are lost.

        All take the same room. Below the diagonal of L' is something else.
        """
        q, w = self.q, self.layout.width
        large = 1.0 + 2.0 * np.abs(diagonal(gram)).sum(axis=1)
        for start, joint in self._joint(cells, lambdas):
            joint[:, w:, w:] = large[start : start + len(joint), None, None] * np.eye(q)
            for number, matrix in enumerate(joint, start):
                yield number, matrix[:w] if cholesky_in_place(matrix) else None

    def _joint(self, cells: FloatArray, lambdas: Blocks) -> Iterator[tuple[int, FloatArray]]:
        """Give T' M T + diag(I, 0) with T = diag(Lambda_2, I), some at a time, (n, w + q, w + q).

        M is given by its cells, (R, n_cells). The upper triangle counts. All take the same room.
        """
        w, m = self.layout.width, self.layout.width + self.q
        n = max(1, int(CELLS_AT_A_TIME / (m * m)))
        others = [lambdas[f] for f in self.layout.factors]
        scaled = self._as_diagonal if all(lam.shape[1] == 1 for lam in others) else self._in_blocks
        room, places = np.empty((min(n, len(cells)), m * m)), np.arange(w)
        for start in range(0, len(cells), n):
            chosen = slice(start, start + n)
            some = cells[chosen]
            room[:] = 0.0
            joint = scaled(some, [lam[chosen] for lam in others], room[: len(some)])
            joint[:, places, places] += 1.0
            yield start, joint

    def _as_diagonal(self, cells: FloatArray, lambdas: Blocks, room: FloatArray) -> FloatArray:
        """Return T' M T of diagonal T, given n lambdas of the factors that are not eliminated."""
        m = self.layout.width + self.q
        scale = np.ones((len(cells), m))
        for f, lam in zip(self.layout.factors, lambdas, strict=True):
            scale[:, self.layout.place(f)] = lam[:, 0]
        i, j = np.divmod(self.first.cells, m)
        room[:, self.first.cells] = cells * scale[:, i] * scale[:, j]
        return room.reshape(-1, m, m)

    def _in_blocks(self, cells: FloatArray, lambdas: Blocks, room: FloatArray) -> FloatArray:
        """Return T' M T, given n lambdas of the factors that are not eliminated."""
        layout, m = self.layout, self.layout.width + self.q
        i, j = np.divmod(self.first.cells, m)
        room[:, self.first.cells] = room[:, j * m + i] = cells
        joint = room.reshape(-1, m, m)
        for _ in range(2):
            for f, lam in zip(layout.factors, lambdas, strict=True):
                part = joint[:, layout.place(f)]
                flat = part.reshape(len(cells), lam.shape[1], -1)
                joint[:, layout.place(f)] = (lam.swapaxes(1, 2) @ flat).reshape(part.shape)
            joint = np.ascontiguousarray(joint.swapaxes(1, 2))
        return joint

    def effects(self, lambdas: Blocks, right: Blocks) -> Blocks:
        """Return Omega_f Z_f'V^-1 r of every factor, (k_f, R, n_levels_f), of one r a lambda.

        `right` are Z_f'W r, of the same shapes. Raises LinAlgError where digits are lost.
        """
        layout, w = self.layout, self.layout.width
        levels = self.first.levels(lambdas[layout.eliminated])
        cells = self.first.left(levels)
        white, first = levels.whitener, right[layout.eliminated][:, None]
        through = _shrunk(white, first)
        rest = layout.stack(right)
        for column, values in enumerate(through[:, 0]):
            rest = rest - self.coupling[column].T @ values.T
        target = self._times([lam.swapaxes(1, 2) for lam in lambdas], rest)
        for start, joint in self._joint(cells, lambdas):
            for number, matrix in enumerate(joint[:, :w, :w], start):
                factor, info = lapack.dpotrf(matrix.T, lower=1)
                if info:
                    raise np.linalg.LinAlgError("too few digits are left of the cross-products")
                target[:, number] = lapack.dpotrs(factor, target[:, number], lower=1)[0]
        others = self._times(lambdas, target)
        coupled = [(self.coupling[column] @ others).T for column in range(len(first))]
        own = _shrunk(white, first - np.stack(coupled)[:, None])
        return layout.blocks(own[:, 0], others)

    def _times(self, lambdas: Blocks, columns: FloatArray) -> FloatArray:
        """Multiply column r of the stacked effects, (w, R), by the r-th lambda of every factor."""
        product = np.empty(columns.shape)
        for f, part in zip(self.layout.factors, self.layout.parts(columns), strict=True):
            moved = np.einsum("rab,bnr->anr", lambdas[f], part)
            product[self.layout.place(f)] = moved.reshape(-1, columns.shape[1])
        return product


@dataclass(frozen=True, slots=True, eq=False)
class SeveralReduced:
    """What is left of the sums of several factors at R lambdas, and the way to its derivatives."""

    factors: SeveralFactors
    lambdas: Blocks  # (R, k, k) of every factor
    levels: LevelRoots  # of the eliminated factor
    cells: FloatArray  # (R, n_cells), M with T' M T + diag(I, 0) = [S B; B' G]
    uppers: list[FloatArray | None]  # [L' L^-1 B], (w, w + q); None where digits are lost
    gram: FloatArray  # (R, q, q), [X y]'V^-1[X y]; NaN where digits are lost
    log_det: FloatArray  # (R,), log|V|

    def slopes(self, weights: FloatArray) -> Blocks:
        """Return derivatives in the lambdas of log|V| + tr(W [X y]'V^-1[X y]), (R, k, k).

        `weights` are W, (R, q, q), symmetric. The derivative in [S B; B' G] is
        diag(S^-1, 0) + [-S^-1 B; I] W [-B'S^-1 I].
        """
        layout, first = self.factors.layout, self.factors.first
        w, m = layout.width, layout.width + self.factors.q
        i, j = np.divmod(first.cells, m)
        slopes = [np.zeros(lam.shape) for lam in self.lambdas]
        of_cells = np.zeros(self.cells.shape)
        for number, upper in enumerate(self.uppers):
            if upper is None:
                continue
            inverse = triangular_inverse(upper[:, :w], lower=False)
            outer = np.concatenate([-inverse @ upper[:, w:], np.eye(m - w)])
            joint = outer @ weights[number] @ outer.T
            joint[:w, :w] += inverse @ inverse.T
            blocks = [self.lambdas[f][number] for f in layout.factors]
            scale = StackedScale.of(blocks, [n for _, n in layout.shapes])
            joint[:w] = scale.times(joint[:w])
            whole = np.zeros((m, m))
            whole[i, j] = whole[j, i] = self.cells[number]
            in_scale = 2.0 * (whole[:w] @ joint[:, :w])
            joint[:, :w] = scale.times(joint[:, :w].T).T
            of_cells[number] = np.where(i == j, 1.0, 2.0) * joint[i, j]
            for f, (k, n) in zip(layout.factors, layout.shapes, strict=True):
                place = layout.place(f)
                own = in_scale[place, place].reshape(k, n, k, n)
                slopes[f][number] = np.einsum("anbn->ab", own)
        in_omega = first.slopes(self.levels, of_cells)
        slopes[layout.eliminated] = 2.0 * in_omega @ self.lambdas[layout.eliminated]
        return slopes


def _shrunk(white: FloatArray, right: FloatArray) -> FloatArray:
    """Return T'T times columns, (k, 1, R, n_levels)."""
    return multiply_transposed(white, multiply_levels(white, right))


def _as_crossed(problem: Problem) -> Crossed | None:
    """Return the factors of a problem as crossed ones, narrow chains too; None of wide chains."""
    elimination, model = problem.elimination, problem.model
    if isinstance(elimination, Crossed):
        return elimination
    if not isinstance(elimination, Chain) or len(model.own) < 2:
        return None
    if EffectLayout.of(model.own, model.first).width > _WIDEST_NESTED:
        return None
    return arrange_crossed(model.own, problem.pairs, model.first)
