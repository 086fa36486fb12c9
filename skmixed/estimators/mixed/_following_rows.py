"""Rows whose residuals have variances of their own, and may follow others of their series.

Of residuals whose correlation falls with the gap, as rho(h), the last one, e_T, tells all that is
known of those that follow:

    E[y | data] = x'beta + z'b + w e_T,   w = rho(h) d / d_T,   e_T = y_T - x_T'beta - z_T'b,

d being standard deviations relative to sigma. The error is that of a row x - w x_T, z - w z_T, and
noise of variance sigma^2 d^2 (1 - rho(h)^2), which nothing in the data tells.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.rows.prediction_errors import mean_predictions
from skmixed.core.sums.layout import Rows
from skmixed.design.residual import numbers_within
from skmixed.design.source import Source
from skmixed.design.wording import list_rows
from skmixed.estimators.mixed._series_ends import SeriesEnds


@dataclass(frozen=True, slots=True, eq=False)
class FollowingRows:
    """Rows of a model with a residual structure, and the last rows of their series."""

    rows: Rows
    residual: ResidualRows  # of the same rows; their series count the last rows
    noise: bool  # whether observations are predicted, and not their means
    last: Rows | None = None  # of every series; None where nothing can be forecast
    of_last: ResidualRows | None = None  # of the same
    gaps: FloatArray | None = None  # (n,), to the last row of the series; NaN where none is known

    @classmethod
    def of(
        cls, fitted: Any, source: Source, rows: Rows, *, serial: bool, noise: bool
    ) -> FollowingRows:
        """Look up rows that were read for prediction.

        Raises ValueError for a structure that cannot forecast, and for rows at other levels than
        their series.
        """
        design, ends = fitted.design.residual, fitted.ends
        if not serial:
            known = design.known_rows(source.residual, source.n_rows)
            return cls(rows, known, noise)
        if design is None or not isinstance(ends, SeriesEnds):
            raise ValueError(
                "serial=True forecasts from the last residual of a series, which requires "
                "residual='ar1(...)' or 'car1(...)'"
            )
        _refuse_absent(source, design.parts.columns)
        known = design.known_rows(source.residual, source.n_rows, ends.residual.labels)
        last = ends.at_levels(rows.indexes)
        gaps = _gaps(known, ends.residual)
        _refuse_other_levels(rows, last, known, gaps)
        return cls(rows, known, noise, last, ends.residual, gaps)

    def rows_at(self, fit: Fit) -> Rows:
        """Return the rows minus w times the last row of their series."""
        if self.last is None:
            return self.rows
        carried = self._weights(fit)[:, None] * self.last.columns[self._ends]
        return replace(self.rows, columns=self.rows.columns - carried)

    def known_at(self, fit: Fit) -> FloatArray:
        """Return w y_T, (n,)."""
        if self.last is None:
            return np.zeros(len(self.rows.columns))
        return np.asarray(self._weights(fit) * self.last.columns[self._ends, -1])

    def noise_at(self, fit: Fit) -> FloatArray:
        """Return sigma^2 d^2 (1 - rho^2) for observations, (n,), and zeros for means."""
        assert isinstance(fit, ResidualFit)
        if not self.noise:
            return np.zeros(len(self.rows.columns))
        variances = fit.sigma2 * np.square(fit.structure.deviations(fit.phi, self.residual))
        return np.asarray(variances * (1.0 - np.square(self._correlations(fit))))

    def added_by(self, model: Fit | Posterior, fit: Fit) -> FloatArray:
        """Return w e_T, (n,), by a fit or other data at its parameters."""
        if self.last is None:
            return np.zeros(len(self.rows.columns))
        errors = self.last.columns[:, -1] - mean_predictions(model, self.last)
        return np.asarray(self._weights(fit) * errors[self._ends])

    def refuse_unknown(self) -> None:
        """Raise ValueError for rows whose residual variance is unknown."""
        if self.noise:
            refuse_unknown_variances(self.residual, with_visits=self.gaps is None)

    @property
    def _ends(self) -> IntArray:
        """Position of each row's series among the last rows, (n,), arbitrary if it has none."""
        assert self.residual.series is not None
        return np.maximum(self.residual.series, 0)

    def _correlations(self, fit: Fit) -> FloatArray:
        """Return rho(h), (n,), 0 where a row continues no series."""
        assert isinstance(fit, ResidualFit)
        rho = np.zeros(len(self.rows.columns))
        if self.gaps is not None:
            follows = np.flatnonzero(self.gaps > 0.0)
            rho[follows] = fit.structure.carried(fit.phi, self.gaps[follows])
        return rho

    def _weights(self, fit: Fit) -> FloatArray:
        """Return w, (n,)."""
        assert isinstance(fit, ResidualFit)
        assert self.of_last is not None
        rho = self._correlations(fit)
        follows = np.flatnonzero(rho)
        own = fit.structure.deviations(fit.phi, self.residual)[follows]
        of_last = fit.structure.deviations(fit.phi, self.of_last)[self._ends[follows]]
        rho[follows] *= own / of_last
        return rho


def refuse_unknown_variances(rows: ResidualRows, *, with_visits: bool = True) -> None:
    """Raise ValueError for rows whose stratum, visit or covariate leaves their variance unknown."""
    coded = (rows.stratum, rows.position if with_visits else None)
    found = [codes < 0 for codes in coded if codes is not None]
    if rows.value is not None:
        found.append(np.isnan(rows.value))
    unknown = np.flatnonzero(np.any(found, axis=0)) if found else np.empty(0, dtype=np.intp)
    if len(unknown):
        raise ValueError(
            f"rows {list_rows(unknown)} have a stratum or visit that is missing or was not seen "
            "in fit, or lack the covariate of power(...), so that their residual variance is "
            "unknown; handle_unknown='nan' predicts NaN for them"
        )


def columns_needed(fitted: Any, *, serial: bool, noise: bool) -> Collection[str]:
    """Return the columns of the residual structure that a prediction needs."""
    design = fitted.design.residual
    if design is None:
        return ()
    parts = design.parts
    if serial:
        return parts.columns
    return design.of_variances if noise else ()


def _refuse_absent(source: Source, names: Collection[str]) -> None:
    missing = [name for name in names if name not in source.residual]
    if missing:
        raise ValueError(f"serial=True requires the columns {missing} that `residual` names")


def _gaps(rows: ResidualRows, last: ResidualRows) -> FloatArray:
    """Return the distance of rows from the last of their series, (n,), NaN where unknown.

    Rows without positions follow in the order in which they come.
    """
    assert rows.series is not None
    if last.position is None or rows.position is None:
        gaps = numbers_within(rows.series)
    else:
        gaps = rows.position - last.position[np.maximum(rows.series, 0)]
    gaps[rows.series < 0] = np.nan
    return gaps


def _refuse_other_levels(rows: Rows, last: Rows, residual: ResidualRows, gaps: FloatArray) -> None:
    """Raise ValueError where a row is at another level of a factor than its series."""
    assert residual.series is not None
    ends = np.maximum(residual.series, 0)
    for number, (own, theirs) in enumerate(zip(rows.codes, last.codes, strict=True)):
        other = np.flatnonzero((gaps > 0.0) & (own != theirs[ends]))
        if len(other):
            raise ValueError(
                f"row {other[0]} continues a series that was at another level of "
                f"{rows.indexes[number].name!r}: a series must stay at one level"
            )
