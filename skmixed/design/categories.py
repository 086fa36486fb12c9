"""Categorical columns of formulas whose levels are not all among the rows at hand.

A treatment contrast leaves out the first level, and which level is first is known only when all
rows have been seen. So a part of the rows is coded with one more level before all others, which
never occurs: then every level of the part has its column, under the name that it has in the whole,
and a level that does not occur in the part is a column of zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.design import Design

NOBODY = "\N{REPLACEMENT CHARACTER}"
"""The level that never occurs."""


@dataclass(frozen=True, slots=True)
class Categories:
    """Levels of one categorical column.

    Parameters
    ----------
    seen : frozenset
        Those that occur.
    order : tuple or None
        All that could occur, in the order of the column's type or as they were given; None where
        they are sorted.
    """

    seen: frozenset[Any]
    order: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, values: pd.Series[Any]) -> Categories:
        """Find the levels of a column; missing values are none."""
        order = None
        if isinstance(values.dtype, pd.CategoricalDtype):
            order = tuple(values.cat.categories.tolist())
        return cls(frozenset(values.dropna().unique().tolist()), order)

    def union(self, other: Categories) -> Categories:
        """Return the levels of both; columns of different types are sorted."""
        order = self.order if self.order == other.order else None
        return Categories(self.seen | other.seen, order)

    @property
    def levels(self) -> list[Any]:
        """The levels that occur, in order."""
        if self.order is not None:
            return [level for level in self.order if level in self.seen]
        try:
            return sorted(self.seen)
        except TypeError:  # of mixed types
            return sorted(self.seen, key=repr)


def categorical_columns(design: Design) -> tuple[str, ...]:
    """Return the columns whose levels a formula learns from the rows.

    Parameters
    ----------
    design : Design
        Learned from any rows.

    Returns
    -------
    tuple of str
        Columns that stand in a formula as they are or in ``C()`` with nothing else.
    """
    found: dict[str, None] = {}
    for matrix in design.matrices:
        for name in matrix.variables:
            if {name, f"C({name})"} & matrix.categories.keys():
                found[name] = None
    return tuple(found)


def refuse_other_codings(design: Design) -> None:
    """Refuse categories in formulas that are neither learned part by part nor given.

    Parameters
    ----------
    design : Design
        Learned from any rows.

    Raises
    ------
    ValueError
        If there are some, as in ``C(x, contr.sum)``.
    """
    learned = {text for name in categorical_columns(design) for text in (name, f"C({name})")}
    for matrix in design.matrices:
        for factor in matrix.categories:
            if factor not in learned and not re.search(r"\blevels\s*=", factor):
                raise ValueError(
                    f"{factor!r} learns its levels from all rows at once: say them in the formula, "
                    "as in C(x, contr.sum, levels=[...])"
                )


def coded(frame: pd.DataFrame, categories: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return a table whose categorical columns have known levels.

    Parameters
    ----------
    frame : DataFrame
        With at least the columns of `categories`.
    categories : mapping of str to sequence
        The levels of each.

    Returns
    -------
    DataFrame
        A new one; other columns are shared.
    """
    new = {
        name: pd.Categorical(frame[name].astype(object), categories=list(levels))
        for name, levels in categories.items()
    }
    return frame.assign(**new)


def template(frame: pd.DataFrame, categories: Mapping[str, Categories], *, whole: bool) -> Any:
    """Return a small table in which every level occurs.

    Parameters
    ----------
    frame : DataFrame
        A few rows, from which the other columns are taken.
    categories : mapping of str to Categories
        The levels of the categorical columns.
    whole : bool
        Whether these are all levels. If not, `NOBODY` comes before them.

    Returns
    -------
    DataFrame
        What a design is to be learned from.
    """
    levels = {name: ([] if whole else [NOBODY]) + c.levels for name, c in categories.items()}
    n_rows = max([len(frame), *map(len, levels.values())])
    table = frame.iloc[np.resize(np.arange(len(frame)), n_rows)].reset_index(drop=True)
    for name, known in levels.items():
        values = [known[i % len(known)] for i in range(n_rows)]
        if whole and categories[name].order is None:
            table[name] = pd.Series(values, dtype=frame[name].dtype)
        else:
            table[name] = pd.Categorical(values, categories=known)
    return table


def disagreement(first: Design, second: Design) -> str | None:
    """Return an expression that learned different things from different rows.

    Parameters
    ----------
    first, second : Design
        Of the same model.

    Returns
    -------
    str or None
        None where the columns are the same but for levels of `categorical_columns`.
    """
    merged = set(categorical_columns(first))
    merged |= {f"C({name})" for name in merged}
    for mine, theirs in zip(first.matrices, second.matrices, strict=True):
        given = [
            {factor: levels for factor, levels in m.categories.items() if factor not in merged}
            for m in (mine, theirs)
        ]
        if given[0] != given[1] or not mine.knows_the_same(theirs):
            return mine.expression
    return None
