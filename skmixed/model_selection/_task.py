"""What to cross-validate, on which folds and with which groups."""

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
from tqdm.auto import tqdm

from skmixed.design.grammar.expressions import uses_all_columns
from skmixed.design.grammar.residual_terms import parse_residual
from skmixed.design.grouping import number_levels
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._input_table import read_groups
from skmixed.estimators.reading._training_data import TrainingData, read_training_data
from skmixed.model_selection._group_routing import fit_names, groups_for_model, groups_for_splitter
from skmixed.model_selection._grouped_rows import GroupedRows, GroupPassingEstimator, SummedTable
from skmixed.model_selection._progress import CountedFolds
from skmixed.model_selection._scorers import for_rows
from skmixed.model_selection._splitters import WithinGroupKFold

Splits = list[tuple[NDArray[np.intp], NDArray[np.intp]]]


@dataclass(frozen=True, slots=True, eq=False)
class Task:
    """What is to be cross-validated."""

    estimator: Any
    X: Any  # array-like or data frame, (n, n_features)
    y: Any  # (n,) or None
    groups: Any  # as the user gave them
    params: dict[str, Any]  # further arguments of `fit`
    for_model: Any  # the groups that the model gets; None if it gets none

    @classmethod
    def of(cls, estimator: Any, X: Any, y: Any, groups: Any, params: Any) -> Task:
        """Read the arguments of a cross-validation; `params` may have the groups among them.

        Raises a TypeError for what cannot be groups, and a ValueError for groups that are given
        twice or cannot reach the model.
        """
        params = dict(params or {})
        if "groups" in params:
            if groups is not None:
                raise ValueError(
                    "groups are given both by `groups` and in `params`: leave one of them out"
                )
            groups = params.pop("groups")
        if groups is not None:
            read_groups(groups)  # refuses what cannot be groups
        if isinstance(estimator, MixedEstimator):
            X, y, groups, params = _as_the_formula_says(estimator, X, y, groups, params)
        X, y, groups = indexable(X, y, groups)
        for_model = groups_for_model(estimator, X, groups)
        if for_model is not None:
            twice = sorted(set(fit_names(estimator)) & set(params))
            if twice:
                raise ValueError(
                    f"groups are given both by `groups` and as {twice} in `params`: leave the "
                    "latter out, as groups are passed on"
                )
        return cls(estimator, X, y, groups, params, for_model)

    def run(
        self,
        function: Callable[..., Any],
        splits: Splits,
        bar: tqdm[Any] | None = None,
        **settings: Any,
    ) -> Any:
        """Return what scikit-learn's `cross_validate`, or another function of its kind, returns.

        The rows carry the groups if the model gets any; `settings` are further arguments of the
        function, and `bar` moves with the folds.
        """
        estimator, X = self.estimator, self.X
        summed = self.summed(splits)
        if self.for_model is not None or summed is not None:
            estimator, X = GroupPassingEstimator(estimator), GroupedRows(X, self.for_model, summed)
            if "scoring" in settings:
                check_scoring(self.estimator, scoring=settings["scoring"])
                settings["scoring"] = for_rows(settings["scoring"], self.estimator)
        cv = splits if bar is None else CountedFolds(splits, bar)
        settings |= {"cv": cv, "params": self.params or None}
        if X is self.X:
            return function(estimator, X, self.y, **settings)
        # Dispatch to the array API would ask what kind of array X is.
        with config_context(array_api_dispatch=False):
            return function(estimator, X, self.y, **settings)

    def summed(self, splits: Splits) -> SummedTable | None:
        """Return the cross-products of all rows, from which every training set is fitted.

        None where that is not possible: for another estimator than `MixedLinearRegressor`,
        arguments of `fit` other than weights, training sets that repeat rows, and whatever the
        model refuses; scikit-learn then says so in its own way. Raises ValueError for training sets
        in which rows of a series would follow one another that do not.
        """
        if type(self.estimator) is not MixedLinearRegressor or set(self.params) - {"sample_weight"}:
            return None
        weights = self.params.get("sample_weight")
        try:
            data = read_training_data(self.estimator, self.X, self.y, weights, self.for_model)
            summed = sum_for_folds(self.estimator, [data], splits, _num_samples(self.X))
        except (TypeError, ValueError, ArithmeticError):
            return None
        if summed is None:
            _refuse_torn(data, splits, _num_samples(self.X))
        return summed

    def splits(self, cv: Any, split_by: Any) -> Splits:
        """Return the folds of the splitter that `cv` stands for, by the labels of `split_by`."""
        cv = check_cv(cv, self.y, classifier=is_classifier(self.estimator))
        search = bool(get_routing_for_object(cv).consumes("split", ["groups"]))
        labels = groups_for_splitter(self.estimator, self.X, self.groups, split_by, search=search)
        return self._split(cv, labels)

    def splits_for(self, question: str, n_splits: int, split_by: Any, random_state: Any) -> Splits:
        """Return the folds that answer a question, "known_groups" or "new_groups".

        They are shuffled if `random_state` is given. Raises a ValueError if there are no groups.
        """
        known = question == "known_groups"
        labels = groups_for_splitter(
            self.estimator, self.X, self.groups, split_by, search=True, finest=known
        )
        if labels is None:
            raise ValueError(
                f"generalize_to={question!r} requires groups, but the model names none in "
                "`random` or `group_features`: pass their labels as `groups`, or name a column "
                "in `split_by`"
            )
        splitter = WithinGroupKFold if known else GroupKFold
        shuffle = random_state is not None
        return self._split(splitter(n_splits, shuffle=shuffle, random_state=random_state), labels)

    def _split(self, cv: Any, labels: Any) -> Splits:
        with warnings.catch_warnings():
            # The groups then belong to the model.
            warnings.filterwarnings("ignore", "The groups parameter is ignored by")
            return list(cv.split(self.X, self.y, labels))


