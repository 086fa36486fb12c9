"""The integral of a density of which there are draws, by a bridge to one that is known.

Half of the draws tell where the other density is to lie, and the ratio of both integrals is that of
means over the other half and over draws of its own (Meng & Wong 1996, Statistica Sinica 6, 831-860,
equation 4.1; its error: Fruehwirth-Schnatter 2004, doi:10.1111/j.1368-423X.2004.00125.x).
"""

from __future__ import annotations

import math

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.density_modes import Target
from skmixed.core.posterior.mixing import effective_draws
from skmixed.core.posterior.t_mixture import TMixture, weighted_moments

_BRIDGE_DEGREES = 30.0  # of freedom of the known density, nearly normal: others miss the target
_BRIDGE_STEPS = 1_000  # of the iteration at most; some ten are taken
_BRIDGE_TOLERANCE = 1e-10  # of the log of the integral between two steps


def bridged_integral(
    target: Target, points: FloatArray, values: FloatArray, generator: np.random.Generator
) -> tuple[float, float]:
    """Return the log of an integral and its standard error.

    `points`, (C, n, d), are draws of chains with log densities, (C, n).
    """
    half, d = points.shape[1] // 2, points.shape[2]
    first, second = points[:, :half].reshape(-1, d), points[:, half:]
    mean, covariance = weighted_moments(first, np.full(len(first), 1.0 / len(first)))
    known = TMixture(np.ones(1), mean[None], covariance[None], np.array([_BRIDGE_DEGREES]))
    own = known.draw(second.shape[0] * second.shape[1], generator)
    ratios = values[:, half:] - known.log_density(second.reshape(-1, d)).reshape(len(second), -1)
    others = target(own)[0] - known.log_density(own)
    worth = float(np.minimum(effective_draws(second).mean(), ratios.size))
    return _bridged(ratios, others, worth)


def _bridged(ratios: FloatArray, others: FloatArray, worth: float) -> tuple[float, float]:
    """Return log integral and error, given log ratios of densities.

    `ratios`, (C, n), are those at draws of the target, worth so many independent ones, `others`,
    (m,), at draws of the known density.
    """
    share = worth / (worth + len(others))
    middle = float(np.median(ratios))
    drawn, own = np.exp(ratios.ravel() - middle), np.exp(others - middle)
    integral = 1.0
    for _ in range(_BRIDGE_STEPS):
        up = (own / (share * own + (1.0 - share) * integral)).mean()
        down = (1.0 / (share * drawn + (1.0 - share) * integral)).mean()
        last, integral = integral, float(up / down)
        if abs(math.log(integral / last)) < _BRIDGE_TOLERANCE:
            break
    of_own = own / integral / (share * own / integral + 1.0 - share)
    of_drawn = 1.0 / (share * drawn / integral + 1.0 - share)
    squared = of_own.var() / of_own.mean() ** 2 / len(others)
    squared += of_drawn.var() / of_drawn.mean() ** 2 / worth
    return middle + math.log(integral), math.sqrt(squared)
