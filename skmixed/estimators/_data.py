"""What a mixed model's fit and predict make of their arguments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length

from skmixed.design.design import Source
from skmixed.design.grouping import Grouping
from skmixed.design.syntax import FormulaParts, parse_random, split_formula
from skmixed.design.tables import is_text
from skmixed.design.terms import RandomTerm
from skmixed.estimators._inputs import (
    Columns,
    choose_groups,
    names_of,
    pick_rows,
    read_features,
    read_groups,
    refuse_infinite,
)
from skmixed.estimators._numbers import read_weights, read_y
from skmixed.exceptions import UnknownLevelWarning

FloatArray = NDArray[np.float64]

_ROUTED = (
    "Where metadata routing handed on the groups of a splitter, such as GroupKFold, keep them from "
    "the model by .set_fit_request(groups=False).set_score_request(groups=False)"
)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Validated arguments of a fit.

    Parameters
    ----------
    source : Source
        The rows.
    columns : Columns
        What each column of X is.
    terms : tuple of RandomTerm
        The random part.
    fixed : FormulaParts or None
        The fixed part, if a formula gives it.
    y : ndarray of shape (n,)
        The response.
    weights : ndarray of shape (n,) or None
        Positive weights.
    n_features : int
        Number of columns of X.
    feature_names : ndarray of str or None
        Their names, if they have any.
    """

    source: Source
    columns: Columns
    terms: tuple[RandomTerm, ...]
    fixed: FormulaParts | None
    y: FloatArray
    weights: FloatArray | None
    n_features: int
    feature_names: NDArray[Any] | None


def read_training_data(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, groups: Any
) -> TrainingData:
    """Validate the arguments of a fit; the estimator is not touched.

    Parameters
    ----------
    estimator : MixedLinearRegressor
        Its parameters say what the columns are.
    X : array-like or data frame
        As in `MixedLinearRegressor.fit`.
    y : array-like
        As there.
    sample_weight : None or array-like
        As there.
    groups : None, array-like or data frame
        As there.

    Returns
    -------
    TrainingData
        Without rows of weight zero.
    """
    if y is None:
        raise ValueError(
            f"This {type(estimator).__name__} estimator requires y to be passed, "
            "but the target y is None"
        )
    X, y, weights, given = read_rows(X, y, sample_weight, groups)
    fixed = read_fixed(estimator.fixed, estimator.fit_intercept)
    terms, columns = declared(estimator, names_of(X), given, fixed)
    scratch = type(estimator)()  # a fit that fails leaves the estimator as it was
    source = read_features(scratch, X, columns, reset=True)
    values = read_y(y, source.n_rows)
    if given is not None:
        check_consistent_length(values, *given.values())
        refuse_infinite(given, "groups")
        source = replace(source, groups=given)
    return TrainingData(
        source,
        columns,
        terms,
        fixed,
        values,
        weights,
        scratch.n_features_in_,
        getattr(scratch, "feature_names_in_", None),
    )


def read_for_random(estimator: BaseEstimator, data: TrainingData) -> TrainingData:
    """Return the same data as an estimator reads them that differs in its random part.

    Parameters
    ----------
    estimator : MixedLinearRegressor
        Its grouping columns are among those of `data`.
    data : TrainingData
        What another estimator has read.

    Returns
    -------
    TrainingData
        With other terms; no row is looked at.
    """
    given = dict.fromkeys(data.columns.from_argument) or None
    terms, columns = declared(estimator, data.columns.names, given, data.fixed)
    return replace(data, terms=terms, columns=columns)


def read_rows(
    X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Any, Any, FloatArray | None, dict[str, Any] | None]:
    """Read weights and groups, and drop rows of weight zero.

    Parameters
    ----------
    X : array-like or data frame
        As in `MixedLinearRegressor.fit`.
    y : array-like
        As there.
    sample_weight : None or array-like
        As there.
    groups : None, array-like or data frame
        As there.

    Returns
    -------
    X : array-like or data frame
        Its rows of positive weight.
    y : array-like
        Of these rows.
    weights : ndarray or None
        Of these rows.
    groups : dict of str to Series or ndarray, or None
        Of these rows, by name.
    """
    weights = read_weights(sample_weight, X)
    given = None if groups is None else read_groups(groups)
    if weights is None or weights.all():
        return X, y, weights, given
    check_consistent_length(X, y, *(given or {}).values())
    kept = np.flatnonzero(weights)
    X = pick_rows(X, kept)
    if given is not None:
        given = {name: pick_rows(labels, kept) for name, labels in given.items()}
    return X, np.asarray(y)[kept], weights[kept], given


def read_fixed(fixed: str | None, fit_intercept: bool) -> FormulaParts | None:
    """Read the formula of the fixed part.

    Parameters
    ----------
    fixed : str or None
        Its right-hand side.
    fit_intercept : bool
        Parameter of the estimator.

    Returns
    -------
    FormulaParts or None
        None where all columns are meant.
    """
    if fixed is None:
        return None
    if not fit_intercept:
        raise ValueError(
            "fit_intercept=False has no meaning beside a formula: write '0 + ...' in `fixed`"
        )
    parts = split_formula(fixed)
    if parts.response is not None:
        raise ValueError(f"`fixed` is a right-hand side; leave out '{parts.response} ~'")
    if parts.random:
        raise ValueError("`fixed` has random terms; they belong in `random`")
    return parts


