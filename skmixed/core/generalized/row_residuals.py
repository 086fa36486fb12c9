"""How far responses lie from what a family says of them, given their linear predictors."""

from __future__ import annotations

import numpy as np
from scipy import special

from skmixed.core.families.family import MeanFamily
from skmixed.core.linalg import FloatArray

_NODES = 100  # quantiles of eta: what rises or falls is averaged to 1 / 200, if smooth far better
_WHOLE = 1e-6  # from a whole number: shares are quotients, which are rounded


def deviance_residuals(
    family: MeanFamily, y: FloatArray, mean: FloatArray, weights: FloatArray | None, phi: FloatArray
) -> FloatArray:
    """Return signed roots of the deviances, (n,), of the means, (n,)."""
    square = np.maximum(family.deviance(y, mean, phi), 0.0)
    return np.sign(y - mean) * np.sqrt(square if weights is None else weights * square)


def pearson_residuals(
    family: MeanFamily, y: FloatArray, mean: FloatArray, weights: FloatArray | None, phi: FloatArray
) -> FloatArray:
    """Return residuals by the standard deviations of the responses, (n,)."""
    variance = family.variance(mean, phi)
    if weights is not None:
        variance = variance / weights
    with np.errstate(divide="ignore"):  # a response that is impossible is infinitely far
        scaled = np.divide(y - mean, np.sqrt(variance), out=np.zeros(len(y)), where=y != mean)
    return np.asarray(scaled)


def check_whole(family: MeanFamily, y: FloatArray, sizes: FloatArray | None) -> None:
    """Raise ValueError for responses between those that a family can have.

    Sizes are trials or exposures, (n,), None for ones.
    """
    steps = family.steps(len(y), sizes)
    if steps is None:
        return
    counts = y / steps
    wrong = np.abs(counts - np.round(counts)) > _WHOLE * np.maximum(1.0, counts)
    if family.counts_trials and sizes is not None:
        wrong |= np.abs(sizes - np.round(sizes)) > _WHOLE
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"row {row} has {counts[row]:g} events, which is no whole number: such a response has "
            "no distribution to be judged by. Pearson and deviance residuals have a meaning"
        )


def probabilities(
    family: MeanFamily,
    y: FloatArray,
    sizes: FloatArray | None,
    phi: FloatArray,
    center: FloatArray,
    variance: FloatArray,
) -> tuple[FloatArray, FloatArray]:
    """Return the probabilities of less than y and of at most y, (n,) each.

    The linear predictors are normal about their centers, (n,), with variances, (n,), of which any
    may be zero.
    """
    upto = _averaged(family, y, sizes, phi, center, variance)
    steps = family.steps(len(y), sizes)
    if steps is None:
        return upto, upto
    return _averaged(family, y - steps, sizes, phi, center, variance), upto


def _averaged(
    family: MeanFamily,
    y: FloatArray,
    sizes: FloatArray | None,
    phi: FloatArray,
    center: FloatArray,
    variance: FloatArray,
) -> FloatArray:
    """Return the distribution function, (n,), averaged over what is not known of eta."""
    varies = variance > 0.0
    result = np.empty(len(y))
    for chosen, nodes in (
        (np.flatnonzero(~varies), np.zeros(1)),
        (np.flatnonzero(varies), special.ndtri((np.arange(_NODES) + 0.5) / _NODES)),
    ):
        middle, deviation = center[chosen], np.sqrt(variance[chosen])
        of_rows = None if sizes is None else sizes[chosen]
        total = np.zeros(len(chosen))
        for node in nodes:
            total += family.cdf(y[chosen], middle + node * deviation, of_rows, phi)
        result[chosen] = total / len(nodes)
    return result
