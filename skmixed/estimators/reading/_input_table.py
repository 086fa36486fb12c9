"""The table at the door: X and `groups` of any kind, taken in once and asked for columns and rows.

What kind of table there is, an array or a data frame of some library, is asked nowhere else.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import sparse
from sklearn.pipeline import Pipeline
from sklearn.utils import _safe_indexing
from sklearn.utils.validation import _get_feature_names, check_array, validate_data

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.design.tables import (
    ConvertedColumns,
    column,
    column_names,
    is_frame,
    not_numeric,
    select,
    take,
    to_pandas,
)
from skmixed.design.values import check_labels, floating, kind_of, refuse_dates
from skmixed.design.wording import list_rows
from skmixed.estimators._estimator import header_of
from skmixed.estimators.reading._numbers import (
    are_finite,
    check_numbers,
    is_word,
    plain_numbers,
    refuse_labels,
    refuse_text,
)

_COLUMN_BY_COLUMN = 64  # fewer columns of a data frame than this are read faster one by one


@dataclass(frozen=True, eq=False)
class InputTable:
    """X, an array or a data frame of any library."""

    values: Any  # (n_rows, n_columns)
    names: tuple[str, ...]  # of the columns; "x0", "x1", ... for an array
    is_named: bool  # whether it is a data frame
    came_as: str = ""  # what an array was before

    @classmethod
    def of(cls, X: Any) -> InputTable:
        """Take in X; whatever is no data frame becomes an array, and a table is itself.

        Raises scikit-learn's errors for sparse matrices, other dimensions than two, and an array
        without rows or columns.
        """
        table = X if isinstance(X, InputTable) else cls.of_frame(X)
        if table is not None:
            return table
        plain = type(X) is np.ndarray and X.ndim == 2 and X.size and X.dtype.kind in "biufO"
        values = X if plain else check_array(X, dtype=None, ensure_all_finite=False)
        return cls(values, made_up_names(values.shape[1]), False, type(X).__name__)

    @classmethod
    def of_frame(cls, X: Any) -> InputTable | None:
        """Take in a data frame; None for anything else."""
        return cls(X, tuple(column_names(X)), True) if is_frame(X) else None

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @cached_property
    def feature_names(self) -> NDArray[Any] | None:
        """The names as scikit-learn keeps them, (n_columns,); None where not all are text.

        Raises its errors for names of mixed types and, in newer versions, repeated ones.
        """
        if not self.is_named:
            return None
        if isinstance(self.values, pd.DataFrame):
            columns = self.values.columns
            if set(map(type, columns)) != {str} or not columns.is_unique:
                names: NDArray[Any] | None = _get_feature_names(self.values)
                return names
        return np.array(self.names, dtype=object)

    def check_columns(self, estimator: Any, fitted: Any) -> None:
        """Warn of, or raise ValueError for, other columns than those of a fitted state.

        The words are scikit-learn's, which compares with an estimator.
        """
        known, names = fitted.feature_names_in, self.feature_names
        if len(self.names) == fitted.n_features_in:
            if known is None and names is None:
                return
            if known is not None and names is not None and (known == names).all():
                return
        values = self.values
        if self.is_named and not isinstance(values, pd.DataFrame):
            values = pd.DataFrame(columns=list(self.names))  # older versions know pandas only
        known = header_of(estimator, fitted)
        validate_data(known, values, reset=False, skip_check_array=True)

    def check_shape(self, estimator: Any) -> None:
        """Raise scikit-learn's ValueError for a data frame without rows or columns."""
        if not self.n_rows or not self.names:
            check_array(np.empty((self.n_rows, len(self.names))), estimator=estimator)

    @property
    def pandas(self) -> pd.DataFrame:
        """The table as a data frame of pandas; one of pandas is itself."""
        if self.is_named:
            return to_pandas(self.values)
        return pd.DataFrame(self.values, columns=list(self.names))

    def pandas_of(self, needed: Collection[str]) -> pd.DataFrame:
        """Return at least the columns of a data frame that are needed, by names that are text.

        Text of other libraries is dear to convert: columns that nobody asks for are left alone.
        """
        if not isinstance(self.values, pd.DataFrame):
            return to_pandas(
                self.select([i for i, name in enumerate(self.names) if name in needed])
            )
        frame = self.values
        if not set(map(type, frame.columns)) <= {str}:
            frame = frame.set_axis(self.names, axis=1)
        return frame if frame.columns.is_unique else frame.loc[:, frame.columns.isin(list(needed))]

    def column(self, place: int | str) -> Any:
        """Return a column by position or name, (n_rows,): a Series of pandas, or an array."""
        if isinstance(place, str):
            place = self.names.index(place)
        return column(self.values, place) if self.is_named else self.values[:, place]

    def ordered_column(self, place: int) -> Any:
        """Return a column, (n_rows,), as a Series of pandas where categories have an order."""
        if not self.is_named or isinstance(self.values, pd.DataFrame):
            return self.column(place)
        return ConvertedColumns(self.values)[self.names[place]]

    def has_labels(self, place: int) -> bool:
        """Tell whether a column holds text or categories and not numbers."""
        if self.is_named:
            return bool(not_numeric(self.select([place])))
        values = self.values[:, place]
        return values.dtype.kind not in "biuf" and any(map(is_word, values))

    def select(self, places: Sequence[int | str]) -> Any:
        """Return some columns by position or name, as a table of the same kind."""
        chosen = [self.names.index(p) if isinstance(p, str) else p for p in places]
        return select(self.values, chosen) if self.is_named else _picked(self.values, chosen)

    def select_for(self, estimator: Any, places: Sequence[int]) -> Any:
        """Return the columns of another estimator, as `select`.

        Raises ValueError if all are dates or durations, which numpy would read in their unit of
        storage; a pipeline may know what to do with them.
        """
        if not isinstance(estimator, Pipeline):
            kinds = (kind_of(self.column(place)) for place in places)
            if all(kind in ("dates", "durations") for kind in kinds):
                refuse_dates(self.column(places[0]), f"the column {self.names[places[0]]!r}")
        return self.select(places)

    def take(self, rows: Any) -> InputTable:
        """Return some rows."""
        values = take(self.values, rows) if self.is_named else self.values[rows]
        return replace(self, values=values)

    def with_columns(self, names: Sequence[str], order: Sequence[str]) -> InputTable:
        """Return a data frame with columns of missing values for those that are not there.

        `order` has all names, in the order in which they are wanted. An array is itself.
        """
        missing = [name for name in names if self.is_named and name not in self.names]
        if not missing:
            return self
        frame = self.pandas.copy(deep=False)
        for name in missing:
            frame.insert(min(order.index(name), frame.shape[1]), name, np.nan)
        return InputTable(frame, tuple(column_names(frame)), True)

    def labels(self, places: Mapping[str, int], *, allow_nan: bool = True) -> dict[str, Any]:
        """Return columns of labels, (n_rows,) each, under the names that are given for positions.

        Raises ValueError for infinite and inexact numbers, as `check_labels` does, and for NaN in
        an array of numbers unless allowed.
        """
        found = {name: self.column(place) for name, place in places.items()}
        if not (allow_nan or self.is_named or self._is_all_finite):
            refuse_missing(found)
        check_labels(found, "X")
        return found

    def numeric(
        self,
        places: Sequence[int],
        estimator: Any = None,  # of which the errors speak
        *,
        name_by: str | None = None,  # parameter of a fit that names the columns of labels
        allow_nan: bool = False,
    ) -> FloatArray:
        """Return columns as finite numbers, (n_rows, n_places); some values may be NaN if allowed.

        Raises ValueError for text, dates and anything else that is no number.
        """
        if not len(places):
            return np.empty((self.n_rows, 0))
        numbers = self._plain_numbers(places)
        if numbers is not None and (self._is_all_finite or are_finite(numbers)):
            return numbers.astype(float, copy=False)
        chosen = self.select(places)
        if self.is_named:
            refuse_labels(chosen, estimator, name_by)
            return check_numbers(to_pandas(chosen), estimator, allow_nan=allow_nan)
        for place in places:
            refuse_dates(self.values[:, place], "X")
        try:
            return check_numbers(chosen, estimator, allow_nan=allow_nan)
        except ValueError:
            refuse_text(self.values, places, name_by)
            raise

    def numeric_columns(
        self, places: Sequence[int], estimator: Any, *, name_by: str | None
    ) -> FloatArray | list[NDArray[Any]]:
        """Return the same, or the columns of a data frame as they lie in it, (n_rows,) each."""
        found = self._plain_columns(places) if self.is_named and len(places) else None
        if found is not None and all(map(are_finite, found)):
            return found
        return self.numeric(places, estimator, name_by=name_by)

    @cached_property
    def _is_all_finite(self) -> bool:
        """Whether it is an array of numbers that are all finite, labels among them."""
        numbers = None if self.is_named else plain_numbers(self.values)
        return numbers is not None and are_finite(numbers)

    def _plain_numbers(self, places: Sequence[int]) -> NDArray[Any] | None:
        """Return columns that are numbers already, (n_rows, n_places), None if any is not."""
        if not self.is_named:
            array = plain_numbers(self.values)
            return None if array is None else _picked(array, places)
        found = self._plain_columns(places)
        return None if found is None else np.array(found, dtype=np.float64).T

    def _plain_columns(self, places: Sequence[int]) -> list[NDArray[Any]] | None:
        """Return columns of a data frame that are numbers already, None if any is not."""
        if isinstance(self.values, pd.DataFrame):
            if len(places) > _COLUMN_BY_COLUMN:
                return None
        elif not_numeric(self.select(places)):
            return None
        found = []
        for place in places:
            values = plain_numbers(self.column(place))
            if values is None or values.ndim != 1:  # structs become tables
                return None
            found.append(values)
        return found


