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
_MOST_VARIANCES = 50  # of variance within series that share a correlation: pairs of them are summed
_MOST_ROW_PAIRS = 4_000_000  # of rows, whose columns take a gigabyte or so
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

    Where there are many classes, these are its rows. Raises ValueError for too many pairs of rows.
    """
    rows, starts = order.order, order.starts
    classes = [each[rows] for each in (stratum, value) if each is not None]
    are_few = True
    if classes:
        codes, distinct = unique_rows(classes)
        are_few = len(distinct) <= _MOST_VARIANCES
        starts = np.arange(len(rows))
    if classes and are_few:
        inner = np.lexsort((codes, order.series))
        rows, codes = rows[inner], codes[inner]
        is_new = (np.diff(order.series, prepend=-1) != 0) | (np.diff(codes, prepend=-1) != 0)
        starts = np.flatnonzero(is_new)
    of_run = order.series[starts]
    is_first = np.diff(of_run, prepend=-1) != 0
    size = order.sizes[np.cumsum(is_first) - 1].astype(np.float64)
    own = None if stratum is None else stratum[rows[starts]]
    of_runs = None if value is None else value[rows[starts]]
    found: list[Selection] = []
    for first, second in ((np.arange(len(starts)), None), _pairs_within(of_run)):
        others = first if second is None else second
        values = under(0.0)
        if of_runs is not None:
            mean = _mean(of_runs, first, others)
            values = by_class(mean) if are_few else _by_value(mean)
        strata = _by_strata(*_ordered(own, first, others))
        for part in divided(SERIES, *strata, by_class(size[first]), values):
            chosen, count = part.of(first), 0.0
            if second is None:
                begun = is_first[chosen]
                count = float(begun.sum() if part.weights is None else begun @ part.weights)
            other = None if second is None else part.of(second)
            found.append(Selection(part.key, count, chosen, other, part.weights, (rows, starts)))
    return found


def _pairs_within(series: IntArray) -> tuple[IntArray, IntArray]:
    """Return every two places of sorted series, (n,), that have one series, (n_pairs,) each."""
    sizes = np.bincount(series)
    n_pairs = int((sizes * (sizes - 1) // 2).sum())
    if n_pairs > _MOST_ROW_PAIRS:
        raise ValueError(
            f"the variance has many values within series that share a correlation, and these have "
            f"{n_pairs} pairs of rows, more than {_MOST_ROW_PAIRS}: use car1() in the place of "
            "cs(), or var() of a few classes in the place of power()"
        )
    later = np.repeat(np.cumsum(sizes), sizes) - np.arange(len(series)) - 1  # of the same series
    first = np.repeat(np.arange(len(series)), later)
    return first, first + np.arange(n_pairs) - np.repeat(np.cumsum(later) - later, later) + 1


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
