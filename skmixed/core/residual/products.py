"""Residual structures of a correlation and variances, which multiply."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_rows import ResidualRows, SeriesOrder
from skmixed.core.residual.selections import of_neighbours, of_rows, of_series
from skmixed.core.residual.series_correlations import (
    CORRELATIONS,
    LAGS,
    ROWS,
    SERIES,
    CompoundSymmetry,
    Neighbours,
    SeriesCorrelation,
)
from skmixed.core.residual.structure import (
    Combination,
    ResidualParameter,
    ResidualStructure,
    Selection,
    Weighing,
)

_RUNAWAY = 13.0  # of phi: a ratio of deviations of 4e5
_WILD_POWER = 100.0  # no data have such a variance, but for a covariate that hardly varies
_LOG_DIGITS = 12  # decimals of log values: what differs by less is one value


@dataclass(frozen=True, slots=True)
class ResidualProduct(ResidualStructure):
    """A correlation within series, a variance a stratum, a power of a covariate, or some of these.

    The standard deviation of a row is sigma exp(phi_s) value^power in its stratum s, with phi_s = 0
    in the reference stratum, that with most rows. phi are the parameter of the correlation, phi_s
    of the other strata that have rows, and the power, as far as they are there.
    """

    correlation: SeriesCorrelation | None = None
    strata: tuple[str, ...] = ()  # names of the strata, in the order of their codes
    has_power: bool = False
    reference: int = 0  # resolved: the stratum of sigma^2
    free: tuple[int, ...] = ()  # resolved: the strata in phi
    centre: float = 0.0  # log of the value at which the standard deviation is sigma

    @classmethod
    def of(
        cls,
        correlation: str | None = None,
        strata: Sequence[str] = (),
        has_power: bool = False,
    ) -> ResidualProduct:
        """Make one of the name of a correlation, in `CORRELATIONS`, and the names of strata."""
        kind = None if correlation is None else CORRELATIONS[correlation]()
        return cls(kind, tuple(strata), has_power)

    @property
    def is_correlated(self) -> bool:
        return self.correlation is not None

    def contains(self, other: ResidualStructure) -> bool:
        return (
            isinstance(other, ResidualProduct)
            and other.correlation in (None, self.correlation)
            and (self.is_inside or other.is_correlated)
            and other.strata in ((), self.strata)
            and self.has_power >= other.has_power
        )

    @property
    def has_one_variance(self) -> bool:
        """Whether rows differ in nothing but their correlations."""
        return not self.strata and not self.has_power

    @property
    def is_inside(self) -> bool:
        """Whether independence lies within the range of the correlation, if there is one."""
        return self.correlation is None or self.correlation.lower < 0.0

    @property
    def needed(self) -> tuple[str, ...]:
        is_placed = self.correlation is not None and self.correlation.needs_position
        asked = {
            "series": self.is_correlated,
            "position": is_placed,
            "stratum": bool(self.strata),
            "value": self.has_power,
        }
        return tuple(name for name, is_asked in asked.items() if is_asked)

    @property
    def n_phi(self) -> int:
        return int(self.is_correlated) + len(self.free) + int(self.has_power)

    def selections(self, rows: ResidualRows) -> list[Selection]:
        n = self._checked(rows)
        stratum, value = rows.stratum if self.strata else None, self._log_value(rows)
        found = of_rows(n, stratum, value)
        if isinstance(self.correlation, Neighbours):
            are_whole = self.correlation.name == "ar1"
            order = SeriesOrder.of(rows)
            found += of_neighbours(order, stratum, value, are_whole=are_whole)
        elif self.correlation is not None:
            found += of_series(SeriesOrder.of(rows), stratum, value)
        return found

    def _checked(self, rows: ResidualRows) -> int:
        """Return the number of rows; raise ValueError for what they lack or may not be."""
        n = 0
        for name in self.needed:
            values = getattr(rows, name)
            if values is None:
                raise ValueError(f"this residual structure needs the {name} of every row")
            n = len(values)
        if self.has_power and rows.value is not None and not (rows.value > 0.0).all():
            row = int(np.flatnonzero(~(rows.value > 0.0))[0])
            raise ValueError(
                f"power() needs positive numbers, and has {rows.value[row]} in row {row}: take the "
                "absolute value, or shift the covariate"
            )
        name = "" if self.correlation is None else self.correlation.name
        if name == "ar1" and rows.position is not None and (rows.position % 1.0).any():
            raise ValueError(
                "ar1() counts rows or visits in whole numbers; car1() takes times of any kind"
            )
        return n

    def _log_value(self, rows: ResidualRows) -> FloatArray | None:
        if not self.has_power or rows.value is None:
            return None
        return np.asarray(np.round(np.log(rows.value), _LOG_DIGITS), dtype=np.float64)

    def resolved(self, keys: FloatArray, counts: FloatArray) -> ResidualProduct:
        rows = keys[:, 0] == ROWS
        found = self
        if self.strata:
            size = np.bincount(keys[rows, 1].astype(np.intp), counts[rows], len(self.strata))
            _check_strata(self.strata, size)
            reference = int(np.argmax(size))
            free = tuple(s for s in np.flatnonzero(size).tolist() if s != reference)
            found = replace(found, reference=reference, free=free)
        if self.has_power:
            if np.ptp(keys[rows, 4]) == 0.0:
                raise ValueError(
                    "the covariate of power() has one value, which tells nothing of the variance: "
                    "leave power() out, or take another column"
                )
            centre = float(keys[rows, 4] @ counts[rows] / counts[rows].sum())
            found = replace(found, centre=centre)
        if self.correlation is not None:
            chosen = (keys[:, 0] == LAGS) | ((keys[:, 0] == SERIES) & (keys[:, 3] > 1.0))
            chosen &= counts != 0.0  # of rows that were taken out again
            if not chosen.any():
                raise ValueError(
                    f"every series has one row, so that nothing tells {self.correlation.name}() of "
                    "residuals: name the column whose rows belong together"
                )
            kind = self.correlation.resolved(keys[chosen, 3], counts[chosen])
            found = replace(found, correlation=kind)
        return found

    def reported(self, phi: FloatArray) -> tuple[ResidualStructure, float]:
        ratio = math.exp(phi[-1] * self.centre) if self.has_power else 1.0
        return replace(self, centre=0.0), ratio

    @property
    def starts(self) -> FloatArray:
        first = () if self.correlation is None else self.correlation.starts()
        starts = np.zeros((max(1, len(first)), self.n_phi))
        if first:
            starts[:, 0] = first
        return starts

    def weighing(self, keys: FloatArray, counts: FloatArray) -> Weighing:
        q, first = self.n_phi, int(self.is_correlated)
        kind, distance = keys[:, 0], keys[:, 3]
        exponents = self._exponents(keys)  # of the tables, linear in phi
        log_det_slope = -exponents @ (counts * (kind == ROWS))
        pairs = np.flatnonzero(kind != ROWS)
        kind, distance, of_pairs = kind[pairs], distance[pairs], counts[pairs]

        def at(phi: FloatArray) -> Combination:
            weights = np.exp(phi[first:] @ exponents)
            slopes, curvatures = np.zeros((q, len(keys))), np.zeros((q, q, len(keys)))
            slope, curvature = np.zeros(q), np.zeros((q, q))
            slope[first:] = log_det_slope
            log_det = float(phi[first:] @ log_det_slope)
            if self.correlation is not None:
                rows, of_kind, per_count = self.correlation.weights(float(phi[0]), kind, distance)
                factor = np.empty((3, len(keys)))
                factor[:] = rows[:, None]
                factor[:, pairs] = of_kind
                slopes[0], curvatures[0, 0] = factor[1] * weights, factor[2] * weights
                weights = factor[0] * weights
                change = per_count @ of_pairs
                log_det += float(change[0])
                slope[0], curvature[0, 0] = change[1:]
            slopes[first:] = exponents * weights
            curvatures[first:, first:] = exponents[:, None] * slopes[first:]
            if first:
                curvatures[0, 1:] = curvatures[1:, 0] = exponents * slopes[0]
            return Combination(weights, slopes, curvatures, log_det, slope, curvature)

        return at

    def _exponents(self, keys: FloatArray) -> FloatArray:
        """Return the derivatives of the log of what variances multiply tables by, (q', M)."""
        rows = [-((keys[:, 1] == s) * 1.0 + (keys[:, 2] == s)) for s in self.free]
        if self.has_power:
            rows.append(-2.0 * (keys[:, 4] - self.centre))
        return np.array(rows).reshape(len(rows), len(keys))

    def parameters(self, phi: FloatArray) -> tuple[ResidualParameter, ...]:
        found, unit = [], np.eye(len(phi))
        first = int(self.is_correlated)
        if self.correlation is not None:
            kind = self.correlation
            value, slope = kind.value(float(phi[0]))
            slopes, name = slope * unit[0], kind.parameter
            found.append(ResidualParameter(name, value, kind.lower, 1.0, slopes, 0.0))
        for place, stratum in enumerate(self.free, first):
            ratio = float(np.exp(phi[place]))
            name = f"ratio {self.strata[stratum]}/{self.strata[self.reference]}"
            slopes = ratio * unit[place]
            found.append(ResidualParameter(name, ratio, 0.0, math.inf, slopes, 1.0))
        if self.has_power:
            power = float(phi[-1])
            found.append(ResidualParameter("power", power, -math.inf, math.inf, unit[-1], 0.0))
        return tuple(found)

    def runaway(self, phi: FloatArray) -> str | None:
        first = int(self.is_correlated)
        if self.correlation is not None and abs(phi[0]) > self.correlation.farthest:
            return self.correlation.advice(float(phi[0]))
        for place, stratum in enumerate(self.free, first):
            if abs(phi[place]) > _RUNAWAY:
                least = stratum if phi[place] < 0.0 else self.reference
                return (
                    f"the residual variance of stratum {self.strata[least]!r} runs to zero: its "
                    "rows are too few, or the model fits them exactly. Merge it with another "
                    "stratum, or drop terms that only its rows tell"
                )
        if self.has_power and abs(phi[-1]) > _WILD_POWER:
            return (
                f"the power of the residual variance runs away (it stands at {phi[-1]:.0f}): the "
                "rows of smallest variance are fitted exactly, or the covariate hardly varies. "
                "Use var() of a few classes, or another covariate"
            )
        return None

    def deviations(self, phi: FloatArray, rows: ResidualRows) -> FloatArray:
        """Return them, (n,); NaN in a stratum that the fit had no rows of, or a negative one."""
        return np.exp(self.log_deviations(phi, rows))

    def log_deviations(self, phi: FloatArray, rows: ResidualRows) -> FloatArray:
        """Return the logarithm of the same, (n,), which is linear in phi."""
        logs = np.zeros(self._n(rows))
        if self.strata and rows.stratum is not None:
            of_strata = np.full(len(self.strata) + 1, np.nan)
            of_strata[self.reference] = 0.0
            start = int(self.is_correlated)
            of_strata[list(self.free)] = phi[start : start + len(self.free)]
            logs = logs + of_strata[rows.stratum]
        if self.has_power and rows.value is not None:
            logs = logs + phi[-1] * (np.log(rows.value) - self.centre)
        return logs

    def mean_square(self, phi: FloatArray, keys: FloatArray, counts: FloatArray) -> float:
        rows = keys[:, 0] == ROWS
        exponents = self._exponents(keys[rows])
        squares = np.exp(-(phi[int(self.is_correlated) :] @ exponents))
        return float(counts[rows] @ squares / counts[rows].sum())

    def named_deviations(self, phi: FloatArray) -> list[tuple[str, float]]:
        if not self.strata:
            return [("", 1.0)]
        start = int(self.is_correlated)
        ratios = np.exp(phi[start : start + len(self.free)]).tolist()
        others = [(self.strata[s], ratio) for s, ratio in zip(self.free, ratios, strict=True)]
        return [(self.strata[self.reference], 1.0), *others]

    @property
    def holds_intercept(self) -> bool:
        is_plain = not (self.strata or self.has_power)
        return is_plain and isinstance(self.correlation, CompoundSymmetry)

    @property
    def is_carried(self) -> bool:
        return isinstance(self.correlation, Neighbours)

    def carried(self, phi: FloatArray, gaps: FloatArray) -> FloatArray:
        assert isinstance(self.correlation, Neighbours)
        return np.asarray(self.correlation.rho(float(phi[0]), gaps)[0][0])

    def _n(self, rows: ResidualRows) -> int:
        return len(getattr(rows, self.needed[0]))

    def whitened(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        scaled = values / self.deviations(phi, rows)[:, None]
        if self.correlation is None:
            return scaled
        order, result = SeriesOrder.of(rows), np.empty_like(scaled)
        result[order.order] = self.correlation.whitened(float(phi[0]), order, scaled[order.order])
        return result

    def coloured(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        result = values
        if self.correlation is not None:
            order, result = SeriesOrder.of(rows), np.empty_like(values)
            sorted_values = values[order.order]
            result[order.order] = self.correlation.coloured(float(phi[0]), order, sorted_values)
        return result * self.deviations(phi, rows)[:, None]


def _check_strata(names: tuple[str, ...], size: NDArray[Any]) -> None:
    """Raise ValueError for rows of one stratum alone, or strata of one row."""
    if np.count_nonzero(size) < 2:
        raise ValueError(
            f"all rows are in the stratum {names[int(np.argmax(size))]!r} of the residual variance:"
            " leave var() out"
        )
    single = np.flatnonzero(size == 1.0)
    if len(single):
        raise ValueError(
            f"stratum {names[int(single[0])]!r} of the residual variance has one row, which tells "
            "no variance: merge it with another, or drop the row"
        )
