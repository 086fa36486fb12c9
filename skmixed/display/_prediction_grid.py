"""Predictions over a feature for some groups, with all other features held constant."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.utils.validation import check_is_fitted

from skmixed.display._fitted_models import GroupColumns, as_objects, frame_of, response_of
from skmixed.estimators.reading._input_table import InputTable
from skmixed.inference.fixed_effects.testing import check_probability

NEW = "(new)"
_MOST_ALL_SHOWN = 6  # groups up to which all are highlighted: PALETTE has six colours and black
_N_SHOWN = 5  # of more groups: lowest, quartiles and highest of the predictions
_MOST_BEHIND = 200  # grey lines: more merge, and each costs a grid of predictions


@dataclass(frozen=True, slots=True, eq=False)
class PredictionGrid:
    """A fitted model, a feature with its grid of values, and the values of all other features."""

    estimator: Any
    feature: str
    values: NDArray[Any]  # (n_values,), of the feature
    middle: Any  # a value of the feature in their middle, at which groups are compared
    factor: str
    key: tuple[str, ...]  # the columns of the factor; none without groups
    levels: list[Any]  # labels in the rows; tuples where there are several columns
    held: dict[str, Any]  # values of other features
    dtypes: dict[str, Any]  # of all columns of X
    dtypes_of_groups: dict[str, Any]  # of all columns of the argument `groups`
    unseen: dict[str, Any]  # a label of every grouping column that no group has
    as_frame: bool  # whether the model is asked about data frames

    @classmethod
    def of(
        cls,
        estimator: Any,
        X: Any,  # rows that tell which values are usual
        feature: Any,
        groups: Any,
        factor: Any,
        at: Mapping[str, Any] | None,
        grid_resolution: int,  # number of values of a feature of numbers
    ) -> PredictionGrid:
        """Resolve the arguments of the display.

        Raises TypeError for an estimator without ``predict``, NotFittedError if it is not fitted,
        and ValueError for unknown names.
        """
        if not hasattr(estimator, "predict"):
            raise TypeError(
                f"PredictionDisplay needs an estimator with predict, which {estimator!r} lacks"
            )
        check_is_fitted(estimator)
        if grid_resolution < 2:
            raise ValueError(f"grid_resolution={grid_resolution!r} must be at least 2")
        table = frame_of(X)
        grouping = GroupColumns.of(estimator)
        if grouping.from_argument:
            labels = grouping.read_argument(groups, grouping.columns)
        elif groups is not None:
            raise ValueError("groups were given, but the model was not fitted with groups=...")
        else:
            labels = pd.DataFrame(index=table.index)
        feature = _feature_name(feature, table)
        name, key = _factor_and_key(factor, grouping, labels if grouping.from_argument else table)
        if feature in key:
            raise ValueError(
                f"{feature!r} is a grouping column of {name!r}: choose another feature"
            )
        everything = pd.concat([table, labels], axis=1)
        all_keys = dict.fromkeys([*grouping.columns, *key])
        evaluated = _evaluated_columns(estimator)
        held, unseen = _held_and_unseen(
            everything, feature, key, all_keys, dict(at or {}), evaluated
        )
        values = _feature_values(table[feature], grid_resolution)
        return cls(
            estimator,
            feature,
            values,
            _typical(table[feature]),
            name,
            key,
            _levels(everything, key),
            held,
            dict(table.dtypes),
            dict(labels.dtypes),
            unseen,
            InputTable.of(X).is_named,
        )

    @property
    def held_in_model(self) -> dict[str, Any]:
        """The values held constant that matter: only those in the formulas, if there are any."""
        held = {**self.held}
        columns = getattr(getattr(self.estimator, "_fitted", None), "columns", None)
        if getattr(columns, "by_formula", False):
            named = set(re.findall(r"\w+|\.", self.estimator.formula_.partition("~")[2]))
            held = {name: held[name] for name in held if name in named or "." in named}
        others = [name for name in self.unseen if name not in self.key and name not in self.held]
        return held | dict.fromkeys(others, NEW)

    def interval_kind(self, interval: str | None, level: float) -> str | None:
        """Return "mean", "observation", or None for no intervals; "auto" depends on the model.

        Raises ValueError for another kind, a level outside (0, 1), and for intervals of a model
        that has none.
        """
        if interval not in ("auto", "mean", "observation", None):
            raise ValueError(f"interval={interval!r} is not 'auto', 'mean', 'observation' or None")
        check_probability(level)
        if hasattr(self.estimator, "predict_interval"):
            return "mean" if interval == "auto" else interval
        if interval in ("auto", None):
            return None
        raise ValueError(
            f"interval={interval!r} needs predict_interval, which a "
            f"{type(self.estimator).__name__} lacks: use interval=None"
        )

    def predictions(
        self, levels: Sequence[Any] | None, interval: str | None, level: float, *, new: bool
    ) -> pd.DataFrame:
        """Return group, value, prediction, lower, upper and role of each group and value.

        `levels` are the groups to highlight, None a choice of them. Intervals are those of
        highlighted groups. A new group is added if requested and the model predicts for it.
        """
        shown, background = self._shown_and_behind(levels)
        parts = [self._predicted(shown, "shown", interval, level)]
        if background:
            parts.append(self._predicted(background, "background", None, level))
        may_be_new = set(self.key) - _evaluated_columns(self.estimator)
        if new and may_be_new and self._answers_new_groups:
            label = tuple(self.unseen[name] for name in self.key)
            labels = [label if len(self.key) > 1 else label[0]]
            predicted = self._predicted(labels, "new", None, level)
            predicted["group"] = pd.Series([NEW] * len(predicted), dtype=object)
            parts.append(predicted)
        return pd.concat(parts, ignore_index=True)

    @property
    def is_classifier(self) -> bool:
        """Whether predictions are probabilities."""
        return is_classifier(self.estimator) and hasattr(self.estimator, "predict_proba")

    @property
    def response(self) -> str:
        """Name of the response, or of the probability."""
        if not self.is_classifier:
            return response_of(self.estimator)
        return f"probability of {self.estimator.classes_[1]}"

    @property
    def _answers_new_groups(self) -> bool:
        refusal = getattr(self.estimator, "handle_unknown", None) in ("error", "nan")
        return not refusal and getattr(self.estimator, "fallback", None) != "error"

    def _shown_and_behind(self, levels: Sequence[Any] | None) -> tuple[list[Any], list[Any]]:
        """Return the highlighted groups and those in grey."""
        if not self.key:
            return [()], []
        if levels is not None:
            unknown = [each for each in levels if each not in set(self.levels)]
            if unknown or not len(levels):
                raise ValueError(f"levels {unknown} of {self.factor!r} are not among the rows of X")
            return list(levels), []
        if len(self.levels) <= _MOST_ALL_SHOWN:
            return self.levels, []
        middle = self._rows(self.levels, np.asarray([self.middle], dtype=object))
        order = np.argsort(self._predict(middle), kind="stable")
        places = np.linspace(0, len(order) - 1, _N_SHOWN).round().astype(int)
        shown = [self.levels[i] for i in order[places]]
        rest = np.delete(order, places)
        if len(rest) > _MOST_BEHIND:
            rest = rest[np.linspace(0, len(rest) - 1, _MOST_BEHIND).round().astype(int)]
        return shown, [self.levels[i] for i in rest]

    def _predicted(
        self, levels: list[Any], role: str, interval: str | None, level: float
    ) -> pd.DataFrame:
        """Return the predictions for some groups, with NaN for intervals not requested."""
        rows = self._rows(levels, self.values)
        table = pd.DataFrame({"group": np.repeat(as_objects(levels), len(self.values))})
        table["value"] = np.tile(self.values, len(levels))
        table["prediction"] = self._predict(rows)
        table["lower"] = table["upper"] = np.nan
        if interval is not None:
            X, groups = self._arguments(rows)
            settings: dict[str, Any] = {} if groups is None else {"groups": groups}
            ends = self.estimator.predict_interval(X, level=level, kind=interval, **settings)
            table[["lower", "upper"]] = ends
        return table.assign(role=role)

    def _rows(self, levels: list[Any], values: NDArray[Any]) -> pd.DataFrame:
        """Return a row for each level and value, values varying fastest."""
        columns = {}
        labels = {
            name: [level[place] if len(self.key) > 1 else level for level in levels]
            for place, name in enumerate(self.key)
        }
        for name, dtype in {**self.dtypes, **self.dtypes_of_groups}.items():
            if name == self.feature:
                data: Any = np.tile(np.asarray(values, dtype=object), len(levels))
            elif name in labels:
                data = np.repeat(as_objects(labels[name]), len(values))
            else:
                data = [self.held.get(name, self.unseen.get(name))] * (len(levels) * len(values))
            columns[name] = typed(data, dtype)
        return pd.DataFrame(columns)

    def _arguments(self, rows: pd.DataFrame) -> tuple[Any, Any]:
        """Return X and the groups as the model expects them."""
        X: Any = rows[list(self.dtypes)]
        groups = rows[list(self.dtypes_of_groups)] if self.dtypes_of_groups else None
        return (X if self.as_frame else X.to_numpy()), groups

    def _predict(self, rows: pd.DataFrame) -> NDArray[np.float64]:
        """Return the predictions, (n,): for a classifier the probability of the second class.

        Raises TypeError for predictions that are not numbers, or have several columns.
        """
        X, groups = self._arguments(rows)
        ask = self.estimator.predict_proba if self.is_classifier else self.estimator.predict
        predictions = np.asarray(ask(X) if groups is None else ask(X, groups))
        if self.is_classifier and predictions.shape[1:] == (2,):
            predictions = predictions[:, 1]
        if predictions.dtype.kind not in "fiu" or predictions.ndim > 1:
            raise TypeError(
                "PredictionDisplay needs a regressor with a single output or a binary classifier; "
                f"a {type(self.estimator).__name__} predicts {predictions.dtype} of shape "
                f"{predictions.shape}"
            )
        return predictions.astype(np.float64)


def _evaluated_columns(estimator: Any) -> set[str]:
    """Return the columns whose values the formulas of a model use; empty without formulas."""
    return set(estimator.design_.variables) if hasattr(estimator, "design_") else set()


def _feature_name(feature: Any, table: pd.DataFrame) -> str:
    """Return the name of a feature given by name or position."""
    names = list(table.columns)
    if isinstance(feature, Integral) and feature not in names:
        if not 0 <= int(feature) < len(names):
            raise ValueError(f"feature={feature!r} is not a column of X, which has {len(names)}")
        return str(names[int(feature)])
    if feature not in names:
        raise ValueError(f"feature={feature!r} is not a column of X, which has {names}")
    return str(feature)


def _factor_and_key(
    given: Any, grouping: GroupColumns, table: pd.DataFrame
) -> tuple[str, tuple[str, ...]]:
    """Return the name of the factor and its columns; empty without groups."""
    if given is None:
        if not grouping.factors:
            return "group", ()
        name = grouping.factor()
        return name, grouping.factors[name]
    if isinstance(given, str) and given in grouping.factors:
        return given, grouping.factors[given]
    key = (given,) if isinstance(given, str) else tuple(given)
    missing = [name for name in key if name not in table.columns]
    if missing or not key:
        known = list(dict.fromkeys([*grouping.factors, *table.columns]))
        raise ValueError(f"factor={given!r} is not among {known}")
    return ":".join(key), key


def _held_and_unseen(
    table: pd.DataFrame,
    feature: str,
    key: tuple[str, ...],
    all_keys: Mapping[str, Any],
    at: dict[str, Any],
    evaluated: set[str],  # columns that formulas need the values of
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return values of other features, and a new label for each grouping column.

    A grouping column that is also evaluated by a formula, such as the treatment in a split plot,
    keeps a typical value: a new group is one with that treatment.
    """
    wrong = [name for name in at if name not in table.columns or name in (feature, *key)]
    if wrong:
        free = [name for name in table.columns if name not in (feature, *key)]
        raise ValueError(f"at has {wrong}, which cannot be held constant; {free} can")
    held, unseen = {}, {}
    for name in table.columns:
        if name in all_keys:
            find = most_frequent if name in evaluated else _new_label
            unseen[name] = find(table[name])
        if name in at:
            held[name] = at[name]
        elif name in evaluated and name in all_keys and name not in key:
            held[name] = unseen[name]
        elif name != feature and name not in all_keys:
            held[name] = _typical(table[name])
    return held, unseen


