"""What the fixed columns stand for: the terms, factors and numbers they are products of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from skmixed.core.layout import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class FixedColumn:
    """One fixed column: a product of codes of factor levels and of numbers.

    Parameters
    ----------
    term : str
        The term of the formula it belongs to, such as ``"nitro:Variety"``.
    codes : mapping of str to ndarray of shape (n_levels,)
        For every factor in the product, the value of the column at each of its levels.
    numbers : tuple of str
        Names of the numeric columns in the product.
    """

    term: str
    codes: Mapping[str, FloatArray] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, eq=False)
class FixedPart:
    """The fixed part of a model as its user wrote it.

    Parameters
    ----------
    columns : tuple of FixedColumn
        The fixed columns, in their order.
    levels : mapping of str to tuple
        Levels of every categorical variable, as values of the data.
    numbers : tuple of str
        The other variables.
    """

    columns: tuple[FixedColumn, ...]
    levels: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    numbers: tuple[str, ...] = ()

    @property
    def terms(self) -> dict[str, list[int]]:
        """Positions of the columns of every term, in the order of the formula."""
        found: dict[str, list[int]] = {}
        for place, column in enumerate(self.columns):
            found.setdefault(column.term, []).append(place)
        return found
