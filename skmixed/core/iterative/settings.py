"""How exact the solutions are and how many random vectors stand for a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.layout import FloatArray

_WORTHWHILE = 8


@dataclass(frozen=True, slots=True)
class Krylov:
    """Settings of the iterative elimination, the same in every evaluation.

    Parameters
    ----------
    n_probes : int
        Random vectors of the log-determinant, and of every factor without a number of its own;
        the mean over them stands for a trace.
    seed : int
        Of these vectors. Each has a stream of its own, so that more of them keep the first, and
        every evaluation uses the same: the estimated gradient is smooth in theta.
    tol : float
        Preconditioned residual, relative to that at the start, at which solutions end.
    probe_tol : float
        The same for the random vectors, whose quadratic forms err by its square.
    max_iter : int
        Most iterations of a solution.
    by_factor : tuple of int
        Random vectors of every factor; empty for `n_probes` each.
    """

    n_probes: int = 16
    seed: int = 0
    tol: float = 1e-10
    probe_tol: float = 1e-4
    max_iter: int = 2_000
    by_factor: tuple[int, ...] = ()

    def number(self, factor: int) -> int:
        """Return the number of random vectors of a factor."""
        return self.by_factor[factor] if self.by_factor else self.n_probes

    def is_exact(self, factor: int, n_levels: int) -> bool:
        """Tell whether a factor has so few levels that a unit vector for each is as well."""
        return n_levels <= _WORTHWHILE * self.number(factor)

    def signs(self, purpose: int, n: int, chosen: range) -> FloatArray:
        """Return random signs (Rademacher vectors).

        Parameters
        ----------
        purpose : int
            Number of the factor, or one beyond them all.
        n : int
            Length.
        chosen : range
            Which of the vectors.

        Returns
        -------
        ndarray of shape (n, len(chosen))
            Entries -1 and 1.
        """
        signs = np.empty((n, len(chosen)))
        for column, number in enumerate(chosen):
            generator = np.random.default_rng([self.seed, purpose, number])
            signs[:, column] = 2.0 * generator.integers(0, 2, n, dtype=np.int8) - 1.0
        return signs
