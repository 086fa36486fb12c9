"""Rows over a feature, all else held, and what a model says of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils.validation import check_is_fitted

from skmixed.design.tables import is_frame
from skmixed.display._group_columns import frame_of, frame_of_groups, group_columns
from skmixed.display._held_values import (
    held_values,
    levels_of,
    named_factor,
    named_feature,
    typed,
    typical,
    values_of,
)

NEW = "(new)"
_MOST_SHOWN, _SHOWN, _BACKGROUND = 7, 5, 200


@dataclass(frozen=True, slots=True, eq=False)
class Question:
    """A model, a feature that takes many values, and what everything else is held at.

    Parameters
    ----------
    estimator : estimator
        Fitted.
    feature : str
        The feature.
    values : ndarray of shape (m,)
        Its values.
    middle : object
        A value in their middle, at which groups are compared.
    factor : str
        What the groups are called.
    key : tuple of str
        The columns of the groups.
    levels : list
        Labels of the groups in the rows; tuples where there are several columns.
    held : dict of str to object
        Values of other features.
    dtypes : dict of str to dtype
        Of all columns of X.
    by_argument : dict of str to dtype
        Of all columns of the argument `groups`.
    unseen : dict of str to object
        A label of every grouping column that no group has.
    as_frame : bool
        Whether the model is asked about data frames.
    """

    estimator: Any
    feature: str
    values: Any
    middle: Any
    factor: str
    key: tuple[str, ...]
    levels: list[Any]
    held: dict[str, Any]
    dtypes: dict[str, Any]
    by_argument: dict[str, Any]
    unseen: dict[str, Any]
    as_frame: bool

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,
        feature: Any,
        groups: Any,
        factor: Any,
        at: Mapping[str, Any] | None,
        grid_resolution: int,
    ) -> Question:
        """Find out what is to be asked.

        Parameters
        ----------
        estimator : estimator
            Fitted.
        X : array-like or data frame
            Rows that tell which values are usual.
        feature : str or int
            The feature.
        groups : None, array-like or data frame
            Labels by argument.
        factor : None, str or list of str
            The factor or its columns.
        at : mapping of str to object, or None
            Values of other features.
        grid_resolution : int
            Number of values of a feature of numbers.

        Returns
        -------
        Question
            Ready to be put.

        Raises
        ------
        TypeError
            For an estimator without predictions.
        NotFittedError
            If it is not fitted.
        ValueError
            For names that are not there.
        """
        if not hasattr(estimator, "predict"):
            raise TypeError(f"PredictionDisplay needs predictions; {estimator!r} has no predict")
        check_is_fitted(estimator)
        if grid_resolution < 2:
            raise ValueError(f"grid_resolution={grid_resolution!r} is less than 2")
        table = frame_of(X)
        labels = pd.DataFrame(index=table.index) if groups is None else frame_of_groups(groups)
        found = group_columns(estimator)
        if found.from_argument:
            if groups is None:
                raise ValueError("the model was fitted with groups=...: give those of these rows")
            if not set(found.columns) <= set(labels.columns):
                labels.columns = found.columns  # of arrays, whose names are made up
        elif groups is not None:
            raise ValueError("groups were given, but the model was not fitted with groups=...")
        feature = named_feature(feature, table)
        name, key = named_factor(factor, found, labels if found.from_argument else table)
        if feature in key:
            raise ValueError(f"{feature!r} is a grouping column of {name!r}, no feature to vary")
        everything = pd.concat([table, labels], axis=1)
        grouping = dict.fromkeys([*found.columns, *key])
        held, unseen = held_values(everything, feature, key, grouping, dict(at or {}))
        values = values_of(table[feature], grid_resolution)
        return cls(
            estimator,
            feature,
            values,
            typical(table[feature]),
            name,
            key,
            levels_of(everything, key),
            held,
            dict(table.dtypes),
            dict(labels.dtypes),
            unseen,
            is_frame(X),
        )

    @property
    def told(self) -> dict[str, Any]:
        """What is held and matters: columns that no formula names do not."""
        told = {**self.held}
        columns = getattr(self.estimator, "_columns", None)
        if getattr(columns, "by_formula", False):
            named = set(re.findall(r"\w+|\.", self.estimator.formula_.partition("~")[2]))
            told = {name: told[name] for name in told if name in named or "." in named}
        others = [name for name in self.unseen if name not in self.key and name not in self.held]
        return told | dict.fromkeys(others, NEW)

    def intervals(self, interval: str | None, level: float) -> str | None:
        """Return the kind of intervals there are to be.

        Parameters
        ----------
        interval : {"auto", "mean", "observation"} or None
            What the user asks for.
        level : float
            Probability of the intervals.

        Returns
        -------
        {"mean", "observation"} or None
            None for no intervals.

        Raises
        ------
        ValueError
            For another kind, and for intervals of a model without any.
        """
        if interval not in ("auto", "mean", "observation", None):
            raise ValueError(f"interval={interval!r} is not 'auto', 'mean', 'observation' or None")
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level!r} is no probability between 0 and 1")
        if hasattr(self.estimator, "predict_interval"):
            return "mean" if interval == "auto" else interval
        if interval in ("auto", None):
            return None
        raise ValueError(
            f"interval={interval!r}, but a {type(self.estimator).__name__} has no predict_interval"
        )

    def answers(
        self, levels: Sequence[Any] | None, interval: str | None, level: float, *, new: bool
    ) -> pd.DataFrame:
        """Ask the model.

        Parameters
        ----------
        levels : sequence or None
            The groups to be shown; None is a choice.
        interval : {"mean", "observation"} or None
            Kind of intervals.
        level : float
            Their probability.
        new : bool
            Whether a group that is not known is wanted.

        Returns
        -------
        DataFrame
            Columns group, value, prediction, lower, upper and role.
        """
        shown, background = self._chosen(levels)
        parts = [self._ask(shown, "shown", interval, level)]
        if background:
            parts.append(self._ask(background, "background", None, level))
        if new and self.key and self._answers_new_groups:
            label = tuple(self.unseen[name] for name in self.key)
            found = self._ask([label if len(self.key) > 1 else label[0]], "new", None, level)
            found["group"] = pd.Series([NEW] * len(found), dtype=object)
            parts.append(found)
        return pd.concat(parts, ignore_index=True)

    @property
    def _answers_new_groups(self) -> bool:
        refusal = getattr(self.estimator, "handle_unknown", None) in ("error", "nan")
        return not refusal and getattr(self.estimator, "fallback", None) != "error"

    def _chosen(self, levels: Sequence[Any] | None) -> tuple[list[Any], list[Any]]:
        """Return the groups in colour and those behind them."""
        if not self.key:
            return [()], []
        if levels is not None:
            unknown = [each for each in levels if each not in set(self.levels)]
            if unknown or not len(levels):
                raise ValueError(f"levels {unknown} of {self.factor!r} are not among the rows of X")
            return list(levels), []
        if len(self.levels) <= _MOST_SHOWN:
            return self.levels, []
        middle = self._rows(self.levels, np.asarray([self.middle], dtype=object))
        order = np.argsort(self._predict(middle), kind="stable")
        places = np.linspace(0, len(order) - 1, _SHOWN).round().astype(int)
        shown = [self.levels[i] for i in order[places]]
        rest = np.delete(order, places)
        if len(rest) > _BACKGROUND:
            rest = rest[np.linspace(0, len(rest) - 1, _BACKGROUND).round().astype(int)]
        return shown, [self.levels[i] for i in rest]

    def _ask(
        self, levels: list[Any], role: str, interval: str | None, level: float
    ) -> pd.DataFrame:
        rows = self._rows(levels, self.values)
        labels = np.empty(len(levels), dtype=object)
        labels[:] = levels
        answers = pd.DataFrame({"group": np.repeat(labels, len(self.values))})
        answers["value"] = np.tile(np.asarray(self.values), len(levels))
        answers["prediction"] = self._predict(rows)
        answers["lower"] = answers["upper"] = np.nan
        if interval is not None:
            X, groups = self._arguments(rows)
            settings: dict[str, Any] = {} if groups is None else {"groups": groups}
            ends = self.estimator.predict_interval(X, level=level, kind=interval, **settings)
            answers[["lower", "upper"]] = ends
        return answers.assign(role=role)

    def _rows(self, levels: list[Any], values: Any) -> pd.DataFrame:
        """Return a row for every level and value."""
        n = len(levels) * len(values)
        columns = {}
        dtypes = {**self.dtypes, **self.by_argument}
        labels = {
            name: [level[place] if len(self.key) > 1 else level for level in levels]
            for place, name in enumerate(self.key)
        }
        for name, dtype in dtypes.items():
            if name == self.feature:
                data: Any = np.tile(np.asarray(values, dtype=object), len(levels))
            elif name in labels:
                data = np.repeat(np.array([*labels[name], None], dtype=object)[:-1], len(values))
            else:
                data = [self.held.get(name, self.unseen.get(name))] * n
            columns[name] = typed(data, dtype)
        return pd.DataFrame(columns)

    def _arguments(self, rows: pd.DataFrame) -> tuple[Any, Any]:
        """Return X and the groups as the model takes them."""
        X: Any = rows[list(self.dtypes)]
        groups = rows[list(self.by_argument)] if self.by_argument else None
        return (X if self.as_frame else X.to_numpy()), groups

    def _predict(self, rows: pd.DataFrame) -> np.ndarray:
        X, groups = self._arguments(rows)
        given = self.estimator.predict(X) if groups is None else self.estimator.predict(X, groups)
        predictions = np.asarray(given)
        if predictions.dtype.kind not in "fiu" or predictions.ndim > 1:
            raise TypeError(
                "PredictionDisplay shows regressors of one output; a "
                f"{type(self.estimator).__name__} predicts {predictions.dtype} of shape "
                f"{predictions.shape}"
            )
        return predictions.astype(np.float64)
