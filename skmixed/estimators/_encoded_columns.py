"""The columns that an encoder gives, side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray
from skmixed.estimators._labelled_columns import Table
from skmixed.estimators._roles import Roles

Known = list[list[FloatArray]]
"""Of every target and encoded column effects, standard deviations and count of the rows."""


def side_by_side(roles: Roles, table: Table, known: Known, extra: Sequence[str]) -> FloatArray:
    """Put encodings in the places of the encoded columns.

    Parameters
    ----------
    roles : Roles
        Which columns are encoded.
    table : Table
        The others.
    known : list of list of ndarray of shape (n, 2 k + 1)
        Of every target and encoded column effects, standard deviations and count.
    extra : sequence of {"sd", "count"}
        Which of these are wanted beside the effects.

    Returns
    -------
    ndarray of shape (n, n_columns)
        All columns.
    """
    k = len(roles.slopes) + 1
    parts = []
    for place in range(len(roles.names)):
        if place not in roles.encoded:
            parts.append(table.passed[:, [roles.passed.index(place)]])
            continue
        column = roles.encoded.index(place)
        parts += [of_target[column][:, :k] for of_target in known]
        if "sd" in extra:
            parts += [of_target[column][:, k : 2 * k] for of_target in known]
        if "count" in extra:
            parts.append(known[0][column][:, 2 * k :])
    return np.ascontiguousarray(parts[0]) if len(parts) == 1 else np.hstack(parts)


def names_out(
    roles: Roles, names: Sequence[str], classes: Sequence[str], extra: Sequence[str]
) -> list[str]:
    """Return the names of these columns.

    Parameters
    ----------
    roles : Roles
        Which columns are encoded.
    names : sequence of str
        Names of the columns of X.
    classes : sequence of str
        What the names of every target end in.
    extra : sequence of {"sd", "count"}
        What is wanted beside the effects.

    Returns
    -------
    list of str
        A name a column.
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


def forget_unknown(known: Known, codes: Sequence[IntArray]) -> None:
    """Write NaN where a label is unknown.

    Parameters
    ----------
    known : list of list of ndarray of shape (n, 2 k + 1)
        Changed in place; counts stay zero.
    codes : sequence of ndarray of int of shape (n,)
        Levels of the encoded columns, negative where unknown.
    """
    for of_target in known:
        for values, of_rows in zip(of_target, codes, strict=True):
            values[of_rows < 0, :-1] = np.nan
