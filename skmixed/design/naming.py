"""The columns that an expression needs, under names and of types that suit formulaic."""

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
    """The columns an expression needs, and the names under which formulaic sees them.

    The names differ where the column's own name would break a Python expression (``total.fruits``,
    ``class``) or hide a function.

    Parameters
    ----------
    given : str
        The expression in the user's words.
    expression : str
        The same for formulaic.
    columns, aliases : tuple of str
        The columns needed, and their names in `expression`.
    labels : frozenset of str
        Those whose values only tell categories apart.
    categorical : frozenset of str
        Those of a categorical type.
    available : tuple of str
        All columns of the table.
    """

    given: str
    expression: str
    columns: tuple[str, ...]
    aliases: tuple[str, ...]
    labels: frozenset[str]
    categorical: frozenset[str]
    available: tuple[str, ...]

    def restore(self, text: str) -> str:
        """Return a text of formulaic with the columns' own names.

        Parameters
        ----------
        text : str
            In which columns have their aliases.

        Returns
        -------
        str
            The same in the user's words.
        """
        for column, alias in zip(self.columns, self.aliases, strict=True):
            if alias != column:
                text = text.replace(alias, column)
        return text


def name_columns(
    given: str, expression: str, frame: pd.DataFrame, functions: Collection[str]
) -> Naming:
    """Translate an expression for formulaic, giving awkward columns another name.

    Parameters
    ----------
    given : str
        What the user wrote.
    expression : str
        What is to be evaluated.
    frame : DataFrame
        The table.
    functions : collection of str
        Names that columns must not hide.

    Returns
    -------
    Naming
        The columns needed and their names.
    """
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
    """Pick the columns an expression needs, refuse missing values, and unify the types.

    Parameters
    ----------
    frame : DataFrame
        A table with at least the columns needed.
    naming : Naming
        Which these are.

    Returns
    -------
    DataFrame
        The columns under their aliases.

    Raises
    ------
    ValueError
        For columns that are not there, have missing values, or changed their kind.
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
    """Return whether a type stands for categories: strings, objects and the category type."""
    return isinstance(dtype, pd.CategoricalDtype) or pd.api.types.is_string_dtype(dtype)


def _check_kind(column: pd.Series[Any], was_categorical: bool) -> None:
    """Refuse numbers for categories and the reverse, which formulaic would take."""
    if _is_categorical(column.dtype) != was_categorical:
        kinds = ("categorical", "numeric") if was_categorical else ("numeric", "categorical")
        raise ValueError(
            f"the column '{column.name}' was {kinds[0]} in fitting and is {kinds[1]} now, "
            f"of type {column.dtype}"
        )


def _prepare_column(column: pd.Series[Any], is_label: bool) -> pd.Series[Any]:
    """Give numbers 64 bits, strings one type, and categories no level that does not occur.

    Integers become floating point, or their powers and products could overflow unseen.
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
