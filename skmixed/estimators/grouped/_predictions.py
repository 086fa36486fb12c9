"""What GroupedModels says of rows: predictions, probabilities and scores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from numpy.typing import NDArray
from sklearn.metrics import accuracy_score, r2_score
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import _num_samples, check_is_fitted

from skmixed.core.linalg import IntArray
from skmixed.estimators._inputs import Columns, read_groups
from skmixed.estimators.grouped._estimators import EstimatorGroupFits
from skmixed.estimators.grouped._fallback import refuse_unknown
from skmixed.estimators.grouped._linear import LinearGroupFits
from skmixed.estimators.grouped._rows import InnerKind, read_new
from skmixed.estimators.grouped._tree import Tree
from skmixed.estimators.grouped._warnings import warn_about_labels


def _has(name: str) -> Callable[[Any], bool]:
    """Return a test that the inner estimator has a method; it raises AttributeError if not."""

    def check(model: Any) -> bool:
        getattr(getattr(model, "pooled_", None) or model._inner(), name)
        return True

    return check


class GroupedPredictions:
    """Predictions of a fitted GroupedModels, each by the nearest group that is known."""

    fallback: str
    _columns: Columns
    _is_matrix: bool
    _kind: Callable[[], InnerKind]
    _group_fits: LinearGroupFits | EstimatorGroupFits
    _tree: Tree

    def _answer(self, method: str, X: Any, groups: Any) -> NDArray[Any]:
        """Return what `method` says of rows, (n, ...), after checking the arguments."""
        check_is_fitted(self)
        given = None if groups is None else read_groups(groups)
        table, labels = read_new(self, X, given, self._kind())
        codes = self._look_up(labels, _num_samples(table))
        if isinstance(self._group_fits, EstimatorGroupFits):
            return self._group_fits.predict(method, table, codes)
        values = self._group_fits.predict(table, codes)
        return values if self._is_matrix else values[:, 0]

    def _look_up(self, labels: Any, n_rows: int) -> tuple[IntArray, ...]:
        """Return the groups of the rows, (n,) by level from the root."""
        codes = self._tree.codes(labels, n_rows)
        if self._tree.depth:
            if self.fallback == "error":
                refuse_unknown(self._tree, codes)
            warn_about_labels(self._tree, labels, codes, self._columns)
        return codes

    def predict(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_outputs)
            A row whose group is unknown gets the prediction of the nearest parent that is known.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, and, if fallback="error", for unknown groups.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        return self._answer("predict", X, groups)

    @available_if(_has("predict_proba"))
    def predict_proba(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`; 0 for classes that a group never had.
        """
        return self._answer("predict_proba", X, groups)

    @available_if(_has("predict_log_proba"))
    def predict_log_proba(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Predict the logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n, n_classes)
            In the order of `classes_`.
        """
        return self._answer("predict_log_proba", X, groups)

    @available_if(_has("decision_function"))
    def decision_function(self, X: Any, groups: Any = None) -> NDArray[Any]:
        """Return the scores of the classes.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        ndarray of shape (n,) or (n, n_classes)
            As the estimator returns them; minus infinity for classes that a group never had.
        """
        return self._answer("decision_function", X, groups)

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return R^2 of the predictions, or the accuracy of a classifier.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,) or (n, n_outputs)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_levels), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            The score.
        """
        prediction = self.predict(X, groups)
        judge = accuracy_score if self._kind().is_classifier else r2_score
        return float(judge(y, prediction, sample_weight=sample_weight))
