"""The inner estimator fitted to many subsets of the rows, and the answers put together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter
from tqdm.auto import tqdm

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.estimators.grouped._arguments import Training, take_rows


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """The fit of one group, to some of its rows."""

    level: int
    group: int
    rows: IntArray  # positions in the table


def jobs_of(codes: Sequence[IntArray], rows: IntArray, levels: Sequence[int]) -> list[Job]:
    """List the fits of all groups of some levels to those of `rows` that are theirs.

    `codes`, (n,) each, go by level from the root. Groups that have none of the rows are left out.
    """
    jobs = []
    for level in levels:
        order = rows[np.argsort(codes[level][rows], kind="stable")]
        groups, first = np.unique(codes[level][order], return_index=True)
        parts = np.split(order, first[1:])
        jobs += [Job(level, int(g), part) for g, part in zip(groups, parts, strict=True)]
    return jobs


def _fit_params(estimator: Any, weights: NDArray[np.float64] | None) -> dict[str, Any]:
    """Return the arguments of `fit` that hand weights (n,) to an estimator.

    Those of a pipeline go to its last step. Raises a TypeError if that takes none.
    """
    if weights is None:
        return {}
    name, last = "sample_weight", estimator
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        name = f"{step}__{name}"
    if not has_fit_parameter(last, "sample_weight"):
        raise TypeError(
            f"{type(last).__name__} takes no sample_weight in fit: leave it out, or use an "
            "estimator that does"
        )
    return {name: weights}


def fit_pooled(estimator: Any, training: Training) -> Any:
    """Fit a clone of an estimator to all rows.

    Where it raises a ValueError and only grouping columns were given, the error says that instead.
    """
    pooled = clone(estimator)
    try:
        pooled.fit(training.table, training.y, **_fit_params(estimator, training.weights))
    except ValueError as error:
        if training.inner_names:
            raise
        raise ValueError(
            f"X has n_features = {training.n_features}, all of them grouping columns: nothing is "
            f"left for {type(estimator).__name__}"
        ) from error
    return pooled


def fit_all(
    estimator: Any,
    jobs: Sequence[Job],
    table: Any,
    y: NDArray[Any],
    weights: NDArray[np.float64] | None,
    *,
    n_jobs: int | None,
    verbose: int,
) -> list[Any]:
    """Return a clone fitted to the rows of each job, or a text that says why there is none."""
    is_classifier = get_tags(estimator).estimator_type == "classifier"
    calls = (
        delayed(_fit_one)(
            clone(estimator),
            take_rows(table, job.rows),
            y[job.rows],
            None if weights is None else weights[job.rows],
            is_classifier,
        )
        for job in jobs
    )
    bar = tqdm(calls, total=len(jobs), desc="groups", disable=not verbose)
    return list(Parallel(n_jobs=n_jobs)(bar))


def _fit_one(estimator: Any, table: Any, y: Any, weights: Any, is_classifier: bool) -> Any:
    """Return the estimator, fitted, or a text that says why there is none."""
    if is_classifier:
        classes = np.unique(y)
        if len(classes) == 1:
            return f"one class only, {classes.tolist()[0]!r}"
    try:
        estimator.fit(table, y, **_fit_params(estimator, weights))
    except Exception as error:  # whatever an estimator of the user's may raise
        return f"{type(error).__name__}: {error}"
    return _too_small(estimator, len(y) if weights is None else float(weights.sum())) or estimator


def _too_small(estimator: Any, n_rows: float) -> str | None:
    """Say that a least-squares fit has fewer rows than coefficients, if it has."""
    last = estimator
    while isinstance(last, Pipeline):
        last = last.steps[-1][1]
    if type(last) is not LinearRegression:
        return None
    needed = last.coef_.shape[-1] + bool(last.fit_intercept)
    if n_rows >= needed:
        return None
    return f"{n_rows:.15g} rows are too few for {needed} coefficients"


def predict_by_group(
    estimators: Any, method: str, table: Any, groups: IntArray, classes: Any
) -> NDArray[Any]:
    """Return what `method` of each row's group estimator answers, (n, ...) in the rows' order.

    `estimators`, a sequence or mapping by number of the group, has a fitted one for every group
    that occurs. The columns of the answers stand for `classes`, which is None for regressors.
    """
    order = np.argsort(groups, kind="stable")
    found, first = np.unique(groups[order], return_index=True)
    result: NDArray[Any] | None = None
    for group, rows in zip(found, np.split(order, first[1:]), strict=True):
        estimator = estimators[group]
        part = np.asarray(getattr(estimator, method)(take_rows(table, rows)))
        if classes is not None and method != "predict":
            part = _aligned(part, estimator.classes_, classes, method)
        if result is None:
            result = np.empty((len(groups), *part.shape[1:]), dtype=part.dtype)
        elif result.dtype != part.dtype:
            result = result.astype(np.result_type(result.dtype, part.dtype))
        result[rows] = part
    return np.empty(0) if result is None else result


def _aligned(part: FloatArray, own: Any, classes: Any, method: str) -> FloatArray:
    """Spread the columns of an estimator's classes over all classes, (n, n_classes).

    A class that the group never had is impossible there: probability zero, score minus infinity.
    Raises a ValueError where there is one column a pair of classes.
    """
    if len(own) == len(classes):
        return part
    if part.ndim == 1:
        part = np.column_stack([-part, part])
    if part.shape[1] != len(own):  # one column a pair of classes
        raise ValueError(
            f"{method} has {part.shape[1]} columns for {len(own)} classes in a group that has not "
            "all classes; only one column a class can be put together"
        )
    absent = 0.0 if method == "predict_proba" else -np.inf
    spread = np.full((len(part), len(classes)), absent)
    spread[:, np.searchsorted(classes, own)] = part
    return spread


def predict_by_shares(
    estimators: Sequence[Sequence[Any]],
    method: str,
    table: Any,
    codes: Sequence[IntArray],
    shares: FloatArray,
    classes: Any,
) -> NDArray[Any]:
    """Add up the answers of the groups of all levels by their shares, (n, ...).

    `shares` is (n, n_levels); `estimators`, one a group, and `codes`, (n,), go by level from the
    root. Groups whose share is zero are not asked, and need no estimator.
    """
    total: FloatArray | None = None
    for level, of_level in enumerate(estimators):
        rows = np.flatnonzero(shares[:, level] > 0.0)
        if not len(rows):
            continue
        part = predict_by_group(
            of_level, method, take_rows(table, rows), codes[level][rows], classes
        )
        if total is None:
            total = np.zeros((len(shares), *part.shape[1:]))
        total[rows] += shares[rows, level].reshape(-1, *[1] * (part.ndim - 1)) * part
    return np.empty(0) if total is None else total
