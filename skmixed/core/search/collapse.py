"""Levels that are alike, put together: the criterion asks for their sums of squares only.

Levels of one random intercept with the same Z'WZ have the same H and B, so that the criterion and
its derivatives need of all their C = Z'W[X y] no more than the sum of C'C. A root of it has at most
p + 1 rows, which stand for the levels in the search, however many these are.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skmixed.core.elimination.chain import Chain
from skmixed.core.linalg import FloatArray, IntArray, semidefinite_root
from skmixed.core.model.problem import Problem

_LEAST_LEVELS = 5_000  # a search over fewer is a matter of milliseconds anyway
_LARGEST_SIZE = 2**16 - 1  # sizes are counted in a table and sorted as 16-bit integers
_MOST_SIZES = 500  # each takes a root in Python, which more levels a size must pay for
_LEVELS_A_ROW = 8  # that each row must stand for on average; with fewer little is saved


def collapsed(problem: Problem) -> Problem:
    """Put levels of equal size together where that makes a search much shorter.

    The criterion stays the same at every lambda up to rounding, but there are no effects of single
    levels. `problem` itself is returned unless it has one random intercept, of many levels whose
    sums of weights are whole numbers and of few sizes, and no sums within levels are kept.
    """
    model = problem.model
    if len(model.own) != 1 or model.own[0].shape[0] != 1 or model.within is not None:
        return problem
    sizes, right = model.own[0][0, 0], model.right[0][0]
    numbers = _numbers_of_levels(sizes)
    distinct = np.flatnonzero(numbers)
    if not 0 < len(distinct) <= min(_MOST_SIZES, len(sizes) / (_LEVELS_A_ROW * len(right))):
        return problem
    if len(distinct) > 1:
        right = right[:, np.argsort(sizes.astype(np.uint16), kind="stable")]
    parts = np.split(right, np.cumsum(numbers[distinct])[:-1], axis=1)
    roots = [_gram_root(part) for part in parts]
    widths = [root.shape[1] for root in roots]
    own = np.repeat(distinct.astype(np.float64), widths)[None, None]
    times = np.repeat(numbers[distinct] / widths, widths)
    return replace(
        problem,
        model=replace(model, own=[own], right=[np.concatenate(roots, axis=1)[None]], times=times),
        elimination=Chain([0], [own], {}, {}, times),
    )


def _numbers_of_levels(sizes: FloatArray) -> IntArray:
    """Return how many levels there are of size 0, 1, 2 and so on, nothing if it does not apply."""
    if len(sizes) < _LEAST_LEVELS or sizes.max() > _LARGEST_SIZE:
        return np.empty(0, dtype=np.intp)
    whole = sizes.astype(np.intp)
    return np.bincount(whole if np.array_equal(whole, sizes) else whole[:0])


def _gram_root(columns: FloatArray) -> FloatArray:
    """Return at most as many columns as rows whose products sum to the same: R R' = C C'."""
    if columns.shape[1] <= columns.shape[0]:
        return columns
    return semidefinite_root(columns @ columns.T)
