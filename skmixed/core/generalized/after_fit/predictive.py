"""Quantiles of responses whose linear predictor is not known for certain.

A response is a mixture: eta is normal, and given eta the response is of its family. With F the
distribution function given eta, which falls with it, that of the mixture is the mean of F over eta.
F goes from one to zero within an interval of eta, which may be much shorter than the deviation of
eta or much longer: the mean is a normal probability below that interval, and a Gauss-Legendre rule
over what it has in common with the range of eta.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import special

from skmixed.core.families.family import MeanFamily
from skmixed.core.linalg import FloatArray, IntArray

_REACH_OF_ETA = 8.5  # deviations: the probability beyond is below rounding
_CERTAIN = 1e-9  # probability from which F counts as one or zero
_HALVINGS = 12  # of the range of eta, to find where F changes: 1/500 of a deviation is left
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(48)  # F errs by 1e-8 then
_ETAS_AT_ONCE = 2**14  # at which F is computed together: of few rows the calls would take longest
_LEAST_DEVIATION = 1e-10  # in place of zero
_LARGEST_PREDICTOR = 700.0  # beyond it exp has no number
_LEAST_GAP = 1e-9  # of a logarithm: a quantile has as many digits
_SAME_SCORE = 1e-8  # of normal quantiles: F itself errs by as much
_MOST_SEARCHED = 200  # steps of a search; every second one halves what is left


@dataclass(frozen=True, slots=True, eq=False)
class Mixture:
    """Responses of rows, eta being normal."""

    family: MeanFamily
    phi: FloatArray  # (m,)
    center: FloatArray  # (n,), mean of eta
    deviation: FloatArray  # (n,), its standard deviation
    sizes: FloatArray | None  # (n,), numbers of trials or exposures

    def quantiles(self, probability: float) -> FloatArray:
        """Return the least response up to which the probability is at least as given, (n,).

        NaN where eta is.
        """
        steps = self.family.steps(len(self.center), self.sizes)
        found = np.full(len(self.center), np.nan)
        known = np.flatnonzero(np.isfinite(self.center) & np.isfinite(self.deviation))
        if len(known):
            of_known = None if steps is None else steps[known]
            found[known] = _Search(self._taken(known), probability, of_known).run()
        return found

    def cdf(self, y: FloatArray) -> FloatArray:
        """Return the probability of a response of at most y, (n,)."""
        deviation = np.maximum(self.deviation, _LEAST_DEVIATION)
        low, high = self._change(y, deviation)
        middle, half = 0.5 * (low + high), 0.5 * (high - low)
        total = special.ndtr((low - self.center) / deviation)
        share = half / (np.sqrt(2.0 * np.pi) * deviation)
        at_once = max(1, _ETAS_AT_ONCE // len(y))
        for start in range(0, len(_NODES), at_once):
            nodes, weights = _NODES[start:][:at_once], _NODE_WEIGHTS[start:][:at_once]
            eta = middle + half * nodes[:, None]
            density = np.exp(-0.5 * np.square((eta - self.center) / deviation))
            total += share * (weights @ (density * self._given(eta, y)))
        return np.asarray(np.clip(total, 0.0, 1.0))

    def _given(self, eta: FloatArray, y: FloatArray) -> FloatArray:
        """Return F of y, (n,), at eta, (n,) or (m, n)."""
        flat = np.clip(eta, -_LARGEST_PREDICTOR, _LARGEST_PREDICTOR).ravel()
        times = len(flat) // len(y)
        sizes = None if self.sizes is None else np.tile(self.sizes, times)
        return self.family.cdf(np.tile(y, times), flat, sizes, self.phi).reshape(eta.shape)

    def _change(self, y: FloatArray, deviation: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the ends of the part of the range of eta where F is neither one nor zero."""
        ends = self.center - _REACH_OF_ETA * deviation, self.center + _REACH_OF_ETA * deviation
        found = []
        for end, bound in enumerate((1.0 - _CERTAIN, _CERTAIN)):
            low, high = ends
            for _ in range(_HALVINGS):
                middle = 0.5 * (low + high)
                is_below = self._given(middle, y) >= bound
                low, high = np.where(is_below, middle, low), np.where(is_below, high, middle)
            found.append((low, high)[end])
        return found[0], found[1]

    def _taken(self, rows: IntArray) -> Mixture:
        sizes = None if self.sizes is None else self.sizes[rows]
        return Mixture(self.family, self.phi, self.center[rows], self.deviation[rows], sizes)