@lru_cache(maxsize=64)  # a session has arrays of a few widths
def made_up_names(n_columns: int) -> tuple[str, ...]:
    """Return the names x0, x1, ... of the columns of an array."""
    return tuple(f"x{i}" for i in range(n_columns))


def _picked(values: NDArray[Any], places: Sequence[int]) -> NDArray[Any]:
    """Return some columns of an array, without a copy where they stand side by side."""
    first = places[0] if len(places) else 0
    if list(places) == list(range(first, first + len(places))):
        return values[:, first : first + len(places)]
    return values[:, list(places)]


def pick_rows(table: Any, rows: Any) -> Any:
    """Return some rows of an array, a list, a Series or a data frame of any library."""
    if isinstance(table, np.ndarray):
        return table[rows]
    return take(table, rows) if is_frame(table) else _safe_indexing(table, rows)


def names_of(X: Any) -> tuple[str, ...]:
    """Return the names of the columns of X; none for what is not two-dimensional."""
    if is_frame(X):
        return tuple(column_names(X))
    shape = X.shape if hasattr(X, "shape") else np.shape(X)
    return made_up_names(shape[1]) if len(shape) == 2 else ()


def read_groups(groups: Any) -> dict[str, Any]:
    """Return the grouping columns of the argument `groups`, (n,) each, by name.

    A Series or a data frame brings names; other columns are called "group", or "group0", "group1",
    .... Raises TypeError for a mapping, which scikit-learn would not split into folds, and for a
    sparse matrix, and ValueError as `check_labels` does.
    """
    found = _named_columns(groups)
    check_labels(found, "groups")
    return found


