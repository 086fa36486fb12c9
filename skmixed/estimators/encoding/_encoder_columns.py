"""Columns of an encoder: their roles, labels and numbers read, encodings returned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.design.records import stored
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.design.values import check_labels, floating
from skmixed.design.wording import list_rows
from skmixed.estimators.reading._columns import column_place, listed
from skmixed.estimators.reading._input_table import InputTable
from skmixed.exceptions import warn

_MOST_FRACTIONS = 200  # labels of a column that may be fractions; small tables stay without a word


@stored
@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of X are what."""

    names: tuple[str, ...]  # of all columns
    encoded: tuple[int, ...]  # positions of the columns of labels, in the order of X
    slopes: tuple[int, ...]  # positions of the columns whose effects vary over the levels
    adjusting: tuple[int, ...] = ()  # positions of those that `adjust` names

    @property
    def others(self) -> tuple[int, ...]:
        """Positions of the columns that are not encoded."""
        return tuple(sorted(set(range(len(self.names))) - set(self.encoded)))


def choose_roles(names: Sequence[str], columns: Any, slopes: Any, adjust: Any = None) -> Roles:
    """Return what the parameters of an encoder say of the columns of X.

    `adjust` are names and positions of columns that labels are adjusted for, if it names any.
    Raises ValueError for columns that are not there, that are both, or if none is left to encode.
    """
    varying = _places(slopes, names, "slopes")
    adjusting = _places(adjust, names, "adjust")
    encoded = [i for i in range(len(names)) if i not in {*varying, *adjusting}]
    if columns is not None:
        encoded = sorted(_places(columns, names, "columns"))
    for parameter, others in (("slopes", varying), ("adjust", adjusting)):
        both = [names[i] for i in encoded if i in others]
        if both:
            raise ValueError(
                f"the columns {both} are given both in `columns` and in `{parameter}`; X has "
                f"{len(names)} feature(s)"
            )
    if not encoded:
        raise ValueError(
            f"there is no column to encode: X has {list(names)}, with columns={columns!r} and "
            f"slopes={slopes!r}"
        )
    return Roles(tuple(names), tuple(encoded), tuple(varying), tuple(adjusting))


def _places(entries: Any, names: Sequence[str], parameter: str) -> list[int]:
    """Return the positions of columns that a parameter gives by name or position, each once."""
    places = [column_place(entry, names, parameter, "feature(s)") for entry in listed(entries)]
    repeated = [e for e in listed(entries) if isinstance(e, str) and names.count(e) > 1]
    if repeated:
        raise ValueError(
            f"the names {repeated} of {parameter} occur more than once in X: use positions"
        )
    return list(dict.fromkeys(places))


def read_labels(table: InputTable, roles: Roles) -> list[Any]:
    """Return the columns of labels, (n,) each. Raises ValueError for infinite ones."""
    labels = [table.column(place) for place in roles.encoded]
    for place, values in zip(roles.encoded, labels, strict=True):
        check_labels({roles.names[place]: values}, "X")
    return labels


def warn_of_fractions(roles: Roles, labels: Sequence[Any]) -> None:
    """Warn of columns of labels, (n,) each, that hold many numbers which are not whole.

    They are measurements, and encoded they are means of the few rows that have the same number.
    """
    found = {}
    for place, values in zip(roles.encoded, labels, strict=True):
        numbers = floating(values)
        if numbers is None:
            continue
        numbers = numbers[np.isfinite(numbers)]
        if (numbers != np.floor(numbers)).any():
            size = len(np.unique(numbers))
            if size > _MOST_FRACTIONS:
                found[roles.names[place]] = size
    if found:
        others = [roles.names[place] for place in roles.encoded if roles.names[place] not in found]
        counted = ", ".join(f"{name!r} has {size:,}" for name, size in found.items())
        warn(
            f"{counted} different fractional values, and each of them is encoded as a label: name "
            f"the columns of labels, columns={others}, and numbers are left as they are",
            UserWarning,
        )


def learn_labels(name: str, values: Any, missing_is_level: bool) -> tuple[Labels, IntArray, int]:
    """Learn the levels of one column: labels, the level of every row, (n,), and their number.

    A missing label is the last level, or `UNKNOWN` if missing labels are none. Raises TypeError for
    a label that cannot be hashed, and ValueError where all are missing.
    """
    try:
        labels, codes = Labels.learn(values)
    except TypeError as error:
        raise TypeError(
            f"a label of the column {name!r} is not hashable ({error}): labels must be strings, "
            "numbers or other hashable values"
        ) from error
    missing = codes == UNKNOWN
    if not missing.any():
        return labels, codes, len(labels)
    if missing.all() and not missing_is_level:
        raise ValueError(
            f"all labels of the column {name!r} are missing: leave the column out, or make them "
            "a level by handle_missing='level'"
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


def refuse_new_labels(names: Sequence[str], codes: Sequence[IntArray]) -> None:
    """Raise ValueError for negative codes, (n,) a column; it names column and rows."""
    for name, of_rows in zip(names, codes, strict=True):
        rows = np.flatnonzero(of_rows < 0)
        if len(rows):
            raise ValueError(
                f"column {name!r} has labels that are missing or were not seen in fit, in rows "
                f"{list_rows(rows)}; handle_unknown='population' encodes them as 0"
            )


RowEncodings = list[list[FloatArray]]
"""By target and encoded column, (n, 2 k + 1): effects, their standard deviations, and the count."""


def join_columns(
    roles: Roles,
    others: Mapping[int, FloatArray],  # (n, m) a column that is not encoded, by position
    encodings: RowEncodings,
    extra: Sequence[str],
) -> FloatArray:
    """Put encodings in the places of the encoded columns, (n, n_columns).

    `extra` says which of "sd" and "count" are wanted beside the effects.
    """
    k = len(roles.slopes) + 1
    parts = []
    for place in range(len(roles.names)):
        if place not in roles.encoded:
            parts.append(others[place])
            continue
        column = roles.encoded.index(place)
        parts += [of_target[column][:, :k] for of_target in encodings]
        if "sd" in extra:
            parts += [of_target[column][:, k : 2 * k] for of_target in encodings]
        if "count" in extra:
            parts.append(encodings[0][column][:, 2 * k :])
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.hstack(parts)


def joined_names(
    roles: Roles,
    names: Sequence[str],
    dummies: Mapping[int, Sequence[str]],  # endings of the names of the columns that are made of
    classes: Sequence[str],
    extra: Sequence[str],
) -> list[str]:
    """Return the names of the columns that `join_columns` makes.

    `classes` are the endings of the names of every target.
    """
    slopes = [names[i] for i in roles.slopes]
    found: list[str] = []
    for place, name in enumerate(names):
        if place not in roles.encoded:
            found += [name + ending for ending in dummies.get(place, [""])]
            continue
        stems = [name, *(f"{name}_{slope}" for slope in slopes)]
        effects = [stem + suffix for suffix in classes for stem in stems]
        found += effects
        if "sd" in extra:
            found += [f"{effect}_sd" for effect in effects]
        if "count" in extra:
            found.append(f"{name}_count")
    return found


def set_unknown_to_nan(encodings: RowEncodings, codes: Sequence[IntArray]) -> None:
    """Write NaN in place for the effects and deviations of negative codes; counts stay zero."""
    for of_target in encodings:
        for values, of_rows in zip(of_target, codes, strict=True):
            values[of_rows < 0, :-1] = np.nan
