"""Categories in an order, by the probabilities of the lowest ones: cumulative link models.

With thresholds 0 = a_1 < a_2 < ... < a_{J-1}, P(y <= j) = F(a_{j+1} - eta) for categories 0 to J-1.
The first threshold is zero since the model has an intercept, and the J - 2 gaps between them are
log(1 + exp(phi)): positive, and linear where they are wide, as coefficients are that grow with
them. A response is an interval of the latent distribution: with u and l its ends less eta,
f = -log(F(u) - F(l)), in eta log-concave for every F here.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar, NamedTuple, Self

import numpy as np
from scipy import special

from skmixed.core.families.binomial import log_hit
from skmixed.core.families.family import (
    Family,
    PhiSlopes,
    gaussian_mean,
    logistic,
    require,
    softplus,
    total,
    weighted,
)
from skmixed.core.linalg import BoolArray, FloatArray, IntArray

_LOGISTIC_HALVES = 18  # nodes a half deviation: the logistic has a pole at i pi
_GUMBEL_HALVES = 36  # the same at half the distance, where exp(-exp(x)) begins to grow
_LARGEST_END = 700.0  # beyond, exp has no number
_LEAST_SHARE_OF_ROWS = 1e-3  # for a start: an empty category has no finite thresholds


class Interval(NamedTuple):
    """The intervals of rows, their ends less eta, (n,) each; 0 stands for an infinite end."""

    category: IntArray
    upper: FloatArray
    lower: FloatArray
    has_upper: BoolArray
    has_lower: BoolArray


@dataclass(frozen=True, slots=True)
class Cumulative(Family):
    """What the links have in common; `first` has phi to begin with."""

    first: tuple[float, ...] = ()  # (J - 2,)
    categories: tuple[str, ...] = ()  # (J,), what they are called; numbers if nobody says so

    name: ClassVar[str] = "ordinal"

    @classmethod
    def of_shares(cls, counts: FloatArray, categories: tuple[str, ...] = ()) -> Self:
        """Begin with thresholds at which the categories have the counts, (J,), that rows have."""
        shares = counts / counts.sum() + _LEAST_SHARE_OF_ROWS
        below = np.cumsum(shares / shares.sum())[:-1]
        gaps = np.diff(cls().quantile(below))
        return cls(tuple((gaps + np.log(-np.expm1(-gaps))).tolist()), categories)

    @property
    def n_dispersions(self) -> int:
        """Number of gaps between thresholds."""
        return len(self.first)

    @property
    def first_phi(self) -> FloatArray:
        """Phi to begin with."""
        return np.array(self.first)

    @property
    def category_names(self) -> tuple[str, ...]:
        """Names of the categories, (J,)."""
        return self.categories or tuple(str(number) for number in range(len(self.first) + 2))

    @property
    def threshold_names(self) -> list[str]:
        """Names of the thresholds, (J - 1,), as "low|high"."""
        names = self.category_names
        return [f"{low}|{high}" for low, high in pairwise(names)]

    @staticmethod
    def thresholds(phi: FloatArray) -> FloatArray:
        """Return all thresholds, (J - 1,), the first of which is zero."""
        return np.concatenate([[0.0], np.cumsum(softplus(phi))])

    @staticmethod
    def threshold_moves(phi: FloatArray, phi_move: FloatArray) -> FloatArray:
        """Return how far all thresholds go, (J - 1,), with a move of phi."""
        return np.concatenate([[0.0], np.cumsum(logistic(phi) * phi_move)])

    def check(self, y: FloatArray, weights: FloatArray | None) -> None:
        """Raise ValueError if a response is no number of a category."""
        known = (y >= 0.0) & (y <= len(self.first) + 1.0) & (y == np.floor(y))
        require(known, y, f"categories are numbered from 0 to {len(self.first) + 1}")

    def intervals(self, eta: FloatArray, y: FloatArray, phi: FloatArray) -> Interval:
        """Return the interval of every row."""
        category, ends = y.astype(np.intp), self.thresholds(phi)
        has_upper, has_lower = category < len(ends), category > 0
        upper = ends[np.minimum(category, len(ends) - 1)] - eta
        lower = ends[np.maximum(category - 1, 0)] - eta
        return Interval(
            category,
            np.where(has_upper, upper, 0.0),
            np.where(has_lower, lower, 0.0),
            has_upper,
            has_lower,
        )

    # --- the latent distribution --------------------------------------------------------------

    @abstractmethod
    def quantile(self, share: FloatArray) -> FloatArray:
        """Return the quantiles of shares."""

    @abstractmethod
    def log_cdf(self, x: FloatArray) -> FloatArray:
        """Return log F."""

    @abstractmethod
    def log_survival(self, x: FloatArray) -> FloatArray:
        """Return log(1 - F)."""

    @abstractmethod
    def integrated(self, function_of: str, center: FloatArray, variance: FloatArray) -> FloatArray:
        """Return the mean of F ("cdf") or 1 - F ("survival") of normal x, (n,) each."""

    # --- densities ----------------------------------------------------------------------------

    def constant(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> float:
        """Return zero: all of f depends on eta."""
        return 0.0

    def by_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> PhiSlopes:
        """Return the derivatives in phi, which move all thresholds above a gap."""
        at = self.intervals(eta, y, phi)
        upper, lower = self._by_ends(at, phi)
        places = np.arange(1, len(phi) + 1)[:, None]
        moves_upper, moves_lower = at.category >= places, at.category > places
        rates, slopes = logistic(phi)[:, None], []
        for of_upper, of_lower in zip(upper, lower, strict=True):
            (both,) = weighted(
                (rates * (moves_upper * of_upper + moves_lower * of_lower),), weights
            )
            slopes.append(both)
        return slopes[0], slopes[1], slopes[2]

    @abstractmethod
    def _by_ends(
        self, at: Interval, phi: FloatArray
    ) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, ...]]:
        """Return the derivatives of -log density, f' and f'' in the upper and the lower ends."""

    @abstractmethod
    def _between(self, at: Interval, phi: FloatArray) -> FloatArray:
        """Return the second derivative of -log density in both ends, (n,), 0 at infinity."""

    def curvature_in_phi(
        self, eta: FloatArray, y: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return second derivatives in phi; those in an end follow from f', which moves both."""
        at = self.intervals(eta, y, phi)
        (f_upper, g_upper, _), (f_lower, g_lower, _) = self._by_ends(at, phi)
        both = self._between(at, phi)
        each = weighted((f_upper, f_lower, -g_upper - both, -g_lower - both, both), weights)
        sums = [np.bincount(at.category, one, minlength=len(phi) + 2) for one in each]
        # over the categories whose upper end a gap moves, those from its own on; lower ends follow
        upper, lower, upper_twice, lower_twice, crossed = [
            np.cumsum(one[::-1])[::-1] for one in sums
        ]
        places = np.arange(1, len(phi) + 1)
        last, first = np.maximum.outer(places, places), np.minimum.outer(places, places)
        moved = upper_twice[last] + lower_twice[last + 1] + crossed[last + 1]
        moved += crossed[np.where(first < last, last, last + 1)]
        rates = logistic(phi)
        slope = upper[places] + lower[places + 1]
        return np.asarray(np.outer(rates, rates) * moved + np.diag(rates * (1.0 - rates) * slope))

    def start(self, y: FloatArray, weights: FloatArray | None) -> FloatArray:
        """Return the middle of the interval of every row, one beyond the last threshold."""
        ends = self.thresholds(self.first_phi)
        middles = np.concatenate([[-1.0], 0.5 * (ends[1:] + ends[:-1]), [ends[-1] + 1.0]])
        return np.asarray(middles[y.astype(np.intp)])

    # --- responses ----------------------------------------------------------------------------

    def probabilities(
        self, center: FloatArray, variance: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of every category, (n, J), small ones to their digits.

        With a variance eta is normal about the center, (n,), and they are averaged.
        """
        ends = self.thresholds(phi)[:, None] - center
        below = self._averaged("cdf", ends, variance)
        above = self._averaged("survival", ends, variance)
        first, last = below[:1], above[-1:]
        # between two ends by the tail in which both are small
        middle = np.where(below[1:] < above[:-1], below[1:] - below[:-1], above[:-1] - above[1:])
        return np.concatenate([first, np.maximum(middle, 0.0), last]).T

    def _averaged(
        self, function_of: str, ends: FloatArray, variance: FloatArray | None
    ) -> FloatArray:
        if variance is None:
            log = self.log_cdf(ends) if function_of == "cdf" else self.log_survival(ends)
            return np.exp(log)
        return np.stack([self.integrated(function_of, x, variance) for x in ends])

    def draw(
        self,
        eta: FloatArray,
        weights: FloatArray | None,
        phi: FloatArray,
        generator: np.random.Generator,
    ) -> FloatArray:
        """Return the numbers of random categories; a weight counts rows of the same one."""
        latent = eta + self.quantile(generator.random(len(eta)))
        return np.searchsorted(self.thresholds(phi), latent, side="left").astype(np.float64)

    def cdf(
        self, y: FloatArray, eta: FloatArray, weights: FloatArray | None, phi: FloatArray
    ) -> FloatArray:
        """Return the probability of a category of at most y."""
        ends = self.thresholds(phi)
        category = np.floor(y).astype(np.intp)
        inside = np.clip(category, 0, len(ends) - 1)
        below = np.exp(self.log_cdf(ends[inside] - eta))
        return np.where(category < 0, 0.0, np.where(category >= len(ends), 1.0, below))

    def steps(self, n: int, sizes: FloatArray | None) -> FloatArray:
        """Return ones: categories are numbered."""
        return np.ones(n)

    def ways_out(self, y: FloatArray) -> FloatArray:
        """Return -1 for the lowest category and 1 for the highest."""
        highest = len(self.first) + 1.0
        return np.where(y == highest, 1.0, np.where(y == 0.0, -1.0, 0.0))

    def tells_only_side(self, y: FloatArray) -> bool:
        """Tell that they do: every category is an interval."""
        return True

    def has_maximum(self, y: FloatArray) -> bool:
        """Tell whether both ends occur: else a threshold is infinite."""
        return bool((y == 0.0).any() and (y == len(self.first) + 1.0).any())

    def opposition(
        self, y: FloatArray, move: FloatArray, phi: FloatArray, phi_move: FloatArray
    ) -> FloatArray:
        """Return how far the nearer end of an interval comes towards eta, (n,)."""
        ends = np.concatenate([[-np.inf], self.threshold_moves(phi, phi_move), [np.inf]])
        category = y.astype(np.intp)
        return np.asarray(np.maximum(move - ends[category + 1], ends[category] - move))

    def phi_beside(self, phi: FloatArray) -> FloatArray:
        """Return the move that doubles the gaps."""
        return softplus(phi) / logistic(phi)


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

    def constant(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> float:
        """Return minus the sum of log(1 - exp(l - u))."""
        free = np.concatenate([[0.0], -np.log(-np.expm1(-softplus(phi))), [0.0]])
        return total(free[y.astype(np.intp)], weights)

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
