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

from skmixed.core.families.family import (
    Family,
    PhiSlopes,
    logistic,
    require,
    softplus,
    weighted,
)
from skmixed.core.linalg import BoolArray, FloatArray, IntArray

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

    def constants(self, y: FloatArray, weights: FloatArray | None, phi: FloatArray) -> FloatArray:
        """Return zeros: all of f depends on eta."""
        return np.zeros(len(y))

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
