"""Variance components of predictions: how far groups differ, how far their own models err.

Of a row outside the fits, r is the residual of the prediction by the parent, and d the difference
of the group's own prediction from it. With f the group's true deviation from its parent, r = f + e
and d = f + error, the error being that of a model fitted to m rows, part of which more rows do not
mend:

    (r, d) ~ N(0, [[a + s, a], [a, a + c + v / m]]),   a = var f, s = var e, c + v / m = var error.

The four are estimated by maximum likelihood, rows taken as independent; having no mean, this is
the restricted likelihood too. The best share of the own prediction is a / (a + c + v / m), the
regression of r on d, which is the shrinkage of a random effect (Robinson 1991,
doi:10.1214/ss/1177011926) and, for models that are stacked, Breiman's (1996,
doi:10.1007/BF00117832).

Probabilities of classes are mixed instead, s of the own with 1 - s of the parent's, by what makes
the rows outside the fits the most likely: with m rows, s = limit m / (m + half), the shrinkage of
shares under a Dirichlet distribution if the models are but shares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special
from scipy.optimize import minimize

from skmixed.core.linalg import FloatArray

_STARTS = (-4.0, 0.0)  # log a and log v to begin with: far below the mean r^2, and equal to it
_LEAST_PROBABILITY = 1e-10  # of what came true: one zero would outweigh all other rows
_MIXTURE_STARTS = ((2.0, 0.0), (2.0, -3.0), (-2.0, 0.0))  # log odds of limit, log of half
_FARTHEST_LOG = 12.0  # log odds and logarithms beyond this are 0 or 1, 0 or infinity
_MIXTURE_COST = 6.0  # in twice the log-likelihood: chance does more harm than a difference missed
_SURE_GAIN = 2.5  # standard errors of it over rows: the like, where few rows make the gain
_CERTAIN_GAIN = 3.0  # of a row, in that error: a parent that was certain, and wrong, is no chance
_LEAST_HALF = 1.0  # row that the parent counts as, at least: a few rows make no group certain
_WIDE = 25.0  # logarithms of ratios of variances beyond this are 0 or infinity


@dataclass(frozen=True, slots=True)
class BlendComponents:
    """Variance components of predictions."""

    between: float  # a: variance of the deviations of groups from their parent
    noise: float  # s: variance about the true predictions
    error: float  # v: squared error of a group's own model that its rows mend, times their number
    bias: float = 0.0  # c: squared error that they do not

    def share(self, n_rows: FloatArray) -> FloatArray:
        """Return the share that the own predictions of groups get, (n_groups,), between 0 and 1."""
        if self.between <= 0.0:
            return np.zeros(len(n_rows))
        return np.asarray(self.between / (self.between + self.bias + self.error / n_rows))


def components(
    residual_squares: FloatArray,
    products: FloatArray,
    difference_squares: FloatArray,
    counts: FloatArray,
    n_rows: FloatArray,
) -> BlendComponents:
    """Estimate the variance components from sums over parts predicted by the same models.

    A part has sums of r^2, r d and d^2, the number of values summed, and m, the number of rows its
    own model was fitted to; all (n_parts,). The variance between groups is zero where the own
    predictions are of no use.
    """
    total, number = float(residual_squares.sum()), float(counts.sum())
    typical = float((counts * n_rows).sum()) / number if number else 1.0
    if not total > 0.0 or not float(difference_squares.sum()) > 0.0:
        return BlendComponents(0.0, total / max(number, 1.0), 0.0)
    unit = total / number
    sums = np.array([residual_squares, products, difference_squares]) / unit
    relative = n_rows / typical

    def criterion(logs: FloatArray) -> float:
        a, s, v, c = np.exp(logs)
        first, second = a + s, a + c + v / relative
        det = first * second - a * a
        inverse = second * sums[0] - 2.0 * a * sums[1] + first * sums[2]
        return float(np.sum(counts * np.log(det) + inverse / det)) / number

    found = min(
        (
            minimize(
                criterion,
                # c starts well below v: more rows mend most of the error.
                np.array([start, 0.0, start, start - 2.0]),
                method="L-BFGS-B",
                bounds=[(-_WIDE, _WIDE)] * 4,
            )
            for start in _STARTS
        ),
        key=lambda result: float(result.fun),
    )
    a, s, v, c = unit * np.exp(found.x) * (found.x > -_WIDE + 1.0)  # near the bound: zero
    return BlendComponents(float(a), float(s), float(v * typical), float(c))


@dataclass(frozen=True, slots=True)
class MixtureShares:
    """Shares of own probabilities in mixtures with those of the parent."""

    limit: float  # of a group with endless rows
    half: float  # number of rows with which the share is half of that

    def share(self, n_rows: FloatArray) -> FloatArray:
        """Return the share that the own probabilities of groups get, (n_groups,), from 0 to 1."""
        return np.asarray(self.limit * n_rows / (n_rows + self.half))


def mixture_shares(
    own: FloatArray, parent: FloatArray, weights: FloatArray, n_rows: FloatArray
) -> MixtureShares:
    """Estimate the shares by maximum likelihood, from probabilities of what came true, (n,) each.

    They are of rows outside the fits; the own models were fitted to `n_rows`, (n,). The share is
    zero where a mixture is not better than the parent alone by what its parameters may feign, or
    by what single rows may.
    """
    none = MixtureShares(0.0, 1.0)
    if not len(own):
        return none
    typical = float(np.average(n_rows, weights=weights))
    base = np.maximum(parent, _LEAST_PROBABILITY)
    change = (own - parent) / base

    def gains(place: FloatArray) -> FloatArray:
        limit, half = special.expit(place[0]), _LEAST_HALF + typical * np.exp(place[1])
        mixed = 1.0 + MixtureShares(limit, half).share(n_rows) * change
        return np.log(np.maximum(mixed, _LEAST_PROBABILITY))

    def loss(place: FloatArray) -> float:
        return -float(weights @ gains(place))

    found = min(
        (
            minimize(
                loss,
                np.array(start),
                method="L-BFGS-B",
                bounds=[(-_FARTHEST_LOG, _FARTHEST_LOG)] * 2,
            )
            for start in _MIXTURE_STARTS
        ),
        key=lambda result: float(result.fun),
    )
    error = float(np.sqrt(weights @ np.minimum(gains(found.x), _CERTAIN_GAIN) ** 2))
    if not -2.0 * found.fun > max(_MIXTURE_COST, 2.0 * _SURE_GAIN * error):
        return none
    limit, half = special.expit(found.x[0]), _LEAST_HALF + typical * np.exp(found.x[1])
    return MixtureShares(float(limit), float(half))
