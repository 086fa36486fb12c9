"""Coefficients and random effects at given variances, and their averages over many of these.

At given phi all are normal; over phi, means are averages of means, and variances are averages of
variances and the variance of means (Rao-Blackwell), with far less Monte Carlo error than draws.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
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
        so_far = AverageSoFar()
        for weight, (mean, covariance) in zip(weights, moments, strict=True):
            so_far.add(float(weight), mean, covariance)
        return so_far.average()


class AverageSoFar:
    """Weighted sums of means, about the first, and of covariances, to which others are added."""

    def __init__(self) -> None:
        self._is_empty = True

    def add(self, weight: float, mean: FloatArray, covariance: FloatArray) -> None:
        """Add a mean, (..., m), and a covariance, (..., m, m)."""
        if self._is_empty:
            self._is_empty, self._origin = False, mean
            self._first, self._sums = np.zeros(mean.shape), np.zeros((3, *mean.shape))
            self._second, self._within = np.zeros(covariance.shape), np.zeros(covariance.shape)
        apart = mean - self._origin
        self._first += weight * apart
        self._second += weight * (apart[..., :, None] * apart[..., None, :])
        self._sums[0] += weight**2
        self._sums[1] += weight**2 * apart
        self._sums[2] += weight**2 * apart**2
        self._within += weight * covariance

    def average(self) -> Average:
        """Return the average by weights of sum one."""
        first, sums = self._first, self._sums
        between = self._second - first[..., :, None] * first[..., None, :]
        squares = sums[2] - 2.0 * first * sums[1] + first**2 * sums[0]
        error = np.sqrt(np.maximum(squares, 0.0))
        return Average(self._origin + first, self._within + between, error)
