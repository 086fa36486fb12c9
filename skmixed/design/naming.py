"""The columns that an expression needs, under names and with types that suit formulaic."""

from __future__ import annotations

import keyword
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.references import column_references, replace_spans, translate_r, variables
from skmixed.design.wording import known_columns, row_numbers


@dataclass(frozen=True, slots=True)
class Naming:
    """The columns an expression needs, and the aliases under which formulaic sees them.

    An alias differs from the column's name if the name would break a Python expression
    (``total.fruits``, ``class``) or hide a function.
    """

    given: str  # the expression in the user's words
    expression: str  # the same for formulaic
    columns: tuple[str, ...]  # the columns needed
    aliases: tuple[str, ...]  # their names in `expression`
    labels: frozenset[str]  # those whose values serve as categories only
    categorical: frozenset[str]  # those of a categorical type
    available: tuple[str, ...]  # all columns of the table

    def restore(self, text: str) -> str:
        """Return a text with the columns' own names in place of their aliases."""
        for column, alias in zip(self.columns, self.aliases, strict=True):
            if alias != column:
                text = text.replace(alias, column)
        return text


def name_columns(
    given: str,
    expression: str,
    frame: pd.DataFrame,
    functions: Collection[str],  # names that columns must not hide
) -> Naming:
    """Translate an expression for formulaic, with aliases for awkward names."""
    columns = [column for column in frame.columns if isinstance(column, str)]
    dtypes = dict(zip(frame.columns, frame.dtypes, strict=True))
    translated = translate_r(expression, columns)
    used = variables(translated, columns)
    aliases = {
        column: f"column_{position}__" if _is_awkward(column, functions) else column
        for position, column in enumerate(used)
    }
    references = column_references(translated, used)
    edits = [
        (reference.start, reference.end, aliases[reference.column])
        for reference in references
        if aliases[reference.column] != reference.column
    ]
    return Naming(
        given=given,
        expression=replace_spans(translated, edits),
        columns=used,
        aliases=tuple(aliases.values()),
        labels=frozenset(reference.column for reference in references if reference.as_label),
        categorical=frozenset(column for column in used if _is_categorical(dtypes[column])),
        available=tuple(columns),
    )


def _is_awkward(column: str, functions: Collection[str]) -> bool:
    return not column.isidentifier() or keyword.iskeyword(column) or column in functions


def prepare(frame: pd.DataFrame, naming: Naming) -> pd.DataFrame:
    """Return the columns an expression needs, under their aliases and with unified types.

    Raises ValueError for a column that is not there, has missing values, or changed its kind.
    """
    prepared = {}
    for name, alias in zip(naming.columns, naming.aliases, strict=True):
        column = _pick(frame, name)
        is_label = name in naming.labels
        if not is_label:
            _check_kind(column, name in naming.categorical)
        prepared[alias] = _prepare_column(column, is_label)
    return pd.DataFrame(prepared, index=pd.RangeIndex(len(frame)))


def _pick(frame: pd.DataFrame, name: str) -> pd.Series[Any]:
    if name not in frame.columns:
        raise ValueError(f"the column '{name}' is missing; {known_columns(frame.columns)}")
    column = frame[name]
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the name '{name}' belongs to {column.shape[1]} columns")
    missing = np.flatnonzero(column.isna().to_numpy())
    if missing.size:
        raise ValueError(f"the column '{name}' has missing values in {row_numbers(missing)}")
    return column.reset_index(drop=True)


def _is_categorical(dtype: Any) -> bool:
    """Tell whether a type stands for categories: strings, objects and the category type."""
    return isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)


def _check_kind(column: pd.Series[Any], was_categorical: bool) -> None:
    """Refuse numbers for categories and the reverse, which formulaic would accept."""
    if _is_categorical(column.dtype) != was_categorical:
        kinds = ("categorical", "numeric") if was_categorical else ("numeric", "categorical")
        raise ValueError(
            f"the column '{column.name}' was {kinds[0]} in fitting and is {kinds[1]} now, "
            f"of type {column.dtype}"
        )


def _prepare_column(column: pd.Series[Any], is_label: bool) -> pd.Series[Any]:
    """Give numbers 64 bits, strings one type, and categories no level that does not occur.

    Integers become floating-point numbers: their powers and products could overflow unnoticed.
    """
    dtype = column.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    if pd.api.types.is_bool_dtype(dtype):
        return column.astype("bool")
    if pd.api.types.is_integer_dtype(dtype):
        return column.astype("int64" if is_label else "float64")
    if pd.api.types.is_float_dtype(dtype):
        return column.astype("float64")
    if _is_categorical(dtype) and dtype != "str":
        return column.astype("object")
    return column
