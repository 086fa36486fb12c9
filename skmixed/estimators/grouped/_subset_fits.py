"""The estimator fitted to many subsets of the rows, and its predictions combined."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.dummy import DummyClassifier
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter
from tqdm.auto import tqdm

from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.estimators.grouped._arguments import Training
from skmixed.estimators.reading._input_table import pick_rows


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """The fit of one group, to some of its rows."""

    level: int
    group: int
    rows: IntArray  # positions in the table


def by_group(codes: IntArray, rows: IntArray) -> Iterator[tuple[int, IntArray]]:
    """Yield every group and its own among `rows`, (m,), whose groups are `codes`, (m,)."""
    order = np.argsort(codes, kind="stable")
    groups, first = np.unique(codes[order], return_index=True)
    yield from zip(groups.tolist(), np.split(rows[order], first[1:]), strict=True)


def jobs_of(
    codes: Sequence[IntArray],
    rows: IntArray,
    levels: Sequence[int],
    usable: Sequence[BoolArray] | None = None,
) -> list[Job]:
    """List the fits of all groups of some levels to those of `rows` that are theirs.

    `codes`, (n,) each, go by level from the root, and so do `usable`, (n_groups,): which groups are
    to have a fit, by default all. Groups that have none of the rows are left out.
    """
    return [
        Job(level, group, part)
        for level in levels
        for group, part in by_group(codes[level][rows], rows)
        if usable is None or usable[level][group]
    ]


def last_step(estimator: Any) -> Any:
    """Return what a pipeline, or a pipeline in one, ends in; any other estimator itself."""
    while isinstance(estimator, Pipeline) and hasattr(estimator.steps[-1][1], "fit"):
        estimator = estimator.steps[-1][1]
    return estimator


def _fit_params(estimator: Any, weights: FloatArray | None) -> dict[str, Any]:
    """Return the arguments of `fit` that hand weights (n,) to an estimator.

    Those of a pipeline go to its last step. Raises a TypeError if that takes none.
    """
    if weights is None:
        return {}
    if isinstance(estimator, Pipeline):
        step, last = estimator.steps[-1]
        return {f"{step}__{name}": value for name, value in _fit_params(last, weights).items()}
    if not has_fit_parameter(estimator, "sample_weight"):
        raise TypeError(
            f"{type(estimator).__name__} does not accept sample_weight in fit: leave it out, or "
            "use an estimator that does"
        )
    return {"sample_weight": weights}


def fit_pooled(estimator: Any, training: Training) -> Any:
    """Fit a clone of an estimator to all rows.

    Raises a ValueError if it has neither a column of X nor an intercept.
    """
    if not training.inner_names and not getattr(last_step(estimator), "fit_intercept", True):
        raise ValueError(
            f"X has n_features = {training.n_features}, all of them grouping columns: nothing is "
            f"left for {type(estimator).__name__} without an intercept"
        )
    pooled = clone(estimator)
    pooled.fit(training.table, training.y, **_fit_params(estimator, training.weights))
    return pooled


def fit_all(
    jobs: Sequence[Job],
    estimator: Any,
    training: Training,
    *,
    is_certain: bool,
    n_jobs: int | None,
    verbose: int,
) -> list[Any]:
    """Return a clone fitted to the rows of each job, or a text that says why there is none.

    A classifier that cannot be fitted to one class is certain of it, if `is_certain`.
    """
    is_classifier = get_tags(estimator).estimator_type == "classifier"
    calls = (
        delayed(_fit_one)(
            clone(estimator),
            pick_rows(training.table, job.rows),
            training.y[job.rows],
            None if training.weights is None else training.weights[job.rows],
            is_classifier,
            is_certain,
        )
        for job in jobs
    )
    bar = tqdm(calls, total=len(jobs), desc="groups", disable=not verbose)
    return list(Parallel(n_jobs=n_jobs)(bar))


def _fit_one(
    estimator: Any, table: Any, y: Any, weights: Any, is_classifier: bool, is_certain: bool
) -> Any:
    """Return the estimator, fitted, or a text that says why there is none."""
    if is_classifier and len(classes := np.unique(y)) == 1:
        fitted = _fit_one_class(estimator, table, y, weights)
        if fitted is None and is_certain:
            return DummyClassifier().fit(table, y)
        return f"one class only, {classes.tolist()[0]!r}" if fitted is None else fitted
    try:
        estimator.fit(table, y, **_fit_params(estimator, weights))
    except MemoryError:  # which says nothing of the group
        raise
    except Exception as error:  # whatever an estimator of the user's may raise
        return f"{type(error).__name__}: {error}"
    return _too_small(estimator, len(y) if weights is None else float(weights.sum())) or estimator


def _fit_one_class(estimator: Any, table: Any, y: Any, weights: Any) -> Any:
    """Return a classifier fitted to one class, None if it cannot be or does not answer as one."""
    try:
        estimator.fit(table, y, **_fit_params(estimator, weights))
        found = estimator.predict_proba(pick_rows(table, np.zeros(1, dtype=np.intp)))
    except MemoryError:
        raise
    except Exception:  # whatever it makes of one class
        return None
    return estimator if np.shape(found) == (1, 1) else None


def _too_small(estimator: Any, n_rows: float) -> str | None:
    """Say that a least-squares fit has fewer rows than coefficients, if it has."""
    last = last_step(estimator)
    if type(last) is not LinearRegression:
        return None
    needed = last.coef_.shape[-1] + bool(last.fit_intercept)
    if n_rows >= needed:
        return None
    return f"{n_rows:.15g} rows are too few for {needed} coefficients"


def answers(
    estimators: Any,
    method: str,
    table: Any,
    places: IntArray,
    classes: Any,
    shares: FloatArray | None = None,
) -> NDArray[Any]:
    """Return what `method` of each row's estimator answers, (n, ...), or the sum of several.

    `places` says where each row's stands in the sequence or mapping `estimators`: (n,); or, like
    the `shares` that the answers are multiplied with, (n, n_levels), and those with a share of zero
    are not asked. The columns of the answers stand for `classes`, which is None for regressors.
    """
    n_rows, rows, weights = len(places), np.arange(len(places)), None
    if shares is not None:
        rows, level = np.nonzero(shares)
        places, weights = places[rows, level], shares[rows, level]
    result: NDArray[Any] | None = None
    for place, part in by_group(places, np.arange(len(places))):
        here = rows[part]
        found = _answer(estimators[place], method, pick_rows(table, here), classes)
        if result is None:
            result = np.zeros((n_rows, *found.shape[1:]), dtype=found.dtype)
        elif result.dtype != found.dtype:
            result = result.astype(np.result_type(result.dtype, found.dtype))
        if weights is None:
            result[here] = found
        else:
            result[here] += weights[part].reshape(-1, *[1] * (found.ndim - 1)) * found
    assert result is not None
    return result


def _answer(estimator: Any, method: str, table: Any, classes: Any) -> NDArray[Any]:
    """Return what a method answers, (n, ...), its columns, if it has any, standing for all classes.

    A class that the group never had is impossible there: probability zero, score minus infinity.
    Raises a ValueError where there is one column a pair of classes.
    """
    part = np.asarray(getattr(estimator, method)(table))
    if classes is None or method == "predict" or len(estimator.classes_) == len(classes):
        return part
    own = estimator.classes_
    if part.ndim == 1:
        part = np.column_stack([-part, part])
    if part.shape[1] != len(own):  # one column a pair of classes
        raise ValueError(
            f"{method} has {part.shape[1]} columns for {len(own)} classes in a group that lacks "
            "some classes; only one column per class can be combined"
        )
    absent = 0.0 if method == "predict_proba" else -np.inf
    spread = np.full((len(part), len(classes)), absent)
    spread[:, np.searchsorted(classes, own)] = part
    return spread
