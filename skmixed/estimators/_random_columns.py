"""The table of the random part beside a regressor: the columns that a mixed model of residuals has.

A regressor gets the columns of X that are no grouping columns, as they come. The linear mixed model
of what it leaves gets a data frame of its own: the grouping columns, wherever they came from, and
the columns whose slopes vary.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.syntax import RandomTerm
from skmixed.estimators._columns import Columns
from skmixed.estimators._reading import InputTable


@dataclass(frozen=True, slots=True, eq=False)
class RandomColumns:
    """Which columns of X the regressor gets, and which the model of its residuals."""

    columns: Columns
    slopes: tuple[int, ...]  # positions of the fixed columns of the model of residuals; some vary
    formulas: bool  # whether slopes are expressions, for which that model needs all columns

    @classmethod
    def of(
        cls, columns: Columns, terms: Sequence[RandomTerm], *, all_features: bool
    ) -> RandomColumns:
        """Choose the columns; the model of residuals has all features if `all_features`."""
        wanted = {name for term in terms for name in term.slope_names}
        free = columns.numeric
        formulas = not wanted <= {columns.names[i] for i in free}
        slopes = [i for i in free if all_features or columns.names[i] in wanted]
        return cls(columns, tuple(slopes), formulas)

    @property
    def group_features(self) -> list[str]:
        """Names of the grouping columns in the table of the random part."""
        return list(self.columns.groups or self.columns.from_argument)

    def features(self, table: InputTable) -> Any:
        """Return the columns of the regressor, in a table of the kind of X.

        Raises ValueError if none is left.
        """
        if not self.columns.groups:
            return table.values
        if not self.columns.numeric:
            raise ValueError(
                f"no column is left for the regressor: X has {len(self.columns.names)} feature(s), "
                "all of them grouping columns"
            )
        return table.select(self.columns.numeric)

    def table(self, table: InputTable, given: Mapping[str, Any] | None) -> pd.DataFrame:
        """Return the columns of the model of residuals: slopes and grouping columns.

        `given` is the columns of the argument `groups`; where it is None, their labels are missing.
        Raises ValueError for an array where slopes are expressions.
        """
        columns = self.columns
        if self.formulas:
            if not table.is_named:
                raise ValueError(
                    "expressions in `random` pick columns by name: X must be a data frame, got "
                    f"{table.came_as}"
                )
            found = table.pandas.reset_index(drop=True)
            found = found.drop(columns=[name for name in columns.groups if name in found])
        else:
            slopes = {columns.names[place]: table.column(place) for place in self.slopes}
            found = pd.DataFrame({name: _without_index(each) for name, each in slopes.items()})
        groups = table.labels(columns.group_places, allow_nan=False)
        if columns.from_argument:
            groups = dict(given or dict.fromkeys(columns.from_argument))
        for name, labels in groups.items():
            found[name] = np.full(table.n_rows, None) if labels is None else _without_index(labels)
        return found


def coarsest(terms: Sequence[RandomTerm]) -> int:
    """Return the position of the coarsest of nested factors, of others the first.

    It counts the distinct factors in the order of the terms.
    """
    keys = list(dict.fromkeys(term.group for term in terms))
    return keys.index(min(keys, key=len))


def _without_index(values: Any) -> Any:
    """Return a column without an index."""
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values
