"""The predictions of generalized linear mixed models, and how sure they are."""

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
from skmixed.estimators._estimator import check_choice, refuse_beside_interval
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
        all_columns: bool = True,  # also those of effects that are not wanted
    ) -> KnownPredictor:
        """Validate the arguments of a prediction, and read its rows."""
        _, rows, log_exposure = model._rows_to_predict(
            fitted, X, groups, random, all_columns=all_columns
        )
        if all_columns:
            rows.refuse_parts("take linear_predictor, or averaging='plug-in' without return_std")
        center = rows.means(model.handle_unknown)
        if log_exposure is not None:
            center += log_exposure
        return cls(fitted, rows, center)

    @property
    def variance(self) -> FloatArray:
        """Variance of the random effects, (n,).

        It is that given the data of levels that are known and wanted, otherwise that between all.
        Curves of all rows have none: as coefficients, they are taken as estimated.
        """
        rows, grouped = self.rows.rows_of_wanted, tuple(not each for each in self.rows.is_whole)
        return np.maximum(effect_variances(self.fitted.working, rows, grouped), 0.0)

    def means(self, *, averages: bool) -> FloatArray:
        """Return the mean responses, (n,), averaged over what is not known of effects or not."""
        family = self.fitted.fit.mean_family
        if averages:
            return family.integrated_mean(self.center, self.variance)
        return family.mean(self.center)

    def half_width(self, level: float) -> FloatArray:
        """Return half the width of intervals of the linear predictor, (n,), NaN where it is."""
        fitted = self.fitted
        half = predictor_errors(fitted.fit, fitted.working, self.rows.rows).half_widths(level)
        return np.asarray(np.where(np.isnan(self.center), np.nan, half))

    def limits(self, level: float) -> FloatArray:
        """Return intervals of the mean, (n, 2)."""
        half, family = self.half_width(level), self.fitted.fit.mean_family
        return np.column_stack([family.mean(self.center - half), family.mean(self.center + half)])

    def observation_limits(self, level: float, sizes: FloatArray | None) -> FloatArray:
        """Return intervals of observations, (n, 2), of numbers of trials or exposures (n,).

        Raises ValueError for shares without numbers of trials.
        """
        fit = self.fitted.fit
        if sizes is None and fit.mean_family.counts_trials:
            raise ValueError(
                "a share of trials has an interval once their number is known: give it as "
                "sample_weight, or ask for kind='mean', the interval of the probability"
            )
        half = self.half_width(level)
        return observation_limits(fit.mean_family, fit.phi, self.center, half, level, sizes)

    def deviation(self, *, averages: bool) -> FloatArray:
        """Return the standard errors of the mean, (n,), averaged over effects not wanted or not."""
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
    """What a fitted generalized linear mixed model says of the responses of new rows."""

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
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict the mean of the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`, that of exposures among them. A model with a formula picks its
            columns by name: others, the response and their order do not matter.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        random : {"all", "none"}, list of str, or str, default="all"
            Factors whose levels are looked at: all, none, or those named. Levels of the others are
            taken as unknown. With ``averaging="plug-in"`` also bars of a formula, ``"(1 | g)"``,
            which name some effects of a factor.
        return_std : bool, default=False
            Whether to return standard errors too.
        interval : float or None, default=None
            Probability of intervals for observations, which are then returned beside the
            predictions: ``predict`` of a pipeline hands it on.
        missing : {"raise", "nan"} or None, default=None
            Whether rows with missing values in columns that are needed are an error, or have NaN
            for predictions, as in R. None is "raise", or "nan" of a model by na_action="exclude".

        Returns
        -------
        y_mean : ndarray of shape (n,)
            In units of y. With ``averaging="integrate"`` they are averaged over what is not known
            of the random effects: of a known level given its data, of an unknown one over all
            groups. So ``random="none"`` is the mean of the population. With `interval` of shape (n,
            3): these, and the ends that `predict_interval` returns.
        y_std : ndarray of shape (n,)
            Standard errors of these, if return_std is True: how far the mean of the row's groups
            may be off, all parameters but the dispersion being estimates. A level that is not known
            widens it by how much groups differ, a factor that is not looked at does not. The
            noise of single observations is not in it; see `predict_interval`. With
            ``averaging="plug-in"`` it is that of the linear predictor times the slope of the
            inverse link, as in glmmTMB.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, an unknown factor in `random`, and, if handle_unknown="error", for
            unknown levels. With `interval` also as in `predict_interval`, and beside
            return_std=True or another `random`.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        if interval is not None:
            refuse_beside_interval(random, return_std)
            check_probability(interval)
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
            return np.column_stack([means, known.observation_limits(interval, None)])
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
        """Predict intervals that hold the response, or its mean, with a given probability.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels of groups, if they were given as `groups` to `fit`.
        level : float, default=0.95
            Probability, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            Whether the interval is for a new observation of the row, or for the mean of all
            observations that could be made of it in its groups.
        sample_weight : None or array-like of shape (n,), default=None
            Positive weights, for observations: numbers of trials of shares, without which these
            have no interval; exposures of counts, whose rates are then meant. Other families
            have no use for them.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, in units of y. NaN for rows whose prediction is, and for those
            that depend on an infinite coefficient.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`; for a level that is no probability, weights that are not positive, and
            observations of shares without numbers of trials.

        See Also
        --------
        predict : Predictions, with standard errors if return_std is True.

        Notes
        -----
        The linear predictor has the interval eta -+ t s, and the mean that which the inverse link
        makes of its ends. s^2 is the variance of the random effects given the data, between groups
        for a level that is not known, and what the estimation of coefficients and variances adds:
        the standard error of glmmTMB [1]_. t is the quantile of the t distribution with
        Satterthwaite's degrees of freedom, about the number of levels less one for a new level. It
        does not depend on `averaging`.

        The ends for an observation are quantiles of the mixture of the family's distributions over
        a normal eta, its deviation such that it has the interval above. Of counts the interval
        holds at least the probability that is asked for. The dispersion is taken as known.

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
    """Return intervals of observations, (n, 2), by mixtures over what the intervals are of."""
    deviation = half / stats.norm.ppf((1.0 + level) / 2.0)
    mixture = Mixture(family, phi, center, deviation, sizes)
    tails = ((1.0 - level) / 2.0, (1.0 + level) / 2.0)
    return np.column_stack([mixture.quantiles(tail) for tail in tails])
