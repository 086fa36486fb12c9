"""Which columns an encoder encodes, which are slopes and which it hands on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from typing import Any

import numpy as np


@dataclass(frozen=True, slots=True)
class Roles:
    """Which columns of X are what."""

    names: tuple[str, ...]  # of all columns
    encoded: tuple[int, ...]  # positions of the columns of labels, in the order of X
    slopes: tuple[int, ...]  # positions of the columns whose effects vary over the levels

    @property
    def passed(self) -> tuple[int, ...]:
        """Positions of the columns of numbers that are handed on."""
        return tuple(set(range(len(self.names))) - set(self.encoded))


def choose_roles(names: Sequence[str], columns: Any, slopes: Any) -> Roles:
    """Return what the parameters `columns` and `slopes` of an encoder say of the columns of X.

    Raises ValueError for columns that are not there, that are both, or if none is left to encode.
    """
    varying = _positions(slopes, names, "slopes")
    encoded = [i for i in range(len(names)) if i not in varying]
    if columns is not None:
        encoded = sorted(_positions(columns, names, "columns"))
    both = [names[i] for i in encoded if i in varying]
    if both:
        raise ValueError(
            f"the columns {both} are given twice, in `columns` and in `slopes`; X has "
            f"{len(names)} feature(s)"
        )
    if not encoded:
        raise ValueError(
            f"there is no column to encode: X has {list(names)}, columns={columns!r} and "
            f"slopes={slopes!r}"
        )
    return Roles(tuple(names), tuple(encoded), tuple(varying))


def _positions(entries: Any, names: Sequence[str], parameter: str) -> list[int]:
    """Return the positions of columns that a parameter gives by name or position, each once."""
    listed = [entries] if isinstance(entries, str | Integral) else list(entries or ())
    return list(dict.fromkeys(_position(entry, names, parameter) for entry in listed))


def _position(entry: Any, names: Sequence[str], parameter: str) -> int:
    """Return the position of one column; ValueError if there is none, or more than one."""
    if isinstance(entry, str):
        if list(names).count(entry) != 1:
            raise ValueError(
                f"{parameter} names {entry!r}, which is not the name of one column: X has the "
                f"columns {list(names)}. Columns of an array go by position"
            )
        return list(names).index(entry)
    if isinstance(entry, bool | np.bool_) or not isinstance(entry, Integral):
        raise ValueError(
            f"{parameter} holds {entry!r}; it takes names and positions of columns of X"
        )
    if not -len(names) <= int(entry) < len(names):
        raise ValueError(f"{parameter} has position {entry}; X has {len(names)} feature(s)")
    return int(entry) % len(names)
