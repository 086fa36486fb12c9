"""The levels of one grouping factor and how two sets of them are brought together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

IntArray = NDArray[np.intp]
LabelArray = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class GroupIndex:
    """Levels of a grouping factor, in code order.

    Parameters
    ----------
    key : tuple of str
        The grouping columns whose combination makes a level. Levels are compared column by
        column, so ``("a:b", "c")`` and ``("a", "b:c")`` are different levels.
    labels : tuple of ndarray of shape (n_levels,)
        One array a column of `key`.
    """

    key: tuple[str, ...]
    labels: tuple[LabelArray, ...]

    def __len__(self) -> int:
        """Return the number of levels."""
        return len(self.labels[0])

    @property
    def name(self) -> str:
        """Name of the factor as lme4 prints it, such as ``"class:school"``."""
        return ":".join(self.key)

    def take(self, codes: IntArray) -> GroupIndex:
        """Return the index of a selection of levels, in the order given."""
        return GroupIndex(self.key, tuple(column[codes] for column in self.labels))

    def find(self, other: GroupIndex) -> IntArray:
        """Return where the levels of another index stand in this one.

        Parameters
        ----------
        other : GroupIndex
            Levels of the same factor, all of them in this index.

        Returns
        -------
        ndarray of int of shape (len(other),)
            Their codes here.

        Raises
        ------
        ValueError
            If a level is not there.
        """
        union = self.union(other)
        places = np.full(len(union.index), -1, dtype=np.intp)
        places[union.first] = np.arange(len(self))
        found = places[union.second]
        if found.min(initial=0) < 0:
            raise ValueError(f"{int((found < 0).sum())} levels of {self.name!r} are not there")
        return found

    def union(self, other: GroupIndex) -> Union:
        """Merge two sets of levels.

        Parameters
        ----------
        other : GroupIndex
            Levels of the same factor.

        Returns
        -------
        Union
            The sorted union, and where the levels of either side stand in it.

        Raises
        ------
        ValueError
            If the two sides are levels of different factors.
        """
        if self.key != other.key:
            raise ValueError(f"cannot merge levels of factor {self.name!r} with {other.name!r}")
        if self is other or all(map(_same_labels, self.labels, other.labels)):
            places = np.arange(len(self))
            return Union(self, places, places)
        columns = [
            concatenated_labels(mine, theirs)
            for mine, theirs in zip(self.labels, other.labels, strict=True)
        ]
        codes, first = unique_rows(columns)
        merged = GroupIndex(self.key, tuple(column[first] for column in columns))
        return Union(merged, codes[: len(self)], codes[len(self) :])


@dataclass(frozen=True, slots=True, eq=False)
class Union:
    """Two sets of levels brought together.

    Parameters
    ----------
    index : GroupIndex
        All levels.
    first, second : ndarray of int
        Where the levels of either side stand among them.
    """

    index: GroupIndex
    first: IntArray
    second: IntArray


def _same_labels(first: LabelArray, second: LabelArray) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


def concatenated_labels(first: LabelArray, second: LabelArray) -> LabelArray:
    """Concatenate two label arrays without turning labels of one kind into another.

    Integers and strings, say, stay what they are in an object array; numpy alone would turn
    both into strings.

    Parameters
    ----------
    first, second : ndarray
        Labels.

    Returns
    -------
    ndarray
        Those of `first`, then those of `second`.
    """
    if first.dtype.kind != second.dtype.kind:
        first, second = first.astype(object), second.astype(object)
    return np.concatenate([first, second])


def unique_rows(columns: list[LabelArray]) -> tuple[IntArray, IntArray]:
    """Give numbers to the distinct rows of a table of labels, in sorted order.

    Parameters
    ----------
    columns : list of ndarray of shape (n,)
        The columns of the table.

    Returns
    -------
    codes : ndarray of int of shape (n,)
        The number of every row.
    first : ndarray of int of shape (n_distinct,)
        Where each distinct row is found first.
    """
    codes = np.zeros(len(columns[0]), dtype=np.intp)
    for column in columns:
        column_codes = _codes(column)
        codes = codes * (column_codes.max(initial=-1) + 1) + column_codes
        codes = np.unique(codes, return_inverse=True)[1].astype(np.intp, copy=False)
    first = np.unique(codes, return_index=True)[1].astype(np.intp, copy=False)
    return codes, first


def _codes(column: LabelArray) -> IntArray:
    try:
        return np.unique(column, return_inverse=True)[1].astype(np.intp, copy=False)
    except TypeError:  # labels of mixed types have no order: number them as they appear
        numbers: dict[Any, int] = {}
        return np.array([numbers.setdefault(label, len(numbers)) for label in column], np.intp)
