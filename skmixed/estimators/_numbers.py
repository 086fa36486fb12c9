"""Reading columns of X, the response and weights as finite numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.validation import (
    _check_sample_weight,
    _num_samples,
    check_array,
    check_consistent_length,
)

from skmixed.design.tables import not_numeric, select, to_pandas
from skmixed.estimators._text import refuse_text

FloatArray = NDArray[np.float64]

_COLUMN_BY_COLUMN = 64  # fewer columns than this are read faster one by one


def numeric_frame(frame: Any, positions: Sequence[int]) -> FloatArray:
    """Return some columns of a data frame as finite numbers.

    Parameters
    ----------
    frame : data frame
        Of any library.
    positions : sequence of int
        Which columns.

    Returns
    -------
    ndarray of shape (n, n_positions)
        In double precision.
    """
    n_rows = _num_samples(frame)
    if not positions:
        return np.empty((n_rows, 0))
    if isinstance(frame, pd.DataFrame) and len(positions) <= _COLUMN_BY_COLUMN:
        series = [frame.iloc[:, position] for position in positions]
        if all(isinstance(s.dtype, np.dtype) and s.dtype.kind in "biuf" for s in series):
            numeric = np.empty((n_rows, len(series)))
            for place, values in enumerate(series):
                numeric[:, place] = values.to_numpy()
            assert_all_finite(numeric, input_name="X")
            return numeric
    chosen = select(frame, positions)
    refuse_labels(chosen)
    return check_array(to_pandas(chosen), dtype=np.float64, input_name="X")


def numeric_array(X: NDArray[Any], positions: Sequence[int], *, fitting: bool) -> FloatArray:
    """Return some columns of an array as finite numbers.

    Parameters
    ----------
    X : ndarray of shape (n, n_features)
        Numbers, or objects some of which are numbers.
    positions : sequence of int
        Which columns.
    fitting : bool
        Whether this is a fit.

    Returns
    -------
    ndarray of shape (n, n_positions)
        In double precision.
    """
    if not positions:
        return np.empty((len(X), 0))
    refuse_dates(X, "X")
    try:
        return check_array(X[:, positions], dtype=np.float64, input_name="X")
    except ValueError:
        refuse_text(X, positions, fitting=fitting)
        raise


def refuse_labels(frame: Any) -> None:
    """Refuse columns that are not numbers, saying what to do with them.

    Parameters
    ----------
    frame : data frame
        The columns that are to be numbers.

    Raises
    ------
    ValueError
        If a column holds text, categories, dates, durations or other objects.
    """
    labels = not_numeric(frame)
    if labels:
        raise ValueError(
            f"columns {labels} are not numeric: encode them, name them as grouping columns in "
            "`random` or `group_features`, or choose the columns of the fixed part by `fixed`"
        )


def refuse_dates(values: Any, name: str) -> None:
    """Refuse dates and durations, which numpy would take for counts of nanoseconds.

    Parameters
    ----------
    values : array-like
        An argument of `fit` or `predict`.
    name : str
        Its name.

    Raises
    ------
    ValueError
        If its type is one of dates or durations.
    """
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "") in ("m", "M"):
        raise ValueError(
            f"{name} holds dates or durations ({dtype}): turn them into numbers, such as days "
            "since a date"
        )


def read_y(y: Any, n_rows: int) -> FloatArray:
    """Validate the response.

    Parameters
    ----------
    y : array-like of shape (n,)
        The response.
    n_rows : int
        Number of rows of X.

    Returns
    -------
    ndarray of shape (n,)
        Finite numbers.
    """
    refuse_dates(y, "y")
    values = column_or_1d(y, dtype=np.float64, warn=True)
    assert_all_finite(values, input_name="y")
    if len(values) != n_rows:
        check_consistent_length(values, np.empty(n_rows))
    return values


def read_weights(sample_weight: Any, like: FloatArray) -> FloatArray | None:
    """Validate the weights of the rows.

    Parameters
    ----------
    sample_weight : None, float or array-like of shape (n,)
        Nonnegative weights.
    like : ndarray of shape (n, ...)
        Rows to be weighted.

    Returns
    -------
    ndarray of shape (n,) or None
        None where no weights were given.
    """
    if sample_weight is None:
        return None
    refuse_dates(sample_weight, "sample_weight")
    weights = _check_sample_weight(sample_weight, like, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("all sample weights are zero")
    return np.asarray(weights)
