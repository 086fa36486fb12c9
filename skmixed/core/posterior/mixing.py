"""How well chains have mixed: R-hat, and what their draws are worth (Vehtari et al. 2021).

doi:10.1214/20-BA1221, of halves of chains, without ranks, in all coordinates at once.
"""

from __future__ import annotations

import numpy as np
from scipy import fft

from skmixed.core.linalg import FloatArray

_SHORTEST_CHAIN = 4  # draws of a chain, of whose halves there are variances


def _halves(draws: FloatArray) -> FloatArray:
    """Split chains, (C, n, d), into (2 C, n // 2, d)."""
    half = draws.shape[1] // 2
    return np.concatenate([draws[:, :half], draws[:, -half:]])


def split_r_hat(draws: FloatArray) -> FloatArray:
    """Return R-hat of every coordinate of chains, (C, n, d): its equation 3, (d,).

    It is one of chains that are too short to have any.
    """
    if draws.shape[1] < _SHORTEST_CHAIN:
        return np.ones(draws.shape[2])
    parts = _halves(draws)
    within = parts.var(axis=1, ddof=1).mean(axis=0)
    between = parts.mean(axis=1).var(axis=0, ddof=1)
    n = parts.shape[1]
    return np.asarray(np.sqrt((n - 1.0) / n + between / within))


def effective_draws(draws: FloatArray) -> FloatArray:
    """Return how many independent draws those of chains, (C, n, d), are worth, (d,).

    Its equations 10 and 11, with sums of autocorrelations as long as pairs of them are positive,
    and made to fall (Geyer 1992, doi:10.1214/ss/1177011137). All of them in very short chains.
    """
    if draws.shape[1] < _SHORTEST_CHAIN:
        return np.full(draws.shape[2], float(draws.shape[0] * draws.shape[1]))
    parts = _halves(draws)
    n_chains, n, _ = parts.shape
    spectrum = np.abs(fft.rfft(parts - parts.mean(axis=1, keepdims=True), 2 * n, axis=1)) ** 2
    covariances = fft.irfft(spectrum, 2 * n, axis=1)[:, :n].mean(axis=0) / n
    within = covariances[0] * n / (n - 1.0)
    total = covariances[0] + parts.mean(axis=1).var(axis=0, ddof=1)
    correlations = 1.0 - (within - covariances * n / (n - 1.0)) / total
    correlations[0] = 1.0
    pairs = correlations[: 2 * (n // 2)].reshape(n // 2, 2, -1).sum(axis=1)
    is_kept = np.logical_and.accumulate(pairs > 0.0)
    falling = np.where(is_kept, np.minimum.accumulate(pairs), 0.0)
    return np.asarray(n_chains * n / np.maximum(2.0 * falling.sum(axis=0) - 1.0, 0.5))