def _as_the_formula_says(
    estimator: MixedEstimator[Any], X: Any, y: Any, groups: Any, params: dict[str, Any]
) -> tuple[Any, Any, Any, dict[str, Any]]:
    """Return the arguments with y and weights that the whole formula of a fitted model names."""
    fitted = estimator._fitted
    if fitted is None or fitted.response is None:
        return X, y, groups, params
    weights, of_fit = params.get("sample_weight"), y is None
    X, y, weights, groups = estimator._with_response(X, y, weights, groups, of_fit=of_fit)
    if fitted.fixed is not None and uses_all_columns(fitted.fixed.fixed):
        X = X[list(fitted.columns.names)]
    return X, y, groups, params if weights is None else {**params, "sample_weight": weights}


def _refuse_torn(data: TrainingData, splits: Splits, n_rows: int) -> None:
    """Raise ValueError if a training set would treat separated rows of a series as consecutive.

    `n_rows` is the length of the table as given, from which rows may have been removed.
    """
    term = None if data.residual is None else parse_residual(data.residual).correlation
    if term is None or not term.counts_rows or data.source.n_rows != n_rows:
        return
    series = number_levels(data.source.residual, term.series)
    n_all = np.bincount(series)
    for train, _ in splits:
        n_own = np.bincount(series[train], minlength=len(n_all))
        torn = np.count_nonzero((n_own > 0) & (n_own < n_all))
        if torn:
            name = ":".join(term.series)
            raise ValueError(
                f"a training set has only some rows of {torn} series of {name!r}, and ar1(| "
                f"{name}) would treat them as consecutive: number the rows in a column, as in "
                f"'ar1(visit | {name})', or split by {name!r}, as GroupKFold does"
            )


def sum_for_folds(
    model: Any, data: Sequence[TrainingData], splits: Splits, n_rows: int
) -> SummedTable | None:
    """Sum over all rows once, if every training set can be made of them by subtraction.

    None where rows of weight zero are gone, a training set repeats rows, or columns depend on the
    rows they are learned from. The models are equal but for `random`; `data` is the table as each
    reads it, and `n_rows` its length as it was given.
    """
    if data[0].source.n_rows != n_rows:
        return None
    if any(np.bincount(train).max(initial=0) > 1 for train, _ in splits):
        return None
    return SummedTable.of(model, data)
