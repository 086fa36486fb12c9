"""Predictions of nonlinear mixed models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import _num_samples, check_scalar

from skmixed.core.linalg import FloatArray, generator_of
from skmixed.estimators._estimator import (
    Averaging,
    averaged_as,
    check_choice,
    refuse_beside_interval,
)
from skmixed.estimators.mixed._following_rows import columns_needed
from skmixed.estimators.mixed._generalized_estimator import refuse_missing
from skmixed.estimators.mixed._known_curve import KnownCurve
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.mixed._nonlinear_state import NonlinearAttributes, NonlinearState
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_weights, read_y
from skmixed.inference.fixed_effects.testing import check_probability


class NonlinearPredictions(NonlinearAttributes, RegressorMixin, MixedEstimator[NonlinearState]):
    """Predictions of a fitted nonlinear mixed model."""

    _state_type: ClassVar[type[NonlinearState]] = NonlinearState

    averaging: str
    handle_unknown: str

    __metadata_request__predict: ClassVar = {"groups": True, "interval": True}

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[False] = False,
        interval: float | None = None,
        missing: MissingRows | None = None,
        averaging: Averaging | None = None,
    ) -> FloatArray: ...

    @overload
    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: Literal[True],
        interval: float | None = None,
        missing: MissingRows | None = None,
        averaging: Averaging | None = None,
    ) -> tuple[FloatArray, FloatArray]: ...

    def predict(
        self,
        X: Any,
        groups: Any = None,
        *,
        random: str | Sequence[str] = "all",
        return_std: bool = False,
        interval: float | None = None,
        missing: MissingRows | None = None,
        averaging: Averaging | None = None,
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict the mean response.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`. Columns named in `inputs` or formulas are picked by
            name, so that column order and further columns do not matter.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose levels are used: all, none, or those named. Levels of the other
            factors are treated as unknown.
        return_std : bool, default=False
            Whether to return standard errors as well.
        interval : float or None, default=None
            Coverage of prediction intervals to return alongside the predictions, such as 0.95;
            unlike `predict_interval`, this works through a pipeline's ``predict``.
        missing : {"raise", "nan"} or None, default=None
            Whether missing values in the columns the model needs raise an error or give NaN
            predictions, as in R. None means "nan" for a model fitted with na_action="exclude",
            otherwise "raise".
        averaging : {"integrate", "plug-in"} or None, default=None
            Treatment of uncertain random effects, in place of that of the constructor, which None
            keeps. "plug-in" is that of lme4's ``predict``.

        Returns
        -------
        y_mean : ndarray of shape (n_samples,)
            Mean responses, in units of y. With ``averaging="integrate"``, averaged over the random
            effects: given their data for known levels, over the population for unknown ones.
            ``random="none"`` is thus the population mean, which is not the curve of any one group.
            With ``averaging="plug-in"``, the curve at the conditional modes, zero for unknown
            levels. With `interval`, of shape (n_samples, 3): the predictions and the limits that
            `predict_interval` returns.
        y_std : ndarray of shape (n_samples,)
            Standard errors of the curve, if return_std is True: from the uncertainty of the random
            effects and the coefficients, without residual noise.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, `random` names an unknown grouping factor, or there are unknown
            levels and handle_unknown="error". With `interval`, also as in `predict_interval`, and
            if return_std=True or another `random` is given.

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if averaging is not None:
            found: FloatArray | tuple[FloatArray, FloatArray] = averaged_as(
                self, averaging
            ).predict(
                X, groups, random=random, return_std=return_std, interval=interval, missing=missing
            )
            return found
        if interval is not None:
            refuse_beside_interval(random, return_std)
            check_probability(interval, "interval")
        fitted = self._state()
        if leaves_gaps(fitted, missing):
            rows = CompleteRows.to_predict(fitted, X, groups)
            settings: dict[str, Any] = {"return_std": return_std, "interval": interval}
            return rows.predicted(self.predict, **settings, random=random, missing="raise")
        needed = columns_needed(fitted, serial=False, noise=interval is not None)
        known = KnownCurve.read(self, fitted, X, groups, random, needed)
        means = known.values(averages=self.averaging == "integrate")
        if interval is not None:
            noise = known.noise(self.handle_unknown)
            return np.column_stack([means, known.limits(interval, noise)])
        return (means, known.deviations()) if return_std else means

    def _linear_predictor(self, *arguments: Any, **settings: Any) -> FloatArray:
        """Raise TypeError: only the parameters are linear."""
        raise TypeError(
            f"a {type(self).__name__} has curves instead of a linear predictor: use "
            "predict_parameters for the linear parts, or predict for the curves"
        )

    def _fitted_means(self, X: Any, groups: Any) -> FloatArray:
        """Return the curves at the conditional modes, (n,)."""
        return KnownCurve.read(self, self._state(), X, groups).values(averages=False)

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
            interval of the curve of the row's groups.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper limits, in units of y; NaN for rows whose prediction is NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, and if `level` is not between 0 and 1.

        Notes
        -----
        The curve parameters of a row are treated as normal about their estimates, with a covariance
        that comprises the conditional variance of the random effects (that between groups for
        unknown levels) and the uncertainty of the coefficients. The limits are quantiles of the
        resulting curve, mixed with the residual noise for an observation, and need not be symmetric
        about the prediction. The variance parameters are treated as known.

        Examples
        --------
        >>> import numpy as np
        >>> from skmixed import MixedNonlinearRegressor
        >>> rng = np.random.default_rng(0)
        >>> X = np.column_stack([np.tile(np.arange(1.0, 9.0), 10), np.repeat(np.arange(10), 8)])
        >>> top = 100.0 + 10.0 * rng.normal(size=10)[X[:, 1].astype(int)]
        >>> y = top / (1.0 + np.exp(-(X[:, 0] - 4.0))) + rng.normal(size=80)
        >>> model = MixedNonlinearRegressor("logistic", random="Asym | x1").fit(X, y)
        >>> model.predict_interval([[8.0, 3], [8.0, 99]]).round()
        array([[ 98., 102.],
               [ 85., 114.]])
        """
        check_probability(level)
        check_choice("kind", kind, ("observation", "mean"))
        fitted = self._state()
        is_noisy = kind == "observation"
        needed = columns_needed(fitted, serial=False, noise=is_noisy)
        known = KnownCurve.read(self, fitted, X, groups, residual=needed)
        n = len(known.inputs)
        return known.limits(level, known.noise(self.handle_unknown) if is_noisy else np.zeros(n))

    def predict_parameters(
        self, X: Any, groups: Any = None, *, random: str | Sequence[str] = "all"
    ) -> FloatArray:
        """Predict the parameters of the curve for each row.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"} or list of str, default="all"
            Grouping factors whose random effects are included, as in `predict`.

        Returns
        -------
        ndarray of shape (n_samples, n_parameters)
            Parameters in the order of `parameter_names_`, at the conditional modes of known levels.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`.
        """
        known = KnownCurve.read(self, self._state(), X, groups, random)
        return known.center.T + known.missing[:, None]

    def simulate(
        self,
        X: Any,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        n_samples: int = 1,
        random_state: Any = None,
        random: Literal["new", "fitted"] = "new",
    ) -> FloatArray:
        """Simulate new responses from the fitted model.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples_X, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples_X,) or (n_samples_X, n_factors), default=None
            Group labels, if `fit` was given `groups`. Rows with the same label share a random
            effect, whether or not the level was seen in `fit`; a row with a missing label has one
            of its own.
        sample_weight : array-like of shape (n_samples_X,), default=None
            Positive weights. With weighting="precision" they divide the residual variance;
            frequency weights have no effect. If None, the weights that `nlmer` was given as an
            expression are read from X.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed or generator of the random numbers.
        random : {"new", "fitted"}, default="new"
            Random effects to use: "new" draws them from their estimated distribution, "fitted" uses
            the conditional modes of known levels; unknown levels always get new ones.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples)
            Responses, a column per draw.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, and if group labels are missing.

        Notes
        -----
        Coefficients and variance parameters are held at their estimates.
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_choice("random", random, ("new", "fitted"))
        fitted = self._state()
        structure = fitted.design.residual
        names = () if structure is None else structure.parts.columns
        known = KnownCurve.read(self, fitted, X, groups, residual=names)
        generator = generator_of(random_state)
        drawn = known.drawn_parameters(n_samples, random, generator)
        n = len(known.inputs)
        inputs = np.repeat(known.inputs, n_samples, axis=0)
        values = fitted.recipe.curve.value(drawn.reshape(len(drawn), -1), inputs)
        values = values.reshape(n, n_samples)
        noise = known.drawn_noise(values, generator)
        sample_weight = self._weights_of(fitted, X, sample_weight)
        weights = read_weights(sample_weight, n)
        if weights is not None and fitted.fit.spec.weighting == "precision":
            with np.errstate(divide="ignore"):
                noise /= np.sqrt(weights)[:, None]
        return values + noise

    def score(
        self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None
    ) -> float:
        """Return R^2, the fraction of the variance explained.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`.
        y : array-like of shape (n_samples,), default=None
            True response. If None, the response named by the formula of `nlmer` is read from X.
        sample_weight : array-like of shape (n_samples,), default=None
            Sample weights.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        float
            R^2 of ``predict(X, groups)``.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, and if a row has no prediction under handle_unknown="nan".
        """
        if y is None:
            X, y, sample_weight, groups = self._with_response(X, y, sample_weight, groups)
        table = InputTable.of(X)
        n_rows = _num_samples(table.values)
        truth, weights = read_y(y, n_rows), read_weights(sample_weight, n_rows)
        means = self.predict(table, groups)
        refuse_missing(means, "they have no prediction to score: leave them out")
        return float(r2_score(truth, means, sample_weight=weights))
