"""What the fixed columns stand for: the terms, factors and numbers they are products of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skmixed.core.linalg import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FixedColumn:
    """One fixed column: a product of codes of factor levels and of numbers."""

    term: str  # of the formula, such as "nitro:Variety"
    codes: Mapping[str, FloatArray] = field(default_factory=dict)  # (n_levels,), by factor
    numbers: tuple[str, ...] = ()  # names of the numeric columns in the product


@dataclass(frozen=True, slots=True, eq=False)
class FixedPart:
    """The fixed part of a model as its user wrote it."""

    columns: tuple[FixedColumn, ...]  # in their order
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)  # by factor, as in data
    numbers: tuple[str, ...] = ()  # the other variables

    @property
    def terms(self) -> dict[str, list[int]]:
        """Positions of the columns of every term, in the order of the formula."""
        found: dict[str, list[int]] = {}
        for place, column in enumerate(self.columns):
            found.setdefault(column.term, []).append(place)
        return found

    def contains(self, larger: str, smaller: str) -> bool:
        """Tell whether one term has the numbers of another, and its factors and more."""
        first = [self.columns[place] for place in self.terms[larger]]
        second = [self.columns[place] for place in self.terms[smaller]]
        same_numbers = {number for column in first for number in column.numbers} == {
            number for column in second for number in column.numbers
        }
        return same_numbers and set(first[0].codes) > set(second[0].codes)
