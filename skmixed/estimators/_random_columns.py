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
from sklearn.utils import assert_all_finite

from skmixed.design.syntax import RandomTerm
from skmixed.design.tables import column, is_frame, select, to_pandas
from skmixed.estimators._inputs import Columns


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
        wanted = {slope.strip("`") for term in terms for slope in term.slopes}
        free = columns.numeric
        formulas = not wanted <= {columns.names[i] for i in free}
        slopes = [i for i in free if all_features or columns.names[i] in wanted]
        return cls(columns, tuple(slopes), formulas)

    @property
    def group_features(self) -> list[str]:
        """Names of the grouping columns in the table of the random part."""
        return list(self.columns.groups or self.columns.from_argument)

    def features(self, X: Any) -> Any:
        """Return the columns of the regressor, in a table of the kind of X.

        Raises ValueError if none is left.
        """
        if not self.columns.groups:
            return X
        places = self.columns.numeric
        if not places:
            raise ValueError(
                f"no column is left for the regressor: X has {len(self.columns.names)} feature(s), "
                "all of them grouping columns"
            )
        return select(X, places) if is_frame(X) else X[:, places]

    def table(self, X: Any, given: Mapping[str, Any] | None) -> pd.DataFrame:
        """Return the columns of the model of residuals: slopes and grouping columns.

        `given` is the columns of the argument `groups`; where it is None, their labels are missing.
        Raises ValueError for an array where slopes are expressions.
        """
        names = self.columns.names
        if self.formulas:
            if not is_frame(X):
                raise ValueError(
                    "expressions in `random` pick columns by name: X must be a data frame, got "
                    f"{type(X).__name__}"
                )
            found = to_pandas(X).reset_index(drop=True)
            found = found.drop(columns=[n for n in self.columns.groups if n in found])
        else:
            found = pd.DataFrame({names[i]: _without_index(_column(X, i)) for i in self.slopes})
        groups: dict[str, Any] = {}
        if self.columns.groups:
            groups = {n: _label_column(X, names.index(n)) for n in self.columns.groups}
        elif self.columns.from_argument:
            groups = dict(given or dict.fromkeys(self.columns.from_argument))
        for name, labels in groups.items():
            found[name] = np.full(len(X), None) if labels is None else _without_index(labels)
        return found


def coarsest(terms: Sequence[RandomTerm]) -> int:
    """Return the position of the coarsest of nested factors, of others the first.

    It counts the distinct factors in the order of the terms.
    """
    keys = list(dict.fromkeys(term.group for term in terms))
    return keys.index(min(keys, key=len))


def _column(X: Any, place: int) -> Any:
    """Return one column of an array or a data frame, (n,)."""
    return column(X, place) if is_frame(X) else X[:, place]


def _label_column(X: Any, place: int) -> Any:
    """Return one grouping column, (n,); ValueError for NaN in an array of numbers."""
    if is_frame(X):
        return column(X, place)
    labels = X[:, place]
    if labels.dtype.kind == "f":  # in an array of numbers NaN may be a slip
        assert_all_finite(labels, input_name="X")
    return labels


def _without_index(values: Any) -> Any:
    """Return a column without an index."""
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values
