"""The levels of one grouping factor and how two sets of them are brought together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray

LabelArray = NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class GroupIndex:
    """Levels of a grouping factor, in code order.

    Levels are compared column by column, so ``("a:b", "c")`` and ``("a", "b:c")`` are different
    levels.
    """

    key: tuple[str, ...]  # grouping columns, whose combination makes a level
    labels: tuple[LabelArray, ...]  # (n_levels,) a column of `key`

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
        """Return where the levels of another index stand in this one, (len(other),).

        Raises ValueError if one of them is not there.
        """
        union = self.union(other)
        places = np.full(len(union.index), -1, dtype=np.intp)
        places[union.first] = np.arange(len(self))
        found = places[union.second]
        if found.min(initial=0) < 0:
            raise ValueError(f"{int((found < 0).sum())} levels of {self.name!r} are not there")
        return found

    def union(self, other: GroupIndex) -> LevelUnion:
        """Merge the levels of two indexes, sorted where their labels have an order.

        Raises ValueError if they are of different factors.
        """
        if self.key != other.key:
            raise ValueError(f"cannot merge levels of factor {self.name!r} with {other.name!r}")
        if self is other or all(map(_same_labels, self.labels, other.labels)):
            places = np.arange(len(self))
            return LevelUnion(self, places, places)
        columns = [
            concatenated_labels(mine, theirs)
            for mine, theirs in zip(self.labels, other.labels, strict=True)
        ]
        codes, first = unique_rows(columns)
        merged = GroupIndex(self.key, tuple(column[first] for column in columns))
        return LevelUnion(merged, codes[: len(self)], codes[len(self) :])


@dataclass(frozen=True, slots=True, eq=False)
class LevelUnion:
    """Two sets of levels brought together."""

    index: GroupIndex
    first: IntArray  # (n_first,) where the levels of the first side stand in `index`
    second: IntArray  # (n_second,) the same of the second side


def _same_labels(first: LabelArray, second: LabelArray) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


def concatenated_labels(first: LabelArray, second: LabelArray) -> LabelArray:
    """Concatenate two label arrays without turning labels of one kind into another.

    Integers and strings stay what they are, in an object array; numpy alone would turn both into
    strings.
    """
    if first.dtype.kind != second.dtype.kind:
        first, second = first.astype(object), second.astype(object)
    return np.concatenate([first, second])


def unique_rows(columns: list[LabelArray]) -> tuple[IntArray, IntArray]:
    """Give numbers to the distinct rows of a table of labels, in sorted order.

    Returns the number of every row, (n,), and where each distinct row is found first,
    (n_distinct,).
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
