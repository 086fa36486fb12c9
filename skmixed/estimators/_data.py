"""What a mixed model's fit and predict make of their arguments."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_consistent_length

from skmixed.core.linalg import FloatArray
from skmixed.design.source import Source
from skmixed.design.syntax import FormulaParts, RandomTerm, parse_random, split_formula
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

ROUTING = (
    "Where metadata routing handed on the groups of a splitter, such as GroupKFold, keep them from "
    "the model by .set_fit_request(groups=False).set_score_request(groups=False)"
)


@dataclass(frozen=True, slots=True, eq=False)
class TrainingData:
    """Validated arguments of a fit, without rows of weight zero."""

    source: Source
    columns: Columns  # what each column of X is
    terms: tuple[RandomTerm, ...]
    fixed: FormulaParts | None  # None: all columns that are no grouping columns
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), positive
    n_features: int  # of X, grouping columns among them
    feature_names: NDArray[Any] | None  # (n_features,), of str


def read_training_data(
    estimator: BaseEstimator, X: Any, y: Any, sample_weight: Any, groups: Any
) -> TrainingData:
    """Validate the arguments of `MixedLinearRegressor.fit`; the estimator is not touched.

    Raises what `fit` documents.
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
    """Return the same data as read by an estimator that differs in its random part alone.

    Its grouping columns must be among those of `data`. No row is looked at.
    """
    given = dict.fromkeys(data.columns.from_argument) or None
    terms, columns = declared(estimator, data.columns.names, given, data.fixed)
    return replace(data, terms=terms, columns=columns)


def read_rows(
    X: Any, y: Any, sample_weight: Any, groups: Any
) -> tuple[Any, Any, FloatArray | None, dict[str, Any] | None]:
    """Read weights and groups, and drop the rows of weight zero from all four.

    The arguments are as in `MixedLinearRegressor.fit`; groups are returned by name, X and y not yet
    validated.
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
    """Read the right-hand side that gives the fixed part; None stays, and means all columns.

    Raises ValueError for a response, for random terms, and beside fit_intercept=False.
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
    names: tuple[str, ...],  # of the columns of X
    given: dict[str, Any] | None,  # columns of the argument `groups`
    fixed: FormulaParts | None,
) -> tuple[tuple[RandomTerm, ...], Columns]:
    """Return the random terms that an estimator declares, and what each column of X is.

    Without `random` every grouping column gets a random intercept.
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
    given: Iterable[str],  # columns of the argument `groups`
    group_features: Any,  # columns of X that the user names
    used: Sequence[str],  # columns that the random terms name
    names: Sequence[str],  # columns of X
) -> None:
    """Raise ValueError for grouping columns that are given twice, or not at all."""
    if group_features is not None:
        raise ValueError(
            "the grouping columns are given twice, by `groups` and by `group_features`; "
            f"use one of them. {ROUTING}"
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
            f"the grouping columns {twice} are given twice, by `groups` and as columns of X; "
            f"leave one of them out. {ROUTING}"
        )
