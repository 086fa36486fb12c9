"""What GroupedModels makes of its arguments: a table without labels, and the groups of its rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    check_consistent_length,
    validate_data,
)

from skmixed.core.linalg import FloatArray
from skmixed.design.source import Source
from skmixed.design.tables import column, is_frame, not_numeric, select, to_pandas
from skmixed.estimators._data import check_given, read_rows
from skmixed.estimators._estimator import header_of
from skmixed.estimators._inputs import (
    Columns,
    choose_groups,
    header,
    names_of,
    read_features,
    refuse_infinite,
    refuse_missing,
)
from skmixed.estimators._new_data import match_names, warn_about_kinds
from skmixed.estimators._numbers import refuse_dates
from skmixed.estimators.grouped._tree import Tree
from skmixed.exceptions import UnknownLevelWarning, warn


@dataclass(frozen=True, slots=True)
class InnerKind:
    """What the inner estimator takes."""

    is_classifier: bool
    is_linear: bool  # all groups are solved at once, so that all columns have to be numbers
    allow_nan: bool


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """Validated arguments of a fit, without rows of weight zero."""

    table: Any  # array or data frame, (n, n_columns): the columns of X that are no labels
    groups: Mapping[str, Any]  # labels, (n,) by name, coarse to fine
    y: NDArray[Any]  # (n,) or (n, n_outputs)
    weights: FloatArray | None  # (n,), positive
    columns: Columns  # what each column of X is
    n_features: int  # columns of X
    feature_names: NDArray[Any] | None  # (n_features,), None if they have none

    @property
    def inner_names(self) -> list[str]:
        """Names of the columns of the table."""
        return [self.columns.names[place] for place in self.columns.numeric]


def read_training(
    estimator: Any, X: Any, y: Any, sample_weight: Any, groups: Any, kind: InnerKind
) -> Training:
    """Validate the arguments of `GroupedModels.fit`.

    The estimator's parameters say which columns are labels; it is not touched, so that a fit that
    fails leaves it as it was.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, "
            "but the target y is None"
        )
    X, y, weights, given = read_rows(X, y, sample_weight, groups)
    columns = _declared(estimator.group_features, names_of(X), given)
    scratch = type(estimator)()  # a fit that fails leaves the estimator as it was
    table, labels = _read_table(scratch, X, columns, kind, reset=True)
    response = _read_response(y, kind)
    check_consistent_length(table, response)
    if given is not None:
        check_consistent_length(response, *given.values())
        refuse_infinite(given, "groups")
        labels = given
    else:
        labels = {name: labels[name] for name in _order(estimator.group_features, columns)}
    return Training(
        table,
        labels,
        response,
        weights,
        columns,
        scratch.n_features_in_,
        getattr(scratch, "feature_names_in_", None),
    )


def read_new(
    estimator: Any, fitted: Any, X: Any, groups: Mapping[str, Any] | None, kind: InnerKind
) -> tuple[Any, Mapping[str, Any] | None]:
    """Validate the arguments of a prediction: return the columns without labels, and the labels.

    `fitted` is the state of the estimator. The labels, (n,) by name, are None if there are none
    though the model was fitted with some.
    """
    columns: Columns = fitted.columns
    table, labels = _read_table(header_of(estimator, fitted), X, columns, kind, reset=False)
    if not columns.from_argument:
        if groups is not None:
            raise ValueError(
                "groups were given, but the model was fitted "
                + (
                    f"with grouping columns {list(columns.groups)} of X"
                    if columns.groups
                    else "without any"
                )
            )
        return table, labels
    if groups is None:
        return table, None
    found = match_names(dict(groups), columns.from_argument)
    check_consistent_length(np.empty(_num_samples(table)), *found.values())
    refuse_infinite(found, "groups")
    return table, found


def _declared(
    group_features: Any, names: Sequence[str], given: Mapping[str, Any] | None
) -> Columns:
    """Return what each column of X is by `group_features`, or by the groups given beside it."""
    if given is not None:
        check_given(given, group_features, (), names)
        return Columns(tuple(names), (), tuple(given), by_formula=False)
    chosen = choose_groups(names, group_features, ())
    return Columns(tuple(names), chosen, (), by_formula=False)


def _order(group_features: Any, columns: Columns) -> list[str]:
    """Return the grouping columns of X in the order in which the user named them."""
    if group_features is None:
        return []
    listed = [group_features] if isinstance(group_features, str | Integral) else group_features
    named = [choose_groups(columns.names, [entry], ())[0] for entry in list(listed)]
    return list(dict.fromkeys(named))


def _read_table(
    estimator: Any, X: Any, columns: Columns, kind: InnerKind, *, reset: bool
) -> tuple[Any, dict[str, Any]]:
    """Cut X into the columns of the inner estimator and the labels."""
    if kind.is_linear:
        source = read_features(estimator, X, columns, reset=reset)
        return np.ascontiguousarray(source.numeric), dict(source.groups)
    place = {name: i for i, name in enumerate(columns.names)}
    if is_frame(X):
        validate_data(estimator, header(X), reset=reset, skip_check_array=True)
        groups = {name: column(X, place[name]) for name in columns.groups}
        table = _plain_frame(select(X, columns.numeric) if groups else X, kind)
    else:
        refuse_dates(X, "X")
        X = check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        groups = {name: X[:, place[name]] for name in columns.groups}
        if not reset:  # in fit every missing label is an error
            refuse_missing(groups)
        table = _plain_array(X[:, columns.numeric] if groups else X, kind)
    refuse_infinite(groups, "X")
    return table, groups


def _plain_frame(frame: Any, kind: InnerKind) -> Any:
    """Return numbers in double precision, under their names; other columns stay as they are."""
    if not_numeric(frame):
        return frame
    table = to_pandas(frame)
    if not table.shape[1]:
        return table
    finite = "allow-nan" if kind.allow_nan else True
    values = check_array(table, dtype=np.float64, ensure_all_finite=finite, input_name="X")
    return pd.DataFrame(np.ascontiguousarray(values), columns=table.columns)


def _plain_array(values: NDArray[Any], kind: InnerKind) -> NDArray[Any]:
    """Return numbers in double precision; arrays of anything else stay as they are."""
    if values.dtype.kind == "O":
        try:
            values = values.astype(np.float64)
        except (TypeError, ValueError):
            return values
    if values.dtype.kind not in "biuf":
        return values
    finite = "allow-nan" if kind.allow_nan else True
    table: NDArray[Any] = check_array(
        values, dtype=np.float64, ensure_all_finite=finite, ensure_min_features=0, input_name="X"
    )
    return np.ascontiguousarray(table)


def _read_response(y: Any, kind: InnerKind) -> NDArray[Any]:
    """Return y, (n,) or (n, n_outputs), in double precision unless it has classes."""
    refuse_dates(y, "y")
    shape = y.shape if hasattr(y, "shape") else np.asarray(y).shape
    if kind.is_classifier:
        if len(shape) == 2 and shape[1] > 1:
            raise ValueError(
                f"y has {shape[1]} columns; classes of several outputs are not supported, "
                "fit a model for each"
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
        warn(
            f"no labels of {list(columns.from_argument)} are given to a model that was fitted with "
            "them, so its groups are left out. Pass groups=...",
            UnknownLevelWarning,
        )
        return
    if len(codes[1]) and (codes[1] < 0).all():
        source = Source(len(codes[1]), groups=labels)
        warn_about_kinds(tree.grouping, tree.names[:1], source)
