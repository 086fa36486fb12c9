"""What families with the logarithmic link share: log(mean) = eta."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from skmixed.core.families.family import MeanFamily, require, trials_of
from skmixed.core.linalg import FloatArray

_MOST_POISSON = 2.0**53  # mean of counts, from which on not every integer is a number
_COUNT_OF_ZERO = 0.1  # put in the place of a count of zero for a start, which then has a logarithm


@dataclass(frozen=True, slots=True)
class LogLink(MeanFamily):
    """A family of positive means that are exp(eta)."""

    link: ClassVar[str] = "log"

    def mean(self, eta: FloatArray) -> FloatArray:
        """Return exp(eta), infinite where that has no number."""
        with np.errstate(over="ignore"):
            return np.exp(eta)

    def mean_slope(self, mean: FloatArray) -> FloatArray:
        """Return the mean."""
        return mean

    def eta_of(self, mean: FloatArray) -> FloatArray:
        """Return the logarithm."""
        return np.log(mean)

    def variance_behind(self, variance: float) -> float:
        """Return log(1 + v): relative to its mean, exp(eta) has the variance exp(v) - 1."""
        return float(np.log1p(variance))

    def center_behind(self, eta: FloatArray, variance: float) -> FloatArray:
        """Return eta - v / 2."""
        return np.asarray(eta - 0.5 * variance)

    def integrated_mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return exp(m + v / 2)."""
        return self.mean(center + 0.5 * variance)

    def integrated_slope(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the same."""
        return self.integrated_mean(center, variance)

    def variance_weight(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return a half."""
        return np.full(len(center), 0.5)

    def mean_deviation(
        self, center: FloatArray, variance: FloatArray, averaged: FloatArray
    ) -> FloatArray:
        """Return exp(m + (v + a) / 2) sqrt(exp(v) - 1)."""
        with np.errstate(over="ignore"):
            spread = np.sqrt(np.expm1(variance))
        return self.integrated_mean(center, variance + averaged) * spread


@dataclass(frozen=True, slots=True)
class Counts(LogLink):
    """A family of counts."""

    def check(self, y: FloatArray, weights: FloatArray | None) -> None:
        """Raise ValueError if a count is negative."""
        require(y >= 0.0, y, f"a {self.name} response is a count, zero or positive")

    def start(self, y: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Return the logarithm of a tenth more than the count."""
        return np.log(y + _COUNT_OF_ZERO)

    def steps(self, n: int, sizes: FloatArray | None) -> FloatArray | None:
        """Return a count of one, for rates by the exposure."""
        return 1.0 / trials_of(sizes, n)

    def ways_out(self, y: FloatArray) -> FloatArray:
        """Return -1 for a count of zero."""
        return np.where(y == 0.0, -1.0, 0.0)


def draw_counts(mean: FloatArray, generator: np.random.Generator) -> FloatArray:
    """Return Poisson counts, (n,); where they are no exact numbers they are normal."""
    is_exact = mean < _MOST_POISSON
    counts = generator.poisson(np.where(is_exact, mean, 0.0)).astype(np.float64)
    if not is_exact.all():
        large = mean[~is_exact]
        counts[~is_exact] = large + np.sqrt(large) * generator.standard_normal(len(large))
    return counts
