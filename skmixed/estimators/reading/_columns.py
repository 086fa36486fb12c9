"""Roles of the columns of X and of `groups`: grouping columns and others.

Users declare them by name or position, in `random`, `group_features` and `groups`; new rows are
read according to the roles found in `fit`.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import FormulaParts, parse_random, split_formula
from skmixed.design.records import stored
from skmixed.estimators.reading._input_table import InputTable, made_up_names
from skmixed.estimators.reading._numbers import check_lengths
from skmixed.exceptions import UnknownLevelWarning, shown, warn

ROUTING = (
    "If metadata routing passed on the groups of a splitter, such as GroupKFold, keep them from "
    "the model by .set_fit_request(groups=False).set_score_request(groups=False)"
)


@stored
@dataclass(frozen=True, slots=True)
class Columns:
    """Roles of the columns of X."""

    names: tuple[str, ...]  # of all columns; "x0", "x1", ... for an array
    groups: tuple[str, ...]  # the grouping columns among them
    from_argument: tuple[str, ...]  # the grouping columns that come by the argument `groups`
    by_formula: bool  # whether formulas pick the fixed columns
    exposure: str | None = None  # the column of exposures, which is no fixed column
    residual: tuple[str, ...] = ()  # labels of a residual structure, which are none either

    @property
    def numeric(self) -> list[int]:
        """Positions of the columns that are neither labels nor exposures."""
        taken = {*self.groups, *self.residual, self.exposure}
        return [i for i, name in enumerate(self.names) if name not in taken]

    def with_labels(self, residual: Collection[str]) -> Columns:
        """Return these roles with the labels of a residual structure."""
        taken = {*self.groups, *self.from_argument}
        labels = (name for name in self.names if name in residual and name not in taken)
        return replace(self, residual=tuple(labels)) if residual else self

    def with_exposure(self, entry: Any) -> Columns:
        """Return these roles with an exposure column, by name or position, or none.

        Raises ValueError for a column that is not there, or is a grouping column.
        """
        if entry is None:
            return self
        name = self.names[column_place(entry, self.names, "exposure")]
        if name in self.groups:
            raise ValueError(f"the column {name!r} is given both as exposure and for grouping")
        return replace(self, exposure=name)

    def groups_besides(self, needed: Collection[str]) -> list[str]:
        """Return the grouping columns of X that are not required."""
        return [name for name in self.groups if name not in needed]

    @property
    def group_places(self) -> dict[str, int]:
        """Position of each grouping column of X, by name."""
        return {name: self.names.index(name) for name in self.groups}


def listed(entries: Any) -> list[Any]:
    """Return a parameter of one or several columns as a list; empty for None."""
    if isinstance(entries, str | Integral):
        return [entries]
    return [] if entries is None else list(entries)


def column_place(
    entry: Any,
    names: Sequence[str],  # of the columns of X
    parameter: str,
    what: str = "columns",  # scikit-learn looks for the word "feature" in some errors
) -> int:
    """Return the position of a column that a parameter gives by name, the first, or by position.

    Raises ValueError if there is none.
    """
    if isinstance(entry, str):
        if entry in names:
            return names.index(entry)
        hint = _hint_for_names([entry], names, parameter)
        raise ValueError(
            f"{parameter} names {entry!r}, but X has the columns {list(names)}"
            + (hint and f". {hint}")
        )
    if isinstance(entry, bool | np.bool_) or not isinstance(entry, Integral):
        raise ValueError(
            f"{parameter} contains {shown(entry)}; it accepts names and positions of columns of X"
        )
    if not -len(names) <= int(entry) < len(names):
        raise ValueError(
            f"{parameter} contains position {entry}, but X has {len(names)} {what}. Where a "
            "meta-estimator selects columns, as BaggingRegressor does with max_features, "
            "positions shift: let it keep all columns"
        )
    return int(entry) % len(names)


def _hint_for_names(missing: Sequence[str], names: Sequence[str], parameter: str) -> str:
    """Explain why columns do not exist: X is an array, or a transformer has added prefixes."""
    if tuple(names) == made_up_names(len(names)):
        in_bars = " and in `random` the names x0, x1, ..." if parameter == "group_features" else ""
        return (
            "X is an array without column names (transformers and some meta-estimators convert "
            "data frames): let transformers return data frames, by "
            f".set_output(transform='pandas'), or use positions, as in {parameter}=[0]{in_bars}"
        )
    found = [each for name in missing for each in names if each.endswith(f"__{name}")]
    if not found:
        return ""
    return (
        f"Did you mean {found[0]!r}? ColumnTransformer(..., verbose_feature_names_out=False) "
        "leaves names as they are"
    )


def choose_groups(
    names: Sequence[str],  # of the columns of X
    group_features: Any,  # columns that the user names, by name or position
    used: Sequence[str],  # columns that the random terms name
) -> tuple[str, ...]:
    """Return the columns of X that are grouping columns, in the order of X.

    Raises ValueError for a column that is not there, and for one whose name occurs twice.
    """
    wanted = {names[column_place(each, names, "group_features")] for each in listed(group_features)}
    missing = [name for name in dict.fromkeys(used) if name not in names]
    if missing:
        hint = _hint_for_names(missing, names, "group_features")
        hint = hint or "Name a column of X, or pass the labels as `groups`"
        raise ValueError(
            f"grouping columns {missing} named in `random` do not exist: X has the columns "
            f"{list(names)}. {hint}"
        )
    wanted.update(used)
    repeated = [name for name in wanted if names.count(name) > 1]
    if repeated:
        raise ValueError(
            f"the names {sorted(repeated)} of grouping columns occur more than once in X"
        )
    return tuple(name for name in names if name in wanted)


def check_given(
    given: Iterable[str],  # columns of the argument `groups`
    group_features: Any,  # columns of X that the user names
    used: Sequence[str],  # columns that the random terms name
    names: Sequence[str],  # columns of X
) -> None:
    """Raise ValueError for grouping columns that are given twice or not at all."""
    if group_features is not None:
        raise ValueError(
            "grouping columns are given both by `groups` and by `group_features`: use one of "
            f"them. {ROUTING}"
        )
    missing = [name for name in used if name not in given]
    if missing:
        both = [name for name in missing if name in names]
        hint = f"; {both} are columns of X: leave out `groups` or put all of them there. {ROUTING}"
        raise ValueError(
            f"grouping columns {missing} named in `random` are not among `groups`, which has "
            f"{list(given)}" + (hint if both else "")
        )
    twice = [name for name in used if name in names]
    if twice:
        raise ValueError(
            f"the grouping columns {twice} are given both as `groups` and as columns of X: leave "
            f"one of them out. {ROUTING}"
        )


def declared(
    random: Any,  # parameters of an estimator
    group_features: Any,
    names: tuple[str, ...],  # of the columns of X
    given: Iterable[str] | None,  # columns of the argument `groups`
    fixed: FormulaParts | None,
    residual: Collection[str] = (),  # labels of a residual structure
) -> tuple[tuple[RandomTerm, ...], Columns]:
    """Return the random-effects terms an estimator declares, and the column roles.

    Without `random` every grouping column gets a random intercept that is no label of a residual
    structure.
    """
    terms = None if random is None else parse_random(random)
    used = list(dict.fromkeys(name for term in terms or () for name in term.group))
    if given is None:
        in_X = choose_groups(names, group_features, used)
        columns = Columns(names, in_X, (), fixed is not None)
    else:
        check_given(given, group_features, used, names)
        columns = Columns(names, (), tuple(given), fixed is not None)
    if terms is None:
        terms = tuple(
            RandomTerm((name,), intercept=True)
            for name in columns.groups + columns.from_argument
            if name not in residual
        )
    return terms, columns.with_labels(residual)


def read_fixed(fixed: str | None, fit_intercept: bool) -> FormulaParts | None:
    """Read the right-hand side that gives the fixed part; None stays, and means all columns.

    Raises ValueError for a response, for random terms, and beside fit_intercept=False.
    """
    if fixed is None:
        return None
    if not fit_intercept:
        raise ValueError(
            "fit_intercept=False cannot be combined with a formula: write '0 + ...' in `fixed`"
        )
    parts = split_formula(fixed)
    if parts.response is not None:
        raise ValueError(f"`fixed` must be a right-hand side: leave out '{parts.response} ~'")
    if parts.random:
        raise ValueError("`fixed` contains random-effects terms, which belong in `random`")
    return parts


def groups_as_in_fit(
    columns: Columns,
    groups: Mapping[str, Any] | None,
    n_rows: int,
    needed: Collection[str] | None = None,  # grouping columns; None for all
) -> Mapping[str, Any] | None:
    """Return the needed columns of the argument `groups` of new rows under the names of the fit.

    None where there are none, or none are needed. Raises ValueError for groups that a model was not
    fitted with, of another length, or with infinite labels.
    """
    if groups is None:
        return None
    if not columns.from_argument:
        if columns.groups and needed is not None and not needed:
            return None
        having = f"with grouping columns {list(columns.groups)} of X. {ROUTING}"
        raise ValueError(
            "groups were given, but the model was fitted "
            + (having if columns.groups else "without any")
        )
    found = _under_names(groups, columns.from_argument, needed)
    check_lengths(n_rows, *found.values())
    return found


def warn_without_groups(
    estimator: Any, columns: Columns, needed: Collection[str], present: Collection[str]
) -> None:
    """Warn where labels that predictions need are not present, and unknown levels are no error."""
    names = (*columns.groups, *columns.from_argument)
    missing = [name for name in names if name in needed and name not in present]
    if missing and estimator.handle_unknown == "population":
        remedy = "Pass groups=..." if columns.from_argument else "Add these columns to X"
        warn_of_missing(
            missing, "random effects", f"{remedy}, or use random='none' if that is intended"
        )


def warn_of_missing(missing: Sequence[str], what: str, remedy: str) -> None:
    """Warn that labels are not given, so that part of the model is left out."""
    warn(
        f"no labels of {list(missing)} are given to a model that was fitted with them, so its "
        f"{what} are left out. {remedy}",
        UnknownLevelWarning,
    )


def _under_names(
    found: Mapping[str, Any], names: tuple[str, ...], needed: Collection[str] | None
) -> dict[str, Any]:
    """Match the columns of `groups` with those of the fit: by name, else by place.

    Place counts where no column was named, or there is one. Raises ValueError if they do not match.
    """
    wanted = [name for name in names if needed is None or name in needed]
    if all(name in found for name in wanted):
        return {name: found[name] for name in wanted}
    unnamed = all(re.fullmatch(r"group\d*", name) for name in found)
    if len(found) == len(names) and (unnamed or len(names) == 1):
        by_place = dict(zip(names, found.values(), strict=True))
        return {name: by_place[name] for name in wanted}
    raise ValueError(
        f"groups has the columns {list(found)}, but the model was fitted with {list(names)}"
    )


def chosen_factors(random: str | Sequence[str], factors: Sequence[str]) -> set[str]:
    """Return the grouping factors that the argument `random` of `predict` selects.

    Raises ValueError for other words than "all" and "none", and for factors that the model has not.
    """
    if isinstance(random, str) or not isinstance(random, Iterable):
        if random not in ("all", "none"):
            raise ValueError(
                f"random={random!r} is not 'all', 'none' or a list of grouping factors; the "
                f"model has {list(factors)}"
            )
        return set(factors) if random == "all" else set()
    unknown = [name for name in random if name not in factors]
    if unknown:
        raise ValueError(
            f"random names the grouping factors {unknown}, but the model has {list(factors)}"
        )
    return set(random)


@stored
@dataclass(frozen=True, slots=True, eq=False)
class RandomColumns:
    """Columns of X for the regressor, and for the model of its residuals."""

    columns: Columns
    slopes: tuple[int, ...]  # positions of the fixed columns of the model of residuals; some vary
    formulas: bool  # whether slopes are expressions, for which that model needs all columns

    @classmethod
    def of(
        cls, columns: Columns, terms: Sequence[RandomTerm], *, all_features: bool
    ) -> RandomColumns:
        """Choose the columns; the model of residuals has all features if `all_features`."""
        wanted = {name for term in terms for name in term.slope_names}
        free = columns.numeric
        curves = any(term.smooths for term in terms)
        formulas = curves or not wanted <= {columns.names[i] for i in free}
        slopes = [i for i in free if all_features or columns.names[i] in wanted]
        return cls(columns, tuple(slopes), formulas)

    @property
    def group_features(self) -> list[str]:
        """Names of the grouping columns in the table of the random part."""
        return list(self.columns.groups or self.columns.from_argument)

    def features(self, table: InputTable, learner: Any) -> Any:
        """Return the columns of the regressor, in a table of the kind of X.

        Raises ValueError if none is left, or all are dates or durations.
        """
        if len(self.columns.numeric) == len(self.columns.names):
            table.select_for(learner, range(len(table.names)))
            return table.values
        if not self.columns.numeric:
            raise ValueError(
                f"no column is left for the regressor: X has {len(self.columns.names)} feature(s), "
                "all of them grouping columns"
                + ("" if self.columns.exposure is None else " or exposures")
            )
        return table.select_for(learner, self.columns.numeric)

    def table(self, table: InputTable, given: Mapping[str, Any] | None) -> pd.DataFrame:
        """Return the columns of the model of residuals: exposures, slopes and grouping columns.

        `given` is the columns of the argument `groups`; where it is None, their labels are missing.
        Raises ValueError for an array where slopes are expressions.
        """
        columns = self.columns
        if self.formulas:
            if not table.is_named:
                raise ValueError(
                    "expressions in `random` require column names: X must be a data frame, got "
                    f"{table.came_as}"
                )
            found = table.pandas.reset_index(drop=True)
            found = found.drop(columns=[name for name in columns.groups if name in found])
        else:
            places = [columns.names.index(n) for n in (columns.exposure,) if n is not None]
            places += self.slopes
            slopes = {columns.names[place]: table.column(place) for place in places}
            found = pd.DataFrame({name: _without_index(each) for name, each in slopes.items()})
        groups = table.labels(columns.group_places, allow_nan=False)
        if columns.from_argument:
            groups = {name: (given or {}).get(name) for name in columns.from_argument}
        for name, labels in groups.items():
            found[name] = np.full(table.n_rows, None) if labels is None else _without_index(labels)
        return found


def coarsest(terms: Sequence[RandomTerm]) -> int:
    """Return the position of the coarsest of nested factors, of others the first.

    It counts the distinct factors in the order of the terms.
    """
    keys = list(dict.fromkeys(term.group for term in terms))
    return keys.index(min(keys, key=len))


def _without_index(values: Any) -> Any:
    """Return a column without an index."""
    return values.reset_index(drop=True) if isinstance(values, pd.Series) else values
