"""Values that must be finite numbers, by one set of rules, and what is said where they are none.

The words for missing and infinite values, shapes and lengths are scikit-learn's, which is asked
only where something is wrong or has to be converted: it takes longer than the rest of a small fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_array, check_consistent_length

from skmixed.core.linalg import FloatArray
from skmixed.design.tables import columns_of, not_numeric, ordered_categories
from skmixed.design.values import find_missing, kind_of, refuse_dates
from skmixed.design.wording import MAX_SHOWN, row_numbers
from skmixed.exceptions import warn

_EXACT_BYTES = 8  # numbers of so many bytes and fewer are double precision, or become it at once


def plain_numbers(values: Any) -> NDArray[Any] | None:
    """Return an array or a Series of numpy's numbers as an array; None for anything else."""
    if isinstance(values, pd.Series) and isinstance(values.dtype, np.dtype):
        values = values.to_numpy()
    if type(values) is not np.ndarray or values.dtype.kind not in "biuf":
        return None
    return values if values.dtype.itemsize <= _EXACT_BYTES else None


def are_finite(values: NDArray[Any]) -> bool:
    """Tell whether numbers are finite for sure, in one pass; sums that overflow say no, too."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(np.add.reduce(values, axis=None)))


def check_numbers(
    values: Any, estimator: Any = None, *, input_name: str = "X", allow_nan: bool = False
) -> FloatArray:
    """Return a table of numbers in double precision, (n, p), as scikit-learn reads it.

    Raises its ValueError for what cannot be read; for infinite values, and missing ones unless
    `allow_nan`, one that names the columns.
    """
    numbers: FloatArray = check_array(
        values,
        dtype=np.float64,
        ensure_all_finite=False,
        ensure_min_features=0,
        estimator=estimator,
        input_name=input_name,
    )
    if not are_finite(numbers):
        names = list(getattr(values, "columns", range(numbers.shape[1])))
        _refuse(np.isinf(numbers), "infinity", names, input_name)
        if not allow_nan:
            _refuse(np.isnan(numbers), "NaN", names, input_name)
    return numbers


def _refuse(found: NDArray[np.bool_], what: str, names: list[Any], input_name: str) -> None:
    """Raise ValueError for values, (n, p), that may not be there; it counts rows by column."""
    if not found.any():
        return
    counts, rows = found.sum(axis=0), np.flatnonzero(found.any(axis=1))
    columns = [f"{names[place]!r} in {counts[place]}" for place in np.flatnonzero(counts)]
    shown = ", ".join(columns[:MAX_SHOWN]) + (", ..." if len(columns) > MAX_SHOWN else "")
    raise ValueError(
        f"Input {input_name} contains {what}: column {shown} of {len(found)} rows, first in "
        f"{row_numbers(rows[:1])}; drop such rows, or impute them, for example by SimpleImputer"
    )


def read_y(y: Any, n_rows: int) -> FloatArray:
    """Validate the response as finite numbers, (n_rows,)."""
    values = plain_numbers(y)
    if values is None or values.ndim != 1 or not are_finite(values):
        refuse_dates(y, "y")
        _refuse_words(y)
        values = column_or_1d(y, dtype=np.float64, warn=True)
        assert_all_finite(values, input_name="y")
    if len(values) != n_rows:
        check_consistent_length(values, np.empty(n_rows))
    return values.astype(np.float64, copy=False)


def _refuse_words(y: Any) -> None:
    """Raise ValueError for a response of text that spells no numbers."""
    words = filter(is_word, np.ravel(np.asarray(y, dtype=object)))
    word = next(words, None)
    if word is not None:
        raise ValueError(
            f"y is text, such as {str(word)!r}, and a regressor needs numbers: MixedClassifier and "
            "MixedEffectsClassifier are for two classes, OrdinalMixedClassifier for ordered ones"
        )


def read_classes(y: Any, n_rows: int, whose: str) -> tuple[FloatArray, NDArray[Any]]:
    """Validate a response of two classes; return 0 and 1, (n_rows,), and the classes, (2,).

    Raises ValueError for missing labels, one class or more than two, in the words of scikit-learn
    where it has any. `whose` names the estimator.
    """
    labels = _read_labels(y, n_rows)
    check_classification_targets(labels)
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(
            f"y has one class only, {classes.tolist()[0]!r}, among rows with a weight: a {whose} "
            "needs rows of two classes"
        )
    if len(classes) > 2:
        raise ValueError(
            f"Only binary classification is supported. y has {len(classes)} classes: fit a "
            f"{whose} for each class against the rest, as sklearn.multiclass.OneVsRestClassifier "
            "does"
        )
    return codes.astype(np.float64), classes


def read_ordered(
    y: Any, n_rows: int, categories: Any, whose: str
) -> tuple[FloatArray, NDArray[Any]]:
    """Validate a response of categories in an order.

    Returned are their numbers, (n_rows,), and those that have rows, lowest first. "auto" takes the
    order of an ordered categorical, and sorts other labels, with a warning where they are text.
    Raises ValueError for labels that `categories` lacks. `whose` names the estimator.
    """
    is_auto = isinstance(categories, str) and categories == "auto"
    order = order_of(y) if is_auto else list(categories)
    labels = _read_labels(y, n_rows)
    check_classification_targets(labels)
    found, codes = np.unique(labels, return_inverse=True)
    if len(found) < 2:
        raise ValueError(
            f"y has one class only, {found.tolist()[0]!r}, among rows with a weight: a {whose} "
            "needs rows of two classes or more"
        )
    if order is None:
        if found.dtype.kind in "OSU" and len(found) > 2:
            warn(
                f"text categories are ordered alphabetically, {found.tolist()}: set "
                "`categories`, lowest first, or pass an ordered categorical",
                UserWarning,
            )
        return codes.astype(np.float64), found
    places = {label: place for place, label in enumerate(order)}
    strange = [label for label in found.tolist() if label not in places]
    if strange or len(places) < len(order):
        what = f"lacks {strange}, which y contains" if strange else "contains a label twice"
        raise ValueError(f"`categories` {what}: {order}")
    ranked = np.argsort([places[label] for label in found.tolist()])
    numbers = np.empty(len(found))
    numbers[ranked] = np.arange(len(found))
    return numbers[codes], found[ranked]


def order_of(y: Any) -> list[Any] | None:
    """Return the categories of a column that has them in an order, None for other columns."""
    if isinstance(y, pd.Categorical):
        y = pd.Series(y)
    if not nw.dependencies.is_into_series(y):
        return None
    return ordered_categories(nw.from_native(y, series_only=True))


def read_known_classes(y: Any, n_rows: int, classes: NDArray[Any]) -> FloatArray:
    """Validate labels of classes that are known; return their numbers, (n_rows,).

    Raises ValueError for missing labels and others.
    """
    labels = _read_labels(y, n_rows).astype(object)  # which compares words with numbers
    numbers = np.full(n_rows, -1.0)
    for number, label in enumerate(classes):
        numbers[np.equal(labels, label).astype(bool)] = number
    wrong = np.flatnonzero(numbers < 0.0)
    if len(wrong):
        raise ValueError(
            f"y has {labels[wrong[0]]!r} in row {wrong[0]}, but the classes seen in fit are "
            f"{classes.tolist()}"
        )
    return numbers


def _read_labels(y: Any, n_rows: int) -> NDArray[Any]:
    """Return labels of rows, (n_rows,). Raises ValueError for missing ones."""
    labels = column_or_1d(y, warn=True)
    check_lengths(n_rows, labels)
    if labels.dtype.kind == "f":
        assert_all_finite(labels, input_name="y")
    missing = find_missing(pd.Series(labels))
    if missing is not None and missing.any():
        raise ValueError(f"Input y contains NaN: row {int(np.argmax(missing))} has no label")
    if labels.dtype == object and set(map(type, labels)) in ({bool}, {int}, {float}):
        labels = np.asarray(labels.tolist())  # of nullable types
    return labels


def read_weights(sample_weight: Any, n_rows: int) -> FloatArray | None:
    """Validate the weights of rows, (n_rows,); None where none are given.

    Raises ValueError if all are zero.
    """
    if sample_weight is None:
        return None
    refuse_dates(sample_weight, "sample_weight")
    like = np.empty((n_rows, 1))
    weights = _check_sample_weight(sample_weight, like, dtype=np.float64, ensure_non_negative=True)
    if not weights.any():
        raise ValueError("all sample weights are zero")
    return np.asarray(weights)


def read_positive_weights(sample_weight: Any, n_rows: int) -> FloatArray | None:
    """Validate the weights of rows that are observed, as `read_weights`; none may be zero."""
    weights = read_weights(sample_weight, n_rows)
    if weights is not None and not weights.all():
        raise ValueError(
            f"sample_weight is 0 in row {int(np.argmin(weights))}, where nothing can be "
            "observed: leave such rows out"
        )
    return weights


def check_lengths(n_rows: int, *arrays: Any) -> None:
    """Raise scikit-learn's ValueError unless all arrays have so many rows."""
    if any(not hasattr(each, "__len__") or len(each) != n_rows for each in arrays):
        check_consistent_length(np.empty(n_rows), *arrays)


