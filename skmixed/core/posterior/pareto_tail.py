"""The tail of importance weights: whether their mean can be trusted, and weights that can be.

The largest M weights are compared with a generalised Pareto distribution, whose shape k tells how
many moments there are: with k < 1/2 means have a variance, above 0.7 no sensible number of draws is
enough (Vehtari et al. 2024, JMLR 25(72); the fit is that of Zhang & Stephens 2009,
doi:10.1198/tech.2009.08017).
"""

from __future__ import annotations

import numpy as np
from scipy.special import logsumexp

from skmixed.core.linalg import FloatArray

UNTRUSTED = 0.7  # of k: from there on errors fall too slowly with the number of draws
_LEAST_TAIL = 5  # weights of which a shape can be told
_TAIL_SHARE, _TAIL_ROOTS = 0.2, 3.0  # the tail is a fifth of all weights, or 3 sqrt(n) if fewer
_POINTS, _PRIOR_SHARE = 30, 3.0  # of Zhang & Stephens: points of their grid, and its prior
_PRIOR_DRAWS, _PRIOR_SHAPE = 10.0, 0.5  # the shape is pulled to 1/2 as if by ten more weights


def pareto_k(log_weights: FloatArray) -> float:
    """Return the shape of the tail of weights, (n,); minus infinity where there is no tail."""
    return smoothed_weights(log_weights)[1]


def smoothed_weights(log_weights: FloatArray) -> tuple[FloatArray, float]:
    """Return log weights that sum to one, (n,), the largest being those of the fit, and its shape.

    None is larger than the largest was. Without a tail the weights stay as they are.
    """
    values = log_weights - log_weights.max()
    n = len(values)
    size = int(min(_TAIL_SHARE * n, _TAIL_ROOTS * np.sqrt(n)))
    order = np.argsort(values, kind="stable")
    tail, cut = order[n - size :], float(values[order[n - size - 1]]) if size < n else -np.inf
    excess = np.exp(values[tail]) - np.exp(cut)
    if size < _LEAST_TAIL or excess[0] <= 0.0:
        return values - logsumexp(values), -np.inf
    shape, scale = _fitted(excess)
    places = (np.arange(size) + 0.5) / size
    if abs(shape) < np.finfo(float).eps:
        quantiles = -scale * np.log1p(-places)
    else:
        quantiles = scale * np.expm1(-shape * np.log1p(-places)) / shape
    values[tail] = np.minimum(np.log(quantiles + np.exp(cut)), 0.0)
    return values - logsumexp(values), shape


def _fitted(excess: FloatArray) -> tuple[float, float]:
    """Return shape and scale of a generalised Pareto distribution, given ascending excesses."""
    n = len(excess)
    points = _POINTS + int(np.sqrt(n))
    grid = 1.0 - np.sqrt(points / (np.arange(1, points + 1) - 0.5))
    grid = grid / (_PRIOR_SHARE * excess[int(n / 4 + 0.5) - 1]) + 1.0 / excess[-1]
    shapes = np.log1p(-grid[:, None] * excess).mean(axis=1)
    profile = n * (np.log(-grid / shapes) - shapes - 1.0)
    weights = np.exp(profile - logsumexp(profile))
    rate = float(weights @ grid)
    shape = float(np.log1p(-rate * excess).mean())
    scale = -shape / rate
    return (n * shape + _PRIOR_DRAWS * _PRIOR_SHAPE) / (n + _PRIOR_DRAWS), scale
