"""Predictions of mixed models of classes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import ClassifierMixin
from sklearn.metrics import accuracy_score
from sklearn.utils import Tags

from skmixed.core.linalg import FloatArray
from skmixed.estimators._estimator import Averaging, FittedAttribute, averaged_as
from skmixed.estimators.mixed._generalized_estimator import refuse_missing
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps


class FromProbabilities(ClassifierMixin):
    """Methods of a classifier that follow from its predictions and probabilities."""

    def predict_log_proba(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> FloatArray:
        """Predict the log-probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples, n_classes)
            Log-probabilities in the order of `classes_`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, groups, random=random))

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None
    ) -> float:
        """Return the accuracy of the predicted classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,), default=None
            True class labels. If None, the response named by the formula of `clmm` is read from X.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            Fraction of rows for which ``predict(X, groups)`` is right.
        """
        if y is None and isinstance(self, MixedEstimator):
            X, y, sample_weight, groups = self._with_response(X, y, sample_weight, groups)
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))


class ClassPredictions(FromProbabilities):
    """Methods of a binary classifier that follow from its probabilities."""

    __metadata_request__predict_proba: ClassVar = {"groups": True}
    __metadata_request__predict_log_proba: ClassVar = {"groups": True}
    __metadata_request__decision_function: ClassVar = {"groups": True}

    classes_ = FittedAttribute[NDArray[Any]]()

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_class = False
        return tags

    @abstractmethod
    def _probabilities(
        self, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[NDArray[Any], FloatArray, FloatArray]:
        """Return the classes, (2,), and the probabilities of both, (n,) each."""

    def predict(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> NDArray[Any]:
        """Predict the more probable class.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Class from `classes_`, the first if both are equally probable.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`, and if a row has no probability under handle_unknown="nan".
        """
        classes, miss, hit = self._probabilities(X, groups, random)
        refuse_missing(hit, "they have no class: use predict_proba")
        return classes[(hit > miss).astype(np.intp)]

    def predict_proba(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        missing: MissingRows | None = None,
        averaging: Averaging | None = None,
    ) -> FloatArray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`. A model with a formula picks its columns by name,
            so that column order and further columns do not matter.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used: all, none, or those named. Levels of the other
            factors are treated as unknown.
        missing : {"raise", "nan"} or None, default=None
            Whether missing values in the columns the model needs raise an error or give NaN
            predictions, as in R. None means "nan" for a model fitted with na_action="exclude",
            otherwise "raise".
        averaging : {"integrate", "plug-in"} or None, default=None
            Treatment of uncertain random effects, in place of that of the constructor, which None
            keeps. "plug-in" is that of lme4's ``predict``.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Probabilities in the order of `classes_`. With ``averaging="integrate"``, averaged over
            the random effects: given their data for known levels, over the population for unknown
            ones. ``random="none"`` thus gives the proportions of the classes in the population.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, `random` names an unknown grouping factor, or there are unknown
            levels and handle_unknown="error".

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if averaging is not None:
            model = averaged_as(self, averaging)
            chosen: FloatArray = model.predict_proba(X, groups, random=random, missing=missing)
            return chosen
        if leaves_gaps(self._state(), missing):
            rows = CompleteRows.to_predict(self._state(), X, groups)
            find = partial(self.predict_proba, random=random, missing="raise")
            found: FloatArray = rows.spread(find, n_columns=2)
            return found
        _, miss, hit = self._probabilities(X, groups, random)
        return np.column_stack([miss, hit])

    def decision_function(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> FloatArray:
        """Return the log odds of the second class.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n_samples,)
            Log odds of the probabilities that `predict_proba` returns; positive where `predict`
            returns the second class.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict_proba`.
        """
        _, miss, hit = self._probabilities(X, groups, random)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(hit) - np.log(miss))
