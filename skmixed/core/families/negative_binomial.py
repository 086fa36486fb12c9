"""Counts whose variance is mu + mu^2 / theta, the second kind of negative binomial.

With theta = exp(phi) and x = eta - phi, f = (y + theta) log(1 + exp(x)) - y x + log y! less the
logarithm of theta (theta + 1) ... (theta + y - 1): in eta a binomial response of y + theta trials.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from skmixed.core.families.family import PhiSlopes, logistic, softplus, weighted
from skmixed.core.families.log_link import Counts, draw_counts
from skmixed.core.families.stirling import LARGE_ARGUMENT, stirling, stirling_slope
from skmixed.core.linalg import FloatArray


@dataclass(frozen=True, slots=True)
class NegativeBinomial(Counts):
    """The negative binomial distribution, its theta estimated; Poisson where that is infinite."""

    name: ClassVar[str] = "negative binomial"
    n_dispersions: ClassVar[int] = 1
    limit_phi: ClassVar[float | None] = 20.0  # a variance of mu + 2e-9 mu^2: that of Poisson

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives, with q = mu / (mu + theta)."""
        x, n = eta - phi[0], y + np.exp(phi[0])
        q, rest = _shares(x)
        v = n * q * rest
        found: tuple[FloatArray, ...] = (n * softplus(x) - y * x, n * q - y, v)
        if order > 2:
            found = (*found, v * (1.0 - 2.0 * q), v * (1.0 - 6.0 * q * (1.0 - q)))
        return weighted(found, weights)

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return log y! - log(theta (theta + 1) ... (theta + y - 1))."""
        rising = _log_rising(np.exp(phi[0]), y)
        return weighted((special.gammaln(y + 1.0) - rising,), weights)[0]

    def by_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> PhiSlopes:
        """Return the derivatives in log theta."""
        theta = float(np.exp(phi[0]))
        x, n = eta - phi[0], y + theta
        q, rest = _shares(x)
        v = n * q * rest
        # y is the limit of the rising slope for large theta, and n q of the rest
        slope = theta * softplus(x) - n * q + (y - theta * _rising_slope(theta, y))
        f, g, w = weighted(
            (slope, theta * q - v, theta * q * (1.0 - q) - v * (1.0 - 2.0 * q)), weights
        )
        return f[None], g[None], w[None]

    def moment_phi(self, y: FloatArray, eta: FloatArray) -> FloatArray:
        """Return log theta from the squared residuals beyond the mean."""
        mean = self.mean(eta)
        beyond = float(np.sum(np.square(y - mean) - mean) / np.sum(np.square(mean)))
        return np.array([-np.log(np.clip(beyond, 1.0 / LARGE_ARGUMENT, LARGE_ARGUMENT))])

    def dispersion(self, phi: FloatArray) -> float:
        """Return theta."""
        return float(np.exp(phi[0]))

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the trigamma function of 1 / (1 / mu + 1 / theta), as if the counts were gamma."""
        return np.asarray(special.polygamma(1, 1.0 / (1.0 / mean + np.exp(-phi[0]))))

    def variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return mu + mu^2 / theta."""
        return np.asarray(mean + mean**2 * np.exp(-phi[0]))

    def deviance(self, y: FloatArray, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return 2 (y log(y / mu) - (y + theta) log((y + theta) / (mu + theta)))."""
        theta = np.exp(phi[0])
        ratio = np.log((y + theta) / (mean + theta))
        return np.asarray(2.0 * (special.rel_entr(y, mean) - (y + theta) * ratio))

    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return random counts; a weight counts rows of the same response."""
        theta = np.exp(phi[0])
        means = self.mean(eta) * generator.gamma(theta, 1.0 / theta, len(eta))
        return draw_counts(means, generator)

    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a count of at most y."""
        counts = np.maximum(np.floor(y), 0.0)
        below = special.betainc(np.exp(phi[0]), counts + 1.0, logistic(phi[0] - eta))
        return np.where(y < 0.0, 0.0, below)


def _shares(x: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return the logistic function of x and of -x, (n,) each, the small one to all its digits."""
    small = np.exp(-np.abs(x))
    large = 1.0 / (1.0 + small)
    small *= large
    return np.where(x < 0.0, small, large), np.where(x < 0.0, large, small)


def _log_rising(theta: FloatArray, y: FloatArray) -> FloatArray:
    """Return log(Gamma(theta + y) / Gamma(theta)), (n,), without a difference of large numbers."""
    small, large = np.minimum(theta, LARGE_ARGUMENT), np.maximum(theta, LARGE_ARGUMENT)
    through = (large + y - 0.5) * np.log1p(y / large) - y + stirling(large + y) - stirling(large)
    return np.where(
        theta < LARGE_ARGUMENT,
        special.gammaln(small + y) - special.gammaln(small),
        y * np.log(large) + through,
    )


def _rising_slope(theta: float, y: FloatArray) -> FloatArray:
    """Return its derivative in theta, (n,)."""
    if theta < LARGE_ARGUMENT:
        return np.asarray(special.digamma(theta + y) - special.digamma(theta))
    half = y / (2.0 * theta * (theta + y))
    rest = stirling_slope(theta + y) - stirling_slope(theta)
    return np.asarray(np.log1p(y / theta) + half + rest)
