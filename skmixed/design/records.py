"""What was learned as records, from which it is made again, equal and of the same types.

A record is made of None, booleans, numbers, text, lists, dictionaries with keys of text, and arrays
of numbers, which may come back as lists. Reading one runs no code that it holds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple
from uuid import UUID

import numpy as np
import pandas as pd

_ITSELF = (type(None), bool, int, float, str)
_NUMBERS = "biuf"  # kinds of arrays that are stored as they are


class _Kind(NamedTuple):
    """How values of one type are written as a record, and read."""

    type: type
    write: Callable[[Any], Any]
    read: Callable[[Any], Any]


def _written_moment(moment: Any) -> list[Any]:
    """Write a Timestamp or Timedelta as a whole number of its unit, with its time zone."""
    zone = getattr(moment, "tz", None)
    return [int(moment.asm8.astype(np.int64)), moment.unit, None if zone is None else str(zone)]


def _read_timestamp(written: Any) -> pd.Timestamp:
    value, unit, zone = written
    moment = pd.Timestamp(np.datetime64(value, unit))
    return moment.tz_localize("UTC").tz_convert(zone) if zone else moment


_KINDS = {
    "tuple": _Kind(tuple, lambda v: [write(each) for each in v], lambda w: tuple(map(read, w))),
    "date": _Kind(date, date.isoformat, date.fromisoformat),
    "datetime": _Kind(datetime, datetime.isoformat, datetime.fromisoformat),
    "time": _Kind(time, time.isoformat, time.fromisoformat),
    "timedelta": _Kind(
        timedelta, lambda v: [v.days, v.seconds, v.microseconds], lambda w: timedelta(*w)
    ),
    "decimal": _Kind(Decimal, str, Decimal),
    "fraction": _Kind(Fraction, str, Fraction),
    "uuid": _Kind(UUID, str, UUID),
    "bytes": _Kind(bytes, bytes.hex, bytes.fromhex),
    "timestamp": _Kind(pd.Timestamp, _written_moment, _read_timestamp),
    "duration": _Kind(
        pd.Timedelta, _written_moment, lambda w: pd.Timedelta(np.timedelta64(w[0], w[1]))
    ),
    "period": _Kind(
        pd.Period,
        lambda v: [v.ordinal, v.freqstr],
        lambda w: pd.Period(ordinal=w[0], freq=w[1]),
    ),
    "interval": _Kind(
        pd.Interval,
        lambda v: [write(v.left), write(v.right), v.closed],
        lambda w: pd.Interval(read(w[0]), read(w[1]), w[2]),
    ),
}
_NAMES = {kind.type: name for name, kind in _KINDS.items()}


def write(value: Any) -> Any:
    """Return a value as a record: what numpy, pandas and Python's own types hold.

    Raises TypeError for a value of another type.
    """
    if type(value) in _ITSELF:
        return value
    if isinstance(value, list):
        return [write(each) for each in value]
    if isinstance(value, dict):
        return {"type": "dict", "value": [[write(k), write(v)] for k, v in value.items()]}
    if isinstance(value, np.ndarray):
        return {"type": "array", "dtype": value.dtype.str, "value": _written_array(value)}
    if isinstance(value, np.generic):
        array = np.asarray(value)
        return {"type": "scalar", "dtype": array.dtype.str, "value": _written_array(array[None])}
    name = _NAMES.get(type(value))
    with suppress(LookupError, ValueError):  # of a time zone without a known name
        if name is not None:
            written = _KINDS[name].write(value)
            _KINDS[name].read(written)
            return {"type": name, "value": written}
    raise TypeError(f"a {type(value).__name__} cannot be stored: {value!r}")


def read(record: Any) -> Any:
    """Return the value of a record. Raises ValueError for what is none."""
    if isinstance(record, list):
        return [read(each) for each in record]
    if not isinstance(record, dict):
        return record
    name, value = record["type"], record["value"]
    if name == "dict":
        return {read(key): read(each) for key, each in value}
    if name == "array":
        return _read_array(value, np.dtype(record["dtype"]))
    if name == "scalar":
        return _read_array(value, np.dtype(record["dtype"]))[0]
    if name in _KINDS:
        return _KINDS[name].read(value)
    raise ValueError(f"{name!r} is no kind of value that is stored")


def _written_array(values: Any) -> Any:
    if values.dtype.kind in _NUMBERS and values.dtype.itemsize <= 8:  # JSON has no wider numbers
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind in "mM":
        return values.astype(values.dtype.newbyteorder("=")).view(np.int64)
    if values.dtype.kind in "OU":
        return write(values.tolist())
    raise TypeError(f"an array of {values.dtype} cannot be stored")


def _read_array(written: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "mM":
        return np.asarray(written, dtype=np.int64).view(dtype.newbyteorder("=")).astype(dtype)
    if dtype.kind != "O":
        return np.asarray(written, dtype=dtype)
    values = np.empty(len(written), dtype=object)
    values[:] = read(written)
    return values
