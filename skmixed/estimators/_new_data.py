"""What a prediction makes of its arguments."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from sklearn.utils.validation import check_consistent_length

from skmixed.design.grouping import Grouping
from skmixed.design.source import Source
from skmixed.design.tables import is_text
from skmixed.estimators._data import ROUTING
from skmixed.estimators._estimator import header_of
from skmixed.estimators._inputs import (
    Columns,
    read_features,
    refuse_infinite,
)
from skmixed.exceptions import UnknownLevelWarning, warn


def read_new_data(estimator: Any, fitted: Any, X: Any, groups: Any, *, need_groups: bool) -> Source:
    """Validate the arguments of a prediction; grouping columns that are not there are left out.

    `fitted` is what predictions need of the estimator's state, `groups` what `read_groups` returns.
    Warns if labels are needed, missing, and an unknown level is the population; raises ValueError
    for groups that the model was not fitted with.
    """
    columns: Columns = fitted.columns
    source = read_features(
        header_of(estimator, fitted), X, columns, reset=False, optional_groups=not need_groups
    )
    if groups is None:
        missing = columns.from_argument or [
            name for name in columns.groups if name not in source.groups
        ]
        if need_groups and missing and estimator.handle_unknown == "population":
            remedy = "Pass groups=..." if columns.from_argument else "Add these columns to X"
            warn(
                f"no labels of {list(missing)} are given to a model that was fitted with them, so "
                f"its random effects are left out. {remedy}, or say random='none' if that is meant",
                UnknownLevelWarning,
            )
        return source
    if not columns.from_argument:
        if columns.groups and not need_groups:
            return source
        raise ValueError(
            "groups were given, but the model was fitted "
            + (
                f"with grouping columns {list(columns.groups)} of X. {ROUTING}"
                if columns.groups
                else "without any"
            )
        )
    found = match_names(groups, columns.from_argument)
    check_consistent_length(np.empty(source.n_rows), *found.values())
    refuse_infinite(found, "groups")
    return replace(source, groups=found)


def warn_about_kinds(grouping: Grouping, key: Sequence[str], source: Source) -> None:
    """Warn where no label is known since numbers were fitted and text is given, or vice versa.

    `key` is the grouping columns of a factor of which no level is known.
    """
    for name in key:
        known, given = grouping.columns[name].values, source.groups.get(name)
        now = None if given is None else is_text(given)
        if now is not None and now != is_text(known):
            kinds = ("text", "numbers") if is_text(known) else ("numbers", "text")
            warn(
                f"no label of {name!r} is known: they were {kinds[0]} in fit and are {kinds[1]} "
                "now, which are different labels",
                UnknownLevelWarning,
            )


def match_names(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Match the columns of `groups` with those of the fit: by name, else by place.

    Place counts where no column was named, or there is one. Raises ValueError if they do not match.
    """
    if all(name in found for name in names):
        return {name: found[name] for name in names}
    unnamed = all(re.fullmatch(r"group\d*", name) for name in found)
    if len(found) == len(names) and (unnamed or len(names) == 1):
        return dict(zip(names, found.values(), strict=True))
    raise ValueError(
        f"groups has the columns {list(found)}; the model was fitted with {list(names)}"
    )


def chosen_factors(random: str | Sequence[str], factors: Sequence[str]) -> set[str]:
    """Return the factors that the argument `random` of `predict` chooses.

    Raises ValueError for other words than "all" and "none", and for factors that the model has not.
    """
    if isinstance(random, str) or not isinstance(random, Iterable):
        if random not in ("all", "none"):
            raise ValueError(
                f"random={random!r} is not 'all', 'none' or a list of factors; the model has "
                f"{list(factors)}"
            )
        return set(factors) if random == "all" else set()
    unknown = [name for name in random if name not in factors]
    if unknown:
        raise ValueError(f"random names factors {unknown}; the model has {list(factors)}")
    return set(random)
