"""The predictions of linear mixed models by their posterior, and how sure they are."""

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
    """What the posterior of a linear mixed model says of rows, new ones and those of the fit."""

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
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        random : {"all", "none"}, list of str, or str, default="all"
            Which random effects are added: all, none (the population), those of the factors named,
            or those that the bars of a formula name, ``"(1 | g)"`` of a model that has slopes, too
            (lme4's ``re.form``), whose errors are not known.
        return_std : bool, default=False
            Whether to return posterior standard deviations too.
        missing : {"raise", "nan"} or None, default=None
            Whether rows with missing values in columns that are needed are an error, or have NaN
            for predictions, as in R. None is "raise", or "nan" of a model by na_action="exclude".

        Returns
        -------
        y_mean : ndarray of shape (n,)
            Posterior means of X beta + Z b, in units of y. A row whose level of a factor is unknown
            or missing gets no effect of that factor, unless `handle_unknown` says otherwise.
        y_std : ndarray of shape (n,)
            Posterior standard deviations of these, if return_std is True. An unknown level widens
            them by the variance of its effects; the noise of single observations is not in them.

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
        fitted = self._state()
        if leaves_gaps(fitted, missing):
            complete = CompleteRows.to_predict(fitted, X, groups, random)
            settings: dict[str, Any] = {"return_std": return_std, "random": random}
            return complete.predicted(self.predict, **settings, missing="raise")
        _, rows = fitted.predictor.read(self, X, groups, random)
        means = rows.means(self.handle_unknown)
        if not return_std:
            return means
        rows.refuse_parts("leave return_std out, or name the factor")
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
        """Predict intervals that hold the response, or its mean, with a given probability.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        level : float, default=0.95
            Probability, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            Whether the interval is for a new observation of the row, of weight one, or for
            X beta + Z b.

        Returns
        -------
        ndarray of shape (n, 2)
            Quantiles of the posterior distribution, in units of y: as much lies below the interval
            as above. NaN for rows whose prediction is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, and for a level that is no probability.
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
        """Draw responses of rows from the posterior predictive distribution.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`. Rows of one label share an effect,
            whether or not the model knows it.
        n_samples : int, default=1
            Number of draws.
        random_state : None, int, RandomState or Generator, default=None
            Seed.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Responses in units of y, of weight one. Every column has coefficients, variances and
            random effects of one draw of the posterior, and new effects of levels that the model
            does not know.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, and for several factors with too many random effects.
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
        """Tell how well every row of the fit, or every group, is predicted by the others.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The rows that `fit` was given, in any order; the model does not keep them.
        y : array-like of shape (n,)
            Their response.
        sample_weight : None or array-like of shape (n,), default=None
            Their weights, all positive.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Their labels, if they were given as `groups` to `fit`.
        leave_out : str or None, default=None
            None leaves out each row by itself; the name of a factor leaves out all rows of the
            same level.

        Returns
        -------
        LeaveOneOut
            As of `skmixed.bayes.loo`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If these are not the rows of the fit, and for an unknown factor.
        """
        fitted = self._state()
        draws = fitted.sampled()
        rows = self._rows_of_fit(fitted, X, y, sample_weight, groups)
        return left_out(draws, rows_at_levels(fitted.fit, rows), leave_out, self.random_state)
