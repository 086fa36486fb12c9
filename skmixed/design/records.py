"""What was learned as records, from which it is made again, equal and of the same types.

A record is made of None, booleans, numbers, text, lists, dictionaries with keys of text, and arrays
of numbers, which may come back as lists. Reading one runs no code that it holds: values are of the
types listed here and of those marked as `stored`, and no name in a record is looked up anywhere
else. A value of another type, such as an estimator of scikit-learn, stands in a record as it is:
pickles take it so, and `checksum` refuses it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import fields
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from itertools import chain
from typing import Any, NamedTuple, TypeVar
from uuid import UUID

import numpy as np
import pandas as pd

from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.families.catalogue import FAMILIES
from skmixed.core.families.cumulative_links import ORDINAL
from skmixed.core.fit import Fit
from skmixed.core.generalized.approximation.working_model import WorkingFit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.given_parameters import Posterior
from skmixed.core.model.penalty import Penalty, VariancePenalty
from skmixed.core.model.relation import Relation
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.nonlinear.nonlinear_fit import NonlinearFit
from skmixed.core.pooling.blending import BlendComponents, MixtureShares
from skmixed.core.pooling.cells import Cells
from skmixed.core.pooling.hierarchy import Hierarchy, PooledHierarchy
from skmixed.core.pooling.likelihood_errors import ParameterErrors
from skmixed.core.pooling.stage import FirstStageResidual
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.series_correlations import CORRELATIONS
from skmixed.core.residual.visits.patterns import Patterns
from skmixed.core.residual.visits.visits_covariance import AnyCovariance, LagCovariance
from skmixed.core.residual.visits.visits_fit import VisitsFit
from skmixed.core.residual.visits.visits_sums import VisitSums
from skmixed.core.residual.visits.visits_tables import VisitTables
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.report import Iteration, MonteCarlo, SolverReport
from skmixed.core.sums.blocks import FactorBlock, PairBlock
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import FactorLayout, GroupIndex, Layout
from skmixed.core.sums.summation import Within
from skmixed.design.grammar.members import MembersTerm
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.smooths import SmoothTerm
from skmixed.design.grammar.syntax import FormulaParts

SCHEMA = 1  # of what is stored; raised when a record of before cannot be read as it stands

Part = TypeVar("Part", bound=type)

_ITSELF = frozenset({type(None), bool, int, float, str})
_NUMBERS = "biuf"  # kinds of arrays that are stored as they are
_FOREIGN = "object"  # type of a record that holds a value itself


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
_PARTS: dict[str, Any] = {  # what a model and its fit are made of, and what is `stored`
    part.__name__: part
    for part in (
        BlendComponents,
        Cells,
        CrossProducts,
        FactorBlock,
        FactorLayout,
        FirstStageResidual,
        Fit,
        FormulaParts,
        GeneralizedFit,
        GroupIndex,
        Hierarchy,
        Iteration,
        IterativeSolver,
        Krylov,
        Layout,
        MembersTerm,
        MixtureShares,
        ModelSpec,
        MonteCarlo,
        NonlinearFit,
        PairBlock,
        ParameterErrors,
        Patterns,
        Penalty,
        PooledHierarchy,
        Posterior,
        RandomTerm,
        Relation,
        ResidualFit,
        ResidualProduct,
        ResidualRows,
        ResidualTables,
        ResponseSums,
        SmoothTerm,
        SolverReport,
        Term,
        VariancePenalty,
        Within,
        WorkingFit,
        *chain.from_iterable(FAMILIES.values()),
        *ORDINAL.values(),
        *CORRELATIONS.values(),
        AnyCovariance,
        LagCovariance,
        VisitSums,
        VisitTables,
        VisitsFit,
    )
}

# Fields that models stored before them do not have; their defaults say what was so then.
_ADDED = {
    "CrossProducts": {"unit", "plan_bytes", "log_det"},
    "Columns": {"exposure", "residual"},
    "Blend": {"mixture"},
    "Scheme": {"uses_pooled"},
    "GeneralizedFit": {"row_products"},
    "FormulaParts": {"smooths"},
    "RandomTerm": {"smooths", "covariance", "members"},
    "Term": {"curve", "whole", "penalty", "members", "effects"},
    "CAR1": {"gap"},
    "ModelSpec": {"relations", "sigma2"},
}


def stored(part: Part) -> Part:
    """Let values of a class be written and read: by its fields, or its `record` and `from_record`.

    No two such classes have one name.
    """
    _PARTS[part.__name__] = part
    return part


@cache
def package_version() -> str:
    """Return the version of this package, "unknown" where it is not installed."""
    try:
        return version("scikit-mixed")
    except PackageNotFoundError:
        return "unknown"


def write(value: Any) -> Any:
    """Return a value as a record: what numpy, pandas, Python's own types and parts of a fit hold.

    A value of another type is in the record itself.
    """
    if type(value) in _ITSELF:
        return value
    if isinstance(value, list):
        return list(value) if _are_plain(value) else [write(each) for each in value]
    if isinstance(value, dict):
        return {"type": "dict", "value": [[write(k), write(v)] for k, v in value.items()]}
    part = type(value)
    if part is _PARTS.get(part.__name__):
        held = value.record() if hasattr(part, "record") else written_fields(value)
        return {"type": part.__name__, "value": held}
    name = _NAMES.get(part)
    with suppress(LookupError, ValueError, TypeError):  # of a time zone without a known name
        if part in (np.ndarray, np.memmap):
            shape = list(value.shape)  # which lists do not tell of an array without entries
            written = _written_array(value)
            return {"type": "array", "dtype": value.dtype.str, "shape": shape, "value": written}
        if isinstance(value, np.generic):
            written = _written_array(np.asarray(value)[None])
            return {"type": "scalar", "dtype": value.dtype.str, "value": written}
        if name is not None:
            written = _KINDS[name].write(value)
            _KINDS[name].read(written)
            return {"type": name, "value": written}
    return {"type": _FOREIGN, "value": value}


def written_fields(part: Any) -> dict[str, Any]:
    """Return the fields of a dataclass as records."""
    return {name: write(getattr(part, name)) for name in _field_names(type(part))}


def read(record: Any) -> Any:
    """Return the value of a record. Raises ValueError for what is none."""
    if isinstance(record, list):
        return list(record) if _are_plain(record) else [read(each) for each in record]
    if not isinstance(record, dict):
        return record
    name, value = record["type"], record["value"]
    if name == _FOREIGN:
        return value
    if name == "dict":
        return {read(key): read(each) for key, each in value}
    if name == "array":
        return _read_array(value, np.dtype(record["dtype"])).reshape(record["shape"])
    if name == "scalar":
        return _read_array(value, np.dtype(record["dtype"]))[0]
    if name in _PARTS:
        return _read_part(_PARTS[name], value)
    if name in _KINDS:
        return _KINDS[name].read(value)
    raise ValueError(f"{name!r} is no kind of value that is stored")


def _are_plain(values: list[Any]) -> bool:
    """Tell whether values stand for themselves; of a million labels this is soon known."""
    return _ITSELF.issuperset(map(type, values))


def _read_part(part: Any, held: Any) -> Any:
    if hasattr(part, "from_record"):
        return part.from_record(held)
    if set(held) | _ADDED.get(part.__name__, set()) != set(_field_names(part)):
        raise ValueError(f"a {part.__name__} has the fields {sorted(held)}, which are others now")
    return part(**{name: read(each) for name, each in held.items()})


def checksum(record: Any) -> str:
    """Return the SHA-256 of a record, the same whether its arrays came back as lists or not.

    Raises TypeError for a value that is in the record itself.
    """
    digest = hashlib.sha256()
    _add_to(digest, record)
    return digest.hexdigest()


def _add_to(digest: Any, record: Any) -> None:
    """Add a record to a hash; arrays of numbers by their bytes, the least significant first."""
    if isinstance(record, list):
        digest.update(b"[%d" % len(record))
        for each in record:
            _add_to(digest, each)
    elif isinstance(record, dict):
        if record.get("type") == _FOREIGN:
            value = record["value"]
            raise TypeError(f"a {type(value).__name__} cannot be stored: {value!r}")
        dtype = np.dtype(record["dtype"]) if record.get("type") == "array" else None
        if dtype is not None and dtype.kind in _NUMBERS + "mM":
            stored = np.dtype(np.int64) if dtype.kind in "mM" else dtype
            values = np.asarray(record["value"]).astype(stored.newbyteorder("<"))
            record = {**record, "value": values.tobytes().hex()}
        for key in sorted(record):
            digest.update(json.dumps(key).encode())
            _add_to(digest, record[key])
    elif isinstance(record, np.ndarray):  # of a single number
        _add_to(digest, record.tolist())
    else:
        digest.update(json.dumps(record).encode())


def _field_names(part: type) -> list[str]:
    return [field.name for field in fields(part) if not field.name.startswith("_")]


def _written_array(values: Any) -> Any:
    if values.dtype.kind in _NUMBERS and values.dtype.itemsize <= 8:  # JSON has no wider numbers
        return values.astype(values.dtype.newbyteorder("="), copy=False)
    if values.dtype.kind in "mM":
        return values.astype(values.dtype.newbyteorder("=")).view(np.int64)
    if values.dtype.kind in "OU":
        return write(values.ravel().tolist())
    raise TypeError(f"an array of {values.dtype} cannot be stored")


def _read_array(written: Any, dtype: np.dtype[Any]) -> Any:
    if dtype.kind in "mM":
        return np.asarray(written, dtype=np.int64).view(dtype.newbyteorder("=")).astype(dtype)
    if dtype.kind != "O":
        return np.asarray(written, dtype=dtype)
    values = np.empty(len(written), dtype=object)
    values[:] = read(written)
    return values
