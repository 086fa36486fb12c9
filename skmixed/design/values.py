"""Values of a column: of which kind they are, and which are refused, whichever way they come in.

Every entry asks here: tables, arrays, formulas, labels, responses, weights, parts of big tables.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from numbers import Real
from typing import Any, Literal

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import BoolArray
from skmixed.design.wording import list_rows

# "categories" are those of a categorical type; "others" are objects of other or of several types.
Kind = Literal[
    "numbers",
    "complex numbers",
    "truth values",
    "text",
    "dates",
    "durations",
    "categories",
    "nothing",
    "others",
]

UNCLEAR_KINDS: tuple[Kind, ...] = ("nothing", "others")
# A level that never occurs, before those of a part of the rows.
ABSENT_LEVEL = "\N{REPLACEMENT CHARACTER}"
TRUTH_LEVELS = [False, True]  # of truth values as a factor, whether or not both occur

_KNOWN = (np.ndarray, pd.Series, pd.Index, pd.Categorical)
_TEXTS = (nw.String, nw.Categorical, nw.Enum)
_SINGLE_WHOLE = 2.0**23  # from here on numbers of single precision are whole
_KINDS: Mapping[str, Kind] = {  # by the letters of numpy
    "b": "truth values",
    "i": "numbers",
    "u": "numbers",
    "f": "numbers",
    "c": "complex numbers",
    "M": "dates",
    "m": "durations",
    "U": "text",
}
_KINDS_OF_OBJECTS: Mapping[str, Kind] = {  # by the words of pandas
    "boolean": "truth values",
    "integer": "numbers",
    "floating": "numbers",
    "mixed-integer-float": "numbers",
    "decimal": "numbers",
    "complex": "complex numbers",
    "string": "text",
    "date": "dates",
    "datetime": "dates",
    "datetime64": "dates",
    "timedelta": "durations",
    "timedelta64": "durations",
    "empty": "nothing",
}


def as_column(values: Any) -> Any:
    """Return values of any library, (n,), as a Series of pandas or an array.

    Whole numbers stay exact where some are missing, and text keeps its last characters.
    """
    if isinstance(values, _KNOWN):
        return pd.Series(values) if isinstance(values, pd.Categorical | pd.Index) else values
    known = nw.from_native(values, series_only=True, pass_through=True)
    return column_of(known) if isinstance(known, nw.Series) else np.asarray(values)


def column_of(values: nw.Series[Any]) -> Any:
    """Return a column of another library as an array, a Series where numpy has no type for it."""
    dtype = values.dtype
    if dtype in _TEXTS or dtype == nw.Struct:
        return _objects_of(values)  # numpy's own text loses NUL at its end
    if dtype.is_integer() and values.null_count():
        missing = np.asarray(values.is_null().to_numpy(), dtype=bool)
        numbers = np.array(values.fill_null(0).to_numpy())
        return pd.Series(pd.arrays.IntegerArray(numbers, missing))
    array = np.asarray(values.to_numpy())
    return array if array.ndim == 1 else _objects_of(values)


def _objects_of(values: nw.Series[Any]) -> Any:
    """Return a column as an array of Python's objects, (n,), whatever each of them holds."""
    objects = np.empty(len(values), dtype=object)
    objects[:] = values.to_list()
    return objects


def kind_of(values: Any) -> Kind:
    """Tell of which kind the values of a column are; missing ones do not count.

    Of a categorical type it is the kind of its categories.
    """
    if not isinstance(values, _KNOWN):
        known = nw.from_native(values, series_only=True, pass_through=True)
        if isinstance(known, nw.Series) and known.dtype in _TEXTS and not known.null_count():
            return "text" if len(known) else "nothing"  # without converting it
    values = as_column(values)
    if values.ndim and (not len(values) or (values.ndim == 1 and _are_missing(values))):
        return "nothing"
    if isinstance(values.dtype, pd.CategoricalDtype):
        values = values.dtype.categories
    kind = _kind_of_type(values.dtype)
    if kind is not None:
        return kind
    found = pd.api.types.infer_dtype(np.asarray(values, dtype=object).ravel(), skipna=True)
    if found in ("mixed", "mixed-integer"):
        types = set(map(type, values[~pd.isna(values)]))
        if all(issubclass(each, Real | Decimal | np.bool_) for each in types):
            return "numbers"
    return _KINDS_OF_OBJECTS.get(found, "others")


def _are_missing(values: Any) -> bool:
    first = pd.isna(values[:1])
    return bool(np.all(first)) and bool(pd.isna(values).all())


