"""The links of cumulative models: logistic, normal and Gumbel distributions of what is latent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from scipy import special

from skmixed.core.families.binomial import log_hit
from skmixed.core.families.family import gaussian_mean, logistic, softplus, weighted
from skmixed.core.families.ordinal import Cumulative, Interval
from skmixed.core.linalg import FloatArray

_LOGISTIC_HALVES = 18  # nodes a half deviation: the logistic has a pole at i pi
_GUMBEL_HALVES = 36  # the same at half the distance, where exp(-exp(x)) begins to grow
_LARGEST_END = 700.0  # beyond, exp has no number


@dataclass(frozen=True, slots=True)
class CumulativeLogit(Cumulative):
    """Proportional odds: F is logistic.

    F(u) - F(l) = F(u) F(-l) (1 - exp(l - u)), two logistic terms and one free of eta.
    """

    link: ClassVar[str] = "logit"

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f without what is free of eta, and derivatives."""
        at = self.intervals(eta, y, phi)
        p, q = _beyond(at)
        f = at.has_upper * softplus(-at.upper) + at.has_lower * softplus(at.lower)
        above, below = p * (1.0 - p), q * (1.0 - q)
        found: tuple[FloatArray, ...] = (f, p - q, above + below)
        if order > 2:
            third = above * (1.0 - 2.0 * p) - below * (1.0 - 2.0 * q)
            found = (*found, third, above * (1.0 - 6.0 * above) + below * (1.0 - 6.0 * below))
        return weighted(found, weights)

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return -log(1 - exp(l - u))."""
        free = np.concatenate([[0.0], -np.log(-np.expm1(-softplus(phi))), [0.0]])
        return weighted((free[y.astype(np.intp)],), weights)[0]

    def _by_ends(
        self, at: Interval, phi: FloatArray
    ) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        p, q = _beyond(at)
        above, below = p * (1.0 - p), q * (1.0 - q)
        closing = np.concatenate([[0.0], 1.0 / np.exp(phi), [0.0]])[at.category]
        return (
            (-p - closing, -above, -above * (1.0 - 2.0 * p)),
            (q + closing, -below, below * (1.0 - 2.0 * q)),
        )

    def _between(self, at: Interval, phi: FloatArray) -> FloatArray:
        closing = np.concatenate([[0.0], np.exp(-phi) * (1.0 + np.exp(-phi)), [0.0]])
        return -closing[at.category]

    def quantile(self, share: FloatArray) -> FloatArray:
        """Return log odds."""
        return np.asarray(special.logit(share))

    def log_cdf(self, x: FloatArray) -> FloatArray:
        """Return -log(1 + exp(-x))."""
        return -softplus(-x)

    def log_survival(self, x: FloatArray) -> FloatArray:
        """Return -log(1 + exp(x))."""
        return -softplus(x)

    def integrated(self, function_of: str, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean of the logistic function, which has no closed form."""
        sign = 1.0 if function_of == "cdf" else -1.0
        return gaussian_mean(
            lambda x: np.exp(-softplus(-x)), sign * center, variance, _LOGISTIC_HALVES
        )


def _beyond(at: Interval) -> tuple[FloatArray, FloatArray]:
    """Return the probability above the upper end and that below the lower one, (n,) each."""
    return at.has_upper * logistic(-at.upper), at.has_lower * logistic(at.lower)


