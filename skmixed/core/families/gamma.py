"""Positive responses whose deviation is proportional to their mean.

With the shape nu = exp(phi), of which 1 / nu is the squared coefficient of variation,
and d = log y - eta, f = nu (exp(d) - 1 - d) + log y + log Gamma(nu) - nu log nu + nu.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from skmixed.core.families.family import PhiSlopes, require, weighted
from skmixed.core.families.log_link import LogLink
from skmixed.core.families.stirling import LARGE_ARGUMENT, stirling, stirling_slope
from skmixed.core.linalg import FloatArray

_LEAST_VARIATION = 1e-4  # squared, to begin with: the search finds less by itself


@dataclass(frozen=True, slots=True)
class GammaFamily(LogLink):
    """The gamma distribution, its shape estimated."""

    name: ClassVar[str] = "gamma"
    n_dispersions: ClassVar[int] = 1
    limit_phi: ClassVar[float | None] = 24.0  # a coefficient of variation of 6e-6: none at all
    has_peak: ClassVar[bool] = True

    def check(self, y: FloatArray, weights: FloatArray | None) -> None:
        """Raise ValueError if a response is not positive."""
        require(y > 0.0, y, "a gamma response is positive")

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives."""
        shape, d = np.exp(phi[0]), np.log(y) - eta
        less = np.expm1(d)
        f, g, w = weighted((shape * (less - d), -shape * less, shape * (less + 1.0)), weights)
        return (f, g, w) if order <= 2 else (f, g, w, -w, w)

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return log y + log Gamma(nu) - nu log nu + nu."""
        return weighted((np.log(y) + _stirling_rest(np.exp(phi[0])),), weights)[0]

    def by_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> PhiSlopes:
        """Return the derivatives in log nu."""
        shape, d = float(np.exp(phi[0])), np.log(y) - eta
        less = np.expm1(d)
        free = _stirling_slope_times(shape)
        f, g, w = weighted(
            (shape * (less - d) + free, -shape * less, shape * (less + 1.0)), weights
        )
        return f[None], g[None], w[None]

    def moment_phi(self, y: FloatArray, eta: FloatArray) -> FloatArray:
        """Return minus the logarithm of the squared coefficient of variation."""
        square = float(np.mean(np.square(y / self.mean(eta) - 1.0)))
        return np.array([-np.log(np.clip(square, _LEAST_VARIATION, 1.0 / _LEAST_VARIATION))])

    def dispersion(self, phi: FloatArray) -> float:
        """Return 1 / nu, the squared coefficient of variation."""
        return float(np.exp(-phi[0]))

    def start(self, y: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Return the logarithm of the response."""
        return np.log(y)

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return that of the logarithm of the response, the trigamma function of nu."""
        return np.full(mean.shape, special.polygamma(1, np.exp(phi[0])))

    def variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return mu^2 / nu."""
        return np.asarray(mean**2 * np.exp(-phi[0]))

    def deviance(self, y: FloatArray, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return 2 (y / mu - 1 - log(y / mu)), for a shape of one."""
        ratio = y / mean
        return np.asarray(2.0 * (ratio - 1.0 - np.log(ratio)))

    def deviance_unit(self, phi: FloatArray) -> float:
        """Return the dispersion, of which the deviance knows nothing."""
        return self.dispersion(phi)

    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return random responses; a weight counts rows of the same response."""
        shape = np.exp(phi[0])
        drawn = generator.gamma(shape, self.mean(eta) / shape)
        # Where the shape is tiny, most would be rounded to zero.
        return np.asarray(np.maximum(drawn, np.finfo(float).tiny))

    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a response of at most y."""
        shape = np.exp(phi[0])
        return np.asarray(special.gammainc(shape, shape * np.maximum(y, 0.0) * np.exp(-eta)))

    def ways_out(self, y: FloatArray) -> FloatArray:
        """Return zeros: every response has its most likely mean."""
        return np.zeros(len(y))


def _stirling_rest(shape: FloatArray) -> FloatArray:
    """Return log Gamma(nu) - nu log nu + nu, by Stirling's series where that would cancel."""
    small, large = np.minimum(shape, LARGE_ARGUMENT), np.maximum(shape, LARGE_ARGUMENT)
    return np.where(
        shape < LARGE_ARGUMENT,
        special.gammaln(small) - small * (np.log(small) - 1.0),
        0.5 * np.log(2.0 * np.pi / large) + stirling(large),
    )


def _stirling_slope_times(shape: float) -> float:
    """Return nu times its derivative."""
    if shape < LARGE_ARGUMENT:
        return float(shape * (special.digamma(shape) - np.log(shape)))
    return float(-0.5 + shape * stirling_slope(shape))
