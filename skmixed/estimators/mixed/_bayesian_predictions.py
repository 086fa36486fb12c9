"""Predictions of Bayesian linear mixed models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, Literal, overload

import numpy as np
from sklearn.utils.validation import check_scalar

from skmixed.bayes.leave_one_out import LeaveOneOut, left_out
from skmixed.bayes.row_predictions import (
    drawn_responses,
    predictor_quantiles,
    predictor_variances,
)
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.rows.leave_out import rows_at_levels
from skmixed.estimators._estimator import UnknownLevels, check_choice
from skmixed.estimators.mixed._bayesian_state import BayesianState
from skmixed.estimators.mixed._summed_estimator import SummedEstimator
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.inference.fixed_effects.testing import check_probability


class BayesianPredictions(SummedEstimator[BayesianState]):
    """Predictions from the posterior of a linear mixed model, for new and training rows."""

    handle_unknown: UnknownLevels
    random_state: Any

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[False] = False,
        missing: MissingRows | None = None,
    ) -> FloatArray: ...

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[True],
        missing: MissingRows | None = None,
    ) -> tuple[FloatArray, FloatArray]: ...

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: bool = False,
        missing: MissingRows | None = None,
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict the mean response.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"}, list of str, or str, default="all"
            Random effects to include: all, none (population-level predictions), those of the
            grouping factors named, or single terms of a formula such as ``"(1 | g)"`` (lme4's
            ``re.form``). Standard errors are not available for single terms.
        return_std : bool, default=False
            Whether to return posterior standard deviations as well.
        missing : {"raise", "nan"} or None, default=None
            Whether missing values in the columns the model needs raise an error or give NaN
            predictions, as in R. None means "nan" for a model fitted with na_action="exclude",
            otherwise "raise".

        Returns
        -------
        y_mean : ndarray of shape (n_samples,)
            Posterior means of X beta + Z b, in units of y. Rows with an unknown or missing level
            get no random effect of that factor, unless `handle_unknown` says otherwise.
        y_std : ndarray of shape (n_samples,)
            Posterior standard deviations of X beta + Z b, if return_std is True. Unknown levels add
            the variance between groups; residual noise is not included.

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
        fitted = self._state()
        if leaves_gaps(fitted, missing):
            complete = CompleteRows.to_predict(fitted, X, groups, random)
            settings: dict[str, Any] = {"return_std": return_std, "random": random}
            return complete.predicted(self.predict, **settings, missing="raise")
        _, rows = fitted.predictor.read(self, X, groups, random)
        means = rows.means(self.handle_unknown)
        if not return_std:
            return means
        rows.refuse_parts("leave return_std out, or name the whole factor")
        variances = predictor_variances(
            fitted.sampled(), rows.rows, rows.wanted, fitted.further_products
        )
        return means, np.where(np.isnan(means), np.nan, np.sqrt(variances))

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
    ) -> FloatArray:
        """Predict credible intervals for the response or for its mean.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        level : float, default=0.95
            Nominal coverage of the interval, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            "observation" for an interval of a new observation of weight one, "mean" for one of X
            beta + Z b.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Equal-tailed quantiles of the posterior distribution, in units of y; NaN for rows whose
            prediction is NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, and if `level` is not between 0 and 1.
        """
        check_probability(level)
        check_choice("kind", kind, ("observation", "mean"))
        fitted = self._state()
        _, rows = fitted.predictor.read(self, X, groups, "all")
        means = rows.means(self.handle_unknown)
        tail = (1.0 - level) / 2.0
        limits = predictor_quantiles(
            fitted.sampled(),
            rows.rows,
            rows.wanted,
            fitted.further_products,
            np.array([tail, 1.0 - tail]),
            observation=kind == "observation",
        )
        if rows.offset is not None:
            limits += rows.offset[:, None]
        limits[np.isnan(means)] = np.nan
        return limits

    def sample_y(
        self, X: Any, groups: Any = None, *, n_samples: int = 1, random_state: Any = None
    ) -> FloatArray:
        """Draw responses from the posterior predictive distribution.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples_X, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples_X,) or (n_samples_X, n_factors), default=None
            Group labels, if `fit` was given `groups`. Rows with the same label share a random
            effect, whether or not the level was seen in `fit`.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed or generator of the random numbers.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples)
            Responses of weight one, in units of y. Each column uses the coefficients, variances and
            random effects of one posterior draw, and new effects for unknown levels.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, and if several grouping factors have too many random effects.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        fitted = self._state()
        source, rows = fitted.predictor.read(self, X, groups, "all", all_columns=True)
        return drawn_responses(
            fitted.sampled(),
            source,
            rows,
            fitted.further_products,
            n_samples,
            generator_of(random_state),
        )

    def loo(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        *,
        groups: Any = None,
        leave_out: str | None = None,
    ) -> LeaveOneOut:
        """Compute the leave-one-out predictive accuracy of rows or groups.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            The training data, with the rows in any order; the model does not keep them.
        y : array-like of shape (n_samples,)
            Their response.
        sample_weight : array-like of shape (n_samples,), default=None
            Their weights, all positive.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Their group labels, if `fit` was given `groups`.
        leave_out : str or None, default=None
            None leaves out each row by itself; the name of a grouping factor leaves out all rows of
            a level at a time.

        Returns
        -------
        LeaveOneOut
            Expected log predictive density, as from `skmixed.bayes.loo`.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the rows are not those of the fit, or `leave_out` is not a grouping factor of the
            model.
        """
        fitted = self._state()
        draws = fitted.sampled()
        rows = self._rows_of_fit(fitted, X, y, sample_weight, groups)
        return left_out(draws, rows_at_levels(fitted.fit, rows), leave_out, self.random_state)
