"""Correlations of the rows of a series that have one parameter: AR(1), in continuous time, shared.

For neighbours of correlation rho, R^-1 is the identity, and of every two neighbours a and b
rho^2 / (1 - rho^2) (aa' + bb') - rho / (1 - rho^2) (ab' + ba'); log|R| is the sum of
log(1 - rho^2). Of rows that share one correlation r in series of m, R^-1 is I / (1 - r) less
r / ((1 - r) (1 + (m - 1) r)) times the square of the sum of the series.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from scipy.linalg import solve_banded

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_rows import SeriesOrder

ROWS, ENDS, LAGS, SERIES = 0.0, 1.0, 2.0, 3.0  # kinds of tables, first in their keys
_FINEST = 32.0  # median gaps to one: gaps below that do not set the unit of a rate
_SMALL_GAPS, _LARGE_GAPS = 0.1, 1_000.0  # median gaps at which the correlation at one is a number
_START = 0.25  # correlation of neighbours that a search begins from: weak, of the usual sign
_OTHER_START = 0.9  # another: where a random intercept can stand for most of a correlation


_CONSTANT = np.array([1.0, 0.0, 0.0])  # one, with two derivatives


def _through(
    inner: FloatArray,
    value: FloatArray | float,
    slope: FloatArray | float,
    curvature: FloatArray | float,
) -> FloatArray:
    """Return a function of a function, with two derivatives, (3, ...).

    Of the outer one they are given in the inner one, (...).
    """
    return np.array([value, slope * inner[1], curvature * inner[1] ** 2 + slope * inner[2]])


class SeriesCorrelation(ABC):
    """A correlation of the rows of a series with one parameter phi, without bounds."""

    __slots__ = ()

    name: ClassVar[str]
    needs_position: ClassVar[bool] = True
    lower: ClassVar[float] = -1.0  # what the reported value cannot be below
    farthest: ClassVar[float] = 11.0  # of phi: nearer than 3e-5 to a bound it is on its way there

    @abstractmethod
    def resolved(self, distance: FloatArray, counts: FloatArray) -> SeriesCorrelation:
        """Return it for series with `counts` pairs at a gap, or series of a size, (n,) each."""

    @abstractmethod
    def starts(self) -> tuple[float, ...]:
        """Values of phi to begin from."""

    @abstractmethod
    def weights(
        self, phi: float, kind: FloatArray, distance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return what tables are multiplied by, and what a count of theirs adds to log|R|.

        Of tables of rows, (3,), and of other kinds, with gaps or sizes, (m,), twice (3, m): values
        with two derivatives.
        """

    @property
    def parameter(self) -> str:
        """Name of the reported parameter."""
        return self.name

    @abstractmethod
    def value(self, phi: float) -> tuple[float, float]:
        """Return the reported parameter and its derivative."""

    @abstractmethod
    def advice(self, phi: float) -> str:
        """Return what to do about a phi that runs away."""

    @abstractmethod
    def whitened(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        """Return L^-1 times values of sorted rows, (n, m)."""

    @abstractmethod
    def coloured(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        """Return L times values of sorted rows, (n, m)."""


class Neighbours(SeriesCorrelation):
    """A correlation that falls with the gap, so that neighbours alone matter (Markov)."""

    __slots__ = ()

    @abstractmethod
    def rho(self, phi: float, gap: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the correlation at gaps, (3, m), with derivatives, and 1 - rho^2 exactly, (m,)."""

    def weights(
        self, phi: float, kind: FloatArray, distance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        rho, s = self.rho(phi, distance)
        r, is_lag = rho[0], kind == LAGS
        square = r * r
        ends = square, 2.0 * r, 2.0 + 6.0 * square
        lags = -r, -1.0 - square, -2.0 * r * (3.0 + square)
        value, slope, curvature = np.where(is_lag, lags, ends)
        factor = _through(rho, value / s, slope / s**2, curvature / s**3)
        log_det = _through(rho, np.log(s), -2.0 * r / s, -2.0 * (1.0 + square) / s**2)
        return _CONSTANT, factor, log_det * is_lag

    def whitened(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        rho, scale = self._steps(phi, order)
        before = np.zeros_like(values)
        before[1:] = rho[1:, None] * values[:-1]
        return np.asarray((values - before) / scale[:, None])

    def coloured(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        rho, scale = self._steps(phi, order)
        bands = np.ones((2, len(rho)))
        bands[1, :-1] = -rho[1:]
        return np.asarray(solve_banded((1, 0), bands, scale[:, None] * values))

    def advice(self, phi: float) -> str:
        bound = 1 if phi > 0.0 or self.lower == 0.0 else -1
        return (
            f"the correlation {self.name}() of neighbouring residuals runs to {bound}: rows of a "
            "series do not vary about a level of their own. Drop the random effects or fixed "
            "columns that follow every series, or model differences of neighbouring rows"
        )

    def _steps(self, phi: float, order: SeriesOrder) -> tuple[FloatArray, FloatArray]:
        """Return rho to the row before and the deviation given it, of sorted rows, (n,) each."""
        rho, scale = np.zeros(len(order.order)), np.ones(len(order.order))
        change, s = self.rho(phi, order.gaps)
        rho[order.is_next], scale[order.is_next] = change[0], np.sqrt(s)
        return rho, scale


@dataclass(frozen=True, slots=True)
class AR1(Neighbours):
    """Autoregression of the first order over whole numbers; the parameter is the correlation.

    r = tanh(phi / 2).
    """

    name: ClassVar[str] = "ar1"

    def resolved(self, distance: FloatArray, counts: FloatArray) -> AR1:
        return self

    def starts(self) -> tuple[float, ...]:
        return tuple(2.0 * np.arctanh([_START, _OTHER_START, -_OTHER_START]))

    def rho(self, phi: float, gap: FloatArray) -> tuple[FloatArray, FloatArray]:
        r = np.tanh(phi / 2.0)
        s = 1.0 / np.cosh(phi / 2.0) ** 2
        slope, curvature = s / 2.0, -r * s / 2.0
        first = gap * r ** (gap - 1.0)
        second = gap * (gap - 1.0) * r ** np.maximum(gap - 2.0, 0.0)
        change = np.array([r**gap, first * slope, second * slope**2 + first * curvature])
        geometric = -np.expm1(gap * np.log1p(-s)) if s < 1.0 else np.ones(len(gap))
        return change, np.asarray(geometric)

    def value(self, phi: float) -> tuple[float, float]:
        return float(np.tanh(phi / 2.0)), float(0.5 / np.cosh(phi / 2.0) ** 2)


@dataclass(frozen=True, slots=True)
class CAR1(Neighbours):
    """Autoregression in continuous time; the parameter is the correlation at a gap of one.

    rho = s^(2 gap / unit) with s = tanh(phi / 2), so that no correlation, s = 0, is an interior
    point of phi. The unit is the smallest gap. Where times are in a unit in which gaps are tiny or
    huge, so that a correlation at one would be 0 or 1, the parameter is that at the usual gap.
    """

    unit: float = 1.0
    gap: float = 1.0  # at which the correlation is reported

    name: ClassVar[str] = "car1"
    lower: ClassVar[float] = 0.0
    farthest: ClassVar[float] = 14.0  # a correlation over 300,000 smallest gaps

    def resolved(self, distance: FloatArray, counts: FloatArray) -> CAR1:
        order = np.argsort(distance)
        below = np.cumsum(counts[order])
        median = float(distance[order][np.searchsorted(below, below[-1] / 2.0)])
        gap = 1.0 if _SMALL_GAPS < median < _LARGE_GAPS else float(f"{median:.3g}")
        return replace(self, unit=max(float(distance.min()), median / _FINEST), gap=gap)

    def starts(self) -> tuple[float, ...]:
        return 2.0 * np.arctanh(np.sqrt(_START)), 2.0 * np.arctanh(np.sqrt(_OTHER_START))

    def rho(self, phi: float, gap: FloatArray) -> tuple[FloatArray, FloatArray]:
        power = 2.0 * gap / self.unit
        root, s = np.tanh(phi / 2.0), 1.0 / np.cosh(phi / 2.0) ** 2
        if root == 0.0:
            zeros = np.zeros(len(gap))
            return np.array([zeros, zeros, (power == 2.0) * 0.5]), zeros + 1.0
        log_r = 0.5 * np.log1p(-s) * power if s < 1.0 else np.log(abs(root)) * power
        rho = np.exp(log_r)
        slope = power * s / (2.0 * root)  # of log rho
        change = slope**2 - power * s * (root**2 + s / 2.0) / (2.0 * root**2)
        return rho * np.array([np.ones(len(gap)), slope, change]), -np.expm1(2.0 * log_r)

    @property
    def parameter(self) -> str:
        return self.name if self.gap == 1.0 else f"{self.name} at a gap of {self.gap:g}"

    def value(self, phi: float) -> tuple[float, float]:
        change, _ = self.rho(phi, np.array([self.gap]))
        return float(change[0, 0]), float(change[1, 0])


@dataclass(frozen=True, slots=True)
class CompoundSymmetry(SeriesCorrelation):
    """One correlation of all rows of a series, above -1/(m - 1) in series of m rows."""

    largest: float = 2.0  # rows of a series

    name: ClassVar[str] = "cs"
    needs_position: ClassVar[bool] = False

    def resolved(self, distance: FloatArray, counts: FloatArray) -> CompoundSymmetry:
        return replace(self, largest=float(distance.max()))

    @property
    def least(self) -> float:
        """The correlation that is not reached."""
        return -1.0 / (self.largest - 1.0)

    def starts(self) -> tuple[float, ...]:
        share = (_START - self.least) / (1.0 - self.least)
        return (float(np.log(share / (1.0 - share))),)

    def _r(self, phi: float) -> tuple[float, float, float]:
        logistic = 1.0 / (1.0 + np.exp(-phi))
        slope = (1.0 - self.least) * logistic * (1.0 - logistic)
        return self.least + (1.0 - self.least) * logistic, slope, slope * (1.0 - 2.0 * logistic)

    def _sides(self, phi: float, size: FloatArray) -> tuple[float, FloatArray]:
        """Return 1 - r and, of series of m rows, 1 + (m - 1) r, (M,), to all digits."""
        a = float((1.0 - self.least) / (1.0 + np.exp(phi)))
        above = self._r(phi)[0] - self.least
        return a, (1.0 + (size - 1.0) * self.least) + (size - 1.0) * above

    def weights(
        self, phi: float, kind: FloatArray, distance: FloatArray
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        r = np.array(self._r(phi))
        a, b = self._sides(phi, distance)
        m, more = distance, distance - 1.0
        rows = _through(r, 1.0 / a, 1.0 / a**2, 2.0 / a**3)
        factor = _through(
            r[:, None],
            -r[0] / (a * b),
            -(1.0 / a**2 + more / b**2) / m,
            -2.0 * (1.0 / a**3 - more**2 / b**3) / m,
        )
        log_det = _through(
            r[:, None],
            more * np.log(a) + np.log(b),
            more / b - more / a,
            -more / a**2 - more**2 / b**2,
        )
        return rows, factor, log_det

    def value(self, phi: float) -> tuple[float, float]:
        r, slope, _ = self._r(phi)
        return float(r), float(slope)

    def advice(self, phi: float) -> str:
        if phi > 0.0:
            return (
                "the correlation cs() of residuals runs to 1: rows of a series do not differ but "
                "by what the model explains. Fit the means of the series"
            )
        return (
            f"the correlation cs() of residuals runs to its lower bound {self.least:.3g}: sums of "
            f"series of {self.largest:.0f} rows do not vary. Drop the fixed columns or random "
            "effects that follow every series, or cs()"
        )

    def whitened(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        return self._spread(phi, order, values, -0.5)

    def coloured(self, phi: float, order: SeriesOrder, values: FloatArray) -> FloatArray:
        return self._spread(phi, order, values, 0.5)

    def _spread(
        self, phi: float, order: SeriesOrder, values: FloatArray, power: float
    ) -> FloatArray:
        """Return a power of R times values of sorted rows, (n, m), which is symmetric."""
        sizes = order.sizes.astype(np.float64)
        a, b = self._sides(phi, sizes)
        means = np.add.reduceat(values, order.starts, axis=0) / sizes[:, None]
        shared = np.repeat(means, order.sizes, axis=0)
        of_means = np.repeat(b**power, order.sizes)[:, None]
        return np.asarray(a**power * (values - shared) + of_means * shared)


CORRELATIONS: dict[str, type[SeriesCorrelation]] = {
    "ar1": AR1,
    "car1": CAR1,
    "cs": CompoundSymmetry,
}
