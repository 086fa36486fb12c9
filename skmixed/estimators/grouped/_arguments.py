"""Validation of the arguments of GroupedModels: features, and the groups of the rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import is_classifier
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array

from skmixed.core.linalg import FloatArray
from skmixed.design.tables import not_numeric, to_pandas
from skmixed.design.values import refuse_dates
from skmixed.estimators.grouped._tree import Tree
from skmixed.estimators.reading._columns import (
    Columns,
    check_given,
    choose_groups,
    column_place,
    groups_as_in_fit,
    listed,
    warn_of_missing,
)
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import check_lengths, check_numbers
from skmixed.estimators.reading._training_data import read_arguments, warn_about_kinds


def solves_at_once(inner: Any) -> bool:
    """Tell whether the least squares of all groups can be solved in one batch, of numbers only.

    They can for `LinearRegression` and `Ridge` without constraints, with one penalty and one of the
    exact solvers.
    """
    if type(inner) not in (LinearRegression, Ridge) or inner.positive:
        return False
    if type(inner) is LinearRegression:
        return True
    exact = inner.solver in ("auto", "cholesky", "svd")
    return exact and not np.ndim(inner.alpha) and bool(inner.alpha >= 0.0)


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Validated arguments of a fit, without rows of weight zero."""

    # Array or data frame: the columns of X that are no labels, or a column of zeros for none.
    table: Any  # (n, n_columns)
    groups: Mapping[str, Any]  # labels, (n,) by name, coarse to fine
    y: NDArray[Any]  # (n,) or (n, n_outputs)
    weights: FloatArray | None  # (n,), positive
    columns: Columns  # what each column of X is
    n_features: int  # columns of X
    feature_names: NDArray[Any] | None  # (n_features,), None if they have none

    @property
    def numbers(self) -> Any:
        """The columns that have coefficients; none of a table that stands for no columns."""
        return self.table if self.inner_names else self.table[:, :0]

    @property
    def inner_names(self) -> list[str]:
        """Names of the columns of the table."""
        return [self.columns.names[place] for place in self.columns.numeric]


def read_training(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, inner: Any
) -> Training:
    """Validate the arguments of `GroupedModels.fit`.

    The estimator's parameters say which columns are labels; it is not touched, so that a fit that
    fails leaves it as it was.
    """
    table, y, weights, given = read_arguments(estimator, X, y, sample_weight, groups)
    features, names = estimator.group_features, table.names
    if given is None:
        columns = Columns(names, choose_groups(names, features, ()), (), by_formula=False)
    else:
        check_given(given, features, (), names)
        columns = Columns(names, (), tuple(given), by_formula=False)
    feature_names = table.feature_names
    table.check_shape(estimator)
    values, labels = _cut(table, columns, estimator, inner, fitting=True)
    response = _read_response(y, inner)
    check_lengths(table.n_rows, response)
    if given is not None:
        check_lengths(table.n_rows, *given.values())
        labels = given
    else:  # in the order in which the user named them
        places = [column_place(each, names, "group_features") for each in listed(features)]
        labels = {names[place]: labels[names[place]] for place in places}
    return Training(values, labels, response, weights, columns, len(names), feature_names)


def read_new(
    estimator: Any, fitted: Any, X: Any, groups: Mapping[str, Any] | None
) -> tuple[Any, Mapping[str, Any] | None]:
    """Validate the arguments of a prediction: return the columns without labels, and the labels.

    `fitted` is the state of the estimator. The labels, (n,) by name, are None if there are none
    though the model was fitted with some.
    """
    columns: Columns = fitted.columns
    table = InputTable.of(X)
    table.check_columns(estimator, fitted)
    values, labels = _cut(table, columns, estimator, fitted.pooled, fitting=False)
    found = groups_as_in_fit(columns, groups, table.n_rows)
    return values, found if columns.from_argument else labels


def _cut(
    table: InputTable, columns: Columns, estimator: Any, inner: Any, *, fitting: bool
) -> tuple[Any, dict[str, Any]]:
    """Cut X into the columns of the inner estimator and the labels."""
    # In fit every missing label is an error.
    labels = table.labels(columns.group_places, allow_nan=fitting)
    if not columns.numeric:  # what has an intercept, or does not look at X, can do without
        return np.zeros((table.n_rows, 1)), labels
    if solves_at_once(inner):
        name_by = "group_features" if fitting else None
        numbers = table.numeric(columns.numeric, estimator, name_by=name_by)
        return np.ascontiguousarray(numbers), labels
    return _inner_columns(table, columns.numeric, inner), labels


def _inner_columns(table: InputTable, places: Sequence[int], inner: Any) -> Any:
    """Return the columns of the inner estimator: if all are numbers, in double precision.

    Missing values are its own business: a step within it may fill them in.
    """
    chosen = table.select_for(inner, places)
    if not table.is_named:
        refuse_dates(chosen, "X")
        if not _spell_numbers(chosen):
            return chosen
        return np.ascontiguousarray(check_numbers(chosen, allow_nan=True))
    if not table.n_rows or not_numeric(chosen):
        return chosen
    numbers = np.ascontiguousarray(table.numeric(places, allow_nan=True))
    return pd.DataFrame(numbers, columns=to_pandas(chosen).columns)


def _spell_numbers(values: NDArray[Any]) -> bool:
    """Tell whether all values of an array are numbers, or objects that can become some."""
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            return False
    return values.dtype.kind in "biuf"


def _read_response(y: Any, inner: Any) -> NDArray[Any]:
    """Return y, (n,) or (n, n_outputs), in double precision unless it has classes."""
    refuse_dates(y, "y")
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if is_classifier(inner):
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y has {shape[1]} columns; multi-output classification is not supported: fit a "
                "model for each column"
            )
        values = column_or_1d(y, warn=True)
        check_array(values, dtype=None, ensure_2d=False, input_name="y")
        check_classification_targets(values)
        return np.asarray(values)
    if len(shape) == 2 and shape[1] > 1:
        return np.asarray(check_array(y, dtype=np.float64, input_name="y"))
    values = column_or_1d(y, dtype=np.float64, warn=True)
    return np.asarray(check_array(values, ensure_2d=False, dtype=np.float64, input_name="y"))


def warn_about_labels(
    tree: Tree,
    labels: Mapping[str, Any] | None,
    codes: tuple[NDArray[np.intp], ...],
    columns: Columns,
) -> None:
    """Warn where groups were not given, or no label is known because it changed its kind.

    The rows are then predicted as of unknown groups. `codes`, (n,) each, go by level from the root.
    """
    if labels is None:
        warn_of_missing(columns.from_argument, "groups", "Pass groups=...")
        return
    if len(codes[1]) and (codes[1] < 0).all():
        warn_about_kinds(tree.grouping.columns, tree.names[:1], labels)
