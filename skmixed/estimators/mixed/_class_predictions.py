"""What models of classes with random effects say of new rows."""

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
from skmixed.estimators._estimator import FittedAttribute
from skmixed.estimators.mixed._generalized_estimator import refuse_missing
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps


class FromProbabilities(ClassifierMixin):
    """What a classifier of any number of classes makes of its predictions and probabilities."""

    def predict_log_proba(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> FloatArray:
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' effects are known, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`.
        """
        with np.errstate(divide="ignore"):
            return np.log(self.predict_proba(X, groups, random=random))

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return the share of rows whose class is predicted.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,)
            The true classes.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            The accuracy of ``predict(X, groups)``.
        """
        return float(accuracy_score(y, self.predict(X, groups), sample_weight=sample_weight))


class ClassPredictions(FromProbabilities):
    """All methods that tell of classes by their probabilities."""

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
        """Return the classes, (2,), with the probabilities of both, (n,) each."""

    def predict(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> NDArray[Any]:
        """Predict the more probable class.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' effects are known, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Of `classes_`, the first where both are as probable.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`, and if handle_unknown="nan" leaves a row without a probability.
        """
        classes, miss, hit = self._probabilities(X, groups, random)
        refuse_missing(hit, "they have no class: ask predict_proba")
        return classes[(hit > miss).astype(np.intp)]

    def predict_proba(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        missing: MissingRows | None = None,
    ) -> FloatArray:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`. A model with a formula picks its columns by name: others, the
            response and their order do not matter.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Factors whose levels are looked at: all, none, or those named. Levels of the others are
            taken as unknown.
        missing : {"raise", "nan"} or None, default=None
            Whether rows with missing values in columns that are needed are an error, or have NaN
            for predictions, as in R. None is "raise", or "nan" of a model by na_action="exclude".

        Returns
        -------
        ndarray of shape (n, 2)
            In the order of `classes_`. With ``averaging="integrate"`` they are averaged over what
            is not known of the random effects: of a known level given its data, of an unknown one
            over all groups. So ``random="none"`` is the share of the class in the population.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, an unknown factor in `random`, and, if handle_unknown="error", for
            unknown levels.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
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
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' effects are known, as in `predict_proba`.

        Returns
        -------
        ndarray of shape (n,)
            Log odds of the probabilities that `predict_proba` returns; positive where `predict`
            returns the second class.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict_proba`.
        """
        _, miss, hit = self._probabilities(X, groups, random)
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(hit) - np.log(miss))
