"""Counts whose variance is their mean.

f = exp(eta) - y eta, so that all derivatives from the second on are exp(eta).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from skmixed.core.families.family import weighted
from skmixed.core.families.log_link import Counts, draw_counts
from skmixed.core.linalg import FloatArray


@dataclass(frozen=True, slots=True)
class Poisson(Counts):
    """The Poisson distribution; rates with weights of exposure have the same estimates."""

    name: ClassVar[str] = "poisson"
    collapses: ClassVar[bool] = True

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives."""
        mean = np.exp(eta)
        f, g, w = weighted((mean - y * eta, mean - y, mean), weights)
        return (f, g, w) if order <= 2 else (f, g, w, w, w)

    def losses(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return exp(eta) - y eta."""
        return weighted((np.exp(eta) - y * eta,), weights)[0]

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return log y!."""
        return weighted((special.gammaln(y + 1.0),), weights)[0]

    def sizes(self, y: FloatArray, weights: FloatArray | None) -> FloatArray | None:
        """Return the weights as exposures, unless all responses are counts."""
        return None if np.array_equal(y, np.round(y)) else weights

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return log(1 + 1 / mu), as if the counts were lognormal."""
        return np.asarray(np.log1p(1.0 / mean))

    def variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the mean."""
        return mean

    def deviance(self, y: FloatArray, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return 2 (y log(y / mu) - y + mu)."""
        return np.asarray(2.0 * special.kl_div(y, mean))

    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return random counts, rates where rows have exposures as weights."""
        if weights is None:
            return draw_counts(self.mean(eta), generator)
        return draw_counts(weights * self.mean(eta), generator) / weights

    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a count of at most y."""
        exposure = 1.0 if weights is None else weights
        counts = np.floor(np.round(exposure * y, 9))
        below = special.pdtr(np.maximum(counts, 0.0), exposure * np.exp(eta))
        return np.where(counts < 0.0, 0.0, below)
