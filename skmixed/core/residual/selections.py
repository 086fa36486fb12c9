"""Which rows and pairs of rows the tables of a product structure sum.

A key says the kind of the table, the strata of both rows, their gap or the size of their series,
and the log of the covariate of the variance, of two rows on average.
"""

from __future__ import annotations

import math

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.partition import Cut, Part, Points, by_class, divided, rounded, under
from skmixed.core.residual.residual_rows import SeriesOrder
from skmixed.core.residual.series_correlations import ENDS, LAGS, ROWS, SERIES
from skmixed.core.residual.structure import Selection
from skmixed.core.sums.layout import unique_rows

_GAPS = Points(math.log(8.0), 20)  # of log gaps: weights of pairs to 1e-11
_VALUES = Points(2.0, 22)  # of log values: weights to 1e-10 up to powers of 2.5
_MOST_VARIANCES = 50  # variances within series that share a correlation: pairs of them are summed
_MOSTLY = 0.5  # of the rows: with more, one pass over all is shorter than over a selection


def of_rows(n: int, stratum: IntArray | None, value: FloatArray | None) -> list[Selection]:
    """Select n rows by stratum and log value, (n,)."""
    return [
        Selection(part.key, _count(part, n), part.members, None, part.weights)
        for part in divided(ROWS, *_by_strata(stratum, stratum), under(0.0), _by_value(value))
    ]


def of_neighbours(
    order: SeriesOrder, stratum: IntArray | None, value: FloatArray | None, *, are_whole: bool
) -> list[Selection]:
    """Select every two neighbours of a series: the squares of both, and their product.

    Gaps that must be whole numbers have tables of their own, however many there are.
    """
    n, earlier, later = len(order.order), order.earlier, order.later
    gaps = order.gaps if are_whole else rounded(order.gaps)
    both = np.concatenate([earlier, later])
    by_gap = _by_gap(gaps, are_whole)
    twice = _by_gap(np.concatenate([gaps, gaps]), are_whole)
    own = None if stratum is None else stratum[both]
    of_both = None if value is None else value[both]
    ends = [
        _squares(part, both, n)
        for part in divided(ENDS, *_by_strata(own, own), twice, _by_value(of_both))
    ]
    mean = None if value is None else _mean(value, earlier, later)
    strata = _by_strata(*_ordered(stratum, earlier, later))
    lags = [
        Selection(
            part.key,
            _count(part, len(later)),
            part.of(earlier),
            part.of(later),
            part.weights,
        )
        for part in divided(LAGS, *strata, by_gap, _by_value(mean))
    ]
    return ends + lags


def _squares(part: Part, rows: IntArray, n: int) -> Selection:
    """Select rows, some of them twice, for their squares."""
    chosen = part.of(rows)
    if len(chosen) < _MOSTLY * n:
        return Selection(part.key, 0.0, chosen, None, part.weights)
    return Selection(part.key, 0.0, None, None, _times(chosen, part.weights, n))


def _times(rows: IntArray, weights: FloatArray | None, n: int) -> FloatArray:
    """Return how often, or with which weights, each of n rows is there, (n,)."""
    return np.asarray(np.bincount(rows, weights, n), dtype=np.float64)


def of_series(
    order: SeriesOrder, stratum: IntArray | None, value: FloatArray | None
) -> list[Selection]:
    """Select every two classes of variance of a series, by its size, for their sums.

    Raises ValueError where there are too many classes of variance.
    """
    rows, series = order.order, order.series
    classes = [each[rows] for each in (stratum, value) if each is not None]
    starts = order.starts
    if classes:
        codes, first = unique_rows(classes)
        if len(first) > _MOST_VARIANCES:
            raise ValueError(
                f"the variance has {len(first)} values within series that share a correlation, "
                f"more than {_MOST_VARIANCES}: use car1() in the place of cs(), or var() of a few "
                "classes in the place of power()"
            )
        inner = np.lexsort((codes, series))
        rows, codes = rows[inner], codes[inner]
        is_new = (np.diff(series, prepend=-1) != 0) | (np.diff(codes, prepend=-1) != 0)
        starts = np.flatnonzero(is_new)
    of_run = series[starts]
    is_first = np.diff(of_run, prepend=-1) != 0
    size = order.sizes[np.cumsum(is_first) - 1].astype(np.float64)
    own = None if stratum is None else stratum[rows[starts]]
    of_runs = None if value is None else value[rows[starts]]
    found: list[Selection] = []
    for apart in range(_MOST_VARIANCES):  # runs of one series, that far apart
        first = np.flatnonzero(of_run[apart:] == of_run[: len(of_run) - apart])
        if not len(first):
            break
        second = first + apart
        strata = _by_strata(*_ordered(own, first, second))
        mean = None if of_runs is None else _mean(of_runs, first, second)
        values = under(0.0) if mean is None else by_class(mean)
        for part in divided(SERIES, *strata, by_class(size[first]), values):
            chosen = part.of(first)
            count = float(is_first[chosen].sum()) if apart == 0 else 0.0
            other = part.of(second) if apart else None
            found.append(Selection(part.key, count, chosen, other, None, (rows, starts)))
    return found


def _count(part: Part, n: int) -> float:
    if part.weights is not None:
        return float(part.weights.sum())
    return float(n if part.members is None else len(part.members))


def _by_strata(first: IntArray | None, second: IntArray | None) -> tuple[Cut, Cut]:
    if first is None or second is None:
        return under(0.0), under(0.0)
    return by_class(first), by_class(second)


def _by_gap(gaps: FloatArray, are_whole: bool) -> Cut:
    if are_whole or not _GAPS.are_fewer(logs := np.log(gaps)):
        return by_class(gaps)
    return _GAPS.cut(logs, math.exp)


def _by_value(value: FloatArray | None) -> Cut:
    if value is None:
        return under(0.0)
    return _VALUES.cut(value) if _VALUES.are_fewer(value) else by_class(value)


def _mean(value: FloatArray, first: IntArray, second: IntArray) -> FloatArray:
    return np.asarray((value[first] + value[second]) / 2.0)


def _ordered(
    stratum: IntArray | None, first: IntArray, second: IntArray
) -> tuple[IntArray | None, IntArray | None]:
    """Return the strata of both rows of pairs, (m,) each, the lower one first."""
    if stratum is None:
        return None, None
    one, other = stratum[first], stratum[second]
    return np.minimum(one, other), np.maximum(one, other)
