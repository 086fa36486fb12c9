"""Categorical columns of formulas when a part of the rows does not show all their levels.

A treatment contrast drops the first level, and which level is first is known only once all rows
have been seen. A part is therefore coded with one extra level in front of all others, which never
occurs: every level of the part then has a column, under the name it has in the whole, and a level
that the part does not have is a column of zeros.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.design import Design
from skmixed.design.values import ABSENT_LEVEL, TRUTH_LEVELS


@dataclass(frozen=True, slots=True)
class Categories:
    """Levels of one categorical column."""

    seen: frozenset[Any]  # the levels that occur
    # All levels that could occur, in the order of the column's type or as given; None: sorted.
    order: tuple[Any, ...] | None = None

    @classmethod
    def of(cls, values: pd.Series[Any]) -> Categories:
        """Find the levels of a column; missing values are not levels."""
        order = None
        if isinstance(values.dtype, pd.CategoricalDtype):
            order = tuple(values.cat.categories.tolist())
        return cls(frozenset(values.dropna().unique().tolist()), order)

    def union(self, other: Categories) -> Categories:
        """Return the levels of both; if their orders differ, they are sorted."""
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

    These stand in a formula by themselves or in ``C()`` with no other argument, and are no truth
    values, whose levels are known.
    """
    found: dict[str, None] = {}
    for matrix in design.matrices:
        for name in matrix.variables:
            is_truth = name in matrix.known.truths
            if not is_truth and {name, f"C({name})"} & matrix.categories.keys():
                found[name] = None
    return tuple(found)


def refuse_other_codings(design: Design) -> None:
    """Refuse formulas with categories that are neither given nor learned part by part.

    Raises ValueError for ``C(x, contr.sum)``, not for ``C(x, contr.sum, levels=[...])``, and for
    levels in an order, whose contrasts are polynomial.
    """
    for name in (name for matrix in design.matrices for name in matrix.ordered):
        raise ValueError(
            f"{name!r} has levels in an order, and its polynomial contrasts need all of them at "
            f"once: write C({name}), which has the contrasts of other factors, or give a category "
            "without an order"
        )
    learned = {text for name in categorical_columns(design) for text in (name, f"C({name})")}
    for matrix in design.matrices:
        for expression, levels in matrix.categories.items():
            is_known = list(levels) == TRUTH_LEVELS or re.search(r"\blevels\s*=", expression)
            if expression not in learned and not is_known:
                raise ValueError(
                    f"{expression!r} learns its levels from all rows at once: say them in the "
                    "formula, as in C(x, contr.sum, levels=[...])"
                )


def with_levels(frame: pd.DataFrame, categories: Mapping[str, Sequence[Any]]) -> pd.DataFrame:
    """Return a new table, its columns in `categories` categorical with the given levels."""
    new = {
        name: pd.Categorical(frame[name].astype(object), categories=list(levels))
        for name, levels in categories.items()
    }
    return frame.assign(**new)


def table_of_levels(
    frame: pd.DataFrame, categories: Mapping[str, Categories], *, complete: bool
) -> Any:
    """Return a small table, filled up from the rows of `frame`, in which every level occurs.

    Unless `complete`, the levels are those of a part of the rows and `ABSENT_LEVEL` precedes them.
    A design is learned from this table.
    """
    levels = {
        name: ([] if complete else [ABSENT_LEVEL]) + c.levels for name, c in categories.items()
    }
    n_rows = max([len(frame), *map(len, levels.values())])
    table = frame.iloc[np.resize(np.arange(len(frame)), n_rows)].reset_index(drop=True)
    for name, known in levels.items():
        values = [known[i % len(known)] for i in range(n_rows)]
        dtype = frame[name].dtype  # of one part: another may have other categories
        is_category = isinstance(dtype, pd.CategoricalDtype)
        if complete and categories[name].order is None and not is_category:
            table[name] = pd.Series(values, dtype=dtype)
        else:
            table[name] = pd.Categorical(values, categories=known)
    return table


def differing_expression(first: Design, second: Design) -> str | None:
    """Return an expression that learned different things in two designs of one model, or None.

    The levels of `categorical_columns` may differ: they are merged.
    """
    merged = set(categorical_columns(first))
    merged |= {f"C({name})" for name in merged}
    for mine, theirs in zip(first.matrices, second.matrices, strict=True):
        given = [
            {text: levels for text, levels in m.categories.items() if text not in merged}
            for m in (mine, theirs)
        ]
        if given[0] != given[1] or not mine.learned_the_same_as(theirs):
            return mine.expression
    return None
