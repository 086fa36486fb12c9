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

from skmixed.core.linalg import FloatArray
from skmixed.design.tables import not_numeric, select, to_pandas
from skmixed.estimators._text import refuse_text

_COLUMN_BY_COLUMN = 64  # fewer columns than this are read faster one by one


def numeric_frame(frame: Any, positions: Sequence[int]) -> FloatArray:
    """Return some columns of a data frame as finite numbers, (n, n_positions)."""
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
    """Return some columns of an array as finite numbers, (n, n_positions).

    The array may hold objects. Raises ValueError for dates and for text, of which it says what to
    do.
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
    """Raise ValueError for columns of a frame that hold text, categories, dates or objects.

    It says what to do with them.
    """
    labels = not_numeric(frame)
    if labels:
        raise ValueError(
            f"columns {labels} are not numeric: encode them, name them as grouping columns in "
            "`random` or `group_features`, or choose the columns of the fixed part by `fixed`"
        )


def refuse_dates(values: Any, name: str) -> None:
    """Raise ValueError for dates and durations, which numpy would take for nanoseconds."""
    dtype = getattr(values, "dtype", None)
    if getattr(dtype, "kind", "") in ("m", "M"):
        raise ValueError(
            f"{name} holds dates or durations ({dtype}): turn them into numbers, such as days "
            "since a date"
        )


def read_y(y: Any, n_rows: int) -> FloatArray:
    """Validate the response as finite numbers, (n_rows,)."""
    refuse_dates(y, "y")
    values = column_or_1d(y, dtype=np.float64, warn=True)
    assert_all_finite(values, input_name="y")
    if len(values) != n_rows:
        check_consistent_length(values, np.empty(n_rows))
    return values


def read_weights(sample_weight: Any, like: FloatArray) -> FloatArray | None:
    """Validate the weights of rows like these as nonnegative, (n,); None where none are given.

    Raises ValueError if all are zero.
    """
    if sample_weight is None:
        return None
    refuse_dates(sample_weight, "sample_weight")
    weights = _check_sample_weight(sample_weight, like, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("all sample weights are zero")
    return np.asarray(weights)