def refuse_labels(frame: Any, estimator: Any = None, parameter: str | None = None) -> None:
    """Raise ValueError for columns of a frame that hold text, categories, dates or objects.

    It says what an estimator lets one do with them; `parameter` is as in `refuse_text`.
    """
    labels = not_numeric(frame)
    if labels:
        kinds = {kind_of(values) for name, values in columns_of(frame) if name in labels}
        days = " (dates and durations as numbers, such as days since a date)"
        remedy = (
            ", as OneHotEncoder does in a pipeline, name them as grouping columns in `random` or "
            "`group_features`, or choose the fixed effects by `fixed`, as in "
            f"fixed='... + {' + '.join(labels[:MAX_SHOWN])}'"
        )
        if estimator is not None and not hasattr(estimator, "fixed"):
            remedy = ", as OneHotEncoder does in a pipeline, or name them in `group_features`"
        if parameter == "columns":
            remedy = ", or name them in `columns` if they are labels"
        raise ValueError(
            f"columns {labels} are not numeric: encode them"
            f"{days if kinds & {'dates', 'durations'} else ''}{remedy}"
        )


def refuse_text(values: NDArray[Any], places: Iterable[int], parameter: str | None) -> None:
    """Raise ValueError for those columns of an array that hold text, saying what to do with them.

    Text that spells a number does not count. `parameter` is that of a fit which names the columns
    of labels, None for new rows.
    """
    values = np.asarray(values, dtype=object)
    found = [place for place in places if any(map(is_word, values[:, place]))]
    if not found:
        return
    remedy = ", which were numbers in fit"
    if parameter is not None:
        remedy = (
            ". Encode them or, if they are grouping columns, give their positions: "
            f"{parameter}={found}. If they were given, a meta-estimator passed on only some of "
            "the columns, which shifts positions: let it keep all of them"
        )
    raise ValueError(
        f"X is an array with text in the columns at positions {found}{remedy}"
    ) from None


def is_word(value: Any) -> bool:
    """Tell whether a value is text that does not spell a number."""
    if not isinstance(value, str):
        return False
    try:
        float(value)
    except ValueError:
        return True
    return False
