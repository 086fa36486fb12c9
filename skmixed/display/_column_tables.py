"""The columns of a model as products of functions of single columns of a table.

A column of a design is most often a product: of an indicator, a spline's value or a number itself
with others. It is found to be one by what the model makes of rows in which one column of the table
is moved, so that formulas need not be read a second time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.display._prediction_grid import is_number, most_frequent, typed

MOST_CATEGORIES = 100  # in a list to choose from
_MOST_OWN_VALUES = 25  # distinct numbers up to which a column takes these and no others
_SLIDER_STEPS = 100  # of a slider, about
_NICE = (1.0, 2.0, 2.5, 5.0, 10.0)  # steps, times powers of ten
_SAMPLED = 2000  # rows among which columns are looked for that are not zero
_CHECKED = 100  # rows at random values, by which it is told whether a column is a product
_SAME = 1e-9  # of a column's size: rounding stays below
_SEED_OF_CHECKS = 7  # of the rows checked: the same page from the same model

Reader = Callable[[pd.DataFrame], FloatArray]


@dataclass(frozen=True, slots=True, eq=False)
class MovedColumn:
    """A column of the table that can be moved, and what it does to columns of the model."""

    name: str
    values: list[Any]  # that it takes
    numbers: FloatArray | None  # the same, (n_values,), None for categories
    place: int  # of its reference among them
    touched: IntArray  # (c,), the columns of the model that depend on it
    factors: FloatArray  # (n_values, c), by which it multiplies these
    left_out: int = 0  # categories that are not among the values

    @property
    def texts(self) -> list[str]:
        """The values as text."""
        if self.numbers is None:
            return [str(value) for value in self.values]
        return [f"{number:.10g}" for number in self.numbers]


@dataclass(frozen=True, slots=True, eq=False)
class ColumnTables:
    """The columns of a model, each a number times a factor of every moved column."""

    moved: list[MovedColumn]
    constants: FloatArray  # (m,)
    notes: list[str]  # what is not exact

    def columns(self, places: Mapping[str, int] | None = None) -> FloatArray:
        """Return the columns, (m,), at some values by their places, others at the reference."""
        found = self.constants.copy()
        for each in self.moved:
            found[each.touched] *= each.factors[(places or {}).get(each.name, each.place)]
        return found

    def written(self, column: int) -> str:
        """Name the moved columns that a column of the model depends on; none of a constant."""
        return " × ".join(each.name for each in self.moved if column in each.touched)


def column_tables(
    read: Reader,  # what the model makes of rows of the table, (n, m)
    table: pd.DataFrame,
    names: list[str],  # of the columns that may be moved
    model_names: list[str],  # (m,)
    reference: Mapping[str, Any],
) -> ColumnTables:
    """Tabulate what the columns of the table do to those of the model.

    Raises ValueError for a reference that is no value of a column.
    """
    table = table.dropna(subset=names).reset_index(drop=True)
    if table.empty:
        raise ValueError("X has no row without missing values, which tells what values are usual")
    firsts = [table[name].drop_duplicates().index for name in names if not is_number(table[name])]
    spread = np.linspace(0, len(table) - 1, min(len(table), _SAMPLED)).astype(int)
    some = table.loc[np.unique(np.concatenate([spread, *firsts]))].reset_index(drop=True)
    at_rows = read(some)
    bases = np.abs(at_rows).argmax(axis=0)
    rows, where = np.unique(bases, return_inverse=True)
    constants = np.take_along_axis(at_rows, bases[None], axis=0)[0]
    found = []
    for name in names:
        values, numbers, place, left_out = _values_of(table[name], reference)
        n = len(values)
        grid = _moved(some.loc[np.repeat(rows, n)], name, values * len(rows))
        by_base = read(grid).reshape(len(rows), n, -1)
        own = by_base[where, :, np.arange(len(where))].T  # (n_values, m)
        factors = np.divide(own, constants, out=np.ones_like(own), where=constants != 0.0)
        touched = np.flatnonzero(np.ptp(factors, axis=0) > _SAME)
        if len(touched):
            part = factors[:, touched]
            found.append(MovedColumn(name, values, numbers, place, touched, part, left_out))
    exact = ColumnTables(found, constants, [])
    return _without_other_functions(exact, read, some, model_names)


def _without_other_functions(
    tables: ColumnTables, read: Reader, some: pd.DataFrame, model_names: list[str]
) -> ColumnTables:
    """Replace columns that are no products by functions of one column, at the reference of others.

    The notes say which.
    """
    chosen, predicted = _at_random(tables)
    frame = some.loc[np.zeros(_CHECKED, dtype=int)]
    for each in tables.moved:
        frame = _moved(frame, each.name, [each.values[i] for i in chosen[each.name]])
    wrong = np.abs(read(frame) - predicted).max(axis=0)
    others = np.flatnonzero(wrong > _SAME * np.maximum(1.0, np.abs(predicted).max(axis=0)))
    if not len(others):
        return tables
    base = some.loc[[0]]
    for each in tables.moved:
        base = _moved(base, each.name, [each.values[each.place]])
    slices = [
        read(_moved(base.loc[[0] * len(each.values)], each.name, each.values))[:, others]
        for each in tables.moved
    ]
    widest = np.stack([np.ptp(each, axis=0) for each in slices]).argmax(axis=0)
    constants, moved = tables.constants.copy(), []
    constants[others] = 1.0
    for number, (each, own) in enumerate(zip(tables.moved, slices, strict=True)):
        keep, mine = ~np.isin(each.touched, others), np.flatnonzero(widest == number)
        touched = np.concatenate([each.touched[keep], others[mine]])
        factors = np.hstack([each.factors[:, keep], own[:, mine]])
        moved.append(replace(each, touched=touched, factors=factors))
    notes = [
        f"{model_names[column]} is shown as a function of {tables.moved[which].name} alone, other "
        "columns in it at their reference values"
        for column, which in zip(others, widest, strict=True)
    ]
    return ColumnTables([each for each in moved if len(each.touched)], constants, notes)


def _at_random(tables: ColumnTables) -> tuple[dict[str, IntArray], FloatArray]:
    """Return random places of the moved columns, and the columns of the model by the tables."""
    generator = np.random.default_rng(_SEED_OF_CHECKS)
    chosen, predicted = {}, np.tile(tables.constants, (_CHECKED, 1))
    for each in tables.moved:
        chosen[each.name] = generator.integers(len(each.values), size=_CHECKED)
        predicted[:, each.touched] *= each.factors[chosen[each.name]]
    return chosen, predicted


def _moved(rows: pd.DataFrame, name: str, values: list[Any]) -> pd.DataFrame:
    """Return rows with other values of one column, of the type that it has."""
    column = typed(values, rows[name].dtype)
    return rows.reset_index(drop=True).assign(**{name: column})


def _values_of(
    column: pd.Series, reference: Mapping[str, Any]
) -> tuple[list[Any], FloatArray | None, int, int]:
    """Return values of a column, as numbers too, the place of the reference, and how many lack.

    Raises ValueError for a reference that is no value.
    """
    given = reference.get(str(column.name))
    if not is_number(column):
        counts = column.value_counts()
        known = [value for value in counts.index if counts[value] > 0]
        usual = most_frequent(column) if given is None else given
        if usual not in known:
            raise ValueError(f"reference has {given!r}, which is no value of {column.name!r}")
        kept = sorted(dict.fromkeys([usual, *known][:MOST_CATEGORIES]), key=str)
        if isinstance(column.dtype, pd.CategoricalDtype):
            kept = [value for value in column.cat.categories if value in set(kept)]
        return kept, None, kept.index(usual), len(known) - len(kept)
    numbers = _numbers_of(column, None if given is None else _finite(given, column.name))
    usual = float(column.median()) if given is None else float(given)
    return numbers.tolist(), numbers, int(np.abs(numbers - usual).argmin()), 0


def _finite(given: Any, name: Any) -> float:
    if isinstance(given, bool | str) or not np.isfinite(given):
        raise ValueError(f"reference has {given!r}, and {name!r} holds numbers")
    return float(given)


def _numbers_of(column: pd.Series, given: float | None) -> NDArray[np.float64]:
    """Return numbers between the extremes: all there are, or even steps through a given one."""
    own = np.unique(column.to_numpy(dtype=np.float64))
    if len(own) <= _MOST_OWN_VALUES:
        return own if given is None else np.unique([*own, given])
    low, high = own[0], own[-1]
    rough = (high - low) / _SLIDER_STEPS
    power = 10.0 ** np.floor(np.log10(rough))
    step = next(power * each for each in _NICE if power * each >= rough * (1.0 - _SAME))
    if pd.api.types.is_integer_dtype(column.dtype):
        step = max(1.0, step)
    start = 0.0 if given is None else given
    first, last = np.ceil((low - start) / step), np.floor((high - start) / step)
    return np.round(start + step * np.arange(first, last + 1.0), 12)
