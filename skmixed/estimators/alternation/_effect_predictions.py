"""Predictions of a regressor or classifier combined with random effects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from sklearn.metrics import r2_score

from skmixed.core.families.family import explained_deviance
from skmixed.core.linalg import FloatArray
from skmixed.design.records import stored
from skmixed.estimators._estimator import (
    Averaging,
    FittedAttribute,
    FittedEstimator,
    refuse_beside_interval,
)
from skmixed.estimators.alternation._learned_responses import LearnedResponse
from skmixed.estimators.generalized_regressor import MixedGeneralizedRegressor
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._diagnosis import check_residual
from skmixed.estimators.mixed._generalized_estimator import refuse_missing
from skmixed.estimators.mixed._generalized_predictions import KnownPredictor, observation_limits
from skmixed.estimators.mixed._linear_predictions import half_widths
from skmixed.estimators.reading._chosen_effects import ChosenEffects
from skmixed.estimators.reading._columns import (
    RandomColumns,
    chosen_factors,
    groups_as_in_fit,
    warn_without_groups,
)
from skmixed.estimators.reading._input_table import InputTable, read_groups
from skmixed.estimators.reading._numbers import read_weights, read_y
from skmixed.estimators.reading._prediction_rows import PredictionRows
from skmixed.estimators.reading._training_data import read_exposure, read_new_data
from skmixed.inference.fixed_effects.testing import check_probability


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EffectState:
    """Everything that a fit of a learner combined with random effects has found."""

    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    roles: RandomColumns  # which columns of X the two parts get
    learner: Any  # f, fitted to all rows, given their random effects
    response: LearnedResponse  # what f learned, without rows
    mixed_model: Any  # an estimator, of what f leaves; None without groups
    f_name: str | None  # of the column of that model that f(X) is; None where it has none
    residual_variance: float | None  # in squared units of y; None of a family
    phi: FloatArray  # (m,), dispersions of a family
    criterion: float  # of that model; NaN without groups
    criteria: tuple[float, ...]  # the same of every iteration
    n_iter: int
    converged: bool  # whether the criterion had stopped falling

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of every factor."""
        return {} if self.mixed_model is None else self.mixed_model.n_groups_

    @property
    def dispersion(self) -> float | None:
        """Dispersion in its usual parametrisation; None for the normal family."""
        family = self.response.family
        return None if family is None else family.dispersion(self.phi)

    @property
    def random_effects(self) -> dict[str, pd.DataFrame]:
        """BLUPs of every factor."""
        return {} if self.mixed_model is None else self.mixed_model.random_effects_

    @property
    def random_effects_covariance(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of every factor."""
        return {} if self.mixed_model is None else self.mixed_model.random_effects_covariance_

    @property
    def random_covariance(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of every factor."""
        return {} if self.mixed_model is None else self.mixed_model.random_covariance_


class EffectAttributes(FittedEstimator[EffectState]):
    """Attributes of a fitted learner with random effects, and how it reads rows."""

    averaging: Averaging

    criterion_ = FittedAttribute[float]()
    criteria_ = FittedAttribute[tuple[float, ...]]()
    n_groups_ = FittedAttribute[dict[str, int]]()
    n_iter_ = FittedAttribute[int]()
    converged_ = FittedAttribute[bool]()
    random_effects_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_covariance_ = FittedAttribute[dict[str, FloatArray]]()
    random_covariance_ = FittedAttribute[dict[str, pd.DataFrame]]()

    def _predicted(
        self, fitted: EffectState, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[FloatArray, PredictionRows | None]:
        """Return linear predictors, (n,), and the rows as the mixed model sees them.

        The rows are None without such a model.
        """
        wanted = chosen_factors(random, list(fitted.n_groups))
        columns, model = fitted.roles.columns, fitted.mixed_model
        predictor = None if model is None else model._state().predictor
        needed = set() if predictor is None else predictor.grouping_columns(wanted)
        table = InputTable.of(X)
        table = table.with_columns(columns.groups_besides(needed), columns.names)
        table.check_shape(self)
        table.check_columns(self, fitted)
        found = None if groups is None else read_groups(groups)
        given = groups_as_in_fit(columns, found, table.n_rows, needed)
        if groups is None:
            warn_without_groups(self, columns, needed, columns.groups)
        features = fitted.roles.features(table, fitted.learner)
        prediction = fitted.response.predictor(fitted.learner, features)
        exposure = read_exposure(table, columns.exposure)
        shift = 0.0 if exposure is None else np.log(exposure)
        if model is None or predictor is None:
            return prediction + shift, None
        random_columns = fitted.roles.table(table, given)
        if fitted.f_name is not None:
            random_columns.insert(0, fitted.f_name, prediction)
        source = read_new_data(model, predictor, random_columns, None, needed)
        rows = predictor.rows(
            source, ChosenEffects(frozenset(wanted)), all_columns=self._averages(fitted)
        )
        means = rows.means(model.handle_unknown) + shift
        if fitted.response.family is None:
            means += prediction - rows.fixed_part()
        return means, rows

    def _averages(self, fitted: EffectState) -> bool:
        """Tell whether predictions are averaged over uncertain random effects."""
        generalized = fitted.response.family is not None
        return generalized and self.averaging == "integrate" and fitted.mixed_model is not None

    def _known(
        self, fitted: EffectState, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[FloatArray, KnownPredictor | None]:
        """Return linear predictors, (n,), and what a generalized model knows of them, if any."""
        center, rows = self._predicted(fitted, X, groups, random)
        if rows is None:
            return center, None
        return center, KnownPredictor(fitted.mixed_model._state(), rows, center)


class EffectPredictions(EffectAttributes):
    """Predictions of a fitted `MixedEffectsRegressor`."""

    regressor_ = FittedAttribute[Any]("learner")
    mixed_model_ = FittedAttribute[MixedLinearRegressor | MixedGeneralizedRegressor | None]()
    residual_variance_ = FittedAttribute[float](optional=True)
    dispersion_ = FittedAttribute[float](optional=True)

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        interval: float | None = None,
    ) -> FloatArray:
        """Predict the mean response.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`. With ``random="none"`` a data frame may lack the
            grouping columns.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose random effects are added to f(X): all, none (population-level
            predictions), or those named.
        interval : float or None, default=None
            Coverage of prediction intervals to return alongside the predictions, such as 0.95;
            unlike `predict_interval`, this works through a pipeline's ``predict``.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, 3)
            Predictions f(X) + Z b, in units of y. Rows with an unknown or missing level get no
            random effect of that factor, unless `handle_unknown` says otherwise. For other families
            than "gaussian" the mean, averaged over the uncertain random effects with
            ``averaging="integrate"``. With `interval`, three columns: the predictions and the
            limits that `predict_interval` returns.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, `random` names an unknown grouping factor, or there are unknown
            levels and handle_unknown="error". With `interval`, also as in `predict_interval`, and
            if another `random` is given.

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if interval is not None:
            refuse_beside_interval(random, None)
            check_probability(interval, "interval")
            return self._means_and_limits(X, groups, interval, observation=True)
        fitted = self._state()
        if fitted.response.family is None:
            return self._predicted(fitted, X, groups, random)[0]
        return self._means(fitted, *self._known(fitted, X, groups, random))

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
    ) -> FloatArray:
        """Predict intervals for the response or for its mean.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        level : float, default=0.95
            Nominal coverage of the interval, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            "observation" for a prediction interval of a new observation, "mean" for a confidence
            interval of f(X) + Z b, the mean in the groups of the row.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper limits, in units of y; NaN for rows whose prediction is NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, if `level` is not between 0 and 1, or if the fit leaves no residual
            variance.

        Notes
        -----
        The width is that of the interval which `mixed_model_`, the model of the residuals of f, has
        for the row, as in `MixedLinearRegressor.predict_interval`; it allows for the estimation of
        the variances and of the fixed effects of that model. The residual variance includes the
        average error of f on rows it has not seen. An interval for the mean treats f as known apart
        from those fixed effects; with `LinearRegression`, all coefficients are among them, and the
        intervals are those of `MixedLinearRegressor`. Without groups, the limits are quantiles of
        the normal distribution.

        For other families than "gaussian", the interval is that of `MixedGeneralizedRegressor` with
        f treated as known.
        """
        if kind not in ("observation", "mean"):
            raise ValueError(f"kind={kind!r} is not 'observation' or 'mean'")
        found = self._means_and_limits(X, groups, level, observation=kind == "observation")
        return np.ascontiguousarray(found[:, 1:])

    def _means(
        self, fitted: EffectState, center: FloatArray, known: KnownPredictor | None
    ) -> FloatArray:
        """Return mean responses of a family, (n,), from linear predictors, (n,), and their rows."""
        assert fitted.response.family is not None
        if known is None:
            return fitted.response.family.mean(center)
        return known.means(averages=self._averages(fitted))

    def _means_and_limits(
        self, X: Any, groups: Any, level: float, *, observation: bool
    ) -> FloatArray:
        """Return predictions and the limits of their intervals, (n, 3)."""
        check_probability(level)
        fitted = self._state()
        family = fitted.response.family
        if family is not None:
            center, known = self._known(fitted, X, groups, "all")
            half = np.zeros(len(center)) if known is None else known.half_width(level)
            if observation:
                limits = observation_limits(family, fitted.phi, center, half, level)
            else:
                limits = np.column_stack([family.mean(center - half), family.mean(center + half)])
            return np.column_stack([self._means(fitted, center, known), limits])
        prediction, rows = self._predicted(fitted, X, groups, "all")
        if rows is not None and fitted.mixed_model is not None:
            state = fitted.mixed_model._state()
            check_residual(state.fit)
            half = half_widths(state, rows, level, observation=observation)
        else:
            variance = fitted.residual_variance or 0.0
            if not variance > 0.0:
                raise ValueError(
                    "the regressor fits its training data exactly, which leaves no residual "
                    "variance for prediction intervals"
                )
            width = float(special.ndtri(0.5 + 0.5 * level) * np.sqrt(variance))
            half = np.full(len(prediction), width if observation else 0.0)
        return np.column_stack([prediction, prediction - half, prediction + half])

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return R^2, or the fraction of the deviance explained.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,)
            True response.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``; for other families than "gaussian" D^2, as in
            `MixedGeneralizedRegressor`.
        """
        fitted = self._state()
        family = fitted.response.family
        if family is None:
            return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))
        means = self.predict(X, groups)
        truth, weights = read_y(y, len(means)), read_weights(sample_weight, len(means))
        if weights is None:
            weights = np.ones(len(means))
        family.check(truth, weights)
        refuse_missing(means, "they have no prediction to score: leave them out")
        exposure = read_exposure(InputTable.of(X), fitted.roles.columns.exposure)
        if exposure is None:
            exposure = np.ones(len(means))
        constant = exposure * float(weights @ truth / (weights @ exposure))
        return explained_deviance(family, fitted.phi, truth, means, constant, weights)
