"""Names of columns as the user gives them, and values at which columns are held."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from skmixed.display._group_columns import GroupColumns


def named_feature(feature: Any, table: pd.DataFrame) -> str:
    """Return the name of the feature."""
    names = list(table.columns)
    if isinstance(feature, Integral) and feature not in names:
        if not 0 <= int(feature) < len(names):
            raise ValueError(f"feature={feature!r} is no column of X, which has {len(names)}")
        return str(names[int(feature)])
    if feature not in names:
        raise ValueError(f"feature={feature!r} is no column of X, which has {names}")
    return str(feature)


def named_factor(
    given: Any, found: GroupColumns, table: pd.DataFrame
) -> tuple[str, tuple[str, ...]]:
    """Return the name of the factor and its columns; none where there are no groups."""
    if given is None:
        if not found.factors:
            return "group", ()
        name = found.factor(None)
        return name, found.factors[name]
    if isinstance(given, str) and given in found.factors:
        return given, found.factors[given]
    key = (given,) if isinstance(given, str) else tuple(given)
    missing = [name for name in key if name not in table.columns]
    if missing or not key:
        known = list(dict.fromkeys([*found.factors, *table.columns]))
        raise ValueError(f"factor={given!r} is not among {known}")
    return ":".join(key), key


def held_values(
    table: pd.DataFrame,
    feature: str,
    key: tuple[str, ...],
    grouping: Mapping[str, Any],
    at: dict[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values of other features, and a new label for every grouping column."""
    wrong = [name for name in at if name not in table.columns or name in (feature, *key)]
    if wrong:
        free = [name for name in table.columns if name not in (feature, *key)]
        raise ValueError(f"at has {wrong}, which are no other columns; there are {free}")
    held, unseen = {}, {}
    for name in table.columns:
        if name in grouping:
            unseen[name] = new_label(table[name])
        if name in at:
            held[name] = at[name]
        elif name != feature and name not in grouping:
            held[name] = typical(table[name])
    return held, unseen


def typical(column: pd.Series) -> Any:
    """Return the median of numbers, and the most frequent of other values."""
    known = column.dropna()
    if known.empty:
        return None
    if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
        return float(known.median())
    return known.mode().iloc[0]


def new_label(column: pd.Series) -> Any:
    """Return a label that no row has, of the same kind."""
    if pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column):
        return column.max() + 1
    return None


def values_of(column: pd.Series, grid_resolution: int) -> Any:
    """Return the values that the feature takes."""
    known = column.dropna()
    if known.empty:
        raise ValueError(f"{column.name!r} has no values in X")
    if pd.api.types.is_numeric_dtype(known) and not pd.api.types.is_bool_dtype(known):
        return np.linspace(float(known.min()), float(known.max()), grid_resolution)
    if isinstance(known.dtype, pd.CategoricalDtype):
        present = set(known)
        return np.array([each for each in known.cat.categories if each in present], dtype=object)
    return np.array(sorted(known.unique(), key=str), dtype=object)


def levels_of(table: pd.DataFrame, key: tuple[str, ...]) -> list[Any]:
    """Return the labels that occur, tuples where there are several columns."""
    if not key:
        return [()]
    rows = table[list(key)].dropna().drop_duplicates()
    columns = [rows[name].tolist() for name in key]
    levels = columns[0] if len(key) == 1 else list(zip(*columns, strict=True))
    try:
        return sorted(levels)
    except TypeError:  # labels of several types
        return levels


def typed(values: Any, dtype: Any) -> pd.Series:
    """Return values as a column of the kind that X has, numbers in double precision if need be."""
    column = pd.Series(values, dtype=object)
    if isinstance(dtype, pd.CategoricalDtype):
        return column.astype(dtype)
    if pd.api.types.is_bool_dtype(dtype):
        return column if column.isna().any() else column.astype(dtype)
    if pd.api.types.is_integer_dtype(dtype):
        whole = all(float(each).is_integer() for each in column.unique())
        return column.astype(dtype if whole else np.float64)
    if pd.api.types.is_numeric_dtype(dtype):
        return column.astype(np.float64)
    return column.astype(dtype)
