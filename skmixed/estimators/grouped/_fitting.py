"""Fits of the inner estimator to many subsets of the rows, in parallel and with progress."""

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

from skmixed.core.linalg import IntArray
from skmixed.estimators.grouped._rows import Training, take_rows


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