@dataclass(frozen=True, slots=True)
class CumulativeProbit(Cumulative):
    """F is normal.

    The derivatives are those of F(u) - F(l) in a shift of both ends, over itself.
    """

    link: ClassVar[str] = "probit"

    def _log_probability(self, at: Interval) -> FloatArray:
        """Return log(F(u) - F(l)), (n,), in the tail where the two are small."""
        right = at.has_lower & ((at.lower > 0.0) | ~at.has_upper)
        near = np.where(right, self.log_survival(at.lower), self.log_cdf(at.upper))
        inner = at.has_upper & at.has_lower
        far = np.where(right, self.log_survival(at.upper), self.log_cdf(at.lower))
        with np.errstate(divide="ignore", invalid="ignore"):
            less = np.log(-np.expm1(np.where(inner, far - near, -1.0)))
        return np.asarray(near + np.where(inner, less, 0.0))

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives, from those of F(u) - F(l) over itself."""
        at = self.intervals(eta, y, phi)
        log_p = self._log_probability(at)
        a = self._relative(at, log_p, 2 if order <= 2 else 4)
        found: tuple[FloatArray, ...] = (-log_p, a[0], np.maximum(a[0] ** 2 - a[1], 0.0))
        if order > 2:
            third = a[2] - 3.0 * a[1] * a[0] + 2.0 * a[0] ** 3
            fourth = a[3] - 4.0 * a[2] * a[0] - 3.0 * a[1] ** 2
            fourth += 12.0 * a[1] * a[0] ** 2 - 6.0 * a[0] ** 4
            found = (*found, third, -fourth)
        return weighted(found, weights)

    def _relative(self, at: Interval, log_p: FloatArray, order: int) -> list[FloatArray]:
        """Return derivatives in a shift of both ends of F(u) - F(l), over itself."""
        up, down = self._at_ends(at, log_p)
        above, below = _ratios(at.upper), _ratios(at.lower)
        found = [up - down]
        for s, t in zip(above[: order - 1], below[: order - 1], strict=True):
            found.append(s * up - t * down)
        return found

    def _at_ends(self, at: Interval, log_p: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the density at the ends over the probability, 0 at infinite ones."""
        up = np.exp(np.where(at.has_upper, _log_normal(at.upper) - log_p, -np.inf))
        down = np.exp(np.where(at.has_lower, _log_normal(at.lower) - log_p, -np.inf))
        return up, down

    def _by_ends(
        self, at: Interval, phi: FloatArray
    ) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        """Return the derivatives of -log density, f' and f'' in the upper and the lower ends."""
        log_p = self._log_probability(at)
        up, down = self._at_ends(at, log_p)
        a1, a2 = self._relative(at, log_p, 2)
        found = []
        for x, q in ((at.upper, up), (at.lower, -down)):
            s, c, _ = _ratios(x)
            found.append((-q, q * (s - a1), 2.0 * a1 * q * (s - a1) - q * (c - a2)))
        return found[0], found[1]

    def _between(self, at: Interval, phi: FloatArray) -> FloatArray:
        up, down = self._at_ends(at, self._log_probability(at))
        return -up * down

    def quantile(self, share: FloatArray) -> FloatArray:
        """Return normal quantiles."""
        return np.asarray(special.ndtri(share))

    def log_cdf(self, x: FloatArray) -> FloatArray:
        """Return log Phi(x)."""
        return np.asarray(special.log_ndtr(x))

    def log_survival(self, x: FloatArray) -> FloatArray:
        """Return log Phi(-x)."""
        return np.asarray(special.log_ndtr(-x))

    def integrated(self, function_of: str, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return Phi(m / sqrt(1 + v))."""
        sign = 1.0 if function_of == "cdf" else -1.0
        return np.asarray(special.ndtr(sign * center / np.sqrt(1.0 + variance)))


def _log_normal(x: FloatArray) -> FloatArray:
    """Return the logarithm of the normal density."""
    return np.asarray(-0.5 * x * x - 0.5 * np.log(2.0 * np.pi))


def _ratios(x: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the first three derivatives of the normal density, over the density."""
    square = x * x
    return -x, square - 1.0, x * (3.0 - square)


@dataclass(frozen=True, slots=True)
class CumulativeCloglog(Cumulative):
    """Proportional hazards: F(x) = 1 - exp(-exp(x)).

    f = exp(l) - log(1 - exp(-exp(v))) with exp(v) = exp(u) - exp(l): a miss of one binary response
    of this link, and a hit of another, whose derivatives are those of the binary ones.
    """

    link: ClassVar[str] = "cloglog"

    def derivatives(
        self,
        eta: FloatArray,
        y: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        order: int = 2,
    ) -> tuple[FloatArray, ...]:
        """Return f and derivatives."""
        missed, hit = self._parts(self.intervals(eta, y, phi), phi, order)
        found = [(-1.0) ** n * (missed - up) for n, up in enumerate(hit)]
        return weighted(tuple(found), weights)

    def _parts(
        self, at: Interval, phi: FloatArray, order: int
    ) -> tuple[FloatArray, list[FloatArray]]:
        """Return exp(l), and log(1 - exp(-exp(v))) with its derivatives in v; 0 at infinity."""
        missed = np.where(at.has_lower, np.exp(np.minimum(at.lower, _LARGEST_END)), 0.0)
        share = np.concatenate([[1.0], -np.expm1(-softplus(phi)), [1.0]])[at.category]
        between = np.exp(np.clip(at.upper, -_LARGEST_END, _LARGEST_END)) * share
        return missed, [at.has_upper * up for up in log_hit(between, order)]

    def _by_ends(
        self, at: Interval, phi: FloatArray
    ) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        missed, hit = self._parts(at, phi, 4)
        # derivative of v in u; that in l is one less
        rate = np.concatenate([[1.0], -1.0 / np.expm1(-softplus(phi)), [1.0]])[at.category]
        rest = 1.0 - rate
        return (
            (-hit[1] * rate, hit[2] * rate, -hit[3] * rate),
            (missed - hit[1] * rest, hit[2] * rest - missed, missed - hit[3] * rest),
        )

    def _between(self, at: Interval, phi: FloatArray) -> FloatArray:
        hit = self._parts(at, phi, 2)[1]
        shut = np.exp(-softplus(phi))
        closing = np.concatenate([[0.0], shut / (1.0 - shut) ** 2, [0.0]])[at.category]
        return closing * (hit[2] - hit[1])

    def quantile(self, share: FloatArray) -> FloatArray:
        """Return log(-log(1 - share))."""
        return np.asarray(np.log(-np.log1p(-share)))

    def log_cdf(self, x: FloatArray) -> FloatArray:
        """Return log(1 - exp(-exp(x)))."""
        with np.errstate(divide="ignore"):
            rest = np.log(-np.expm1(-np.exp(np.clip(x, -_LARGEST_END, _LARGEST_END))))
        return np.where(x < -_LARGEST_END, x, rest)

    def log_survival(self, x: FloatArray) -> FloatArray:
        """Return -exp(x)."""
        return -np.exp(np.minimum(x, _LARGEST_END))

    def integrated(self, function_of: str, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean of F or 1 - F, which has no closed form."""
        log = self.log_cdf if function_of == "cdf" else self.log_survival
        return gaussian_mean(lambda x: np.exp(log(x)), center, variance, _GUMBEL_HALVES)


ORDINAL: dict[str, type[Cumulative]] = {
    each.link: each for each in (CumulativeLogit, CumulativeProbit, CumulativeCloglog)
}
"""The families of ordered categories, by their links."""
