"""How exact the solutions are and how many random vectors stand for a trace."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True)
class Krylov:
    """Settings of the iterative elimination, the same in every evaluation.

    Parameters
    ----------
    n_probes : int
        Random vectors a factor; their mean stands for a trace.
    seed : int
        Of these vectors. Each has a stream of its own, so that more of them keep the first, and
        every evaluation uses the same: the estimated gradient is smooth in theta.
    tol : float
        Preconditioned residual, relative to that at the start, at which solutions end.
    probe_tol : float
        The same for the random vectors, whose quadratic forms err by its square.
    max_iter : int
        Most iterations of a solution.
    """

    n_probes: int = 16
    seed: int = 0
    tol: float = 1e-8
    probe_tol: float = 1e-3
    max_iter: int = 2_000

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
