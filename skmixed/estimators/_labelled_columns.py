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

from skmixed.core.linalg import FloatArray, IntArray
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
class EncoderTable:
    """X, taken apart."""

    n_rows: int
    labels: list[Any]  # Series or arrays, (n_rows,) each
    slopes: FloatArray  # (n_rows, n_slopes), finite
    passed: FloatArray  # (n_rows, n_passed), NaN among them


def read_header(estimator: BaseEstimator, X: Any, *, reset: bool) -> Any:
    """Check names and number of the columns; return X, as an array or a data frame.

    Sets `n_features_in_` and `feature_names_in_` of the estimator, or compares with them.
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


def read_table(X: Any, roles: Roles, *, fitting: bool) -> EncoderTable:
    """Take X, as returned by `read_header`, apart.

    Raises ValueError for infinite labels, and for slopes that are no finite numbers.
    """
    frame = is_frame(X)
    labels = [column(X, i) if frame else X[:, i] for i in roles.encoded]
    names = [roles.names[i] for i in roles.encoded]
    refuse_infinite(dict(zip(names, labels, strict=True)), "X")
    slopes = list(roles.slopes)
    numbers = numeric_frame(X, slopes) if frame else numeric_array(X, slopes, fitting=fitting)
    return EncoderTable(_num_samples(X), labels, numbers, _passed(X, list(roles.passed)))


def _passed(X: Any, positions: list[int]) -> FloatArray:
    """Return the columns of numbers that are handed on, (n, n_positions), NaN among them."""
    if not positions:
        return np.empty((_num_samples(X), 0))
    chosen = X[:, positions] if not is_frame(X) else select(X, positions)
    if is_frame(chosen):
        refuse_labels(chosen)
        chosen = to_pandas(chosen)
    return check_array(chosen, dtype=np.float64, ensure_all_finite="allow-nan", input_name="X")


def learn_labels(name: str, values: Any, missing_is_level: bool) -> tuple[Labels, IntArray, int]:
    """Learn the levels of one column: labels, the level of every row, (n,), and their number.

    A missing label is the last level, or `UNKNOWN` if missing labels are none. Raises TypeError for
    a label that cannot be hashed, and ValueError where all are missing.
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
    """Return the levels of further rows, (n,), among `size`, a missing label counted if it is one.

    `UNKNOWN` stands for labels that are not known, and for missing ones that are no level.
    """
    codes = labels.codes(values)
    unknown = codes == UNKNOWN
    if size > len(labels) and unknown.any():
        missing = np.asarray(pd.isna(pd.Series(values))) & unknown
        codes = np.where(missing, len(labels), codes)
    return codes


def refuse_unknown(names: Sequence[str], codes: Sequence[IntArray]) -> None:
    """Raise ValueError for negative codes, (n,) a column; it names column and rows."""
    for name, of_rows in zip(names, codes, strict=True):
        rows = np.flatnonzero(of_rows < 0)
        if len(rows):
            raise ValueError(
                f"column {name!r} has labels that were not seen in fit, or missing ones, in rows "
                f"{list_rows(rows)}; handle_unknown='population' encodes them as 0"
            )


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """A target as numbers."""

    kind: str  # "continuous", "binary" or "multiclass"
    classes: NDArray[Any] | None  # (n_classes,), sorted; None for numbers
    # numbers, or indicators: of the second of two classes, of every class of more
    values: FloatArray  # (n, n_targets)

    @classmethod
    def read(cls, y: Any, kind: str, n_rows: int) -> Target:
        """Validate y, (n,), as finite numbers or classes.

        `kind` may also be "auto", for what scikit-learn's `type_of_target` says.
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
