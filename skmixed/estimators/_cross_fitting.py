"""Folds in which every row is tested once."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any

import numpy as np
import sklearn
from sklearn.model_selection import KFold, StratifiedKFold, check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import process_routing
from sklearn.utils.validation import _num_samples

from skmixed.core.groups import IntArray


def folds_of_rows(
    estimator: Any, X: Any, y: Any, *, stratified: bool, params: dict[str, Any]
) -> Iterator[IntArray]:
    """Split rows into folds by the parameters of an encoder.

    Parameters
    ----------
    estimator : BLUPEncoder
        Its `cv`, `shuffle` and `random_state`.
    X : array-like or data frame of shape (n, n_features)
        The rows.
    y : array-like of shape (n,)
        Their target.
    stratified : bool
        Whether the target has classes.
    params : dict
        Metadata for the splitter.

    Yields
    ------
    ndarray of int of shape (m,)
        The rows of a fold.

    Raises
    ------
    ValueError
        If a row is in none or in several.
    """
    splitter = estimator.cv
    if splitter is None or isinstance(splitter, Integral):
        kind = StratifiedKFold if stratified else KFold
        seed = estimator.random_state if estimator.shuffle else None
        splitter = kind(splitter or 5, shuffle=estimator.shuffle, random_state=seed)
    given = _for_splitter(estimator, X, params)
    n_rows = _num_samples(X)
    splits = check_cv(splitter, y, classifier=stratified).split(np.empty(n_rows), y, **given)
    folds = [np.asarray(test) for _, test in splits]
    folds = [np.flatnonzero(test) if test.dtype == bool else test for test in folds]
    if not np.array_equal(np.sort(np.concatenate(folds)), np.arange(n_rows)):
        raise ValueError(
            "cv does not test every row once: take a splitter whose test parts do not overlap and "
            "cover all rows, such as KFold or GroupKFold"
        )
    yield from folds


def _for_splitter(estimator: Any, X: Any, params: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata that the splitter gets, with routing as its request says."""
    given = {name: value for name, value in params.items() if value is not None}
    indexable(X, *given.values())
    if given and sklearn.get_config()["enable_metadata_routing"]:
        return dict(process_routing(estimator, "fit_transform", **given).splitter.split)
    return given
