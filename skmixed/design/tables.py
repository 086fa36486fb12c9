"""Columns of any table, and labels turned into codes.

narwhals reads the tables; pandas hashes the labels, for which narwhals has no function.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from numbers import Number
from typing import Any

import narwhals as nw
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import IntArray
from skmixed.core.sums.layout import count_integers

LabelArray = NDArray[Any]

UNKNOWN = -1  # code of a label that was not learned, or is missing: pandas codes missing ones so

_FEW_TEXTS = 1_000  # up to so many are hashed faster as objects than as pandas holds text
_NUMBERS = (Number, Decimal, np.bool_, type(None), type(pd.NA))


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
    """Return one column of a data frame, (n,): a Series of pandas, otherwise an array."""
    if isinstance(frame, pd.DataFrame):
        name = frame.columns[position]
        if isinstance(name, str) and frame.columns.is_unique:  # the faster way
            return frame[name]
        return frame.iloc[:, position]
    native = nw.from_native(frame, eager_only=True)
    return _as_array(native[native.columns[position]])


def select(frame: Any, positions: Sequence[int]) -> Any:
    """Return some columns of a data frame, as a data frame of the same library."""
    if isinstance(frame, pd.DataFrame):
        return frame.iloc[:, list(positions)]
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
    if isinstance(frame, pd.DataFrame):
        columns = ((str(name), frame.iloc[:, i]) for i, name in enumerate(frame.columns))
        return [name for name, values in columns if not _holds_numbers(values)]
    native = nw.from_native(frame, eager_only=True)
    return [name for name in native.columns if not _are_numbers(native[name])]


def _are_numbers(values: nw.Series[Any]) -> bool:
    dtype = values.dtype
    if dtype in (nw.Object, nw.Unknown):
        return _holds_numbers(pd.Series(_as_array(values)))
    return dtype.is_numeric() or dtype == nw.Boolean


def _holds_numbers(values: pd.Series[Any]) -> bool:
    if pd.api.types.is_object_dtype(values.dtype):
        return all(issubclass(kind, _NUMBERS) for kind in set(map(type, values)))
    return pd.api.types.is_numeric_dtype(values.dtype)


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
    array = _as_array(values)
    if values.dtype in (nw.Categorical, nw.Enum):
        categories = None
        if values.dtype == nw.Enum:
            categories = list(values.to_native().dtype.categories)
        return pd.Series(pd.Categorical(array, categories=categories))
    return pd.Series(array)


def _as_array(values: nw.Series[Any]) -> LabelArray:
    return np.asarray(values.to_numpy())


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
        categories = _label_array(values.cat.categories)
        present = np.bincount(codes[codes >= 0], minlength=len(categories)) > 0
        ranks = np.append(np.cumsum(present) - 1, UNKNOWN)
        return cls(categories[present]), ranks[codes]

    def __len__(self) -> int:
        """Return the number of labels."""
        return len(self.values)

    def __getstate__(self) -> dict[str, LabelArray]:
        """Leave out the hash table; skops asks whether the state is empty, so it is no array."""
        return {"values": self.values}

    def __setstate__(self, state: dict[str, LabelArray]) -> None:
        """Restore without the hash table."""
        self.values, self._index = state["values"], None

    def codes(self, values: Any) -> IntArray:
        """Return the codes of labels, (n,); `UNKNOWN` for unknown labels and for missing ones."""
        values = _hashable(values)
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
        target = pd.Index(values, dtype=object if as_objects else None)
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
    """Return labels that pandas cannot hash, or not in every version, in a form that it can.

    These are numbers of another machine's byte order, of half or more than double precision, and
    dates and durations of Arrow.
    """
    dtype = getattr(values, "dtype", None)
    if isinstance(dtype, np.dtype) and dtype.kind == "f" and dtype.itemsize not in (4, 8):
        return np.asarray(values, dtype=np.float64)
    if isinstance(dtype, np.dtype) and not dtype.isnative:
        return np.asarray(values).astype(dtype.newbyteorder("="))
    if isinstance(dtype, pd.ArrowDtype) and dtype.kind in "mM":
        return values.astype(_numpy_dtype(dtype))
    return values


def _numpy_dtype(dtype: pd.ArrowDtype) -> Any:
    kind = dtype.pyarrow_dtype
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


def is_text(values: Any) -> bool | None:
    """Tell whether labels are text rather than numbers, dates or truth values.

    The first label that is not missing decides; None where there is none.
    """
    first = pd.Series(values).dropna().head(1).tolist()
    return isinstance(first[0], str) if first else None


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
