"""Splitters that spread groups over folds."""

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
    """K-fold splitter that spreads the rows of every group evenly over the folds.

    It measures how well a model predicts further rows of groups it knows: every group of two or
    more rows is in every training set. `sklearn.model_selection.GroupKFold` answers the other
    question, how well it predicts new groups. Fold sizes differ by at most one row; a group of a
    single row is absent from one training set.

    Parameters
    ----------
    n_splits : int, default=5
        Number of folds, at least 2.
    shuffle : bool, default=False
        Whether to shuffle the rows within each group. Otherwise successive rows of a group go to
        successive folds.
    random_state : int, RandomState instance or None, default=None
        Seed of the shuffling, if `shuffle` is True.

    See Also
    --------
    cross_validate : Uses it with ``generalize_to="known_groups"``.
    sklearn.model_selection.GroupKFold : Folds of whole groups.
    sklearn.model_selection.StratifiedKFold : Similar folds by the classes of the response.

    Notes
    -----
    Rows are sorted by group and dealt to the folds in turn, at the cost of a sort. Labels may be of
    any type but not missing.

    If the rows of each group are in order of time and there are as many as folds, each fold is one
    point in time; set shuffle=True then.

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
        """Generate indices to split the data into training and test sets.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data, of which only the length is used.
        y : array-like of shape (n_samples,), default=None
            Ignored.
        groups : array-like of shape (n_samples,)
            Group label of each row.

        Returns
        -------
        iterator of tuple of ndarray
            Training and test indices of each fold.

        Raises
        ------
        ValueError
            If `groups` is missing, has not one label per row or has missing labels, or there are
            fewer rows than folds.
        """
        return super().split(X, y, groups)

    def _iter_test_indices(
        self, X: Any = None, y: Any = None, groups: Any = None
    ) -> Iterator[IntArray]:
        """Generate the rows of the test parts, (n_test,) each."""
        self._check_parameters()
        codes = _codes(groups)
        if len(codes) < self.n_splits:
            raise ValueError(f"n_splits={self.n_splits} exceeds the number of rows, {len(codes)}")
        order = np.arange(len(codes))
        if self.shuffle:
            check_random_state(self.random_state).shuffle(order)
        dealt = order[np.argsort(codes[order], kind="stable")]
        for fold in range(self.n_splits):
            yield dealt[fold :: self.n_splits]

    def _check_parameters(self) -> None:
        n_splits = self.n_splits
        if isinstance(n_splits, bool) or not isinstance(n_splits, Integral) or n_splits < 2:
            raise ValueError(f"n_splits must be an integer of at least 2, got {n_splits!r}")
        if self.random_state is not None and not self.shuffle:
            raise ValueError(
                "random_state has no effect unless shuffle=True: set shuffle=True, or leave "
                "random_state out"
            )

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """Return the number of folds.

        Parameters
        ----------
        X : None or array-like, default=None
            Ignored.
        y : None or array-like, default=None
            Ignored.
        groups : None or array-like, default=None
            Ignored.

        Returns
        -------
        int
            `n_splits`.
        """
        return self.n_splits


def _codes(groups: Any) -> IntArray:
    """Return the group of every row, (n,); ValueError if labels are missing."""
    if groups is None:
        raise ValueError("WithinGroupKFold requires `groups`, the group label of each row")
    columns = read_groups(groups)
    if len(columns) > 1:
        raise ValueError(
            f"groups has the columns {list(columns)}, but WithinGroupKFold requires a single one"
        )
    return complete_codes(next(iter(columns.values())), "group")


def complete_codes(labels: Any, what: str) -> IntArray:
    """Return the code of every label, (n,); ValueError if some are missing."""
    codes = Labels.learn(labels)[1]
    missing = np.flatnonzero(codes == UNKNOWN)
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows have no {what}, the first is row {missing[0]}: leave them out "
            "or give them a label"
        )
    return codes
