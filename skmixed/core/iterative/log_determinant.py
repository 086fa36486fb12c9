"""log|C| by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017, doi:10.1137/16M1104974).

With C = R C~ R' and R R' the preconditioner, log|C| = log|R R'| + tr log C~. Random vectors of
signs z give the trace as the mean of z'log(C~)z, by the Lanczos process that conjugate gradients go
through. Two things are known of C~ and taken out of what is random: its diagonal is one, so that
z'(C~ - I)z is zero on average; and its few eigenvalues near zero belong nearly to the directions
that the factors share.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.iterative.complement import Complement
from skmixed.core.iterative.conjugate_gradients import quadrature, solve
from skmixed.core.iterative.settings import Krylov
from skmixed.core.iterative.shared import Shared
from skmixed.core.iterative.traces import BATCH

_PURPOSE = 2**31 - 1
_ACCURACY = 1e-5
_MOST, _PASSES = 128, 200_000_000


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number found with random vectors.

    Parameters
    ----------
    value : float
        The estimate.
    error : float
        Its standard error.
    """

    value: float
    error: float


def log_determinant(c: Complement, shared: Shared, settings: Krylov) -> Estimate:
    """Estimate log|C|.

    Parameters
    ----------
    c : Complement
        C.
    shared : Shared
        Directions that are computed.
    settings : Krylov
        Number of random vectors, and their seed. Small designs take up to 128.

    Returns
    -------
    Estimate
        With the standard error of the mean over random vectors.
    """
    width = c.stacking.width
    values, vectors = np.linalg.eigh(shared.inner)
    directions, known = shared.basis @ vectors, np.log(values) - (values - 1.0)
    samples = []
    n_vectors = max(settings.n_probes, min(_MOST, _PASSES // c.products.n_pairs))
    for start in range(0, n_vectors, BATCH):
        chosen = range(start, min(start + BATCH, n_vectors))
        signs = settings.signs(_PURPOSE, width, chosen)
        solved = solve(
            c, c.precondition, c.root(signs), _ACCURACY, settings.max_iter, keep_all=True
        )
        logs, first = quadrature(solved.lengths, solved.ratios, np.log)
        found = width * (logs - (first - 1.0))
        samples.append(found - known @ (np.square(directions.T @ signs) - 1.0))
    sample = np.concatenate(samples)
    error = float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else np.inf
    return Estimate(c.log_det_diagonal + float(sample.mean()), error)
