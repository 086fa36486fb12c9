"""What an encoder makes of X and y: codes of labels, numbers, and the classes of a target."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import type_of_target
from sklearn.utils.validation import (
    _num_samples,
    check_array,
    check_consistent_length,
    validate_data,
)

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray
from skmixed.design.tables import (
    UNKNOWN,
    Labels,
    column,
    column_names,
    is_frame,
    list_rows,
    select,
    to_pandas,
)
from skmixed.estimators._inputs import refuse_infinite
from skmixed.estimators._numbers import numeric_array, numeric_frame, read_y, refuse_labels
from skmixed.estimators._roles import Roles


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """X, taken apart.

    Parameters
    ----------
    n_rows : int
        Number of rows.
    labels : list of Series or ndarray of shape (n_rows,)
        Columns of labels.
    slopes : ndarray of shape (n_rows, n_slopes)
        Finite numbers.
    passed : ndarray of shape (n_rows, n_passed)
        Numbers, NaN among them.
    """

    n_rows: int
    labels: list[Any]
    slopes: FloatArray
    passed: FloatArray


def read_header(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Check names and number of the columns.

    Parameters
    ----------
    estimator : estimator
        Gets or has `n_features_in_` and `feature_names_in_`.
    X : array-like or data frame of shape (n, n_features)
        The columns.
    reset : bool
        Whether this is a fit.

    Returns
    -------
    ndarray or data frame
        X.
    """
    if not is_frame(X):
        X = check_array(X, dtype=None, ensure_all_finite=False)
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        return X
    if not _num_samples(X) or not column_names(X):
        check_array(to_pandas(X), dtype=None, ensure_all_finite=False)  # says what is missing
    known = isinstance(X, pd.DataFrame)
    header = X if known else pd.DataFrame(columns=column_names(X))
    validate_data(estimator, header, reset=reset, skip_check_array=True)
    return X


def read_table(X: Any, roles: Roles, *, fitting: bool) -> Table:
    """Take X apart.

    Parameters
    ----------
    X : ndarray or data frame
        What `read_header` returned.
    roles : Roles
        Which columns are what.
    fitting : bool
        Whether this is a fit.

    Returns
    -------
    Table
        Its columns.

    Raises
    ------
    ValueError
        For infinite labels, and for slopes that are no finite numbers.
    """
    frame = is_frame(X)
    labels = [column(X, i) if frame else X[:, i] for i in roles.encoded]
    names = [roles.names[i] for i in roles.encoded]
    refuse_infinite(dict(zip(names, labels, strict=True)), "X")
    slopes = list(roles.slopes)
    numbers = numeric_frame(X, slopes) if frame else numeric_array(X, slopes, fitting=fitting)
    return Table(_num_samples(X), labels, numbers, _passed(X, list(roles.passed)))


def _passed(X: Any, positions: list[int]) -> FloatArray:
    if not positions:
        return np.empty((_num_samples(X), 0))
    chosen = X[:, positions] if not is_frame(X) else select(X, positions)
    if is_frame(chosen):
        refuse_labels(chosen)
        chosen = to_pandas(chosen)
    return check_array(chosen, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X")


def learn_labels(name: str, values: Any, missing_is_level: bool) -> tuple[Labels, IntArray, int]:
    """Learn the levels of one column.

    Parameters
    ----------
    name : str
        Its name.
    values : Series or ndarray of shape (n,)
        Labels.
    missing_is_level : bool
        Whether missing labels are a level of their own, the last.

    Returns
    -------
    labels : Labels
        The labels that are not missing.
    codes : ndarray of int of shape (n,)
        Level of every row; `UNKNOWN` for missing labels that are no level.
    size : int
        Number of levels.
    """
    try:
        labels, codes = Labels.learn(values)
    except TypeError as error:
        raise TypeError(
            f"a label of the column {name!r} cannot be looked up ({error}): every argument must "
            "be a string, a number or another hashable value"
        ) from error
    missing = codes == UNKNOWN
    if not missing.any():
        return labels, codes, len(labels)
    if missing.all() and not missing_is_level:
        raise ValueError(
            f"all labels of the column {name!r} are missing: leave the column out, or make them a "
            "level by handle_missing='level'"
        )
    if missing_is_level:
        codes = np.where(missing, len(labels), codes)
    return labels, codes, len(labels) + missing_is_level


def look_up(labels: Labels, size: int, values: Any) -> IntArray:
    """Return the levels of further rows.

    Parameters
    ----------
    labels : Labels
        The labels that are known.
    size : int
        Number of levels, one more if missing labels are one.
    values : Series or ndarray of shape (n,)
        Labels.

    Returns
    -------
    ndarray of int of shape (n,)
        `UNKNOWN` for labels that are not known, and for missing ones that are no level.
    """
    codes = labels.codes(values)
    unknown = codes == UNKNOWN
    if size > len(labels) and unknown.any():
        missing = np.asarray(pd.isna(pd.Series(values))) & unknown
        codes = np.where(missing, len(labels), codes)
    return codes


def refuse_unknown(names: Sequence[str], codes: Sequence[IntArray]) -> None:
    """Refuse labels that were not there in `fit`.

    Parameters
    ----------
    names : sequence of str
        Names of the columns.
    codes : sequence of ndarray of int of shape (n,)
        What `look_up` found.

    Raises
    ------
    ValueError
        If there is one; names column and rows.
    """
    for name, of_rows in zip(names, codes, strict=True):
        rows = np.flatnonzero(of_rows < 0)
        if len(rows):
            raise ValueError(
                f"column {name!r} has labels that were not seen in fit, or missing ones, in rows "
                f"{list_rows(rows)}; handle_unknown='population' encodes them as 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A target as numbers.

    Parameters
    ----------
    kind : {"continuous", "binary", "multiclass"}
        What it is.
    classes : ndarray or None
        The classes, sorted, of a target that has any.
    values : ndarray of shape (n, n_targets)
        The numbers, or indicators: of the second of two classes, of every class of more.
    """

    kind: str
    classes: NDArray[Any] | None
    values: FloatArray

    @classmethod
    def read(cls, y: Any, kind: str, n_rows: int) -> Target:
        """Validate y.

        Parameters
        ----------
        y : array-like of shape (n,)
            Numbers or classes.
        kind : {"auto", "continuous", "binary", "multiclass"}
            What it is; "auto" asks scikit-learn's `type_of_target`.
        n_rows : int
            Number of rows of X.

        Returns
        -------
        Target
            Finite numbers.
        """
        if np.asarray(y).dtype.kind == "f":
            assert_all_finite(y, input_name="y")
        found = type_of_target(y, input_name="y") if kind == "auto" else kind
        if found not in ("continuous", "binary", "multiclass"):
            raise ValueError(
                f"Unknown label type: y is {found!r}, and only 'continuous', 'binary' and "
                "'multiclass' can be encoded by; give one column of numbers or classes, or say "
                "target_type"
            )
        if found == "continuous":
            return cls(found, None, read_y(y, n_rows)[:, None])
        labels = column_or_1d(y, warn=True)
        assert_all_finite(labels, input_name="y")
        check_consistent_length(labels, np.empty(n_rows))
        classes, codes = np.unique(labels, return_inverse=True)
        if found == "binary" and len(classes) > 2:
            raise ValueError(f"target_type is 'binary', and y has {len(classes)} classes")
        if found == "binary":
            return cls(found, classes, (codes == 1).astype(np.float64)[:, None])
        return cls(found, classes, np.eye(len(classes))[codes])
