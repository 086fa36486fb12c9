"""Predictions and random effects of a regressor with a mixed model of what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special
from sklearn.metrics import r2_score

from skmixed.core.linalg import FloatArray
from skmixed.design.records import stored
from skmixed.estimators._columns import (
    RandomColumns,
    chosen_factors,
    groups_as_in_fit,
    warn_without_groups,
)
from skmixed.estimators._diagnosis import check_residual
from skmixed.estimators._estimator import (
    FittedAttribute,
    FittedEstimator,
    UnknownLevels,
    with_limits,
)
from skmixed.estimators._prediction_rows import PredictionRows
from skmixed.estimators._predictions import half_widths
from skmixed.estimators._reading import InputTable, read_groups
from skmixed.estimators._training_data import read_new_data
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.inference.testing import check_probability


@stored
@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class EffectState:
    """All that a fit of a regressor together with random effects has found."""

    n_features_in: int
    feature_names_in: NDArray[Any] | None  # (n_features_in,), of str
    roles: RandomColumns  # which columns of X the two parts get
    regressor: Any  # f, fitted to y - Z b of all rows
    mixed_model: MixedLinearRegressor | None  # of what f leaves; None without groups
    residual_variance: float  # of that model, in squared units of y
    criterion: float  # of that model; NaN without groups
    criteria: tuple[float, ...]  # the same of every iteration
    n_iter: int
    converged: bool  # whether the criterion had stopped falling

    @property
    def n_groups(self) -> dict[str, int]:
        """Number of levels of every factor."""
        return {} if self.mixed_model is None else self.mixed_model.n_groups_

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


class EffectPredictions(FittedEstimator[EffectState]):
    """What a fitted `MixedEffectsRegressor` says of rows and levels."""

    handle_unknown: UnknownLevels

    regressor_ = FittedAttribute[Any]()
    mixed_model_ = FittedAttribute[MixedLinearRegressor | None]()
    residual_variance_ = FittedAttribute[float]()
    criterion_ = FittedAttribute[float]()
    criteria_ = FittedAttribute[tuple[float, ...]]()
    n_groups_ = FittedAttribute[dict[str, int]]()
    n_iter_ = FittedAttribute[int]()
    converged_ = FittedAttribute[bool]()
    random_effects_ = FittedAttribute[dict[str, pd.DataFrame]]()
    random_effects_covariance_ = FittedAttribute[dict[str, FloatArray]]()
    random_covariance_ = FittedAttribute[dict[str, pd.DataFrame]]()

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        interval: float | None = None,
    ) -> FloatArray:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`. With ``random="none"`` grouping columns may be missing from a
            data frame.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        random : {"all", "none"} or list of str, default="all"
            Which factors' random effects are added to f(X): all, none (the population), or those
            named.
        interval : float or None, default=None
            Probability of intervals for observations, which are then returned beside the
            predictions: ``predict`` of a pipeline hands it on.

        Returns
        -------
        ndarray of shape (n,) or (n, 3)
            f(X) + Z b, in units of y. A row whose level of a factor is unknown or missing gets no
            effect of that factor, unless `handle_unknown` says otherwise. With `interval`: these,
            and the ends that `predict_interval` returns.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, an unknown factor in `random`, and, if handle_unknown="error", for
            unknown levels. With `interval` also as in `predict_interval`, and beside another
            `random`.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        if interval is not None:
            limits: FloatArray = with_limits(self, X, groups, random, None, interval)
            return limits
        return self._predicted(self._state(), X, groups, random)[0]

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
            Whether the interval is for a new observation of the row, or for f(X) + Z b, the mean of
            all observations that could be made of it in its groups.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, in units of y; NaN for rows whose prediction is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, for a level that is no probability, and if no residual was left.

        Notes
        -----
        The prediction plus and minus half the width of the interval that `mixed_model_`, the model
        of what f leaves, has for the row, as in `MixedLinearRegressor.predict_interval`: its
        variances are estimates, and so are the coefficients it has. The residual variance has the
        errors in it that f makes of rows it has not seen, on average. An interval for the mean
        takes f for known but for these coefficients; a `LinearRegression` has all of them there,
        and the intervals of `MixedLinearRegressor`. Without groups the ends are quantiles of the
        normal distribution.
        """
        check_probability(level)
        if kind not in ("observation", "mean"):
            raise ValueError(f"kind={kind!r} is not 'observation' or 'mean'")
        fitted = self._state()
        prediction, rows = self._predicted(fitted, X, groups, "all")
        observation = kind == "observation"
        if rows is not None and fitted.mixed_model is not None:
            state = fitted.mixed_model._state()
            check_residual(state.fit)
            half = half_widths(state, rows, level, observation=observation)
        else:
            if not fitted.residual_variance > 0.0:
                raise ValueError(
                    "the regressor fits its data exactly: no variance was estimated, so that "
                    "nothing can be said of new rows"
                )
            width = float(special.ndtri(0.5 + 0.5 * level) * np.sqrt(fitted.residual_variance))
            half = np.full(len(prediction), width if observation else 0.0)
        return np.column_stack([prediction - half, prediction + half])

    def score(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> float:
        """Return the coefficient of determination of the predictions.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`.
        y : array-like of shape (n,)
            The true response.
        sample_weight : None or array-like of shape (n,), default=None
            Weights of the rows.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``.
        """
        return float(r2_score(y, self.predict(X, groups), sample_weight=sample_weight))

    def _predicted(
        self, fitted: EffectState, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[FloatArray, PredictionRows | None]:
        """Return predictions, (n,), and the rows as the model of residuals sees them.

        The rows are None where no random effect is added.
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
        features = fitted.roles.features(table)
        prediction = np.array(fitted.regressor.predict(features), dtype=np.float64).ravel()
        if model is None or predictor is None or not wanted:
            return prediction, None
        random_columns = fitted.roles.table(table, given)
        source = read_new_data(model, predictor, random_columns, None, needed)
        rows = predictor.rows(source, wanted)
        prediction += rows.means(model.handle_unknown) - rows.fixed_part()
        return prediction, rows
