"""Reading X and groups as scikit-learn hands them over: which columns are labels, and which."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.base import BaseEstimator
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _num_samples, check_array, validate_data

from skmixed.design.source import Source
from skmixed.design.tables import column, column_names, is_frame, list_rows, take, to_pandas
from skmixed.estimators._numbers import numeric_array, numeric_frame, refuse_dates, refuse_labels
from skmixed.estimators._text import refuse_text

_NO_NAMES_HINT = (
    "X came as an array, which has no names (some meta-estimators make one of a data frame): "
    "give positions, as group_features=[0]"
)


@dataclass(frozen=True, slots=True)
class Columns:
    """Which columns of X are what."""

    names: tuple[str, ...]  # of all columns; "x0", "x1", ... for an array
    groups: tuple[str, ...]  # the grouping columns among them
    from_argument: tuple[str, ...]  # the grouping columns that come by the argument `groups`
    by_formula: bool  # whether formulas pick the fixed columns

    @property
    def numeric(self) -> list[int]:
        """Positions of the columns that are no grouping columns."""
        return [i for i, name in enumerate(self.names) if name not in self.groups]


def names_of(X: Any) -> tuple[str, ...]:
    """Return the names of the columns of X, made up for an array."""
    if isinstance(X, np.ndarray) and X.ndim == 2 and X.size:
        return _made_up(X.shape[1])
    if is_frame(X):
        return tuple(column_names(X))
    return _made_up(check_array(X, dtype=None, ensure_all_finite=False).shape[1])


def _made_up(n_columns: int) -> tuple[str, ...]:
    """Return the names x0, x1, ... of the columns of an array."""
    return tuple(f"x{i}" for i in range(n_columns))


def pick_rows(table: Any, rows: Any) -> Any:
    """Return some rows of an array, a list, a Series or a data frame of any library."""
    return take(table, rows) if is_frame(table) else _safe_indexing(table, rows)


def read_groups(groups: Any) -> dict[str, Any]:
    """Return the grouping columns of the argument `groups`, (n,) each, by name.

    A Series or a data frame brings names; other columns are called "group", or "group0", "group1",
    .... Raises TypeError for a mapping, which scikit-learn would not split into folds, and for a
    sparse matrix.
    """
    if isinstance(groups, Mapping):
        raise TypeError(
            "groups is a dict, which scikit-learn cannot split into folds: "
            "pass a data frame or a 2-D array with one column per grouping factor"
        )
    if sparse.issparse(groups):
        raise TypeError(f"groups is a sparse {type(groups).__name__}: pass groups.toarray()")
    if is_frame(groups):
        names = column_names(groups)
        if len(set(names)) < max(1, len(names)):
            raise ValueError(f"groups has the columns {names}; each needs a name of its own")
        return {name: column(groups, i) for i, name in enumerate(names)}
    if not isinstance(groups, pd.Series):
        name = getattr(groups, "name", None)
        values = _label_array(groups)
        if values.ndim == 2 and values.shape[1] > 1:
            return {f"group{i}": values[:, i] for i in range(values.shape[1])}
        return {name if isinstance(name, str) and name else "group": _one_column(values)}
    name = groups.name
    return {str(name) if name not in (None, "") else "group": groups}


def _label_array(groups: Any) -> NDArray[Any]:
    """Return labels as an array, integers and strings each as they are."""
    if isinstance(groups, pd.Categorical | pd.Index):
        return np.asarray(groups)
    values = np.asarray(groups)
    if values.dtype.kind in "US" and not isinstance(groups, np.ndarray):
        values = np.asarray(groups, dtype=object)
    return values.astype(object) if values.dtype.kind in "US" else values


def _one_column(values: NDArray[Any]) -> NDArray[Any]:
    """Return labels as (n,); ValueError for more than one column."""
    if values.ndim == 0 or values.shape[1:] not in ((), (1,)):
        raise ValueError(
            f"groups has shape {values.shape}; expected (n_samples,) or one column a factor"
        )
    return values.reshape(len(values))


def refuse_infinite(groups: Mapping[str, Any], source: str) -> None:
    """Raise ValueError for labels that are infinite numbers; it names column and rows.

    Objects are not looked into. `source` is the argument the labels come from, "X" or "groups".
    """
    for name, labels in groups.items():
        numbers = _floats(labels)
        if numbers is not None and np.isinf(numbers).any():
            raise ValueError(
                f"infinite labels in {source}: grouping column {name!r} is infinite in rows "
                f"{list_rows(np.flatnonzero(np.isinf(numbers)))}. Give these rows a label of their "
                "own"
            )


def refuse_missing(groups: Mapping[str, NDArray[Any]]) -> None:
    """Raise ValueError for NaN among the labels in an array of numbers, perhaps a slip.

    It names column and rows.
    """
    for name, labels in groups.items():
        numbers = _floats(labels)
        if numbers is not None and np.isnan(numbers).any():
            raise ValueError(
                f"Input X contains NaN: grouping column {name!r} is missing in rows "
                f"{list_rows(np.flatnonzero(np.isnan(numbers)))}. In an array of numbers this is "
                "an error; pass a data frame, where a missing label is an unknown level, or give "
                "these rows a label of their own"
            )


def _floats(labels: Any) -> NDArray[Any] | None:
    """Return labels that are floating-point numbers as an array, (n,); None for others."""
    if not pd.api.types.is_float_dtype(labels.dtype):
        return None
    if isinstance(labels, pd.Series):
        return labels.to_numpy(dtype=np.float64, na_value=np.nan)
    return np.asarray(labels)


def choose_groups(
    names: Sequence[str],  # of the columns of X
    group_features: Any,  # columns that the user names, by name or position
    used: Sequence[str],  # columns that the random terms name
) -> tuple[str, ...]:
    """Return the columns of X that are grouping columns, in the order of X.

    Raises ValueError for a column that is not there, and for one whose name occurs twice.
    """
    wanted = set(used)
    if group_features is not None:
        listed = [group_features] if isinstance(group_features, str | Integral) else group_features
        for entry in list(listed):
            wanted.add(_named(entry, names))
    missing = [name for name in dict.fromkeys(used) if name not in names]
    if missing:
        hint = "Name a column of X, or pass the labels as `groups`"
        if tuple(names) == _made_up(len(names)):
            hint = _NO_NAMES_HINT
        raise ValueError(
            f"grouping columns {missing} named in `random` are not there: X has the columns "
            f"{list(names)}. {hint}"
        )
    repeated = [name for name in wanted if names.count(name) > 1]
    if repeated:
        raise ValueError(f"the names {sorted(repeated)} of grouping columns occur twice in X")
    return tuple(name for name in names if name in wanted)


def _named(entry: Any, names: Sequence[str]) -> str:
    """Return the name of a column given by name or position; ValueError if there is none."""
    if isinstance(entry, str):
        if entry not in names:
            hint = f". {_NO_NAMES_HINT}" if tuple(names) == _made_up(len(names)) else ""
            raise ValueError(
                f"group_features names {entry!r}; X has the columns {list(names)}{hint}"
            )
        return entry
    if isinstance(entry, bool | np.bool_) or not isinstance(entry, Integral):
        raise ValueError(
            f"group_features holds {entry!r}; it takes names and positions of columns of X"
        )
    if not -len(names) <= int(entry) < len(names):
        raise ValueError(
            f"group_features has position {entry}; X has {len(names)} columns. Where a "
            "meta-estimator selects columns, as BaggingRegressor does with max_features, positions "
            "shift: let it keep all columns"
        )
    return names[int(entry)]


def read_features(
    estimator: BaseEstimator,
    X: Any,
    columns: Columns,
    *,
    reset: bool,  # whether this is a fit
    optional_groups: bool = False,  # whether a data frame may lack them, no label being looked at
) -> Source:
    """Validate X and cut it into numeric and grouping columns.

    Sets or compares `n_features_in_` and `feature_names_in_` of the estimator. Grouping columns
    that come by argument are not in the result.
    """
    if columns.by_formula:
        return _by_formula(estimator, X, columns, reset=reset)
    if not columns.groups:
        return _numbers(estimator, X, columns, reset=reset)
    if not is_frame(X):
        X = check_array(X, dtype=None, ensure_all_finite=False)
    elif optional_groups and hasattr(estimator, "feature_names_in_"):
        X = with_placeholders(X, columns)
    validate_data(estimator, header(X), reset=reset, skip_check_array=True)
    place = {name: i for i, name in enumerate(columns.names)}
    if is_frame(X):
        groups = {name: column(X, place[name]) for name in columns.groups}
        numeric = numeric_frame(X, columns.numeric)
    else:
        groups = {name: X[:, place[name]] for name in columns.groups}
        if not reset:  # in fit every missing label is an error
            refuse_missing(groups)
        numeric = numeric_array(X, columns.numeric, fitting=reset)
    refuse_infinite(groups, "X")
    names = tuple(columns.names[i] for i in columns.numeric)
    return Source(_num_samples(X), names, numeric, X if is_frame(X) else None, groups)


def with_placeholders(frame: Any, columns: Columns) -> Any:
    """Return a data frame with empty grouping columns where they are missing.

    scikit-learn compares the names with those of the fit, whether or not labels are needed.
    """
    present = column_names(frame)
    missing = [name for name in columns.groups if name not in present]
    if not missing:
        return frame
    table = to_pandas(frame).copy(deep=False)
    for name in missing:
        table.insert(min(columns.names.index(name), table.shape[1]), name, np.nan)
    return table


def header(X: Any) -> Any:
    """Return X, or a table of its names only where scikit-learn may not know the library."""
    if is_frame(X) and not isinstance(X, pd.DataFrame):
        return pd.DataFrame(columns=column_names(X))
    return X


def _numbers(estimator: BaseEstimator, X: Any, columns: Columns, *, reset: bool) -> Source:
    """Read X without grouping columns, all of it numbers."""
    frame = X if is_frame(X) else None
    if frame is not None:
        refuse_labels(frame)
        X = to_pandas(X)
    else:
        refuse_dates(X, "X")
    try:
        numeric = validate_data(estimator, X, reset=reset, dtype=np.float64)
    except ValueError:
        refuse_text(X, fitting=reset)
        raise
    return Source(len(numeric), columns.names, numeric, frame, {})


def _by_formula(estimator: BaseEstimator, X: Any, columns: Columns, *, reset: bool) -> Source:
    """Read a data frame of which formulas pick the columns."""
    if not is_frame(X):
        raise ValueError(
            "`fixed` is a formula, which picks columns by name: X must be a data frame, got "
            f"{type(X).__name__}"
        )
    if reset:
        validate_data(estimator, header(X), reset=True, skip_check_array=True)
    place = {name: i for i, name in enumerate(column_names(X))}
    groups = {name: column(X, place[name]) for name in columns.groups if name in place}
    refuse_infinite(groups, "X")
    return Source(_num_samples(X), (), None, X, groups)