def _kind_of_type(dtype: Any) -> Kind | None:
    """Tell the kind of all values of a type, None for one of objects."""
    if isinstance(dtype, np.dtype):
        return None if dtype.kind == "O" else _KINDS.get(dtype.kind, "others")
    if isinstance(dtype, pd.StringDtype):
        return "text"
    if isinstance(dtype, pd.PeriodDtype | pd.IntervalDtype):
        return "others"
    if isinstance(dtype, pd.ArrowDtype) and dtype.type is Decimal:
        return "numbers"
    return None if dtype.kind == "O" else _KINDS.get(dtype.kind, "others")


def operand_kind(values: Any) -> Kind:
    """Tell of which kind a column is as an operand of a formula: categories are one, too."""
    values, kind = as_column(values), kind_of(values)
    is_category = isinstance(values.dtype, pd.CategoricalDtype) and kind != "text"
    return "categories" if is_category else kind


def find_missing(column: pd.Series[Any]) -> NDArray[np.bool_] | None:
    """Tell which rows of a column are missing, (n,); None for a type that cannot be."""
    if isinstance(column.dtype, np.dtype) and column.dtype.kind in "iub":
        return None
    return np.asarray(pd.isna(column.array))


def complete_rows(columns: Iterable[pd.Series[Any]], n_rows: int) -> BoolArray:
    """Tell which rows have no missing value in some columns, (n_rows,)."""
    complete = np.ones(n_rows, dtype=bool)
    for column in columns:
        missing = find_missing(column)
        if missing is not None:
            complete &= ~missing
    return complete


def is_categorical(values: Any) -> bool:
    """Tell whether what stands in a formula is categories: neither numbers nor truth values."""
    return not isinstance(values, np.ndarray) and values.dtype.kind not in "biuf"


def operand_of(column: pd.Series[Any], name: str) -> Any:
    """Return a column without missing values as formulas take it.

    Numbers of any type are in double precision, (n,): powers and products of integers could
    overflow unnoticed. Truth values are an array, too; text and categories are a Series. Raises
    ValueError for anything else.
    """
    dtype = column.dtype
    if isinstance(dtype, np.dtype) and dtype.kind in "biuf":  # the faster way
        return np.ascontiguousarray(column.to_numpy(np.bool_ if dtype.kind == "b" else np.float64))
    kind = operand_kind(column)
    if kind in ("numbers", "truth values"):
        return _from_objects(column, np.bool_ if kind == "truth values" else np.float64)
    if not isinstance(column.dtype, pd.CategoricalDtype):
        refuse_dates(column, f"the column '{name}'")
        if not isinstance(column.dtype, pd.StringDtype) and not _holds_objects(column.dtype):
            raise ValueError(
                f"the column '{name}' holds {column.dtype}, which is neither numbers nor "
                "categories: turn it into numbers or text"
            )
    return labels_of(column)


def _holds_objects(dtype: Any) -> bool:
    return (dtype.kind == "O" and isinstance(dtype, np.dtype | pd.ArrowDtype)) or dtype.kind == "U"


def labels_of(column: pd.Series[Any]) -> pd.Series[Any]:
    """Return a column without missing values as categories of a formula.

    Numbers are of numpy's types, text of one type, truth values have both levels, and categories no
    level that does not occur.
    """
    column, kind = column.reset_index(drop=True), kind_of(column)
    if isinstance(column.dtype, pd.CategoricalDtype):
        return column.cat.remove_unused_categories()
    if kind == "truth values":
        return pd.Series(truth_levels(_from_objects(column, np.bool_)))
    if kind == "numbers" and not isinstance(column.dtype, np.dtype):
        return pd.Series(column.to_numpy(dtype=getattr(column.dtype, "numpy_dtype", object)))
    if isinstance(column.dtype, np.dtype) and column.dtype != object:
        return column.astype(column.dtype.newbyteorder("="))
    return column if column.dtype == "str" else column.astype("object")


def _from_objects(column: pd.Series[Any], dtype: Any) -> NDArray[Any]:
    return np.asarray(column.to_numpy(dtype=object)).astype(dtype)


def truth_levels(values: Any) -> Any:
    """Return truth values, (n,), as a factor of two levels, as in R; anything else as it is."""
    if getattr(values, "dtype", None) != np.bool_:
        return values
    return pd.Categorical(np.asarray(values), categories=TRUTH_LEVELS)