def _named_columns(groups: Any) -> dict[str, Any]:
    if isinstance(groups, Mapping):
        raise TypeError(
            "groups is a dict, which scikit-learn cannot split into folds: "
            "pass a data frame or a 2-D array with one column per grouping factor"
        )
    if sparse.issparse(groups):
        raise TypeError(f"groups is a sparse {type(groups).__name__}: pass groups.toarray()")
    table = None if isinstance(groups, np.ndarray | pd.Series) else InputTable.of_frame(groups)
    if table is not None:
        names = table.names
        if len(set(names)) < max(1, len(names)):
            raise ValueError(
                f"groups has the columns {list(names)}: each must have a name of its own"
            )
        return {name: table.column(name) for name in names}
    name = getattr(groups, "name", None)
    if isinstance(groups, pd.Series):
        return {str(name) if name not in (None, "") else "group": groups}
    values = _label_array(groups)
    if values.ndim == 2 and values.shape[1] > 1:
        return {f"group{i}": values[:, i] for i in range(values.shape[1])}
    return {name if isinstance(name, str) and name else "group": _one_column(values)}


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
            f"groups has shape {values.shape}; expected (n_samples,) or (n_samples, n_factors)"
        )
    return values.reshape(len(values))


def refuse_missing(groups: Mapping[str, Any]) -> None:
    """Raise ValueError for NaN among the labels in an array of numbers, perhaps a slip.

    It names column and rows.
    """
    for name, labels in groups.items():
        numbers = floating(labels)
        if numbers is not None and np.isnan(numbers).any():
            raise ValueError(
                f"Input X contains NaN: grouping column {name!r} is missing in rows "
                f"{list_rows(np.flatnonzero(np.isnan(numbers)))}. This is an error in a numeric "
                "array; pass a data frame, in which a missing label is an unknown level, or "
                "give these rows a label of their own"
            )


def refuse_unknown(codes: IntArray, what: str, remedy: str) -> None:
    """Raise ValueError for negative codes, (n,); it counts the rows and names the first.

    `what` is the labels that such rows have, and `remedy` what would be done with them otherwise.
    """
    rows = np.flatnonzero(codes < 0)
    if len(rows):
        raise ValueError(
            f"{len(rows)} rows have {what} that are missing or were not seen in fit, the first "
            f"in row {rows[0]}; {remedy}"
        )
