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

_STREAM = 2**31 - 1  # of the random vectors; the streams of traces are numbered by factor
_LANCZOS_TOL = 1e-5  # of the residual; quadrature errs by its square, far below Monte Carlo error
_MOST_VECTORS = 128  # in a small design; the error of 16 is nearly three times as large
_CHEAP_WORK = 200_000_000  # vectors times pairs of levels that a small design can afford


@dataclass(frozen=True, slots=True)
class LogDeterminant:
    """An estimate of log|C| and its Monte Carlo standard error."""

    value: float
    error: float


def log_determinant(c: Complement, shared: Shared, settings: Krylov) -> LogDeterminant:
    """Estimate log|C|, with the standard error of the mean over random vectors.

    Small designs take more vectors than the settings say, up to 128.
    """
    width = c.layout.width
    values, vectors = np.linalg.eigh(shared.inner)
    directions, known = shared.basis @ vectors, np.log(values) - (values - 1.0)
    samples = []
    n_vectors = max(settings.n_probes, min(_MOST_VECTORS, _CHEAP_WORK // c.products.n_pairs))
    for start in range(0, n_vectors, BATCH):
        chosen = range(start, min(start + BATCH, n_vectors))
        signs = settings.signs(_STREAM, width, chosen)
        solved = solve(
            c, c.precondition, c.root(signs), _LANCZOS_TOL, settings.max_iter, keep_all=True
        )
        logs, first = quadrature(solved.lengths, solved.ratios, np.log)
        found = width * (logs - (first - 1.0))
        samples.append(found - known @ (np.square(directions.T @ signs) - 1.0))
    sample = np.concatenate(samples)
    error = float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else np.inf
    return LogDeterminant(c.log_det_diagonal + float(sample.mean()), error)
