"""Which columns a model has, and the plain record of arrays that one pass over rows reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.groups import GroupIndex

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

    columns: FloatArray  # (n, n_columns) in C order, of `Layout.columns`; column 0 is all ones
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

    def take(self, chosen: IntArray) -> Rows:
        """Return some of the rows, their codes still counting all levels."""
        return Rows(
            self.columns.take(chosen, axis=0),  # several times as fast as indexing by a list
            tuple(codes.take(chosen) for codes in self.codes),
            self.indexes,
            None if self.weights is None else self.weights.take(chosen),
        )
