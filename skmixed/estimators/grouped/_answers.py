"""Answers of many fitted estimators to the rows of their groups, put together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.estimators.grouped._rows import take_rows


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
