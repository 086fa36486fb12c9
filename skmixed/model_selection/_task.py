"""What is cross-validated, on which folds, with which groups."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn import config_context
from sklearn.base import is_classifier
from sklearn.metrics import check_scoring
from sklearn.model_selection import GroupKFold, check_cv
from sklearn.utils import indexable
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _num_samples

from skmixed.estimators._data import TrainingData, read_training_data
from skmixed.estimators._inputs import read_groups
from skmixed.estimators._summed import Summed
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.model_selection._rows import OnRows, Rows
from skmixed.model_selection._scorers import for_rows
from skmixed.model_selection._splitters import WithinGroupKFold
from skmixed.model_selection._splitting import groups_for_model, groups_for_splitter
from skmixed.model_selection._taking import fit_names

_WEIGHTS = {"sample_weight"}

Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be cross-validated.

    Parameters
    ----------
    estimator : estimator
        To be fitted.
    X : array-like or data frame of shape (n, n_features)
        The columns.
    y : None or array-like of shape (n,)
        The response.
    groups : None, array-like or data frame
        What the user gave.
    params : dict
        Further arguments of `fit`.
    for_model : None, array-like or data frame
        The groups that the model gets.
    """

    estimator: Any
    X: Any
    y: Any
    groups: Any
    params: dict[str, Any]
    for_model: Any

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any, groups: Any, params: Any) -> Task:
        """Read the arguments of a cross-validation.

        Parameters
        ----------
        estimator : estimator
            To be fitted.
        X : array-like or data frame of shape (n, n_features)
            The columns.
        y : None or array-like of shape (n,)
            The response.
        groups : None, array-like or data frame
            What the user gave.
        params : None or dict
            Further arguments of `fit`, groups perhaps among them.

        Returns
        -------
        Task
            Groups that cannot reach the model are refused here.
        """
        params = dict(params or {})
        if "groups" in params:
            if groups is not None:
                raise ValueError("groups are given twice, by `groups` and in `params`")
            groups = params.pop("groups")
        if groups is not None:
            read_groups(groups)  # refuses what cannot be groups
        X, y, groups = indexable(X, y, groups)
        for_model = groups_for_model(estimator, X, groups)
        if for_model is not None:
            twice = sorted(set(fit_names(estimator)) & set(params))
            if twice:
                raise ValueError(
                    f"groups are given twice, by `groups` and as {twice} in `params`; leave the "
                    "latter out, the groups are handed on"
                )
        return cls(estimator, X, y, groups, params, for_model)

    def run(self, function: Callable[..., Any], splits: Any, **settings: Any) -> Any:
        """Call a function of scikit-learn, on rows that carry the groups if the model gets any.

        Parameters
        ----------
        function : callable
            `sklearn.model_selection.cross_validate` or one of its kind.
        splits : list of tuple of ndarray
            The folds.
        **settings : dict
            Its other arguments.

        Returns
        -------
        object
            What it returns.
        """
        estimator, X = self.estimator, self.X
        summed = self.summed(splits)
        if self.for_model is not None or summed is not None:
            estimator, X = OnRows(estimator), Rows(X, self.for_model, summed)
            if "scoring" in settings:
                check_scoring(self.estimator, scoring=settings["scoring"])
                settings["scoring"] = for_rows(settings["scoring"], self.estimator)
        settings |= {"cv": splits, "params": self.params or None}
        if X is self.X:
            return function(estimator, X, self.y, **settings)
        with config_context(
            array_api_dispatch=False
        ):  # which wants to know what kind of array X is
            return function(estimator, X, self.y, **settings)

    def summed(self, splits: Splits) -> Summed | None:
        """Return the cross-products of all rows, from which every training set is fitted.

        Parameters
        ----------
        splits : list of tuple of ndarray
            The folds.

        Returns
        -------
        Summed or None
            None where that is not possible: for another estimator than `MixedLinearRegressor`,
            arguments of `fit` other than weights, training sets that repeat rows, and whatever
            the model refuses; scikit-learn then says so in its own way.
        """
        if type(self.estimator) is not MixedLinearRegressor or set(self.params) - _WEIGHTS:
            return None
        weights = self.params.get("sample_weight")
        try:
            data = read_training_data(self.estimator, self.X, self.y, weights, self.for_model)
            return sum_for_folds(self.estimator, [data], splits, _num_samples(self.X))
        except (TypeError, ValueError, ArithmeticError):
            return None

    def splits(self, cv: Any, split_by: Any) -> Splits:
        """Return the folds of a splitter.

        Parameters
        ----------
        cv : None, int, splitter or iterable of pairs
            As the user gave it.
        split_by : None, str, int, list or array-like
            As the user gave it.

        Returns
        -------
        list of tuple of ndarray
            Rows of the training and the test parts.
        """
        cv = check_cv(cv, self.y, classifier=is_classifier(self.estimator))
        search = bool(get_routing_for_object(cv).consumes("split", ["groups"]))
        labels = groups_for_splitter(self.estimator, self.X, self.groups, split_by, search=search)
        return self._split(cv, labels)

    def splits_for(self, question: str, n_splits: int, split_by: Any, random_state: Any) -> Splits:
        """Return the folds that answer a question.

        Parameters
        ----------
        question : {"known_groups", "new_groups"}
            What the model should generalise to.
        n_splits : int
            Number of folds.
        split_by : None, str, int, list or array-like
            As the user gave it.
        random_state : None, int or RandomState instance
            Shuffle if it is not None.

        Returns
        -------
        list of tuple of ndarray
            Rows of the training and the test parts.
        """
        known = question == "known_groups"
        labels = groups_for_splitter(
            self.estimator, self.X, self.groups, split_by, search=True, finest=known
        )
        if labels is None:
            raise ValueError(
                f"generalize_to={question!r} needs groups, and the model names none in `random` or "
                "`group_features`: give their labels as `groups`, or name a column in `split_by`"
            )
        splitter = WithinGroupKFold if known else GroupKFold
        shuffle = random_state is not None
        return self._split(splitter(n_splits, shuffle=shuffle, random_state=random_state), labels)

    def _split(self, cv: Any, labels: Any) -> Splits:
        with warnings.catch_warnings():
            # The groups are for the model then.
            warnings.filterwarnings("ignore", "The groups parameter is ignored by")
            return list(cv.split(self.X, self.y, labels))


def sum_for_folds(
    model: Any, data: Sequence[TrainingData], splits: Splits, n_rows: int
) -> Summed | None:
    """Sum over all rows once, if every training set can be made of them by subtraction.

    Parameters
    ----------
    model : MixedLinearRegressor
        Of the models that will be fitted; they are equal but for `random`.
    data : sequence of TrainingData
        The table as each of them reads it.
    splits : list of tuple of ndarray
        The folds.
    n_rows : int
        Number of rows of the table.

    Returns
    -------
    Summed or None
        None where rows of weight zero are gone, a training set repeats rows, or columns depend on
        the rows they are learned from.
    """
    if data[0].source.n_rows != n_rows:
        return None
    if any(np.bincount(train).max(initial=0) > 1 for train, _ in splits):
        return None
    return Summed.of(model, data)