def truth_of(column: pd.Series[Any], name: str) -> Any:
    """Return a column that stands for truth values as such; 0 and 1 do.

    Text and categories are left as they are. Raises ValueError for other numbers.
    """
    values = operand_of(column, name)
    if is_categorical(values) or values.dtype == np.bool_:
        return column
    if not np.isin(values, TRUTH_LEVELS).all():
        raise ValueError(
            f"the column '{name}' held truth values in fitting and holds other numbers than 0 and "
            "1 now"
        )
    return pd.Series(values.astype(np.bool_))


def are_other_kinds(first: Kind, second: Kind) -> bool:
    """Tell whether values of two kinds cannot be one column; of unclear kinds they can."""
    return first != second and not {first, second}.intersection(UNCLEAR_KINDS)


def refuse_dates(values: Any, name: str) -> None:
    """Raise ValueError for dates and durations, which numpy would take in the unit of storage."""
    if kind_of(values) in ("dates", "durations"):
        raise ValueError(
            f"{name} holds dates or durations ({as_column(values).dtype}): turn them into numbers, "
            "such as days since a date"
        )


def check_labels(columns: Mapping[str, Any], source: str) -> None:
    """Raise ValueError for labels that are infinite, or too large to be told apart.

    The error names column and rows; `source` is where the labels come from, "X" or "groups".
    """
    for name, labels in columns.items():
        numbers = floating(labels)
        if numbers is None:
            continue
        bits = np.finfo(numbers.dtype).nmant + 1  # from 2**bits on whole numbers fall together
        size = np.abs(numbers)
        if size.max(initial=0.0) < 2.0**bits:  # not so where one is NaN
            continue
        large = size >= 2.0**bits
        if not large.any():
            continue
        infinite = np.flatnonzero(np.isinf(numbers))
        if len(infinite):
            raise ValueError(
                f"infinite labels in {source}: grouping column {name!r} is infinite in rows "
                f"{list_rows(infinite)}. Give these rows a label of their own"
            )
        raise ValueError(
            f"inexact labels in {source}: grouping column {name!r} holds floating-point numbers "
            f"from 2**{bits} on in rows {list_rows(np.flatnonzero(large))}, where different whole "
            "numbers have become one (pandas makes them of integers where a value is missing). "
            "Keep the labels as integers, as by dtype 'Int64', or as text"
        )


def floating(labels: Any) -> NDArray[Any] | None:
    """Return labels that are floating-point numbers, (n,), NaN for others; None for other types."""
    labels = as_column(labels)
    dtype = labels.dtype
    if isinstance(dtype, pd.StringDtype) or (isinstance(dtype, np.dtype) and dtype.kind in "iubU"):
        return None  # the faster way
    if isinstance(dtype, pd.CategoricalDtype):
        numbers = floating(dtype.categories)
        return None if numbers is None else np.append(numbers, np.nan)[labels.cat.codes]
    if isinstance(labels, np.ndarray) and dtype.kind == "f":
        return labels
    if isinstance(dtype, np.dtype) and dtype.kind == "O":
        return _floating_objects(np.asarray(labels))
    if not pd.api.types.is_float_dtype(dtype):
        return None
    numpy_dtype = getattr(dtype, "numpy_dtype", np.float64)
    return np.asarray(labels.to_numpy(dtype=numpy_dtype, na_value=np.nan))


def _floating_objects(labels: NDArray[Any]) -> NDArray[np.float64] | None:
    if len(labels) and isinstance(labels[0], str):
        return None
    found = pd.api.types.infer_dtype(labels, skipna=True)
    if found not in ("floating", "mixed-integer-float"):
        return None
    numbers = np.array(pd.to_numeric(pd.Series(labels), errors="coerce"), dtype=np.float64)
    large = np.flatnonzero(np.abs(numbers) >= 2.0 ** (np.finfo(np.float64).nmant + 1))
    numbers[[row for row in large if not isinstance(labels[row], float | np.floating)]] = np.nan
    return numbers


def read_decimally(numbers: NDArray[Any]) -> NDArray[np.float64]:
    """Return numbers of less than double precision, (n,), as the doubles of the same digits.

    The label 0.1 is then one, in whichever precision it is stored.
    """
    distinct, places = np.unique(numbers, return_inverse=True)
    with np.errstate(invalid="ignore"):
        read = distinct.astype(np.float64)
        part = np.isfinite(read) & (np.abs(read) < _SINGLE_WHOLE) & (read != np.trunc(read))
    read[part] = distinct[part].astype("U").astype(np.float64)
    return read[places.reshape(numbers.shape)]
