"""The grouping columns of fitted estimators, and their labels in rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.tables import is_frame, to_pandas
from skmixed.estimators._inputs import names_of, read_groups
from skmixed.estimators.effects import MixedEffectsRegressor
from skmixed.estimators.grouped.models import GroupedModels


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """The factors of a fitted estimator.

    Parameters
    ----------
    factors : mapping of str to tuple of str
        The grouping columns of every factor.
    sizes : mapping of str to int
        Their numbers of levels.
    from_argument : bool
        Whether they come by the argument `groups`.
    """

    factors: Mapping[str, tuple[str, ...]]
    sizes: Mapping[str, int]
    from_argument: bool

    def factor(self, given: str | None) -> str:
        """Return the factor that is asked for, or the one with most levels.

        Parameters
        ----------
        given : str or None
            What the user gave.

        Returns
        -------
        str
            A factor.

        Raises
        ------
        ValueError
            If it is not there.
        """
        if given is None:
            return max(self.factors, key=lambda name: self.sizes[name])
        if given not in self.factors:
            raise ValueError(f"factor={given!r} is not among {list(self.factors)}")
        return given

    @property
    def columns(self) -> list[str]:
        """All grouping columns."""
        return list(dict.fromkeys(name for key in self.factors.values() for name in key))


def group_columns(estimator: Any) -> GroupColumns:
    """Return the factors of a fitted estimator; none of an estimator of another kind.

    Parameters
    ----------
    estimator : estimator
        Fitted.

    Returns
    -------
    GroupColumns
        Its factors; of `GroupedModels` the finest groups.
    """
    if isinstance(estimator, GroupedModels):
        names = estimator._tree.names
        if not names:
            return GroupColumns({}, {}, False)
        size = len(estimator._tree.counts[-1])
        key = ":".join(map(str, names))
        return GroupColumns({key: names}, {key: size}, bool(estimator._columns.from_argument))
    model = estimator
    columns = getattr(estimator, "_columns", None)
    if isinstance(estimator, MixedEffectsRegressor):
        model, columns = estimator.mixed_model_, estimator._roles.columns
    design = getattr(model, "design_", None)
    if design is None or columns is None:
        return GroupColumns({}, {}, False)
    indexes = [factor.index for factor in design.grouping.factors]
    factors = {index.name: tuple(map(str, index.key)) for index in indexes}
    sizes = {index.name: len(index) for index in indexes}
    return GroupColumns(factors, sizes, bool(columns.from_argument))


def frame_of(X: Any) -> pd.DataFrame:
    """Return a table of columns by name, "x0", "x1", ... for an array."""
    if is_frame(X):
        return to_pandas(X).reset_index(drop=True)
    return pd.DataFrame(np.asarray(X), columns=list(names_of(X)))


def frame_of_groups(groups: Any) -> pd.DataFrame:
    """Return the argument `groups` as a table."""
    return pd.DataFrame(
        {
            name: pd.Series(values).reset_index(drop=True)
            for name, values in read_groups(groups).items()
        }
    )


def labels_of(found: GroupColumns, factor: str, X: Any, groups: Any) -> pd.Series:
    """Return the labels of the rows, tuples for a factor of several columns.

    Parameters
    ----------
    found : GroupColumns
        Of the estimator.
    factor : str
        The factor.
    X : array-like or data frame
        The rows.
    groups : None, array-like or data frame
        Their labels, if they come by argument.

    Returns
    -------
    Series
        The labels; rows whose label is missing have a missing one.

    Raises
    ------
    ValueError
        If they come by argument and are not given.
    """
    if found.from_argument and groups is None:
        raise ValueError("the model was fitted with groups=...: give those of these rows")
    table = frame_of_groups(groups) if found.from_argument else frame_of(X)
    key = list(found.factors[factor])
    if found.from_argument and not set(key) <= set(table.columns):
        table.columns = found.columns  # of arrays, whose names are made up
    if len(key) == 1:
        return table[key[0]]
    labels = np.empty(len(table), dtype=object)
    labels[:] = list(zip(*(table[name] for name in key), strict=True))
    return pd.Series(labels)
