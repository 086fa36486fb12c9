"""Binary responses and shares of trials, the weights being numbers of trials.

With p the probability, f = -y log p - (1 - y) log(1 - p) for every trial.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from skmixed.core.families.family import (
    MeanFamily,
    gaussian_mean,
    logistic,
    require,
    softplus,
    trials_of,
    weighted,
)
from skmixed.core.linalg import FloatArray

_LOGIT_HALVES = 18  # an error of exp(-2 pi^2 18 / 8.5): the logistic has a pole at i pi
_CLOGLOG_HALVES = 36  # the same at half the distance, where exp(-exp(eta)) begins to grow
_LARGEST_ETA = 700.0  # of the complementary log-log: beyond, exp(eta) has no number
_SMALL = 0.1  # exp(eta) below which a difference of nearly equal numbers is written as a series
_LOGIT_ATTENUATION = 0.46  # of the slope at even odds, to 0.83 by a variance of one
_LEAST_ATTENUATION = 0.5  # of variances: the formula is for small ones
_LEAST_SHARE_OF_TRIAL = 0.5  # added to both outcomes for a start: a share of 0 has a finite link


@dataclass(frozen=True, slots=True)
class Binomial(MeanFamily):
    """What the three links have in common."""

    name: ClassVar[str] = "binomial"
    collapses: ClassVar[bool] = True
    counts_trials: ClassVar[bool] = True
    attenuation: ClassVar[float] = 0.0  # c, if a center m has its mean at m / sqrt(1 + c v)

    def check(self, y: FloatArray, weights: FloatArray | None) -> None:
        """Raise ValueError if a share is not within 0 and 1."""
        what = "a binomial response is 0 or 1, or a share of trials within them"
        require((y >= 0.0) & (y <= 1.0), y, what)

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return minus log binomial coefficients."""
        if weights is None:
            return np.zeros(len(y))
        hits = weights * y
        each = special.gammaln(hits + 1.0) + special.gammaln(weights - hits + 1.0)
        return np.asarray(each - special.gammaln(weights + 1.0))

    def variance_behind(self, variance: float) -> float:
        """Return v / (1 - c v), at most twice v: it is seen by the square of the slope."""
        return variance / max(1.0 - self.attenuation * variance, _LEAST_ATTENUATION)

    def center_behind(self, eta: FloatArray, variance: float) -> FloatArray:
        """Return eta sqrt(1 + c v)."""
        return np.asarray(np.sqrt(1.0 + self.attenuation * variance) * eta)

    def start(self, y: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Return the link of shares with half a hit and half a miss more."""
        trials = trials_of(weights, len(y))
        hits = trials * y + _LEAST_SHARE_OF_TRIAL
        return self.eta_of(hits / (trials + 2.0 * _LEAST_SHARE_OF_TRIAL))

    def variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return that of one trial."""
        return mean * (1.0 - mean)

    def deviance(self, y: FloatArray, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return 2 y log(y / p) + 2 (1 - y) log((1 - y) / (1 - p))."""
        hit, miss = special.rel_entr(y, mean), special.rel_entr(1.0 - y, 1.0 - mean)
        return np.asarray(2.0 * (hit + miss))

    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return random shares; raises ValueError if numbers of trials are not whole."""
        mean = self.mean(eta)
        if weights is None:
            return (generator.random(len(eta)) < mean).astype(np.float64)
        trials = np.round(weights)
        if not np.array_equal(trials, weights):
            raise ValueError("binomial responses are drawn for whole numbers of trials alone")
        return np.asarray(generator.binomial(trials.astype(np.int64), mean) / trials)

    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a share of at most y."""
        trials = trials_of(weights, len(eta))
        hits = np.floor(np.round(trials * y, 9))
        left = trials - hits
        some = (hits >= 0.0) & (left > 0.0)
        below = special.betainc(
            np.where(some, left, 1.0), np.where(some, hits, 0.0) + 1.0, 1.0 - self.mean(eta)
        )
        return np.where(some, below, np.where(hits < 0.0, 0.0, 1.0))

    def sizes(self, y: FloatArray, weights: FloatArray | None) -> FloatArray | None:
        """Return the weights as trials, unless all outcomes are single ones."""
        return None if np.array_equal(y, y > 0.0) else weights

    def steps(self, n: int, sizes: FloatArray | None) -> FloatArray | None:
        """Return the share of one trial."""
        return 1.0 / trials_of(sizes, n)

    def mean_deviation(
        self, center: FloatArray, variance: FloatArray, averaged: FloatArray
    ) -> FloatArray:
        """Return it by squares of deviations from the mean at the center."""
        center, variance, averaged = np.broadcast_arrays(center, variance, averaged)
        middle = self.integrated_mean(center, averaged)

        def square(eta: FloatArray, averaged: FloatArray, middle: FloatArray) -> FloatArray:
            return np.square(self.integrated_mean(eta, averaged) - middle)

        width = np.sqrt(np.maximum(averaged, 1.0))
        beside = (averaged, middle)
        squares = gaussian_mean(square, center, variance, _CLOGLOG_HALVES, *beside, width=width)
        shift = self.integrated_mean(center, variance + averaged) - middle
        return np.sqrt(np.maximum(squares - np.square(shift), 0.0))

    @abstractmethod
    def outcomes(
        self, center: FloatArray, variance: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return the probabilities of a miss and of a hit, (n,) each, small ones to all digits.

        With a variance eta is normal about the center, and they are averaged.
        """

    def tells_only_side(self, y: FloatArray) -> bool:
        """Tell whether all shares are 0 or 1."""
        return bool(((y == 0.0) | (y == 1.0)).all())

    def ways_out(self, y: FloatArray) -> FloatArray:
        """Return 1 where all trials hit, -1 where none does."""
        return np.where(y == 1.0, 1.0, np.where(y == 0.0, -1.0, 0.0))


@dataclass(frozen=True, slots=True)
class Logit(Binomial):
    """The logistic link: log(p / (1 - p)) = eta."""

    link: ClassVar[str] = "logit"
    attenuation: ClassVar[float] = _LOGIT_ATTENUATION

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives, with v = p (1 - p) the second."""
        p = logistic(eta)
        f = softplus(eta)
        f -= y * eta
        v = p * (1.0 - p)
        found: tuple[FloatArray, ...] = (f, p - y, v)
        if order > 2:
            found = (*found, v * (1.0 - 2.0 * p), v * (1.0 - 6.0 * v))
        return weighted(found, weights)

    def losses(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return log(1 + exp(eta)) - y eta."""
        return weighted((softplus(eta) - y * eta,), weights)[0]

    def mean(self, eta: FloatArray) -> FloatArray:
        """Return the probability."""
        return logistic(eta)

    def mean_slope(self, mean: FloatArray) -> FloatArray:
        """Return p (1 - p)."""
        return mean * (1.0 - mean)

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the variance of a logistic variable."""
        return np.full(mean.shape, np.pi**2 / 3.0)

    def eta_of(self, mean: FloatArray) -> FloatArray:
        """Return log(p / (1 - p))."""
        return np.asarray(np.log(mean) - np.log1p(-mean))

    def integrated_mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean of the logistic function, which has no closed form."""
        return gaussian_mean(logistic, center, variance, _LOGIT_HALVES)

    def outcomes(
        self, center: FloatArray, variance: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return both probabilities, the logistic function being exp(-log(1 + exp(-eta)))."""
        both = (-center, center)
        miss, hit = _averaged(lambda eta: np.exp(-softplus(-eta)), both, variance, _LOGIT_HALVES)
        return miss, hit


@dataclass(frozen=True, slots=True)
class Probit(Binomial):
    """The normal link: p = Phi(eta)."""

    link: ClassVar[str] = "probit"
    attenuation: ClassVar[float] = 1.0

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives, from those of log Phi at eta and at -eta."""
        hit, miss = _log_normal_cdf(eta, order), _log_normal_cdf(-eta, order)
        found = tuple(
            -(y * up + (-1.0) ** number * (1.0 - y) * down)
            for number, (up, down) in enumerate(zip(hit, miss, strict=True))
        )
        return weighted(found, weights)

    def mean(self, eta: FloatArray) -> FloatArray:
        """Return the probability."""
        return np.asarray(special.ndtr(eta))

    def mean_slope(self, mean: FloatArray) -> FloatArray:
        """Return the normal density at the quantile."""
        return np.asarray(np.exp(-0.5 * np.square(self.eta_of(mean))) / np.sqrt(2.0 * np.pi))

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the variance of a standard normal variable."""
        return np.ones(mean.shape)

    def eta_of(self, mean: FloatArray) -> FloatArray:
        """Return the normal quantile."""
        return np.asarray(special.ndtri(mean))

    def integrated_mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return Phi(m / sqrt(1 + v))."""
        return np.asarray(special.ndtr(center / np.sqrt(1.0 + variance)))

    def outcomes(
        self, center: FloatArray, variance: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return both probabilities."""
        eta = center if variance is None else center / np.sqrt(1.0 + variance)
        return special.ndtr(-eta), special.ndtr(eta)


def _log_normal_cdf(x: FloatArray, order: int) -> tuple[FloatArray, ...]:
    """Return log Phi(x) and its derivatives, by r = phi(x) / Phi(x)."""
    log_cdf = special.log_ndtr(x)
    r = np.exp(-0.5 * x * x - 0.5 * np.log(2.0 * np.pi) - log_cdf)
    near, far = x + r, x + 2.0 * r
    second = -r * near
    if order <= 2:
        return log_cdf, r, second
    bracket = near * far - 1.0
    slope = (1.0 + second) * far + near * (1.0 + 2.0 * second)
    return log_cdf, r, second, r * bracket, second * bracket + r * slope


@dataclass(frozen=True, slots=True)
class Cloglog(Binomial):
    """The complementary log-log link: p = 1 - exp(-exp(eta))."""

    link: ClassVar[str] = "cloglog"

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives, with e = exp(eta)."""
        e = np.exp(np.clip(eta, -_LARGEST_ETA, _LARGEST_ETA))
        ups = log_hit(e, order)
        miss = (1.0 - y) * e
        return weighted(tuple(miss - y * up for up in ups), weights)

    def mean(self, eta: FloatArray) -> FloatArray:
        """Return the probability."""
        return np.asarray(-np.expm1(-np.exp(np.minimum(eta, _LARGEST_ETA))))

    def mean_slope(self, mean: FloatArray) -> FloatArray:
        """Return -(1 - p) log(1 - p)."""
        return np.asarray(-(1.0 - mean) * np.log1p(-mean))

    def latent_variance(self, mean: FloatArray, phi: FloatArray) -> FloatArray:
        """Return the variance of a Gumbel variable."""
        return np.full(mean.shape, np.pi**2 / 6.0)

    def eta_of(self, mean: FloatArray) -> FloatArray:
        """Return log(-log(1 - p))."""
        return np.asarray(np.log(-np.log1p(-mean)))

    def integrated_mean(self, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean of the inverse link, which has no closed form."""
        return gaussian_mean(self.mean, center, variance, _CLOGLOG_HALVES)

    def outcomes(
        self, center: FloatArray, variance: FloatArray | None = None
    ) -> tuple[FloatArray, FloatArray]:
        """Return both probabilities, exp(-exp(eta)) that of a miss."""
        misses = _averaged(self._miss, (center,), variance, _CLOGLOG_HALVES)
        hits = _averaged(self.mean, (center,), variance, _CLOGLOG_HALVES)
        return misses[0], hits[0]

    @staticmethod
    def _miss(eta: FloatArray) -> FloatArray:
        return np.asarray(np.exp(-np.exp(np.minimum(eta, _LARGEST_ETA))))


def log_hit(e: FloatArray, order: int) -> list[FloatArray]:
    """Return log(1 - exp(-e)) for e = exp(eta) and its derivatives in eta, (n,) each.

    The first is a = e / (exp(e) - 1), and a' = a d for d = 1 - e - a, which needs a series where e
    is small.
    """
    with np.errstate(over="ignore"):
        a = e / np.expm1(e)
    s = np.minimum(e, _SMALL)
    series = -s / 2.0 - s**2 / 12.0 + s**4 / 720.0 - s**6 / 30240.0 + s**8 / 1209600.0
    d = np.where(e < _SMALL, series, 1.0 - e - a)
    ups = [np.log(-np.expm1(-e)), a, a * d]
    if order > 2:
        d1 = -e - ups[2]
        ups.append(ups[2] * d + a * d1)
        d2 = -e - ups[3]
        ups.append(ups[3] * d + 2.0 * ups[2] * d1 + a * d2)
    return ups


def _averaged(
    function: Callable[[FloatArray], FloatArray],
    centers: tuple[FloatArray, ...],
    variance: FloatArray | None,
    halves: int,
) -> tuple[FloatArray, ...]:
    """Return probabilities at centers, (n,) each, or means for normal variables about them."""
    if variance is None:
        return tuple(function(center) for center in centers)
    found = [gaussian_mean(function, center, variance, halves) for center in centers]
    return tuple(np.minimum(mean, 1.0) for mean in found)  # weights add up to one but for rounding
