"""Cross-fitting folds, in which every row is tested exactly once."""

from __future__ import annotations

from collections.abc import Iterable
from numbers import Integral
from typing import Any

import numpy as np
import sklearn
from numpy.typing import NDArray
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.model_selection._split import GroupsConsumerMixin
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _num_samples

from skmixed.core.linalg import IntArray

N_FOLDS = 5  # default number of folds, as in scikit-learn: each training set is most of the rows


def folds_of_rows(
    estimator: Any, X: Any, y: Any, *, stratified: bool, params: dict[str, Any]
) -> list[IntArray]:
    """Return the test rows of the folds that `cv`, `shuffle` and `random_state` define.

    `params` is metadata for the splitter. Raises ValueError if a row is not tested exactly once,
    and for more folds than rows or, stratified, than rows of every class.
    """
    splitter = estimator.cv
    if splitter is None or isinstance(splitter, Integral):
        kind = StratifiedKFold if stratified else KFold
        seed = estimator.random_state if estimator.shuffle else None
        n_folds = splitter or N_FOLDS
        _check_folds(int(n_folds), y, stratified=stratified)
        splitter = kind(n_folds, shuffle=estimator.shuffle, random_state=seed)
    given = _for_splitter(estimator, X, params)
    n_rows = _num_samples(X)
    splits = check_cv(splitter, y, classifier=stratified).split(np.empty(n_rows), y, **given)
    return _test_parts(splits, n_rows)


def _check_folds(n_folds: int, y: Any, *, stratified: bool) -> None:
    """Raise ValueError for more folds than the targets, (n,), allow."""
    n_rows = _num_samples(y)
    if n_rows < n_folds:
        raise ValueError(
            f"cv={n_folds} folds need at least as many rows, but n_samples={n_rows}: use fewer "
            "folds, or cross_fit='loo'"
        )
    if stratified:
        largest = int(np.unique(np.asarray(y), return_counts=True)[1].max())
        if largest < n_folds:
            raise ValueError(
                f"cv={n_folds} folds need a class of y with as many rows, but the largest has "
                f"{largest}: use fewer folds, a splitter such as KFold for `cv`, or "
                "cross_fit='loo'"
            )


def _test_parts(splits: Iterable[Any], n_rows: int) -> list[IntArray]:
    """Return test sets as row positions; ValueError unless they partition the rows."""
    folds = [np.asarray(test) for _, test in splits]
    folds = [np.flatnonzero(test) if test.dtype == bool else test for test in folds]
    if not np.array_equal(np.sort(np.concatenate(folds)), np.arange(n_rows)):
        raise ValueError(
            "cv does not test every row exactly once: use a splitter whose test sets partition "
            "the rows, such as KFold or GroupKFold"
        )
    return folds


def _for_splitter(estimator: Any, X: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata for the splitter, subject to its requests if routing is enabled."""
    given = {name: value for name, value in params.items() if value is not None}
    indexable(X, *given.values())
    if given and sklearn.get_config()["enable_metadata_routing"]:
        return dict(process_routing(estimator, "fit_transform", **given).splitter.split)
    return given


def folds_of_groups(
    kept: NDArray[np.bool_],  # (n_rows,), whether the weight is positive
    codes: IntArray | None,  # (n_kept,), levels of the factor
    *,
    cross_fit: str,  # "groups", "rows", "oob" or "none"
    y: NDArray[Any],  # (n_kept,)
    cv: Any,
    random_state: Any,  # of folds of rows
) -> list[IntArray] | None:
    """Split rows, or whole levels of a factor, into folds.

    Returns the rows of each fold as positions among those kept; None if no folds are asked for, or
    there is only one row. Levels are dealt in turn, so that folds of groups do not depend on the
    order or number of the rows. There are fewer folds than an integer `cv` if there are fewer
    levels or rows.
    """
    n_rows = int(kept.sum())
    if cross_fit in ("oob", "none") or n_rows < 2:
        return None
    if not isinstance(cv, Integral):
        return _folds_given(kept, codes, y, cv)
    if cross_fit == "groups" and codes is not None and codes.max() > 0:
        n_folds = min(int(cv), int(codes.max()) + 1)
        return [np.flatnonzero(codes % n_folds == fold) for fold in range(n_folds)]
    splitter = KFold(min(int(cv), n_rows), shuffle=True, random_state=random_state)
    return [test for _, test in splitter.split(np.empty(n_rows))]


def _folds_given(
    kept: NDArray[np.bool_], codes: IntArray | None, y: NDArray[Any], cv: Any
) -> list[IntArray]:
    """Return the folds of a splitter, which sees all rows, as positions among those kept."""
    splitter, groups = check_cv(cv), None
    if codes is not None and isinstance(splitter, GroupsConsumerMixin):
        groups = np.full(len(kept), -1)
        groups[kept] = codes
    response = np.full(len(kept), y[0])  # arbitrary where the weight is zero
    response[kept] = y
    splits = splitter.split(np.empty(len(kept)), response, groups)
    places = np.cumsum(kept) - 1
    folds = [places[test[kept[test]]] for test in _test_parts(splits, len(kept))]
    return [fold for fold in folds if len(fold)]
