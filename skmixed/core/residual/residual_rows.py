"""What a residual structure needs to know of rows, and the order of rows within their series."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.sums.layout import GroupIndex

_NAMED = 5  # rows or series that a message names


@dataclass(frozen=True, slots=True, eq=False)
class ResidualRows:
    """Of n rows what a residual structure asks for, None where it does not."""

    series: IntArray | None = None  # (n,) series (subject) of every row
    labels: GroupIndex | None = None  # what `series` counts; every one occurs
    position: FloatArray | None = None  # (n,) time, or number of the visit
    stratum: IntArray | None = None  # (n,) stratum of the variance
    value: FloatArray | None = None  # (n,) covariate of the variance, positive

    def take(self, chosen: IntArray) -> ResidualRows:
        """Return some of the rows, whose series are counted anew."""
        series, labels = self.series, self.labels
        if series is not None and labels is not None:
            present, series = np.unique(series[chosen], return_inverse=True)
            labels = labels.take(present)
        return ResidualRows(
            series,
            labels,
            None if self.position is None else self.position[chosen],
            None if self.stratum is None else self.stratum[chosen],
            None if self.value is None else self.value[chosen],
        )


@dataclass(frozen=True, eq=False)
class SeriesOrder:
    """Rows sorted by series and position."""

    order: IntArray  # (n,) the rows, sorted
    series: IntArray  # (n,) series of the sorted rows
    position: FloatArray | None  # (n,) position of the sorted rows

    @classmethod
    def of(cls, rows: ResidualRows) -> SeriesOrder:
        """Sort rows; raise ValueError where two rows of a series have one position."""
        assert rows.series is not None
        keys = (rows.series,) if rows.position is None else (rows.position, rows.series)
        is_sorted = _is_sorted(rows.series, rows.position)
        order = np.arange(len(rows.series)) if is_sorted else np.lexsort(keys)
        position = None if rows.position is None else rows.position[order]
        found = cls(order, rows.series[order], position)
        if position is not None:
            _refuse_duplicates(found, rows)
        return found

    @cached_property
    def is_next(self) -> BoolArray:
        """Which sorted rows have a row of their series before them, (n,)."""
        return np.append(False, self.series[1:] == self.series[:-1])[: len(self.series)]

    @cached_property
    def later(self) -> IntArray:
        """The later row of every two neighbours, (n_pairs,), as a row of the table."""
        return self.order[self.is_next]

    @cached_property
    def earlier(self) -> IntArray:
        """The earlier row of every two neighbours, (n_pairs,), as a row of the table."""
        return self.order[np.flatnonzero(self.is_next) - 1]

    @cached_property
    def gaps(self) -> FloatArray:
        """How far neighbours are apart, (n_pairs,)."""
        assert self.position is not None
        after = np.flatnonzero(self.is_next)
        return self.position[after] - self.position[after - 1]

    @cached_property
    def starts(self) -> IntArray:
        """Where every series begins among the sorted rows, (n_series,)."""
        return np.flatnonzero(~self.is_next)

    @cached_property
    def sizes(self) -> IntArray:
        """Number of rows of every series, (n_series,)."""
        return np.diff(self.starts, append=len(self.series))


def _is_sorted(series: IntArray, position: FloatArray | None) -> bool:
    steps = np.diff(series)
    if (steps < 0).any():
        return False
    return position is None or bool((position[1:] >= position[:-1])[steps == 0].all())


def _refuse_duplicates(found: SeriesOrder, rows: ResidualRows) -> None:
    again = np.flatnonzero(found.gaps <= 0.0)
    if not len(again):
        return
    first, second = found.earlier[again], found.later[again]
    named = ", ".join(
        f"{int(a)} and {int(b)}" for a, b in zip(first[:_NAMED], second[:_NAMED], strict=True)
    )
    assert rows.series is not None
    label = "" if rows.labels is None else f" (in series {series_name(rows, int(first[0]))})"
    raise ValueError(
        f"{len(again)} pairs of rows of one series stand at one position: rows {named}"
        f"{', ...' if len(again) > _NAMED else ''}{label}. Correlated residuals need one row a "
        "position: drop or average the others, or number the rows within their series"
    )


def series_name(rows: ResidualRows, row: int) -> str:
    """Return the label of the series of a row, as a message writes it."""
    assert rows.series is not None
    assert rows.labels is not None
    code = int(rows.series[row])
    parts = [column[code] for column in rows.labels.labels]
    return ":".join(str(part) for part in parts)
