"""Folds within groups."""

from __future__ import annotations

from collections.abc import Iterator
from numbers import Integral
from typing import Any, ClassVar

import numpy as np
from sklearn.model_selection import BaseCrossValidator
from sklearn.utils import check_random_state

from skmixed.core.linalg import IntArray
from skmixed.design.tables import UNKNOWN, Labels
from skmixed.estimators.reading._input_table import read_groups


class WithinGroupKFold(BaseCrossValidator):
    """Split the rows of every group over the folds, as evenly as they go.

    The question that these folds answer is how well a model predicts further rows of groups it
    knows. Every group that has two rows or more is in every training set, and the folds differ by
    one row at most. A group of one row is in all training sets but one; it is no error.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, 2 or more.
    shuffle : bool, default=False
        Whether rows are dealt in random order within their groups. Otherwise they are dealt in
        the order of the table, like cards: successive rows of a group go to successive folds.
    random_state : int, RandomState instance or None, default=None
        Source of the random order if `shuffle` is True.

    See Also
    --------
    cross_validate : Chooses it with ``generalize_to="known_groups"``.
    sklearn.model_selection.GroupKFold : The other question: groups that the model has not seen.
    sklearn.model_selection.StratifiedKFold : Much the same for the classes of a response, with a
        warning if one of them has fewer rows than there are folds.

    Notes
    -----
    Groups are sorted by their label, then all rows are dealt in one round, so the cost is that of
    a sort. Labels may be of any type; missing ones are refused.

    Where the rows of a group are ordered in time and there are as many as folds, a fold is a point
    in time for all groups; shuffle then.

    Examples
    --------
    >>> from skmixed.model_selection import WithinGroupKFold
    >>> shops = ["a", "a", "a", "b", "b", "b", "b"]
    >>> for train, test in WithinGroupKFold(n_splits=3).split(shops, groups=shops):
    ...     print(train, test)
    [1 2 4 5] [0 3 6]
    [0 2 3 5 6] [1 4]
    [0 1 3 4 6] [2 5]
    """

    __metadata_request__split: ClassVar = {"groups": True}

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: Any = None
    ) -> None:
        self.n_splits = n_splits
        self.shuffle = shuffle
        self.random_state = random_state

    def split(
        self, X: Any, y: Any = None, groups: Any = None
    ) -> Iterator[tuple[IntArray, IntArray]]:
        """Generate the rows of the training and the test part of each fold.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Only its length matters.
        y : array-like of shape (n_samples,), default=None
            Not used.
        groups : array-like of shape (n_samples,)
            The label of every row.

        Returns
        -------
        iterator of tuple of ndarray
            Positions of the training rows and of the test rows.

        Raises
        ------
        ValueError
            If `groups` is not there, is not one label a row or has missing labels, and if there
            are too few rows.
        """
        return super().split(X, y, groups)

    def _iter_test_indices(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[IntArray]:
        """Generate the rows of the test parts, (n_test,) each."""
        self._check_parameters()
        codes = _codes(groups)
        if len(codes) < self.n_splits:
            raise ValueError(f"{len(codes)} rows cannot be split into n_splits={self.n_splits}")
        order = np.arange(len(codes))
        if self.shuffle:
            check_random_state(self.random_state).shuffle(order)
        dealt = order[np.argsort(codes[order], kind="stable")]
        for fold in range(self.n_splits):
            yield dealt[fold :: self.n_splits]

    def _check_parameters(self) -> None:
        n_splits = self.n_splits
        if isinstance(n_splits, bool) or not isinstance(n_splits, Integral) or n_splits < 2:
            raise ValueError(f"n_splits is a number of folds, 2 or more, got {n_splits!r}")
        if self.random_state is not None and not self.shuffle:
            raise ValueError("random_state has no effect unless shuffle=True; set that or leave it")

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : None or array-like, default=None
            Not used.
        y : None or array-like, default=None
            Not used.
        groups : None or array-like, default=None
            Not used.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits


def _codes(groups: Any) -> IntArray:
    """Return the group of every row, (n,), or raise a ValueError if labels are missing."""
    if groups is None:
        raise ValueError("WithinGroupKFold needs `groups`, the label of every row")
    columns = read_groups(groups)
    if len(columns) > 1:
        raise ValueError(
            f"groups has the columns {list(columns)}; WithinGroupKFold takes one of them"
        )
    return complete_codes(next(iter(columns.values())), "group")


def complete_codes(labels: Any, what: str) -> IntArray:
    """Return the code of every label, (n,), or raise a ValueError if some are missing."""
    codes = Labels.learn(labels)[1]
    missing = np.flatnonzero(codes == UNKNOWN)
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows have no {what}, the first is row {missing[0]}: leave them out or "
            "give them a label"
        )
    return codes
