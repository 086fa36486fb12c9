"""Columns, rows and values in the words of an error."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_SHOWN = 10  # values or rows listed in an error before the rest is counted: about a line


def known_columns(columns: Iterable[Any]) -> str:
    """Say which columns there are."""
    return f"the columns are {first_values(list(columns))}"


def row_numbers(positions: NDArray[np.intp]) -> str:
    """Name the first of the given rows, counted from 0."""
    plural = "rows" if positions.size > 1 else "row"
    return f"{plural} {first_values(positions.tolist())} (counted from 0)"


def first_values(values: Sequence[Any]) -> str:
    """List the first few values, and say how many more there are."""
    shown = ", ".join(repr(value) for value in values[:MAX_SHOWN])
    left = len(values) - MAX_SHOWN
    return f"{shown} and {left} more" if left > 0 else shown


def list_rows(rows: Sequence[int] | NDArray[np.intp]) -> str:
    """Write some row numbers, as in "4, 77"; of many, the first and how many there are."""
    shown = ", ".join(str(row) for row in rows[:MAX_SHOWN])
    return shown + (f", ... ({len(rows)} in all)" if len(rows) > MAX_SHOWN else "")
