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
_START = 0.25  # correlation of neighbours that a search begins from: weak, of the usual sign
_OTHER_START = 0.9  # another: where a random intercept can stand for most of a correlation


@dataclass(frozen=True, slots=True)
class Change:
    """A function of phi at M places, with two derivatives, (M,) each."""

    value: FloatArray  # (M,)
    slope: FloatArray  # (M,), first derivative
    curvature: FloatArray  # (M,), second derivative

    def through(self, outer: Change) -> Change:
        """Return a function of this function, given as it is where this one is."""
        curvature = outer.curvature * self.slope**2 + outer.slope * self.curvature
        return Change(outer.value, outer.slope * self.slope, curvature)


class SeriesCorrelation(ABC):
    """A correlation of the rows of a series with one parameter phi, without bounds."""

    __slots__ = ()

    name: ClassVar[str]
    needs_position: ClassVar[bool] = True
    lower: ClassVar[float] = -1.0  # what the reported value cannot be below

    @abstractmethod
    def resolved(self, distance: FloatArray, counts: FloatArray) -> SeriesCorrelation:
        """Return it for series with `counts` pairs at a gap, or series of a size, (n,) each."""

    @abstractmethod
    def starts(self) -> tuple[float, ...]:
        """Values of phi to begin from."""

    @abstractmethod
    def factor(self, kind: float, phi: float, distance: FloatArray) -> Change:
        """Return what tables of a kind are multiplied by, given gaps or sizes, (M,)."""

    @abstractmethod
    def log_det(self, phi: float, distance: FloatArray) -> Change:
        """Return what a pair at a gap, or a series of a size, (M,), adds to log|R|."""

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
    def rho(self, phi: float, gap: FloatArray) -> tuple[Change, FloatArray]:
        """Return the correlation at gaps, (M,), and 1 - rho^2 to all digits, (M,)."""

    def factor(self, kind: float, phi: float, distance: FloatArray) -> Change:
        if kind == ROWS:
            return Change(np.ones(len(distance)), *np.zeros((2, len(distance))))
        rho, s = self.rho(phi, distance)
        r = rho.value
        if kind == ENDS:
            outer = Change(r * r / s, 2.0 * r / s**2, (2.0 + 6.0 * r * r) / s**3)
        else:
            outer = Change(-r / s, -(1.0 + r * r) / s**2, -2.0 * r * (3.0 + r * r) / s**3)
        return rho.through(outer)

    def log_det(self, phi: float, distance: FloatArray) -> Change:
        rho, s = self.rho(phi, distance)
        r = rho.value
        return rho.through(Change(np.log(s), -2.0 * r / s, -2.0 * (1.0 + r * r) / s**2))

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
        rho[order.is_next], scale[order.is_next] = change.value, np.sqrt(s)
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
        return 2.0 * np.arctanh(_START), 2.0 * np.arctanh(_OTHER_START)

    def rho(self, phi: float, gap: FloatArray) -> tuple[Change, FloatArray]:
        r = np.tanh(phi / 2.0)
        s = 1.0 / np.cosh(phi / 2.0) ** 2
        slope, curvature = s / 2.0, -r * s / 2.0
        first = gap * r ** (gap - 1.0)
        second = gap * (gap - 1.0) * r ** np.maximum(gap - 2.0, 0.0)
        change = Change(r**gap, first * slope, second * slope**2 + first * curvature)
        geometric = -np.expm1(gap * np.log1p(-s)) if s < 1.0 else np.ones(len(gap))
        return change, np.asarray(geometric)

    def value(self, phi: float) -> tuple[float, float]:
        return float(np.tanh(phi / 2.0)), float(0.5 / np.cosh(phi / 2.0) ** 2)


@dataclass(frozen=True, slots=True)
class CAR1(Neighbours):
    """Autoregression in continuous time; the parameter is the correlation at a gap of one.

    rho = s^(2 gap / unit) with s = tanh(phi / 2), so that no correlation, s = 0, is an interior
    point of phi. The unit is the smallest gap.
    """

    unit: float = 1.0

    name: ClassVar[str] = "car1"
    lower: ClassVar[float] = 0.0

    def resolved(self, distance: FloatArray, counts: FloatArray) -> CAR1:
        order = np.argsort(distance)
        below = np.cumsum(counts[order])
        median = float(distance[order][np.searchsorted(below, below[-1] / 2.0)])
        return replace(self, unit=max(float(distance.min()), median / _FINEST))

    def starts(self) -> tuple[float, ...]:
        return 2.0 * np.arctanh(np.sqrt(_START)), 2.0 * np.arctanh(np.sqrt(_OTHER_START))

    def rho(self, phi: float, gap: FloatArray) -> tuple[Change, FloatArray]:
        power = 2.0 * gap / self.unit
        root, s = np.tanh(phi / 2.0), 1.0 / np.cosh(phi / 2.0) ** 2
        if root == 0.0:
            zeros = np.zeros(len(gap))
            return Change(zeros, zeros, zeros + (power == 2.0) * 0.5), zeros + 1.0
        log_r = 0.5 * np.log1p(-s) * power if s < 1.0 else np.log(abs(root)) * power
        rho = np.exp(log_r)
        slope = power * s / (2.0 * root)  # of log rho
        change = slope**2 - power * s * (root**2 + s / 2.0) / (2.0 * root**2)
        return Change(rho, rho * slope, rho * change), np.asarray(-np.expm1(2.0 * log_r))

    def value(self, phi: float) -> tuple[float, float]:
        change, _ = self.rho(phi, np.ones(1))
        return float(change.value[0]), float(change.slope[0])


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

    def _sides(self, phi: float, size: FloatArray) -> tuple[Change, FloatArray, FloatArray]:
        """Return r, 1 - r and 1 + (m - 1) r of series of m rows, (M,), to all digits."""
        r, slope, curvature = self._r(phi)
        ones = np.ones(len(size))
        a = ones * (1.0 - self.least) / (1.0 + np.exp(phi))
        b = (1.0 + (size - 1.0) * self.least) + (size - 1.0) * (r - self.least)
        return Change(r * ones, slope * ones, curvature * ones), a, b

    def factor(self, kind: float, phi: float, distance: FloatArray) -> Change:
        r, a, b = self._sides(phi, distance)
        if kind == ROWS:
            return r.through(Change(1.0 / a, 1.0 / a**2, 2.0 / a**3))
        more, m = distance - 1.0, distance
        outer = Change(
            -r.value / (a * b),
            -(1.0 / a**2 + more / b**2) / m,
            -2.0 * (1.0 / a**3 - more**2 / b**3) / m,
        )
        return r.through(outer)

    def log_det(self, phi: float, distance: FloatArray) -> Change:
        r, a, b = self._sides(phi, distance)
        more = distance - 1.0
        outer = Change(
            more * np.log(a) + np.log(b),
            more / b - more / a,
            -more / a**2 - more**2 / b**2,
        )
        return r.through(outer)

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
        _, a, b = self._sides(phi, sizes)
        means = np.add.reduceat(values, order.starts, axis=0) / sizes[:, None]
        shared = np.repeat(means, order.sizes, axis=0)
        weights = [np.repeat(side**power, order.sizes)[:, None] for side in (a, b)]
        return np.asarray(weights[0] * (values - shared) + weights[1] * shared)


CORRELATIONS: dict[str, type[SeriesCorrelation]] = {
    "ar1": AR1,
    "car1": CAR1,
    "cs": CompoundSymmetry,
}
