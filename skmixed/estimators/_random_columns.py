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

from skmixed.design.tables import column, is_frame, select, to_pandas
from skmixed.design.terms import RandomTerm
from skmixed.estimators._inputs import Columns


@dataclass(frozen=True, slots=True, eq=False)
class RandomColumns:
    """Which columns of X the regressor gets, and which the model of its residuals.

    Parameters
    ----------
    columns : Columns
        What each column of X is.
    slopes : tuple of int
        Positions of the columns that are fixed and may vary in the model of residuals.
    formulas : bool
        Whether slopes are expressions, for which that model needs all columns.
    """

    columns: Columns
    slopes: tuple[int, ...]
    formulas: bool

    @classmethod
    def of(
        cls, columns: Columns, terms: Sequence[RandomTerm], *, all_features: bool
    ) -> RandomColumns:
        """Choose the columns.

        Parameters
        ----------
        columns : Columns
            What each column of X is.
        terms : sequence of RandomTerm
            The random part.
        all_features : bool
            Whether the model of residuals has all features as fixed columns.

        Returns
        -------
        RandomColumns
            For both.
        """
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
        """Return the columns of the regressor, in a table of the kind of X."""
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
        """Return the columns of the model of residuals.

        Parameters
        ----------
        X : ndarray or data frame of shape (n, n_features)
            The columns.
        given : mapping of str to Series or ndarray, or None
            The grouping columns of the argument `groups`; None where nothing is known of them.

        Returns
        -------
        DataFrame
            Slopes and grouping columns.
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
            found = pd.DataFrame({names[i]: _plain(_column(X, i)) for i in self.slopes})
        groups: dict[str, Any] = {}
        if self.columns.groups:
            groups = {n: _label_column(X, names.index(n), n) for n in self.columns.groups}
        elif self.columns.from_argument:
            groups = dict(given or dict.fromkeys(self.columns.from_argument))
        for name, labels in groups.items():
            found[name] = np.full(len(X), None) if labels is None else _plain(labels)
        return found


def coarsest(terms: Sequence[RandomTerm]) -> int:
    """Return the position of the coarsest of nested factors, of others the first.

    Parameters
    ----------
    terms : sequence of RandomTerm
        The random part.

    Returns
    -------
    int
        Among the distinct factors, in the order of the terms.
    """
    keys = list(dict.fromkeys(term.group for term in terms))
    return keys.index(min(keys, key=len))


def _column(X: Any, place: int) -> Any:
    return column(X, place) if is_frame(X) else X[:, place]


def _label_column(X: Any, place: int, name: str) -> Any:
    if is_frame(X):
        return column(X, place)
    labels = X[:, place]
    if labels.dtype.kind == "f":  # in an array of numbers NaN may be a slip
        assert_all_finite(labels, input_name="X")
    return labels


def _plain(values: Any) -> Any:
    """Return a column without an index."""
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values
