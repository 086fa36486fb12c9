"""Shares for any estimator, from predictions of rows outside the fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.pooling.blending import BlendComponents, components
from skmixed.estimators.grouped._arguments import Training, take_rows
from skmixed.estimators.grouped._subset_fits import Job, jobs_of, predict_by_group
from skmixed.estimators.grouped._tree import Tree

_N_FOLDS = 5  # as in scikit-learn: models of four fifths of the rows are much like those of all


@dataclass(frozen=True, slots=True)
class Blend:
    """What the groups of one level keep of their own predictions."""

    components: BlendComponents
    statistic: float  # of a one-sided t test that own predictions help
    p_value: float
    n_groups: int  # that the test rests on


def blend(
    training: Training,
    codes: Sequence[IntArray],
    tree: Tree,
    fit: Callable[[list[Job]], list[Any]],
    method: str,
    classes: Any,
) -> list[Blend]:
    """Estimate what the groups of each level below the root keep of their own predictions.

    `codes`, (n,) each, go by level from the root; `fit` fits the inner estimator to each of a list
    of jobs; `method` is the one whose answers are blended, with a column for each of `classes`,
    which is None for a regressor.
    """
    fold = _folds(codes[-1], training.y if classes is not None else None)
    own, sizes = _predictions(training, codes, fold, fit, method, classes)
    truth = _truth(training.y, classes)
    parent, result = own[0], []
    for level in range(1, tree.depth + 1):
        known = np.asarray(np.isfinite(own[level] + parent).all(axis=1))
        found = _blend_level(
            (truth - parent)[known],
            (own[level] - parent)[known],
            sizes[level][known],
            codes[level][known],
            fold[known],
            None if training.weights is None else training.weights[known],
        )
        result.append(found)
        kept = np.zeros(len(parent))
        kept[known] = found.components.share(sizes[level][known])
        change = np.where(known[:, np.newaxis], own[level] - parent, 0.0)
        parent = np.asarray(parent + kept[:, np.newaxis] * change)
    return result


def _folds(groups: IntArray, y: NDArray[Any] | None) -> IntArray:
    """Deal the rows of every group, class by class if `y` has classes, to the folds; (n,)."""
    order = np.argsort(groups, kind="stable") if y is None else np.lexsort((y, groups))
    fold = np.empty(len(groups), dtype=np.intp)
    fold[order] = np.arange(len(groups)) % _N_FOLDS
    return fold


def _truth(y: NDArray[Any], classes: Any) -> FloatArray:
    """Return what predictions are compared with, (n, n_outputs), or indicators (n, n_classes)."""
    if classes is None:
        return np.asarray(y.reshape(len(y), -1), dtype=np.float64)
    return np.asarray(y[:, None] == classes, dtype=np.float64)


def _predictions(
    training: Training,
    codes: Sequence[IntArray],
    fold: IntArray,
    fit: Callable[[list[Job]], list[Any]],
    method: str,
    classes: Any,
) -> tuple[list[FloatArray], list[FloatArray]]:
    """Predict every row, in every level, by models of the other folds.

    Returns the predictions, (n, n_outputs or n_classes) by level, NaN where there is no model, and
    the numbers of rows, or sums of their weights, that the models were fitted to, (n,) by level.
    """
    n = len(training.y)
    n_columns = len(classes) if classes is not None else np.reshape(training.y, (n, -1)).shape[1]
    own = [np.full((n, n_columns), np.nan) for _ in codes]
    sizes = [np.zeros(n) for _ in codes]
    for number in range(_N_FOLDS):
        inside, outside = np.flatnonzero(fold != number), np.flatnonzero(fold == number)
        if not len(inside) or not len(outside):
            continue
        jobs = jobs_of(codes, inside, range(len(codes)))
        models: list[dict[int, Any]] = [{} for _ in codes]
        counts: list[dict[int, float]] = [{} for _ in codes]
        for job, model in zip(jobs, fit(jobs), strict=True):
            if not isinstance(model, str):
                models[job.level][job.group] = model
                weights = training.weights
                counts[job.level][job.group] = (
                    len(job.rows) if weights is None else float(weights[job.rows].sum())
                )
        for level, of_level in enumerate(models):
            rows = outside[np.isin(codes[level][outside], list(of_level))]
            if len(rows):
                groups = codes[level][rows]
                table = take_rows(training.table, rows)
                part = predict_by_group(of_level, method, table, groups, classes)
                own[level][rows] = part.reshape(len(rows), -1)
                sizes[level][rows] = np.vectorize(counts[level].get, otypes=[float])(groups)
    return own, sizes


def _blend_level(
    residual: FloatArray,
    difference: FloatArray,
    sizes: FloatArray,
    groups: IntArray,
    fold: IntArray,
    weights: FloatArray | None,
) -> Blend:
    """Estimate the components of one level from residuals of the parent's predictions, (n, d).

    `difference`, (n, d), is the group's own prediction less the parent's; `sizes`, (n,), the
    numbers of rows that own models were fitted to. Outputs are put on one scale. The test is a t
    test over the groups' means of residual times difference.
    """
    if not len(residual):
        return Blend(BlendComponents(0.0, 0.0, 0.0), np.nan, np.nan, 0)
    weights = np.ones(len(residual)) if weights is None else weights
    scale = np.average(residual**2, axis=0, weights=weights)
    use = scale > 0.0
    unit = np.where(use, scale, 1.0)
    sums = [
        weights * (product[:, use] / unit[use]).sum(axis=1)
        for product in (residual**2, residual * difference, difference**2)
    ]
    _, part = np.unique(groups * _N_FOLDS + fold, return_inverse=True)
    first = np.unique(part, return_index=True)[1]
    squares, products, differences = (np.bincount(part, values).astype(float) for values in sums)
    counts = np.bincount(part, weights).astype(float) * max(int(use.sum()), 1)
    found = components(squares, products, differences, counts, sizes[first])
    a, e, v, c = (
        float(scale.mean()) * each for each in (found.between, found.noise, found.error, found.bias)
    )
    found = BlendComponents(a, e, v, c)
    distinct, of_group = np.unique(groups, return_inverse=True)
    means = np.bincount(of_group, sums[1]) / np.bincount(of_group, weights)
    if len(distinct) < 2 or not np.ptp(means) > 0.0:
        return Blend(found, np.nan, np.nan, len(distinct))
    test = stats.ttest_1samp(means, 0.0, alternative="greater")
    return Blend(found, float(test.statistic), float(test.pvalue), len(distinct))
