"""Numbers of pairs of levels: made, sorted, taken apart, and values of equal ones summed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray

_KEY_BITS = 63  # of a signed integer, for a key and its place in the array that is sorted
_RUN = 2**16  # keys merged at a time: few enough to stay in the cache with their values


def pair_keys(rows: IntArray, columns: IntArray, width: int) -> IntArray:
    """Give every pair of levels a number that sorts by row, then column, of `width` levels."""
    keys: IntArray = rows.astype(np.int64)
    keys <<= _bits(width)
    keys |= columns
    return keys


def split_keys(keys: IntArray, width: int) -> tuple[IntArray, IntArray]:
    """Return the rows and columns that `pair_keys` made numbers of."""
    rows, columns = keys >> _bits(width), keys & ((1 << _bits(width)) - 1)
    return rows.astype(np.intp, copy=False), columns.astype(np.intp, copy=False)


def _bits(width: int) -> int:
    return max(width - 1, 0).bit_length()


def sort_keys(keys: IntArray) -> tuple[IntArray, IntArray, IntArray]:
    """Return an order that sorts keys, (n,), where each distinct one starts in it, and these.

    A key and its place, in one integer, are sorted twice as fast as keys are by their order.
    """
    bits = len(keys).bit_length()
    if int(keys.max(initial=0)).bit_length() + bits > _KEY_BITS:
        order = np.argsort(keys, kind="stable")
        ordered = keys[order]
    else:
        ordered = keys << bits
        ordered |= np.arange(len(keys))
        ordered.sort()
        order = ordered & ((1 << bits) - 1)
        ordered >>= bits
    is_new = np.ones(len(keys), dtype=bool)
    np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
    starts = np.flatnonzero(is_new)
    return order, starts, ordered[starts]


def sum_by_key(
    keys: Sequence[IntArray], values: Sequence[Sequence[NDArray[Any]]]
) -> tuple[IntArray, list[NDArray[Any]]]:
    """Return the distinct keys of several arrays, sorted, and the sums of the values under each.

    Of every array of keys, (n,), there are as many arrays of values, (n,).
    """
    found: list[list[NDArray[Any]]] = []
    for runs in _runs(keys):
        parts = list(zip(keys, values, runs, strict=True))
        order, starts, distinct = sort_keys(np.concatenate([key[run] for key, _, run in parts]))
        sums: list[NDArray[Any]] = [distinct]
        for number in range(len(values[0])):
            together = np.concatenate([of_part[number][run] for _, of_part, run in parts])
            sums.append(np.add.reduceat(together[order], starts))
        found.append(sums)
    distinct, *totals = [np.concatenate(pieces) for pieces in zip(*found, strict=True)]
    return distinct, totals


def _runs(keys: Sequence[IntArray]) -> Iterator[list[slice]]:
    """Yield slices of arrays of keys, one of each, that have the same range of keys.

    Arrays that are not sorted make one run.
    """
    cuts = np.empty(0, dtype=np.int64)
    if all((key[1:] > key[:-1]).all() for key in keys):
        longest = max(keys, key=len)
        step = max(1, _RUN * len(longest) // max(1, sum(map(len, keys))))
        cuts = longest[step::step]
    ends = [np.concatenate([[0], np.searchsorted(key, cuts), [len(key)]]) for key in keys]
    for number in range(len(cuts) + 1):
        yield [slice(end[number], end[number + 1]) for end in ends]
