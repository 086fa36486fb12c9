"""Predictions of generalized linear mixed models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, overload

import numpy as np
from scipy import stats

from skmixed.core.families.family import MeanFamily
from skmixed.core.generalized.after_fit.predictive import Mixture
from skmixed.core.generalized.after_fit.predictor_errors import predictor_errors
from skmixed.core.linalg import FloatArray
from skmixed.core.rows.prediction_errors import effect_variances, of_unknown_levels
from skmixed.estimators._estimator import (
    Averaging,
    averaged_as,
    check_choice,
    refuse_beside_interval,
)
from skmixed.estimators.mixed._generalized_estimator import BaseGeneralized
from skmixed.estimators.mixed._generalized_state import GeneralizedState
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._numbers import read_positive_weights
from skmixed.estimators.reading._prediction_rows import PredictionRows
from skmixed.inference.fixed_effects.testing import check_probability


@dataclass(frozen=True, slots=True, eq=False)
class KnownPredictor:
    """Rows with what a fit knows of their linear predictor."""

    fitted: GeneralizedState
    rows: PredictionRows
    center: FloatArray  # (n,), at the modes of known levels, offsets and exposures in it

    @classmethod
    def read(
        cls,
        model: Any,
        fitted: GeneralizedState,  # of the model
        X: Any,
        groups: Any,
        random: str | Sequence[str] = "all",
        *,
        all_columns: bool = True,  # also those of random effects that are not selected
    ) -> KnownPredictor:
        """Validate the arguments of a prediction, and read its rows."""
        _, rows, log_exposure = model._rows_to_predict(
            fitted, X, groups, random, all_columns=all_columns
        )
        if all_columns:
            rows.refuse_parts("use linear_predictor, or averaging='plug-in' without return_std")
        center = rows.means(model.handle_unknown)
        if log_exposure is not None:
            center += log_exposure
        return cls(fitted, rows, center)

    @property
    def variance(self) -> FloatArray:
        """Variance of the random effects, (n,).

        Conditional on the data for known and wanted levels, otherwise that between levels. Smooth
        curves common to all rows have none: like coefficients, they are taken as estimated.
        """
        rows, grouped = self.rows.rows_of_wanted, tuple(not each for each in self.rows.is_whole)
        return np.maximum(effect_variances(self.fitted.working, rows, grouped), 0.0)

    def means(self, *, averages: bool) -> FloatArray:
        """Return the mean responses, (n,), averaged over uncertain random effects or not."""
        family = self.fitted.fit.mean_family
        if averages:
            return family.integrated_mean(self.center, self.variance)
        return family.mean(self.center)

    def half_width(self, level: float) -> FloatArray:
        """Return half widths of intervals of the linear predictor, (n,), NaN where it is NaN."""
        fitted = self.fitted
        half = predictor_errors(fitted.fit, fitted.working, self.rows.rows).half_widths(level)
        return np.asarray(np.where(np.isnan(self.center), np.nan, half))

    def limits(self, level: float) -> FloatArray:
        """Return intervals of the mean, (n, 2)."""
        half, family = self.half_width(level), self.fitted.fit.mean_family
        return np.column_stack([family.mean(self.center - half), family.mean(self.center + half)])

    def observation_limits(self, level: float, sizes: FloatArray | None) -> FloatArray:
        """Return prediction intervals, (n, 2), given numbers of trials or exposures, (n,).

        Raises ValueError for proportions without numbers of trials.
        """
        fit = self.fitted.fit
        if sizes is None and fit.mean_family.counts_trials:
            raise ValueError(
                "a prediction interval of a proportion requires the number of trials: pass it "
                "as sample_weight, or use kind='mean' for an interval of the probability"
            )
        half = self.half_width(level)
        return observation_limits(fit.mean_family, fit.phi, self.center, half, level, sizes)

    def deviation(self, *, averages: bool) -> FloatArray:
        """Return standard errors of the mean, (n,), averaged over excluded effects or not."""
        fit, working, wanted = self.fitted.fit, self.fitted.working, self.rows.wanted
        rows, family = self.rows.rows_of_wanted, fit.mean_family
        if not averages:
            slope = family.mean_slope(family.mean(self.center))
            return np.asarray(slope * predictor_errors(fit, working, rows, wanted).roots)
        others = tuple(not keep for keep in wanted)
        averaged = of_unknown_levels(working, rows, others)
        grouped = tuple(k and not w for k, w in zip(wanted, self.rows.is_whole, strict=True))
        known = np.maximum(effect_variances(working, rows, grouped), 0.0)
        weight = family.variance_weight(self.center, known + averaged)
        errors = predictor_errors(fit, working, rows, wanted, weight)
        return family.mean_deviation(self.center, errors.squares, averaged)


class GeneralizedPredictions(BaseGeneralized):
    """Predictions of a fitted generalized linear mixed model."""

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
            Data with the columns seen in `fit`, including the exposure. A model with a formula
            picks its columns by name, so that column order and further columns do not matter.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"}, list of str, or str, default="all"
            Grouping factors whose levels are used: all, none, or those named. Levels of the other
            factors are treated as unknown. With ``averaging="plug-in"``, also single terms of a
            formula, ``"(1 | g)"``.
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
            ``random="none"`` thus gives the population mean. With `interval`, of shape (n_samples,
            3): the predictions and the limits that `predict_interval` returns.
        y_std : ndarray of shape (n_samples,)
            Standard errors of the mean in the groups of the row, if return_std is True, allowing
            for the estimation of all parameters but the dispersion. Unknown levels add the
            variation between groups; factors excluded by `random` do not, and residual noise is not
            included (see `predict_interval`). With ``averaging="plug-in"``, the standard error of
            the linear predictor times the slope of the inverse link, as in glmmTMB.

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
        averages = self._averages(fitted)
        if leaves_gaps(fitted, missing):
            rows = CompleteRows.to_predict(fitted, X, groups, "all" if averages else random)
            settings: dict[str, Any] = {"return_std": return_std, "interval": interval}
            return rows.predicted(self.predict, **settings, random=random, missing="raise")
        several = averages or return_std or interval is not None
        known = KnownPredictor.read(self, fitted, X, groups, random, all_columns=several)
        means = known.means(averages=averages)
        if interval is not None:
            sizes = self._sizes_told(fitted, X, None)
            return np.column_stack([means, known.observation_limits(interval, sizes)])
        return (means, known.deviation(averages=averages)) if return_std else means

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
        sample_weight: Any = None,
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
            interval of the mean in the groups of the row.
        sample_weight : array-like of shape (n_samples,), default=None
            Positive weights, for observations: numbers of trials of proportions, which have no
            interval without them; exposures of counts, for intervals of rates. Other families
            ignore them. If None, those named by the formula of `glmer` are read from X, if they are
            there.

        Returns
        -------
        ndarray of shape (n_samples, 2)
            Lower and upper limits, in units of y; NaN for rows whose prediction is NaN or depends
            on an infinite coefficient.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`; if `level` is not between 0 and 1, weights are not positive, or
            proportions have no numbers of trials.

        See Also
        --------
        predict : Predictions, with standard errors if return_std is True.

        Notes
        -----
        The linear predictor has the interval eta -+ t s, whose limits the inverse link maps to the
        mean. s^2 comprises the conditional variance of the random effects given the data (that
        between groups for unknown levels) and the uncertainty of the estimated coefficients and
        variances, as glmmTMB's standard error [1]_. t is a quantile of the t distribution with
        Satterthwaite's degrees of freedom, about the number of levels less one for a new level. The
        interval does not depend on `averaging`.

        For an observation, the limits are quantiles of the family's distribution mixed over a
        normal eta whose standard deviation matches that interval. For counts the coverage is at
        least `level`. The dispersion is treated as known.

        References
        ----------
        .. [1] Kass, R. E. & Steffey, D. (1989). Approximate Bayesian inference in conditionally
           independent hierarchical models. Journal of the American Statistical Association 84(407),
           :doi:`10.1080/01621459.1989.10478825`.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skmixed import MixedGeneralizedRegressor
        >>> X = pd.DataFrame({"shop": np.arange(200) % 20})
        >>> visits = np.random.default_rng(0).poisson(2.0 + X["shop"] % 3)
        >>> model = MixedGeneralizedRegressor("(1 | shop)").fit(X, visits)
        >>> shops = pd.DataFrame({"shop": [3, 99]})
        >>> model.predict_interval(shops, kind="mean").round(1)
        array([[1.7, 3.3],
               [1.6, 5.8]])
        >>> model.predict_interval(shops)
        array([[0., 6.],
               [0., 8.]])
        """
        check_probability(level)
        check_choice("kind", kind, ("observation", "mean"))
        fitted = self._state()
        known = KnownPredictor.read(self, fitted, X, groups)
        if kind == "mean":
            return known.limits(level)
        sample_weight = self._sizes_told(fitted, X, sample_weight)
        sizes = read_positive_weights(sample_weight, len(known.center))
        return known.observation_limits(level, sizes)


def observation_limits(
    family: MeanFamily,
    phi: FloatArray,
    center: FloatArray,  # (n,), the linear predictor
    half: FloatArray,  # (n,), half the width of its intervals
    level: float,
    sizes: FloatArray | None = None,  # (n,), trials or exposures
) -> FloatArray:
    """Return prediction intervals, (n, 2), from mixtures over intervals of the linear predictor."""
    deviation = half / stats.norm.ppf((1.0 + level) / 2.0)
    mixture = Mixture(family, phi, center, deviation, sizes)
    tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    return np.column_stack([mixture.quantiles(tail) for tail in tails])
