"""What is summed: the columns and factors of a model, the levels of a factor, blocks of rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray

LabelArray = NDArray[Any]

_COUNTED_RANGE = 4  # integers per label up to which marking the range is cheaper than sorting


@dataclass(frozen=True, slots=True, eq=False)
class GroupIndex:
    """Levels of a grouping factor, in code order.

    Levels are compared column by column, so ``("a:b", "c")`` and ``("a", "b:c")`` are different
    levels.
    """

    key: tuple[str, ...]  # grouping columns, whose combination makes a level
    labels: tuple[LabelArray, ...]  # (n_levels,) a column of `key`

    def __len__(self) -> int:
        """Return the number of levels; without a column all rows are one."""
        return len(self.labels[0]) if self.key else 1

    @property
    def is_whole(self) -> bool:
        """Whether it has no column, so that all rows are of its one level."""
        return not self.key

    @property
    def name(self) -> str:
        """Name of the factor as lme4 prints it, such as ``"class:school"``."""
        return ":".join(self.key) or "all rows"

    def take(self, codes: IntArray) -> GroupIndex:
        """Return the index of a selection of levels, in the order given."""
        return GroupIndex(self.key, tuple(column[codes] for column in self.labels))

    def find(self, other: GroupIndex) -> IntArray:
        """Return where the levels of another index stand in this one, (len(other),).

        Raises ValueError if one of them is not there.
        """
        merged, (mine, theirs) = self.union(other)
        places = np.full(len(merged), -1, dtype=np.intp)
        places[mine] = np.arange(len(self))
        found = places[theirs]
        if found.min(initial=0) < 0:
            raise ValueError(f"{int((found < 0).sum())} levels of {self.name!r} are not there")
        return found

    def union(self, *others: GroupIndex) -> tuple[GroupIndex, list[IntArray]]:
        """Merge the levels of several indexes, sorted where their labels have an order.

        Returns the index of all levels, and for this and every other one where its levels stand
        there, (n_levels,). Where all have the same levels in the same order, that order stays.
        Raises ValueError if they are of different factors.
        """
        for other in others:
            if self.key != other.key:
                raise ValueError(f"cannot merge levels of factor {self.name!r} with {other.name!r}")
        if all(self._is_like(other) for other in others):
            return self, [np.arange(len(self))] * (1 + len(others))
        indexes = (self, *others)
        columns = [
            concatenated_labels(*parts)
            for parts in zip(*[index.labels for index in indexes], strict=True)
        ]
        codes, first = unique_rows(columns)
        merged = GroupIndex(self.key, tuple(column[first] for column in columns))
        return merged, np.split(codes, np.cumsum([len(index) for index in indexes])[:-1])

    def ranks(self) -> IntArray | None:
        """Return where every level stands in sorted order, (n_levels,); None if they are sorted.

        Labels without an order keep theirs.
        """
        if self.is_whole or (len(self.key) == 1 and _increases(self.labels[0])):
            return None
        ranks = unique_rows(list(self.labels))[0]
        return None if np.array_equal(ranks, np.arange(len(self))) else ranks

    def _is_like(self, other: GroupIndex) -> bool:
        return self is other or all(map(_same_labels, self.labels, other.labels))


def _same_labels(first: LabelArray, second: LabelArray) -> bool:
    return first.dtype == second.dtype and np.array_equal(first, second)


def _increases(labels: LabelArray) -> bool:
    try:
        return bool(np.all(labels[1:] > labels[:-1]))
    except TypeError:  # labels of mixed types have no order
        return True


def concatenated_labels(*parts: LabelArray) -> LabelArray:
    """Concatenate label arrays without turning labels of one kind into another.

    Integers and strings stay what they are, in an object array; numpy alone would turn both into
    strings.
    """
    if len({part.dtype.kind for part in parts}) > 1:
        parts = tuple(part.astype(object) for part in parts)
    return np.concatenate(parts)


def unique_rows(columns: list[LabelArray]) -> tuple[IntArray, IntArray]:
    """Give numbers to the distinct rows of a table of labels, in sorted order.

    Returns the number of every row, (n,), and where each distinct row is found first,
    (n_distinct,).
    """
    codes, size = _codes(columns[0])
    for column in columns[1:]:
        of_column, width = _codes(column)
        codes, size = _codes(codes * width + of_column)
    first = np.empty(size, dtype=np.intp)
    first[codes[::-1]] = np.arange(len(codes))[::-1]  # the last one written is the first one met
    return codes, first


def _codes(labels: LabelArray) -> tuple[IntArray, int]:
    """Give labels numbers in sorted order, (n,); return how many are distinct, too.

    Labels that have no order, of mixed types, are numbered as they appear.
    """
    if labels.dtype == object:
        return _object_codes(labels)
    if labels.dtype.kind in "iu" and (counted := count_integers(labels)) is not None:
        return counted[0], len(counted[1])
    order = np.argsort(labels, kind="stable")  # sorted runs, as merged indexes are, take a pass
    ordered = labels[order]
    is_new = np.append(True, ordered[1:] != ordered[:-1])[: len(labels)]
    codes = np.empty(len(labels), dtype=np.intp)
    codes[order] = np.cumsum(is_new) - 1
    return codes, int(is_new.sum())


def _object_codes(labels: LabelArray) -> tuple[IntArray, int]:
    """Do the same by hashing, and sort only what is distinct."""
    listed = labels.tolist()
    distinct = list(dict.fromkeys(listed))
    try:
        distinct.sort()
    except TypeError:  # labels of mixed types have no order
        distinct = list(dict.fromkeys(listed))
    numbers = dict(zip(distinct, range(len(distinct)), strict=True))
    codes = np.fromiter(map(numbers.__getitem__, listed), np.intp, len(listed))
    return codes, len(distinct)


def count_integers(values: LabelArray) -> tuple[IntArray, LabelArray] | None:
    """Give integers of a small range numbers in sorted order, (n,); return the distinct ones, too.

    None where there are none, or marking the whole range would take longer than sorting.
    """
    if not len(values):
        return None
    low, high = int(values.min()), int(values.max())
    if high - low >= _COUNTED_RANGE * len(values):
        return None
    wide = np.uint64 if values.dtype.kind == "u" else np.int64
    codes = (values.astype(wide, copy=False) - wide(low)).astype(np.intp, copy=False)
    present = np.zeros(high - low + 1, dtype=bool)
    present[codes] = True
    known = (present.nonzero()[0].astype(wide) + wide(low)).astype(values.dtype)
    return codes if len(known) == len(present) else (present.cumsum() - 1).take(codes), known


CONSTANT = 0  # position of the constant column in every table of columns


@dataclass(frozen=True, slots=True)
class FactorLayout:
    """The columns whose effects vary over the levels of one grouping factor.

    The constant is carried for every factor, also where the model has no random intercept, so that
    any shift of a column is a linear map of the stored cross-products.
    """

    key: tuple[str, ...]  # grouping columns
    columns: tuple[int, ...]  # positions in `Layout.columns`, the constant first

    def __post_init__(self) -> None:
        """Check that the constant comes first and nothing twice."""
        if not self.columns or self.columns[0] != CONSTANT:
            raise ValueError("the constant must be the first random column of a factor")
        if len(set(self.columns)) != len(self.columns):
            raise ValueError(f"repeated random columns in factor {':'.join(self.key)!r}")


@dataclass(frozen=True, slots=True)
class Layout:
    """Names of the columns [1, features, y] and of the grouping factors."""

    columns: tuple[str, ...]  # the constant first, the response last
    factors: tuple[FactorLayout, ...] = ()

    def __post_init__(self) -> None:
        """Check that the random columns exist and that none is the response."""
        for factor in self.factors:
            if max(factor.columns) >= self.response:
                raise ValueError(f"factor {':'.join(factor.key)!r} has a column out of range")

    @property
    def response(self) -> int:
        """Position of the response, the last column."""
        return len(self.columns) - 1


@dataclass(frozen=True, slots=True, eq=False)
class Rows:
    """A block of rows, ready to be summed."""

    columns: FloatArray  # (n, n_columns) in C or Fortran order; column 0 is all ones
    codes: tuple[IntArray, ...] = ()  # (n,) a factor: level of every row
    indexes: tuple[GroupIndex, ...] = ()  # what the codes count; when summed, every level occurs
    weights: FloatArray | None = None  # (n,), positive; None: one for every row

    def at_levels(self, indexes: Sequence[GroupIndex]) -> Rows:
        """Return the same rows with codes that count other levels, theirs among them."""
        codes = [
            wanted.find(own)[of_rows]
            for wanted, own, of_rows in zip(indexes, self.indexes, self.codes, strict=True)
        ]
        return Rows(self.columns, tuple(codes), tuple(indexes), self.weights)

    def at_own_levels(self) -> Rows:
        """Return the same rows with codes that count the levels they are of."""
        codes, indexes = [], []
        for of_rows, index in zip(self.codes, self.indexes, strict=True):
            present, own = np.unique(of_rows, return_inverse=True)
            codes.append(own.astype(np.intp, copy=False))
            indexes.append(index if index.is_whole else index.take(present))
        return Rows(self.columns, tuple(codes), tuple(indexes), self.weights)

    def take(self, chosen: IntArray) -> Rows:
        """Return some of the rows, their codes still counting all levels."""
        if self.columns.flags.c_contiguous:
            columns = self.columns.take(chosen, axis=0)  # several times as fast as by a list
        else:
            columns = self.columns.T.take(chosen, axis=1).T
        return Rows(
            columns,
            tuple(codes.take(chosen) for codes in self.codes),
            self.indexes,
            None if self.weights is None else self.weights.take(chosen),
        )
