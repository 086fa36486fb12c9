"""Columns, rows and values in the words of an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

_SHOWN = 10


def known_columns(columns: Iterable[Any]) -> str:
    """Say which columns there are."""
    return f"the columns are {some(list(columns))}"


def row_numbers(positions: NDArray[np.intp]) -> str:
    """Name the first rows of those given."""
    plural = "rows" if positions.size > 1 else "row"
    return f"{plural} {some(positions.tolist())} (counted from 0)"


def some(values: Sequence[Any]) -> str:
    """Return a few values, in words."""
    shown = ", ".join(repr(value) for value in values[:_SHOWN])
    left = len(values) - _SHOWN
    return f"{shown} and {left} more" if left > 0 else shown
