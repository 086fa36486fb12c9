"""The columns that an encoder gives, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.estimators._labelled_columns import EncoderTable
from skmixed.estimators._roles import Roles

RowEncodings = list[list[FloatArray]]
"""By target and encoded column, (n, 2 k + 1): effects, their standard deviations, and the count."""


def join_columns(
    roles: Roles, table: EncoderTable, encodings: RowEncodings, extra: Sequence[str]
) -> FloatArray:
    """Put encodings in the places of the encoded columns, (n, n_columns).

    `extra` says which of "sd" and "count" are wanted beside the effects.
    """
    k = len(roles.slopes) + 1
    parts = []
    for place in range(len(roles.names)):
        if place not in roles.encoded:
            parts.append(table.passed[:, [roles.passed.index(place)]])
            continue
        column = roles.encoded.index(place)
        parts += [of_target[column][:, :k] for of_target in encodings]
        if "sd" in extra:
            parts += [of_target[column][:, k : 2 * k] for of_target in encodings]
        if "count" in extra:
            parts.append(encodings[0][column][:, 2 * k :])
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.hstack(parts)


def joined_names(
    roles: Roles, names: Sequence[str], classes: Sequence[str], extra: Sequence[str]
) -> list[str]:
    """Return the names of the columns that `join_columns` makes.

    `classes` are the endings of the names of every target.
    """
    slopes = [names[i] for i in roles.slopes]
    found: list[str] = []
    for place, name in enumerate(names):
        if place not in roles.encoded:
            found.append(name)
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
