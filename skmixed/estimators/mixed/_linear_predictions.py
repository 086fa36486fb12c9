"""Predictions of linear mixed models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, overload

import numpy as np
from sklearn.utils.validation import check_scalar

from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.model.spec import Weighting
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.surroundings import surroundings
from skmixed.core.rows.prediction_errors import PredictionErrors, mean_variances
from skmixed.estimators._estimator import (
    FittedEstimator,
    UnknownLevels,
    check_choice,
    refuse_beside_interval,
)
from skmixed.estimators.mixed._diagnosis import check_residual
from skmixed.estimators.mixed._following_rows import FollowingRows, columns_needed
from skmixed.estimators.mixed._linear_state import LinearState
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._numbers import read_weights
from skmixed.estimators.reading._prediction_rows import (
    PredictionRows,
    prediction_pivots,
    simulate_rows,
)
from skmixed.inference.fixed_effects.testing import check_probability
from skmixed.inference.parameter_values import ParameterValues


class LinearPredictions(FittedEstimator[LinearState]):
    """Predictions of a fitted linear mixed model."""

    handle_unknown: UnknownLevels
    weighting: Weighting

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
        serial: bool = False,
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
        serial: bool = False,
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
        serial: bool = False,
        missing: MissingRows | None = None,
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Predict the response.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Data with the columns seen in `fit`. A model with a formula picks its columns by name,
            so that column order and further columns do not matter. With ``random="none"`` a data
            frame may lack the grouping columns.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        random : {"all", "none"}, list of str, or str, default="all"
            Random effects to include: all, none (population-level predictions), those of the
            grouping factors named, or single terms of a formula such as ``"(1 | g)"`` (lme4's
            ``re.form``). Standard errors are not available for single terms.
        return_std : bool, default=False
            Whether to return standard errors as well.
        interval : float or None, default=None
            Coverage of prediction intervals to return alongside the predictions, such as 0.95;
            unlike `predict_interval`, this works through a pipeline's ``predict``.
        serial : bool, default=False
            Whether to forecast: with ``residual="ar1(...)"`` or ``"car1(...)"``, rows after the
            last training row of their series carry over what remains of its residual. Rows of other
            series, and earlier rows, are unaffected. If the structure names no column of visits,
            rows follow in the order given.
        missing : {"raise", "nan"} or None, default=None
            Whether missing values in the columns the model needs raise an error or give NaN
            predictions, as in R. None means "nan" for a model fitted with na_action="exclude",
            otherwise "raise".

        Returns
        -------
        y_mean : ndarray of shape (n_samples,)
            Predictions X beta + Z b, in units of y. Rows with an unknown or missing level get no
            random effect of that factor, unless `handle_unknown` says otherwise. With `interval`,
            of shape (n_samples, 3): the predictions and the limits that `predict_interval` returns.
        y_std : ndarray of shape (n_samples,)
            Standard errors of the predictions, if return_std is True: the root mean squared error
            of prediction of X beta + Z b at the estimated variances. Unknown levels add the
            variance between groups; residual noise is not included (see `predict_interval`).

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            If the input is invalid, `random` names an unknown grouping factor, or there are unknown
            levels and handle_unknown="error". With `interval`, also as in `predict_interval`, and
            if return_std=True or another `random` is given. With serial=True, also for other
            residual structures, if columns of the structure are missing, or if another `random` is
            given.

        Warns
        -----
        UnknownLevelWarning
            If the model was fitted with groups and none are given.
        """
        if leaves_gaps(self._state(), missing):
            complete = CompleteRows.to_predict(self._state(), X, groups, random)
            settings: dict[str, Any] = {"return_std": return_std, "interval": interval}
            settings |= {"random": random, "serial": serial, "missing": "raise"}
            return complete.predicted(self.predict, **settings)
        if interval is not None:
            refuse_beside_interval(random, return_std)
            check_probability(interval, "interval")
            means, half = self._means_and_half_widths(
                X, groups, interval, observation=True, serial=serial
            )
            return np.column_stack([means, means - half, means + half])
        fitted = self._state()
        if serial:
            if random != "all":
                raise ValueError(
                    "serial=True forecasts from residuals given all random effects, but "
                    f"random={random!r} leaves some out"
                )
            return self._forecast(fitted, X, groups, return_std=return_std)
        _, rows = fitted.predictor.read(self, X, groups, random)
        means = rows.means(self.handle_unknown)
        if not return_std:
            return means
        check_residual(fitted.fit)
        rows.refuse_parts("leave return_std out, or name the whole factor")
        return means, np.where(np.isnan(means), np.nan, rows.deviations(fitted.posterior))

    def _forecast(
        self, fitted: LinearState, X: Any, groups: Any, *, return_std: bool
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Return predictions that carry over the last residuals, as `predict`."""
        check_residual(fitted.fit)
        rows, following = self._following(fitted, X, groups, serial=True, noise=False)
        means = rows.means(self.handle_unknown) + following.added_by(fitted.posterior, fitted.fit)
        if not return_std:
            return means
        variances = mean_variances(fitted.posterior, following.rows_at(fitted.fit))
        return means, np.where(np.isnan(means), np.nan, np.sqrt(variances))

    def _following(
        self, fitted: LinearState, X: Any, groups: Any, *, serial: bool, noise: bool
    ) -> tuple[PredictionRows, FollowingRows]:
        """Read rows of a model with a residual structure, and what is known of their residuals."""
        needed = columns_needed(fitted, serial=serial, noise=noise)
        source, rows = fitted.predictor.read(self, X, groups, "all", residual=needed)
        following = FollowingRows.of(fitted, source, rows.rows, serial=serial, noise=noise)
        if self.handle_unknown != "nan":
            following.refuse_unknown()
        return rows, following

    def predict_interval(
        self,
        X: Any,
        groups: Any = None,
        *,
        level: float = 0.95,
        kind: Literal["observation", "mean"] = "observation",
        method: Literal["analytic", "bootstrap"] = "analytic",
        n_samples: int = 1000,
        random_state: Any = None,
        serial: bool = False,
    ) -> FloatArray:
        """Predict intervals for the response or for its mean.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples_X, n_features)
            Data with the columns seen in `fit`, as in `predict`.
        groups : array-like of shape (n_samples_X,) or (n_samples_X, n_factors), default=None
            Group labels, if `fit` was given `groups`.
        level : float, default=0.95
            Nominal coverage of the interval, between 0 and 1.
        kind : {"observation", "mean"}, default="observation"
            "observation" for a prediction interval of a new observation, "mean" for a confidence
            interval of X beta + Z b, the mean in the groups of the row.
        method : {"analytic", "bootstrap"}, default="analytic"
            "analytic" takes the quantiles of a t distribution, "bootstrap" those of the
            standardised prediction errors of a parametric bootstrap, which allows for the
            uncertainty of the variances.
        n_samples : int, default=1000
            Number of bootstrap replicates.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed or generator of the bootstrap.
        serial : bool, default=False
            Whether to forecast rows after the last of their series, as in `predict`. With
            kind="mean" the interval is then for the mean given the earlier rows.

        Returns
        -------
        ndarray of shape (n_samples_X, 2)
            Lower and upper limits, in units of y; NaN for rows whose prediction is NaN.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`; if `level` is not between 0 and 1, or the fit leaves no residual
            variance. For the bootstrap, also after `update_groups`, with several large factors, or
            with a residual structure. For observations of strata or visits not seen in `fit`,
            unless handle_unknown="nan".

        See Also
        --------
        predict : Predictions, with standard errors if return_std is True.

        Notes
        -----
        The interval is prediction -+ t s. s^2 is the squared standard error that `predict` returns,
        in which unknown levels have the variance between groups [1]_; for an observation, plus the
        residual variance of a row of weight one, or that of its stratum or visit; and plus twice
        the variance due to estimating the variance parameters [2]_ [3]_. t is a quantile of the t
        distribution with Satterthwaite's degrees of freedom [4]_ for each row: n - p without random
        effects, where this is the interval of ordinary least squares, and about the number of
        levels less one for a new level.

        The bootstrap simulates data from the fitted model, refits, and replaces the quantiles of t
        by those of (truth - prediction) / s over the replicates, where s^2 has the first two parts
        only [5]_. Each replicate costs a refit and a pass over the rows.

        References
        ----------
        .. [1] Henderson, C. R. (1975). Best linear unbiased estimation and prediction under a
           selection model. Biometrics 31(2), :doi:`10.2307/2529430`.
        .. [2] Kackar, R. N. & Harville, D. A. (1984). Approximations for standard errors of
           estimators of fixed and random effects in mixed linear models. Journal of the American
           Statistical Association 79(388), :doi:`10.2307/2288715`, eq. 3.
        .. [3] Prasad, N. G. N. & Rao, J. N. K. (1990). The estimation of the mean squared error of
           small-area estimators. Journal of the American Statistical Association 85(409),
           :doi:`10.2307/2289570`, section 3.
        .. [4] Satterthwaite, F. E. (1946). An approximate distribution of estimates of variance
           components. Biometrics Bulletin 2(6), :doi:`10.2307/3002019`, eq. 17.
        .. [5] Chatterjee, S., Lahiri, P. & Li, H. (2008). Parametric bootstrap approximation to the
           distribution of EBLUP and related prediction intervals in linear mixed models. Annals of
           Statistics 36(3), :doi:`10.1214/07-AOS512`, section 3.

        Examples
        --------
        >>> import pandas as pd
        >>> from skmixed import MixedLinearRegressor
        >>> from skmixed.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True)
        >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
        >>> rows = pd.DataFrame({"Days": [9, 9], "Subject": ["308", "new"]})
        >>> model.predict_interval(rows, kind="mean").round(1)
        array([[401.5, 459.8],
               [213.7, 477.6]])
        """
        check_choice("kind", kind, ("observation", "mean"))
        check_choice("method", method, ("analytic", "bootstrap"))
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        observation = kind == "observation"
        if method == "analytic":
            means, half = self._means_and_half_widths(
                X, groups, level, observation=observation, serial=serial
            )
            return np.column_stack([means - half, means + half])
        check_probability(level)
        fitted = self._state()
        if isinstance(fitted.fit, ResidualFit):
            raise ValueError(
                "method='bootstrap' simulates independent residuals of equal variance, but this "
                f"model has residual={self.residual!r}: use method='analytic'"
            )
        _, rows = fitted.predictor.read(self, X, groups, "all")
        check_residual(fitted.fit)
        means = rows.means(self.handle_unknown)
        tails = np.array([(1.0 - level) / 2.0, (1.0 + level) / 2.0])
        squares = np.square(rows.deviations(fitted.posterior))
        squares += fitted.fit.sigma2 if observation else 0.0
        generator = generator_of(random_state)
        quantiles = _bootstrap_quantiles(fitted, rows, tails, observation, n_samples, generator)
        return np.asarray(means + quantiles * np.sqrt(squares)).T

    def _means_and_half_widths(
        self, X: Any, groups: Any, level: float, *, observation: bool, serial: bool
    ) -> tuple[FloatArray, FloatArray]:
        """Return predictions and half widths of their intervals, (n,) each."""
        check_probability(level)
        fitted = self._state()
        check_residual(fitted.fit)
        if not serial and not isinstance(fitted.fit, ResidualFit):
            _, rows = fitted.predictor.read(self, X, groups, "all")
            half = half_widths(fitted, rows, level, observation=observation)
            return rows.means(self.handle_unknown), half
        rows, following = self._following(fitted, X, groups, serial=serial, noise=observation)
        nearby = surroundings(fitted.fit) if isinstance(fitted.fit, ResidualFit) else None
        errors = PredictionErrors.about(fitted.fit, fitted.posterior, following, nearby)
        means = rows.means(self.handle_unknown) + following.added_by(fitted.posterior, fitted.fit)
        return means, errors.half_widths(level)

    def simulate(
        self,
        X: Any,
        groups: Any = None,
        *,
        sample_weight: Any = None,
        parameters: Mapping[str, float] | None = None,
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
            Positive weights, only with ``weighting="precision"``: the residual variance of a row is
            divided by its weight. If None, the weights that `lmer` was given as an expression are
            read from X.
        parameters : mapping of str to float or None, default=None
            Parameter values to use in place of the estimates (lme4's ``newparams``), named as in
            `skmixed.inference.confidence_intervals`: coefficients, ``sd_x|g``, ``cor_x.z|g`` and
            ``sigma``. Other parameters keep their estimates, and so do the BLUPs of
            ``random="fitted"``.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed or generator of the random numbers.
        random : {"new", "fitted"}, default="new"
            Random effects to use: "new" draws them from their estimated distribution, as lme4's
            ``simulate``, "fitted" uses the BLUPs of known levels (lme4's ``use.u``); unknown levels
            always get new ones.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples)
            Responses in units of y, a column per draw. The residual variance is that of a row of
            weight one, or of its stratum or visit, and rows of a series are correlated according to
            the residual structure.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, if group labels are missing, the fit leaves no residual variance,
            weights are not positive or not precisions, or `parameters` are unknown or invalid.

        See Also
        --------
        predict_interval : Prediction intervals.
        skmixed.inference.sim : Simulate the coefficients as well.

        Notes
        -----
        Coefficients and variances are held at their estimates, unless set in `parameters`.

        References
        ----------
        .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
           models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
           section 5.

        Examples
        --------
        >>> from skmixed import MixedLinearRegressor
        >>> from skmixed.datasets import load_sleepstudy
        >>> X, y = load_sleepstudy(return_X_y=True)
        >>> model = MixedLinearRegressor("(1 + Days | Subject)").fit(X, y)
        >>> model.simulate(X, n_samples=3, random_state=0).shape
        (180, 3)
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_choice("random", random, ("new", "fitted"))
        fitted = self._state()
        structure = fitted.design.residual
        names = () if structure is None else structure.parts.columns
        source, rows = fitted.predictor.read(self, X, groups, "all", residual=names)
        check_residual(fitted.fit)
        if self.weighting == "precision":
            sample_weight = self._weights_of(fitted, X, sample_weight)
        weights = self._precisions(sample_weight, source.n_rows)
        values = None if parameters is None else ParameterValues.of(fitted.fit, parameters)
        generator = generator_of(random_state)
        return simulate_rows(
            fitted.fit, source, rows, n_samples, random, generator, values, weights
        )

    def _precisions(self, sample_weight: Any, n_rows: int) -> FloatArray | None:
        """Read the weights of rows to simulate, (n,)."""
        weights = read_weights(sample_weight, n_rows)
        if weights is None:
            return None
        if self.weighting != "precision":
            raise ValueError(
                "sample_weight counts rows if weighting='frequency', and each simulated row is "
                "one: repeat the rows, or fit with weighting='precision'"
            )
        if not weights.all():
            raise ValueError(
                f"sample_weight is 0 in row {int(np.argmin(weights))}, where nothing can be "
                "observed: leave such rows out"
            )
        return weights


def half_widths(
    fitted: LinearState, rows: PredictionRows, level: float, *, observation: bool
) -> FloatArray:
    """Return half widths of intervals from quantiles of t, (n,)."""
    errors = PredictionErrors.of(fitted.fit, fitted.posterior, rows.rows, observation=observation)
    return errors.half_widths(level)


def _bootstrap_quantiles(
    fitted: LinearState,
    rows: PredictionRows,
    tails: FloatArray,
    observation: bool,
    n_samples: int,
    generator: np.random.Generator,
) -> FloatArray:
    """Return quantiles at `tails` of the bootstrap's standardised prediction errors, (2, n)."""
    if fitted.posterior is not fitted.fit:
        raise ValueError(
            "method='bootstrap' refits the model to its training data, to which update_groups "
            "has added rows: call partial_fit with the rows instead, or use method='analytic'"
        )
    pivots = prediction_pivots(
        fitted.fit,
        rows.rows,
        observation=observation,
        n_samples=n_samples,
        generator=generator,
    )
    return np.quantile(pivots, tails, axis=0)
