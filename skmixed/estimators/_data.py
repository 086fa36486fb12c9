"""What a mixed model's fit and predict make of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length

from skmixed.design.source import Source
from skmixed.design.syntax import FormulaParts, parse_random, split_formula
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

FloatArray = NDArray[np.float64]

ROUTED = (
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
            f"use one of them. {ROUTED}"
        )
    missing = [name for name in used if name not in given]
    if missing:
        both = [name for name in missing if name in names]
        hint = f"; {both} are columns of X: leave out `groups` or put all of them there. {ROUTED}"
        raise ValueError(
            f"grouping columns {missing} named in `random` are not among `groups`, which has "
            f"{list(given)}" + (hint if both else "")
        )
    twice = [name for name in used if name in names]
    if twice:
        raise ValueError(
            f"the grouping columns {twice} are given twice, by `groups` and as columns of X; "
            f"leave one of them out. {ROUTED}"
        )
