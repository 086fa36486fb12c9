"""How exact the solutions are and how many random vectors stand for a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray

_LEVELS_A_VECTOR = 8  # unit vectors up to so many times the random ones: no Monte Carlo error


@dataclass(frozen=True, slots=True)
class Krylov:
    """Tolerances and random vectors of the iterative elimination, the same in every evaluation.

    Every random vector has a stream of its own, so that more of them keep the first; as every
    evaluation uses the same, the estimated gradient is smooth in theta.
    """

    n_probes: int = 16  # of the determinant, and of every factor without a number of its own
    seed: int = 0  # of the random vectors
    tol: float = 1e-10  # of the preconditioned residual, relative to that at the start
    probe_tol: float = 1e-4  # the same for random vectors, whose quadratic forms err by its square
    max_iter: int = 2_000  # of a solution
    by_factor: tuple[int, ...] = ()  # random vectors of every factor; empty for `n_probes` each

    def number(self, factor: int) -> int:
        """Return the number of random vectors of a factor."""
        return self.by_factor[factor] if self.by_factor else self.n_probes

    def is_exact(self, factor: int, n_levels: int) -> bool:
        """Tell whether a factor has so few levels that each gets a unit vector."""
        return n_levels <= _LEVELS_A_VECTOR * self.number(factor)

    def signs(self, purpose: int, n: int, chosen: range) -> FloatArray:
        """Return Rademacher vectors, (n, len(chosen)), with entries -1 and 1.

        `purpose` is the number of the factor, or one beyond them all.
        """
        signs = np.empty((n, len(chosen)))
        for column, number in enumerate(chosen):
            generator = np.random.default_rng([self.seed, purpose, number])
            signs[:, column] = 2.0 * generator.integers(0, 2, n, dtype=np.int8) - 1.0
        return signs
