"""Columns of any table, and labels turned into codes.

narwhals reads the tables; pandas hashes the labels, for which narwhals has no function.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.layout import count_integers
from skmixed.design.records import stored
from skmixed.design.values import column_of, floating, operand_kind, read_decimally

LabelArray = NDArray[Any]

UNKNOWN = -1  # code of a label that was not learned, or is missing: pandas codes missing ones so

_DOUBLE = np.dtype(np.float64).itemsize  # bytes
_FEW_TEXTS = 1_000  # up to so many are hashed faster as objects than as pandas holds text
_NUMERIC = ("numbers", "complex numbers", "truth values", "nothing")  # these scikit-learn checks
_NARROW = (np.float32, np.float16)  # precisions a label may have come through


def is_frame(table: Any) -> bool:
    """Tell whether a table is a data frame of pandas, polars, pyarrow or another library.

    Raises TypeError for a lazy one, which has no rows yet.
    """
    if isinstance(table, np.ndarray | list | tuple | pd.DataFrame):
        return isinstance(table, pd.DataFrame)
    known = nw.from_native(table, pass_through=True)
    if isinstance(known, nw.LazyFrame):
        raise TypeError(f"a {type(table).__name__} is lazy and has no rows yet: collect it first")
    return isinstance(known, nw.DataFrame)


def column_names(frame: Any) -> list[str]:
    """Return the names of the columns of a data frame, as strings."""
    if isinstance(frame, pd.DataFrame):
        return [str(name) for name in frame.columns]
    return list(nw.from_native(frame, eager_only=True).columns)


def column(frame: Any, position: int) -> Any:
    """Return one column of a data frame, (n,): a Series of pandas, or an array."""
    if isinstance(frame, pd.DataFrame):
        name = frame.columns[position]
        if isinstance(name, str) and frame.columns.is_unique:  # the faster way
            return frame[name]
        return frame.iloc[:, position]
    native = nw.from_native(frame, eager_only=True)
    return column_of(native[native.columns[position]])


def select(frame: Any, positions: Sequence[int]) -> Any:
    """Return some columns of a data frame, as a data frame of the same library."""
    if isinstance(frame, pd.DataFrame):
        run = slice(positions[0], positions[0] + len(positions)) if len(positions) else slice(0)
        side_by_side = list(positions) == list(range(run.start or 0, run.stop))
        return frame.iloc[:, run if side_by_side else list(positions)]  # a run is not copied
    native = nw.from_native(frame, eager_only=True)
    return native.select([native.columns[position] for position in positions]).to_native()


def take(frame: Any, rows: IntArray) -> Any:
    """Return some rows of a data frame, as a data frame of the same library."""
    if isinstance(frame, pd.DataFrame):
        return frame.iloc[rows]
    return nw.from_native(frame, eager_only=True)[rows].to_native()


def not_numeric(frame: Any) -> list[str]:
    """Return the names of the columns that are neither numbers nor truth values.

    These are text, categories, dates, durations, lists and so on. Missing values are of no kind.
    """
    return [name for name, values in columns_of(frame) if operand_kind(values) not in _NUMERIC]


def columns_of(frame: Any) -> Iterator[tuple[str, Any]]:
    """Yield the names and columns of a data frame, as its library holds them."""
    if isinstance(frame, pd.DataFrame):
        yield from ((str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns))
    else:
        native = nw.from_native(frame, eager_only=True)
        yield from ((name, native[name].to_native()) for name in native.columns)


def to_pandas(frame: Any) -> pd.DataFrame:
    """Return a data frame of any library as one of pandas.

    One of pandas is returned itself. Columns of categories stay categories.
    """
    if isinstance(frame, pd.DataFrame):
        return frame
    native = nw.from_native(frame, eager_only=True)
    return pd.DataFrame({name: _as_series(native[name]) for name in native.columns})


class ConvertedColumns:
    """The columns of a data frame that is not of pandas, each converted when it is asked for."""

    def __init__(self, frame: Any) -> None:
        self._native = nw.from_native(frame, eager_only=True)
        self.columns = self._native.columns
        self._converted: dict[str, pd.Series[Any]] = {}

    def __getitem__(self, name: str) -> pd.Series[Any]:
        """Return a column, (n_rows,)."""
        if name not in self.columns:
            raise KeyError(name)
        if name not in self._converted:
            self._converted[name] = _as_series(self._native[name])
        return self._converted[name]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._native)


def _as_series(values: nw.Series[Any]) -> pd.Series[Any]:
    found = column_of(values)
    if values.dtype in (nw.Categorical, nw.Enum):
        categories = ordered_categories(values)
        is_ordered = categories is not None
        return pd.Series(pd.Categorical(found, categories=categories, ordered=is_ordered))
    return pd.Series(found)


def ordered_categories(values: nw.Series[Any]) -> list[Any] | None:
    """Return the categories of a column that has them in an order, None for other columns."""
    dtype, native = values.dtype, values.to_native()
    own = getattr(native, "dtype", None)
    if getattr(own, "ordered", False) is True or isinstance(dtype, nw.Enum):
        return list(own.categories)  # type: ignore[union-attr]
    arrow = getattr(native, "type", None)  # only pyarrow calls its types so
    if dtype != nw.Categorical or not getattr(arrow, "ordered", False):
        return None
    whole = native.unify_dictionaries().chunk(0) if native.num_chunks else native.combine_chunks()
    return list(whole.dictionary.to_pylist())


@stored
@dataclass(slots=True, eq=False)
class Labels:
    """Known labels of one column, in code order."""

    values: LabelArray  # (n_levels,), sorted where they have an order
    _index: pd.Index[Any] | None = field(default=None, repr=False)  # hash table, made when needed

    @classmethod
    def learn(cls, values: Any) -> tuple[Labels, IntArray]:
        """Learn the labels that occur in a column, and the code of every row, (n,).

        Labels are of any type and get sorted where they have an order; a column of categories keeps
        its order and loses those that do not occur. The code of a missing label is `UNKNOWN`.
        """
        values = _hashable(values)
        if isinstance(getattr(values, "dtype", None), pd.CategoricalDtype):
            return cls._of_categories(pd.Series(values))
        if isinstance(values, pd.Series) and _is_read_as_array(values):
            values = _label_array(values)
        if isinstance(values, np.ndarray) and values.dtype.kind in "biufO":
            counted = _counted(values)
            if counted is not None:
                return cls(counted[1]), counted[0]
        elif not isinstance(values, pd.Series):
            values = pd.Series(values)
        codes, uniques = pd.factorize(values)
        found = np.asarray(uniques)
        if uniques.dtype != object or not isinstance(next(iter(uniques), None), str):
            found = _label_array(pd.Index(uniques))  # finds dates among objects
        order, ranks = _sort_order(found)
        return cls(found[order]), ranks[codes] if len(found) else codes

    @classmethod
    def _of_categories(cls, values: pd.Series[Any]) -> tuple[Labels, IntArray]:
        codes = values.cat.codes.to_numpy().astype(np.intp)
        categories = _label_array(_hashable(values.cat.categories))
        present = np.bincount(codes[codes >= 0], minlength=len(categories)) > 0
        ranks = np.append(np.cumsum(present) - 1, UNKNOWN)
        return cls(categories[present]), ranks[codes]

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.values)

    def __getstate__(self) -> dict[str, LabelArray]:
        """Leave out the hash table."""
        return {"values": self.values}

    def __setstate__(self, state: dict[str, LabelArray]) -> None:
        """Restore without the hash table."""
        self.values, self._index = state["values"], None

    def codes(self, values: Any) -> IntArray:
        """Return the codes of labels, (n,); `UNKNOWN` for unknown labels and for missing ones."""
        found = self._codes(_hashable(values))
        unknown = np.flatnonzero(found == UNKNOWN)
        for reading in _other_readings(values, unknown):
            found[unknown] = np.maximum(found[unknown], self._codes(reading))
        return found

    def _codes(self, values: Any) -> IntArray:
        dtype = getattr(values, "dtype", None)
        if isinstance(dtype, pd.CategoricalDtype):
            series = pd.Series(values)
            return self._codes_of_few(np.asarray(series.cat.codes), series.cat.categories)
        if isinstance(dtype, pd.StringDtype) and isinstance(values, pd.Series):
            if len(values) > _FEW_TEXTS:
                return self._codes_of_few(*pd.factorize(values))
            values = _label_array(values)
        index = self._hash_table()
        as_objects = isinstance(values, np.ndarray) and values.dtype.kind == index.dtype.kind == "O"
        target = _dates_as_in(index, pd.Index(values, dtype=object if as_objects else None))
        return np.asarray(index.get_indexer(target), dtype=np.intp)

    def _codes_of_few(self, places: LabelArray, distinct: Any) -> IntArray:
        """Return the codes of labels that are at `places`, (n,), among the distinct ones, or -1."""
        by_place = np.append(self.codes(_label_array(distinct)), UNKNOWN)
        return np.asarray(by_place[places])

    def _hash_table(self) -> pd.Index[Any]:
        if self._index is None:
            index = pd.Index(self.values)
            if isinstance(index.dtype, pd.StringDtype):  # which would become objects every time
                index = index.astype(object)
            index.get_indexer(index[:1])  # the hash table is whole before other threads see it
            self._index = index
        return self._index


def _hashable(values: Any) -> Any:
    """Return labels in the form in which equal ones are found equal, and pandas can hash them.

    Numbers of less than double precision are read by their digits; numbers of another machine's
    byte order or of more than double precision, and dates and durations of Arrow, cannot be hashed.
    """
    dtype: Any = getattr(values, "dtype", None)
    if isinstance(dtype, pd.CategoricalDtype):
        return values
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype != np.float64:
        return _in_double(np.asarray(values))
    elif isinstance(dtype, np.dtype) and not dtype.isnative:
        return np.asarray(values).astype(dtype.newbyteorder("="))
    elif isinstance(dtype, pd.ArrowDtype) and dtype.kind in "mM":
        return values.astype(_numpy_dtype(dtype))
    elif not isinstance(dtype, np.dtype) and pd.api.types.is_float_dtype(dtype):
        numbers = floating(values)
        return values if numbers is None or numbers.dtype == np.float64 else _in_double(numbers)
    return values


def _in_double(numbers: LabelArray) -> FloatArray:
    """Return numbers of another precision, (n,), in double precision."""
    native = numbers.astype(numbers.dtype.newbyteorder("="), copy=False)
    return read_decimally(native) if native.itemsize < _DOUBLE else native.astype(np.float64)


def _other_readings(values: Any, rows: IntArray) -> Iterator[Any]:
    """Yield what labels of some rows, (n_rows,), may have been when they were learned.

    0.1 in single precision may have been 0.1 in double precision, and the reverse.
    """
    numbers = floating(values) if len(rows) else None
    if numbers is None:
        return
    doubles = numbers[rows].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        if (doubles % 1 > 0).any():
            yield doubles
            for narrow in _NARROW:
                found = doubles.astype(narrow)
                yield np.where(found == doubles, read_decimally(found), np.nan)


def _dates_as_in(index: pd.Index[Any], target: pd.Index[Any]) -> pd.Index[Any]:
    """Return dates, (n,), as midnights where an index holds those, and the reverse."""
    if index.dtype.kind == "M" and target.dtype == object and target.inferred_type == "date":
        return pd.DatetimeIndex(pd.to_datetime(target))
    if isinstance(target, pd.DatetimeIndex) and target.tz is None and index.inferred_type == "date":
        midnights: Any = target.where(target == target.normalize())
        return pd.Index(pd.Series(midnights.date, dtype="object"))
    return target


def _numpy_dtype(dtype: pd.ArrowDtype) -> Any:
    kind, words = dtype.pyarrow_dtype, str(dtype.pyarrow_dtype)
    if words.startswith("date"):
        return "datetime64[s]"
    if dtype.kind == "m":
        return f"timedelta64[{kind.unit}]"
    return pd.DatetimeTZDtype(kind.unit, kind.tz) if kind.tz else f"datetime64[{kind.unit}]"


def _is_read_as_array(values: pd.Series[Any]) -> bool:
    """Tell whether numpy holds the labels of a Series as they are, missing ones among them."""
    if isinstance(values.dtype, pd.StringDtype):
        return len(values) <= _FEW_TEXTS
    return isinstance(values.dtype, np.dtype) or not values.hasnans


def _counted(labels: LabelArray) -> tuple[IntArray, LabelArray] | None:
    """Return codes and labels of whole numbers of a small range, None for others."""
    if labels.dtype.kind in "iu":
        return count_integers(labels)
    if labels.dtype.kind != "f":
        return None
    with np.errstate(invalid="ignore"):
        whole = labels.astype(np.int64)
    counted = count_integers(whole) if (whole == labels).all() else None
    return None if counted is None else (counted[0], counted[1].astype(labels.dtype))


def _label_array(values: Any) -> LabelArray:
    """Return labels as a numpy array, strings as objects."""
    if isinstance(values.dtype, pd.StringDtype):
        return np.asarray(values.to_numpy(dtype=object))
    return np.asarray(values)


def _sort_order(labels: LabelArray) -> tuple[IntArray, IntArray]:
    """Return the order that sorts labels, (n_labels,), and each label's rank, (n_labels + 1,).

    The last rank is `UNKNOWN`, which the code -1 of a missing label picks. Labels of mixed types
    keep their order.
    """
    try:
        order = np.argsort(labels, kind="stable")
    except TypeError:  # labels of mixed types: leave them as they came
        order = np.arange(len(labels))
    ranks = np.full(len(labels) + 1, UNKNOWN, dtype=np.intp)
    ranks[order] = np.arange(len(labels))
    return order, ranks
