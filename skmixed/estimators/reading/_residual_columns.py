"""Columns of a residual structure, from X or `groups`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.design.grammar.residual_terms import ResidualParts
from skmixed.design.values import as_column, check_labels, operand_kind, refuse_dates
from skmixed.design.wording import list_rows
from skmixed.estimators.reading._input_table import InputTable, refuse_missing

_NUMBERS = ("numbers", "truth values", "nothing")


def residual_columns(
    parts: ResidualParts,
    table: InputTable,
    given: Mapping[str, Any] | None,  # columns of the argument `groups`
    needed: Collection[str] | None = None,  # those that are wanted of new rows; None in fitting
) -> dict[str, Any]:
    """Return the columns of a structure, (n,) each: labels as they came, and numbers as such.

    Those of `groups` come before those of X. Raises ValueError in fitting for a column that is not
    there and for missing numbers, which of new rows are left out and NaN, and always for infinite
    ones, dates, and text in the place of numbers.
    """
    found: dict[str, Any] = {}
    for name in parts.columns if needed is None else needed:
        if given is not None and name in given:
            values, source = given[name], "groups"
        elif name in table.names:
            values, source = table.ordered_column(table.names.index(name)), "X"
        elif needed is None:
            both = "" if given is None else f", `groups` {list(given)}"
            raise ValueError(
                f"residual names the column {name!r}, which does not exist: X has the columns "
                f"{list(table.names)}{both}"
            )
        else:
            continue
        if name in parts.labels:
            check_labels({name: values}, source)
            if needed is None and not table.is_named:
                refuse_missing({name: values})
            found[name] = values
        elif name == parts.power or operand_kind(values) in _NUMBERS:
            found[name] = _numbers(values, name, allow_nan=needed is not None)
        else:
            refuse_dates(values, f"the column {name!r}")
            found[name] = values
    return found


def is_label(values: Any) -> bool:
    """Tell whether a column, (n,), holds text or categories and not numbers."""
    return operand_kind(values) not in _NUMBERS


def _numbers(values: Any, name: str, *, allow_nan: bool) -> FloatArray:
    refuse_dates(values, f"the column {name!r}")
    if is_label(values):
        raise ValueError(
            f"the column {name!r}, to a power of which the residual standard deviation is "
            "proportional, is not numeric"
        )
    series = pd.Series(as_column(values))
    numbers = np.asarray(series.to_numpy(dtype=np.float64, na_value=np.nan))
    infinite = np.flatnonzero(np.isinf(numbers))
    if len(infinite):
        raise ValueError(f"the column {name!r} is infinite in rows {list_rows(infinite)}")
    missing = np.flatnonzero(np.isnan(numbers))
    if len(missing) and not allow_nan:
        raise ValueError(
            f"Input X contains NaN: the column {name!r} that `residual` names is missing in rows "
            f"{list_rows(missing)}. Drop these rows"
        )
    return numbers
