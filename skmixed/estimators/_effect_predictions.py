"""Predictions and random effects of a regressor with a mixed model of what it leaves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import special
from sklearn.metrics import r2_score
from sklearn.utils.validation import check_consistent_length, check_is_fitted

from skmixed.core.linalg import FloatArray
from skmixed.design.source import Source
from skmixed.design.tables import is_frame
from skmixed.estimators._encoder_columns import read_header
from skmixed.estimators._inputs import read_groups, with_placeholders
from skmixed.estimators._new_data import chosen_factors, match_names, read_new_data
from skmixed.estimators._prediction import PredictionRows
from skmixed.estimators._random_columns import RandomColumns
from skmixed.estimators._random_variances import effect_variances
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.exceptions import UnknownLevelWarning, warn


class EffectPredictions:
    """What a fitted `MixedEffectsRegressor` says of rows and levels."""

    regressor_: Any  # f, fitted
    mixed_model_: MixedLinearRegressor | None  # of what f leaves; None without groups
    residual_variance_: float  # of that model, in squared units of y
    n_groups_: dict[str, int]  # number of levels of every factor
    _roles: RandomColumns

    @property
    def random_effects_(self) -> dict[str, pd.DataFrame]:
        """BLUPs of every factor."""
        check_is_fitted(self)
        return {} if self.mixed_model_ is None else self.mixed_model_.random_effects_

    @property
    def random_effects_covariance_(self) -> dict[str, FloatArray]:
        """Conditional covariance of the random effects of every factor."""
        check_is_fitted(self)
        return {} if self.mixed_model_ is None else self.mixed_model_.random_effects_covariance_

    @property
    def random_covariance_(self) -> dict[str, pd.DataFrame]:
        """Covariance matrix of the random effects of every factor."""
        check_is_fitted(self)
        return {} if self.mixed_model_ is None else self.mixed_model_.random_covariance_

    def predict(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
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

        Returns
        -------
        ndarray of shape (n,)
            f(X) + Z b, in units of y. A row whose level of a factor is unknown or missing gets no
            effect of that factor, unless `handle_unknown` says otherwise.

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
        return self._predicted(X, groups, random)[0]

    def predict_interval(
        self, X: Any, groups: Any = None, *, level: float = 0.95, kind: str = "observation"
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
            As in `predict`, and for a level that is no probability.

        Notes
        -----
        The prediction plus and minus so many standard deviations of the normal distribution, at the
        variances of the model of residuals: that of Z b, for unknown levels that of their
        distribution, and for an observation the residual variance, which has the errors that f
        makes of other groups in it. An interval for the mean takes f for known.
        """
        if not 0.0 < level < 1.0:
            raise ValueError(f"level={level} is no probability between 0 and 1")
        if kind not in ("observation", "mean"):
            raise ValueError(f"kind={kind!r} is not 'observation' or 'mean'")
        prediction, source = self._predicted(X, groups, "all")
        variance = np.zeros(len(prediction))
        if source is not None and self.mixed_model_ is not None:
            variance += effect_variances(self.mixed_model_, source)
        if kind == "observation":
            variance += self.residual_variance_
        half = special.ndtri(0.5 + 0.5 * level) * np.sqrt(variance)
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
        self, X: Any, groups: Any, random: str | Sequence[str]
    ) -> tuple[FloatArray, Source | None]:
        """Return predictions, (n,), and the rows as the model of residuals sees them.

        The rows are None where no random effect is added.
        """
        check_is_fitted(self)
        wanted = chosen_factors(random, list(self.n_groups_))
        columns = self._roles.columns
        if is_frame(X) and not wanted and columns.groups:
            X = with_placeholders(X, columns)
        X = read_header(self, X, reset=False)
        given = self._given(groups, len(X), need_groups=bool(wanted))
        features = self._roles.features(X)
        prediction = np.array(self.regressor_.predict(features), dtype=np.float64).ravel()
        model = self.mixed_model_
        if model is None or not wanted:
            return prediction, None
        table = self._roles.table(X, given)
        source = read_new_data(model, table, None, need_groups=True)
        predicted = PredictionRows.read(model, source, wanted)
        prediction += predicted.means(model) - predicted.fixed_part(model)
        return prediction, source

    def _given(self, groups: Any, n_rows: int, *, need_groups: bool) -> dict[str, Any] | None:
        """Return the columns of the argument `groups` under the names of the fit.

        Warns if they are missing and needed; raises ValueError if the fit had none, or others.
        """
        columns = self._roles.columns
        if groups is None:
            if columns.from_argument and need_groups:
                warn(
                    f"no labels of {list(columns.from_argument)} are given to a model that was "
                    "fitted with them, so its random effects are left out. Pass groups=..., or say "
                    "random='none' if that is meant",
                    UnknownLevelWarning,
                )
            return None
        if not columns.from_argument:
            if columns.groups and not need_groups:
                return None
            having = f"grouping columns {list(columns.groups)} of X" if columns.groups else "none"
            raise ValueError(f"groups were given, but the model was fitted with {having}")
        found = match_names(read_groups(groups), columns.from_argument)
        check_consistent_length(np.empty(n_rows), *found.values())
        return found