def is_number(column: pd.Series) -> bool:
    """Tell whether a column is numeric; booleans are categories."""
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)


def _typical(column: pd.Series) -> Any:
    """Return the median of numbers, otherwise the most frequent value, None if all are missing."""
    known = column.dropna()
    if known.empty:
        return None
    return float(known.median()) if is_number(known) else most_frequent(known)


def most_frequent(column: pd.Series) -> Any:
    return column.mode().iloc[0]


def _new_label(column: pd.Series) -> Any:
    """Return a label of the same kind that no row has: a missing value unless numeric."""
    return column.max() + 1 if is_number(column) else None


def _feature_values(column: pd.Series, grid_resolution: int) -> NDArray[Any]:
    """Return the values of the feature: a grid of numbers, or all categories."""
    known = column.dropna()
    if known.empty:
        raise ValueError(f"{column.name!r} has no values in X")
    if is_number(known):
        return np.linspace(float(known.min()), float(known.max()), grid_resolution)
    if isinstance(known.dtype, pd.CategoricalDtype):
        present = set(known)
        return np.array([each for each in known.cat.categories if each in present], dtype=object)
    return np.array(sorted(known.unique(), key=str), dtype=object)


def _levels(table: pd.DataFrame, key: tuple[str, ...]) -> list[Any]:
    """Return the labels that occur, tuples if there are several columns."""
    if not key:
        return [()]
    rows = table[list(key)].dropna().drop_duplicates()
    columns = [rows[name].tolist() for name in key]
    levels = columns[0] if len(key) == 1 else list(zip(*columns, strict=True))
    try:
        return sorted(levels)
    except TypeError:  # labels of several types
        return levels


def typed(values: Any, dtype: Any) -> pd.Series:
    """Return values as a column with the dtype of X, in double precision if need be."""
    column = pd.Series(values, dtype=object)
    if isinstance(dtype, pd.CategoricalDtype):
        return column.astype(dtype)
    if pd.api.types.is_bool_dtype(dtype):
        return column if column.isna().any() else column.astype(dtype)
    if pd.api.types.is_integer_dtype(dtype):
        whole = all(float(each).is_integer() for each in column.unique())
        return column.astype(dtype if whole else np.float64)
    if pd.api.types.is_numeric_dtype(dtype):
        return column.astype(np.float64)
    return column.astype(dtype)
