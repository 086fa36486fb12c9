"""How far responses lie from what a family says of them, given their linear predictors."""

from __future__ import annotations

import numpy as np
from scipy import special

from skmixed.core.families.family import Family, MeanFamily, fractional_events
from skmixed.core.linalg import FloatArray

_STEEPEST = (1.5, 3.0, 6.0)  # limits of rows that share a rule, of 13, 25 and 47 nodes
_NODE_STEP = 1.2  # of the nodes of a curve of steepness one: the error is below 1e-4
_OUTERMOST_NODE = 4.5  # standard deviations of the nodes: 7e-6 lie beyond
_QUANTILES = 100  # quantiles of eta for steeper rows: what rises or falls is averaged to 1 / 200
_WHOLE_TRIALS = 1e-6  # from a whole number of trials, which may be a product


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


def check_whole(family: Family, y: FloatArray, sizes: FloatArray | None) -> None:
    """Raise ValueError for responses between those that a family can have.

    Sizes are trials or exposures, (n,), None for ones.
    """
    events, wrong = fractional_events(family, y, sizes)
    if family.counts_trials and sizes is not None:
        wrong |= np.abs(sizes - np.round(sizes)) > _WHOLE_TRIALS
    if wrong.any():
        row = int(np.argmax(wrong))
        raise ValueError(
            f"row {row} has {events[row]:g} events, which is no whole number: such a response has "
            "no distribution to be judged by. Pearson and deviance residuals have a meaning"
        )


def probabilities(
    family: Family,
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
    w = family.derivatives(family.start(y, sizes), y, sizes, phi)[2]
    steepness = np.sqrt(1.0 + variance * np.maximum(w, 1.0))
    upto = _averaged(family, y, sizes, phi, center, variance, steepness)
    steps = family.steps(len(y), sizes)
    if steps is None:
        return upto, upto
    return _averaged(family, y - steps, sizes, phi, center, variance, steepness), upto


def _averaged(
    family: Family,
    y: FloatArray,
    sizes: FloatArray | None,
    phi: FloatArray,
    center: FloatArray,
    variance: FloatArray,
    steepness: FloatArray,  # (n,), of the distribution function over the spread of eta
) -> FloatArray:
    """Return the distribution function, (n,), averaged over what is not known of eta.

    The trapezoidal rule takes the more nodes the steeper it is, up to a number from which on
    quantiles of eta do as well.
    """
    result = np.empty(len(y))
    kind = np.where(variance > 0.0, 1 + np.digitize(steepness, _STEEPEST), 0)
    for number in np.unique(kind):
        chosen = np.flatnonzero(kind == number)
        nodes, weights = _rule(int(number))
        middle, deviation = center[chosen], np.sqrt(variance[chosen])
        of_rows = None if sizes is None else sizes[chosen]
        total = np.zeros(len(chosen))
        for node, weight in zip(nodes, weights, strict=True):
            total += weight * family.cdf(y[chosen], middle + node * deviation, of_rows, phi)
        result[chosen] = total
    return result


def _rule(number: int) -> tuple[FloatArray, FloatArray]:
    """Return nodes and weights, which add up to one, of the rows of a kind."""
    if number == 0:
        return np.zeros(1), np.ones(1)
    if number > len(_STEEPEST):
        return special.ndtri((np.arange(_QUANTILES) + 0.5) / _QUANTILES), np.full(
            _QUANTILES, 1.0 / _QUANTILES
        )
    step = _NODE_STEP / _STEEPEST[number - 1]
    halves = int(np.ceil(_OUTERMOST_NODE / step))
    nodes = step * np.arange(-halves, halves + 1.0)
    weights = np.exp(-0.5 * np.square(nodes))
    return nodes, weights / weights.sum()
