"""Shared methods of linear regressors, whose rows enter as sums that can be added."""

from __future__ import annotations

from dataclasses import replace
from numbers import Integral
from typing import Any, ClassVar, Self, TypeVar

from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.validation import _num_samples

from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.sums.layout import Rows
from skmixed.estimators.mixed._diagnosis import check_residual
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.reading._training_data import read_batch, read_training_data

Linear = TypeVar("Linear", bound=LinearState)


class SummedEstimator(RegressorMixin, MixedEstimator[Linear]):
    """Linear mixed model, however its parameters are estimated."""

    _state_type: ClassVar[type[Any]] = LinearState

    residual_variance: float | None = None

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MixedEstimator._parameter_constraints,
        "weighting": [StrOptions({"frequency", "precision"})],
        "n_jobs": [Integral, None],
    }

    def update_groups(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Self:
        """Update the random effects with further rows, all other parameters held fixed.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Further data with the columns seen in `fit`.
        y : array-like of shape (n_samples,)
            Response.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        estimator
            The estimator itself. `random_effects_`, their covariances and predictions are now given
            all rows so far, at the coefficients and variances of the last fit or, for a posterior,
            under its draws.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `partial_fit`, if the fit leaves no residual variance, and with a residual
            structure.
        """
        fitted = self._state()
        check_residual(fitted.fit)
        if isinstance(fitted.fit, ResidualFit):
            raise ValueError(
                "update_groups requires independent residuals of equal variance, but this model "
                "has a residual structure: call partial_fit with whole series"
            )
        rows, _ = read_batch(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_effects_of(rows)
        return self

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None
    ) -> float:
        """Return R^2, the fraction of the variance explained.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,), default=None
            True response. If None, the response named by the formula of `lmer` is read from X.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``.
        """
        if y is None:
            X, y, sample_weight, groups = self._with_response(X, y, sample_weight, groups)
        return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def _rows_of_fit(self, fitted: Linear, X: Any, y: Any, sample_weight: Any, groups: Any) -> Rows:
        """Read the training data again, row by row, with their weights under V.

        Raises ValueError for rows of weight 0, and if rows of a series are correlated.
        """
        rows, residual = self._series_of_fit(fitted, X, y, sample_weight, groups)
        if not isinstance(fitted.fit, ResidualFit) or residual is None:
            return rows
        if fitted.fit.structure.is_correlated:
            raise ValueError(
                "rows of a series depend on each other, so that none can be left out or "
                "resampled by itself: leave out whole series and refit, as cross_val_predict "
                "does with a group splitter"
            )
        deviations = fitted.fit.structure.deviations(fitted.fit.phi, residual)
        weights = 1.0 if rows.weights is None else rows.weights
        return replace(rows, weights=weights / deviations**2)

    def _series_of_fit(
        self, fitted: Linear, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[Rows, ResidualRows | None]:
        """Read the training data again, and what a residual structure needs of them."""
        check_residual(fitted.fit)
        rows, residual = read_batch(self, fitted, X, y, sample_weight, groups)
        if len(rows.columns) != _num_samples(X):
            raise ValueError("rows of weight 0 are not part of the fit: leave them out of X and y")
        return rows, residual


class GrowingEstimator(SummedEstimator[Linear]):
    """Linear mixed model that can be fitted to further rows."""

    __metadata_request__partial_fit: ClassVar = {"groups": True}

    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> Self:
        """Fit to further rows in addition to those seen before.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Further data with the columns seen in `fit`.
        y : array-like of shape (n_samples,)
            Response.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights; rows of weight 0 are ignored.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`; new levels are allowed.

        Returns
        -------
        estimator
            Estimator fitted to all rows so far, equal to one `fit` on all of them, in whatever
            batches and order they came. Rows of earlier calls, including those of `update_groups`,
            are kept only as cross-products.

        Raises
        ------
        ValueError
            As in `fit`; if parameters that determine the columns have changed since the first call;
            and if a formula has a transform that must learn from all rows at once.
        """
        self._validate_params()
        fitted = self._fitted
        if fitted is None:
            data = read_training_data(self, X, y, sample_weight, groups)
            self._fitted = self._state_type.of_table(self, data)
            return self
        rows = read_batch(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_rows(self, *rows)
        return self