@dataclass(frozen=True, slots=True, eq=False)
class _Search:
    """A quantile by bisection, every second step by the secant of the normal quantiles of F.

    The place is the number of steps, rounded up, of responses that lie on a lattice, and the
    logarithm of others.
    """

    mixture: Mixture
    probability: float
    steps: FloatArray | None  # (n,), of the lattice

    def run(self) -> FloatArray:
        """Return the quantiles, (n,)."""
        gap = _LEAST_GAP if self.steps is None else 1.0
        low, high = self._bracket()
        score = special.ndtri(self.probability)
        below, above = self._score(low), self._score(high)
        for step in range(_MOST_SEARCHED):
            open_rows = np.flatnonzero(high - low > gap)
            if not len(open_rows):
                break
            left, right = low[open_rows], high[open_rows]
            share = np.full(len(open_rows), 0.5)
            if step % 2 == 0:
                with np.errstate(invalid="ignore", divide="ignore"):
                    secant = (score - below[open_rows]) / (above[open_rows] - below[open_rows])
                share = np.where(np.isfinite(secant), np.clip(secant, 0.001, 0.999), 0.5)
            place = left + share * (right - left)
            if self.steps is not None:
                place = np.clip(np.round(place), left + 1.0, right - 1.0)
            value = self._score(place, open_rows)
            is_low = value < score
            if self.steps is None:
                found = np.abs(value - score) < _SAME_SCORE
                left, right = np.where(found, place, left), np.where(found, place, right)
            low[open_rows], below[open_rows] = (
                np.where(is_low, place, left),
                np.where(is_low, value, below[open_rows]),
            )
            high[open_rows], above[open_rows] = (
                np.where(is_low, right, place),
                np.where(is_low, above[open_rows], value),
            )
        return self._response(high)

    def _bracket(self) -> tuple[FloatArray, FloatArray]:
        """Return places below and at or above the quantile, (n,) each."""
        mixture, score = self.mixture, special.ndtri(self.probability)
        mean = mixture.family.mean(mixture.center + score * mixture.deviation)
        if self.steps is not None:
            low, high = np.full(len(mean), -1.0), np.ceil(mean / self.steps)
            width = np.maximum(1.0, np.round(0.1 * high))
        else:
            high = np.log(mean)
            width = np.maximum(mixture.deviation, _LEAST_DEVIATION)
            low = high - width
        for _ in range(_MOST_SEARCHED):
            short = self._score(high) < score
            if not short.any():
                break
            low, high = np.where(short, high, low), np.where(short, high + width, high)
            width = np.where(short, 2.0 * width, width)
        if self.steps is None:
            width = high - low
            for _ in range(_MOST_SEARCHED):
                long = self._score(low) >= score
                if not long.any():
                    break
                low, high = np.where(long, low - width, low), np.where(long, low, high)
                width = np.where(long, 2.0 * width, width)
        return low, high

    def _score(self, place: FloatArray, rows: IntArray | None = None) -> FloatArray:
        """Return the normal quantile of the probability up to a place, of all rows or some."""
        mixture = self.mixture if rows is None else self.mixture._taken(rows)
        return np.asarray(special.ndtri(mixture.cdf(self._response(place, rows))))

    def _response(self, place: FloatArray, rows: IntArray | None = None) -> FloatArray:
        if self.steps is None:
            return np.exp(place)
        return place * (self.steps if rows is None else self.steps[rows])