def declared(
    estimator: BaseEstimator,
    names: tuple[str, ...],
    given: dict[str, Any] | None,
    fixed: FormulaParts | None,
) -> tuple[tuple[RandomTerm, ...], Columns]:
    """Return what an estimator declares of columns.

    Parameters
    ----------
    estimator : estimator
        Its parameters `random` and `group_features`.
    names : tuple of str
        Names of the columns of X.
    given : dict of str to Series or ndarray, or None
        The columns of the argument `groups`.
    fixed : FormulaParts or None
        The fixed part, if a formula gives it.

    Returns
    -------
    terms : tuple of RandomTerm
        The random part.
    columns : Columns
        What each column of X is.
    """
    declared = None if estimator.random is None else parse_random(estimator.random)
    used = list(dict.fromkeys(name for term in declared or () for name in term.group))
    if given is None:
        in_X = choose_groups(names, estimator.group_features, used)
        columns = Columns(names, in_X, (), fixed is not None)
    else:
        check_given(given, estimator.group_features, used, names)
        columns = Columns(names, (), tuple(given), fixed is not None)
    if declared is None:
        declared = tuple(
            RandomTerm((name,), intercept=True) for name in columns.groups + columns.from_argument
        )
    return declared, columns


def check_given(
    given: Iterable[str], group_features: Any, used: Sequence[str], names: Sequence[str]
) -> None:
    """Refuse grouping columns that are given twice, or not at all.

    Parameters
    ----------
    given : iterable of str
        Columns of the argument `groups`.
    group_features : None, str, int or sequence of these
        Columns of X named by the user.
    used : sequence of str
        Columns that the random terms name.
    names : sequence of str
        Columns of X.

    Raises
    ------
    ValueError
        Says which, and what to do.
    """
    if group_features is not None:
        raise ValueError(
            "the grouping columns are given twice, by `groups` and by `group_features`; "
            f"use one of them. {_ROUTED}"
        )
    missing = [name for name in used if name not in given]
    if missing:
        both = [name for name in missing if name in names]
        hint = f"; {both} are columns of X: leave out `groups` or put all of them there. {_ROUTED}"
        raise ValueError(
            f"grouping columns {missing} named in `random` are not among `groups`, which has "
            f"{list(given)}" + (hint if both else "")
        )
    twice = [name for name in used if name in names]
    if twice:
        raise ValueError(
            f"the grouping columns {twice} are given twice, by `groups` and as columns of X; "
            f"leave one of them out. {_ROUTED}"
        )


def read_new_data(estimator: Any, X: Any, groups: Any, *, need_groups: bool) -> Source:
    """Validate the arguments of a prediction.

    Parameters
    ----------
    estimator : MixedLinearRegressor
        Fitted.
    X : array-like or data frame
        As in `MixedLinearRegressor.predict`.
    groups : None or dict of str to Series or ndarray
        The columns of the argument `groups`, as `read_groups` returns them.
    need_groups : bool
        Whether random effects are asked for.

    Returns
    -------
    Source
        The rows; grouping columns that are not there are left out.
    """
    columns: Columns = estimator._columns
    source = read_features(estimator, X, columns, reset=False, optional_groups=not need_groups)
    if groups is None:
        missing = columns.from_argument or [
            name for name in columns.groups if name not in source.groups
        ]
        if need_groups and missing and estimator.handle_unknown == "population":
            remedy = "Pass groups=..." if columns.from_argument else "Add these columns to X"
            warnings.warn(
                f"no labels of {list(missing)} are given to a model that was fitted with them, so "
                f"its random effects are left out. {remedy}, or say random='none' if that is meant",
                UnknownLevelWarning,
                stacklevel=4,
            )
        return source
    if not columns.from_argument:
        if columns.groups and not need_groups:
            return source
        raise ValueError(
            "groups were given, but the model was fitted "
            + (
                f"with grouping columns {list(columns.groups)} of X. {_ROUTED}"
                if columns.groups
                else "without any"
            )
        )
    found = match_names(groups, columns.from_argument)
    check_consistent_length(np.empty(source.n_rows), *found.values())
    refuse_infinite(found, "groups")
    return replace(source, groups=found)


def warn_about_kinds(grouping: Grouping, key: Sequence[str], source: Source) -> None:
    """Warn where no label is known because numbers were fitted and text is given, or vice versa.

    Parameters
    ----------
    grouping : Grouping
        Of the fitted model.
    key : sequence of str
        The grouping columns of a factor of which no level is known.
    source : Source
        The new rows.

    Warns
    -----
    UnknownLevelWarning
        If the labels differ in kind.
    """
    for name in key:
        known, given = grouping.columns[name].values, source.groups.get(name)
        now = None if given is None else is_text(given)
        if now is not None and now != is_text(known):
            kinds = ("text", "numbers") if is_text(known) else ("numbers", "text")
            warnings.warn(
                f"no label of {name!r} is known: they were {kinds[0]} in fit and are {kinds[1]} "
                "now, which are different labels",
                UnknownLevelWarning,
                stacklevel=5,
            )


def match_names(found: dict[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    """Match the columns of `groups` with those of the fit: by name, else by place.

    Parameters
    ----------
    found : dict of str to Series or ndarray
        The columns given.
    names : tuple of str
        Those of the fit.

    Returns
    -------
    dict of str to Series or ndarray
        The columns under the names of the fit.

    Raises
    ------
    ValueError
        If they do not match.
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
    """Return the factors whose random effects are wanted.

    Parameters
    ----------
    random : {"all", "none"} or sequence of str
        Argument of `predict`.
    factors : sequence of str
        The model's.

    Returns
    -------
    set of str
        Names of factors.
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
