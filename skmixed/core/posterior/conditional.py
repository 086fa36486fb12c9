"""Coefficients and random effects at given variances, and their averages over many of these.

At given phi all are normal; over phi, means are averages of means, and variances are averages of
variances and the variance of means (Rao-Blackwell), with far less Monte Carlo error than draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit, Posterior
from skmixed.core.linalg import FloatArray

_DRAWN = "the relative covariances were drawn from their posterior"


def posterior_at(
    fit: Fit,
    lambdas: Blocks,
    mean: FloatArray,
    covariance: FloatArray,
    sigma: float,
    data: Fit | None = None,
) -> Posterior:
    """Return what data say of the random effects at one phi, those of the fit or others, `data`.

    `lambdas` are relative, (k, k) of every used factor, `mean`, (p,), and `covariance`, (p, p),
    those of the coefficients of the kept columns, all in raw units.
    """
    data = data or fit
    at = data.moved(data.problem.scaled_lambdas(lambdas), _DRAWN)
    kept, n_fixed = list(fit.kept), len(fit.spec.fixed)
    beta, spread = np.zeros(n_fixed), np.zeros((n_fixed, n_fixed))
    beta[kept] = mean
    spread[np.ix_(kept, kept)] = covariance
    return Posterior(at, beta, spread, sigma**2)


def effect_moments(posterior: Posterior) -> list[tuple[FloatArray, FloatArray]]:
    """Return mean, (n_levels, k), and covariance, (n_levels, k, k), of b given y, of every factor.

    The coefficients are not given, as in `Posterior.conditional_covariance`, but integrated out.
    """
    evaluation, found = posterior.evaluation, []
    spread = posterior.scaled_beta_covariance
    zipped = zip(
        evaluation.problem.model.random_maps,
        evaluation.omegas,
        evaluation.cross,
        posterior.modes,
        strict=True,
    )
    for position, (random_map, omega, cross, mode) in enumerate(zipped):
        k, _, n_levels = cross.shape
        flat = (random_map @ omega) @ cross[:, :-1].reshape(k, -1)
        through = flat.reshape(k, -1, n_levels).transpose(2, 0, 1)
        covariance = posterior.conditional_covariance(position)
        found.append((mode, covariance + through @ spread @ through.transpose(0, 2, 1)))
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Average:
    """Mean and covariance of what is normal at every phi, averaged over phi."""

    mean: FloatArray  # (..., m)
    covariance: FloatArray  # (..., m, m)
    error: FloatArray  # (..., m), Monte Carlo standard error of the mean

    @classmethod
    def of(cls, moments: Iterable[tuple[FloatArray, FloatArray]], weights: FloatArray) -> Average:
        """Average means, (..., m), and covariances, (..., m, m), by weights, (R,), of sum one."""
        pairs = zip(weights, moments, strict=True)
        weight, (origin, covariance) = next(pairs)
        within = weight * covariance
        first, sums = np.zeros(origin.shape), np.zeros((3, *origin.shape))
        second = np.zeros(covariance.shape)
        sums[0] = weight**2
        for weight, (mean, covariance) in pairs:
            apart = mean - origin
            first += weight * apart
            second += weight * (apart[..., :, None] * apart[..., None, :])
            sums += weight**2 * np.stack([np.ones(apart.shape), apart, apart**2])
            within += weight * covariance
        between = second - first[..., :, None] * first[..., None, :]
        squares = sums[2] - 2.0 * first * sums[1] + first**2 * sums[0]
        return cls(origin + first, within + between, np.sqrt(np.maximum(squares, 0.0)))
