"""Random effects of single levels, where those of related ones are made of directions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skmixed.core.elimination.crossed import check_memory
from skmixed.core.elimination.protocol import Blocks, Factorisation
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.all_effects import places_of, products_of_effects
from skmixed.core.model.directions import LevelDirections
from skmixed.core.model.problem import Problem

_ALL_MATRICES = 4  # of all effects at a time: Z'WZ, its root, the covariance, what is made of it


@dataclass(frozen=True, slots=True, eq=False)
class LevelEffects:
    """Conditional covariances of the effects of levels, relative to sigma^2.

    They are of two factors f <= g, column by column and level by level, and of one factor alone
    no more than the diagonal.
    """

    sizes: tuple[int, ...]  # k of every factor
    covariances: dict[tuple[int, int], FloatArray]  # (k_f n_f, k_g n_g); (n_levels,) of one alone

    @classmethod
    def of(cls, problem: Problem, lambdas: Blocks, factorisation: Factorisation) -> LevelEffects:
        """Compute them for a problem with directions, factored at lambda of every factor, (k, k).

        Raises MemoryError where those of several factors would not fit into this machine.
        """
        sizes = tuple(len(lam) for lam in lambdas)
        if len(problem.directions) == 1:
            (found,) = problem.directions
            assert found is not None
            own = factorisation.conditional_covariance(0)[0, 0]
            variance = float(lambdas[0][0, 0] ** 2)
            told = np.square(found.of_levels) @ own + found.rest * variance
            return cls(sizes, {(0, 0): told})
        covariances = {}
        for (f, g), block in _all_covariances(problem, lambdas).items():
            spread = _spread_rows(block, problem.directions[f])
            spread = _spread_rows(spread.T, problem.directions[g]).T
            found = problem.directions[f]
            if f == g and found is not None:
                spread = spread + np.diag(found.rest * float(lambdas[f][0, 0] ** 2))
            covariances[f, g] = spread
        return cls(sizes, covariances)

    def conditional_covariance(self, factor: int) -> FloatArray:
        """Return var(b | y, beta) / sigma^2 of every level of a factor, (k, k, n_levels)."""
        block = self.covariances[factor, factor]
        if block.ndim == 1:
            return block[None, None]
        k = self.sizes[factor]
        n = len(block) // k
        return np.asarray(np.einsum("albl->abl", block.reshape(k, n, k, n)))

    def effect_variances(self, random: Blocks, codes: list[IntArray]) -> FloatArray:
        """Return var(z'b | y, beta) / sigma^2 of rows, (n,), as `Factorisation` does."""
        found = np.zeros(len(codes[0]))
        for (f, g), block in self.covariances.items():
            if block.ndim == 1:
                found += np.square(random[f][0]) * block[codes[f]]
                continue
            times = 1.0 if f == g else 2.0
            n_f = len(block) // len(random[f])
            n_g = block.shape[1] // len(random[g])
            for a, z_a in enumerate(random[f]):
                for b, z_b in enumerate(random[g]):
                    both = block[a * n_f + codes[f], b * n_g + codes[g]]
                    found += times * z_a * z_b * both
        return found


def _all_covariances(problem: Problem, lambdas: Blocks) -> dict[tuple[int, int], FloatArray]:
    """Return Lambda (Lambda'Z'WZ Lambda + I)^-1 Lambda' by factors f <= g, of directions."""
    sizes = [own.shape[0] * own.shape[2] for own in problem.model.own]
    width = sum(sizes)
    check_memory(
        8 * _ALL_MATRICES * width**2,
        "errors of the effects of related levels beside other factors need a matrix of "
        f"{width} x {width},",
    )
    own = problem.model.own
    scale = linalg.block_diag(
        *(np.kron(lam, np.eye(block.shape[2])) for lam, block in zip(lambdas, own, strict=True))
    )
    inner = scale.T @ products_of_effects(own, problem.pairs) @ scale
    inner[np.diag_indices(width)] += 1.0
    white = linalg.solve_triangular(linalg.cholesky(inner, lower=True), scale.T, lower=True)
    covariance = white.T @ white
    places = places_of([(block.shape[0], block.shape[2]) for block in own])
    return {
        (f, g): covariance[first, second]
        for f, first in enumerate(places)
        for g, second in enumerate(places)
        if f <= g
    }


def _spread_rows(block: FloatArray, directions: LevelDirections | None) -> FloatArray:
    """Return rows of levels, (n_levels, m), of rows of directions; these stay without any."""
    return block if directions is None else directions.of_levels @ block
