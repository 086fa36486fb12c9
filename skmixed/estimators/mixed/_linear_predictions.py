"""The predictions of linear mixed models, and how sure they are."""

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
    """What a fitted linear mixed model says of new rows."""

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
        X : array-like or data frame of shape (n, n_features)
            The columns as in `fit`. A model with a formula picks its columns by name: others, the
            response and their order do not matter. With ``random="none"`` grouping columns may be
            missing from a data frame.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`.
        random : {"all", "none"}, list of str, or str, default="all"
            Which random effects are added: all, none (the population), those of the factors named,
            or those that the bars of a formula name, ``"(1 | g)"`` of a model that has slopes, too
            (lme4's ``re.form``), whose errors are not known.
        return_std : bool, default=False
            Whether to return standard errors too.
        interval : float or None, default=None
            Probability of intervals for observations, which are then returned beside the
            predictions: ``predict`` of a pipeline hands it on.
        serial : bool, default=False
            Whether rows that follow the last row of their series, of a model with
            ``residual="ar1(...)"`` or ``"car1(...)"``, get what is left of its residual: a
            forecast. Rows of other series, and rows before the last, get nothing. Where the
            structure names no column of visits, the rows follow in the order in which they come.
        missing : {"raise", "nan"} or None, default=None
            Whether rows with missing values in columns that are needed are an error, or have NaN
            for predictions, as in R. None is "raise", or "nan" of a model by na_action="exclude".

        Returns
        -------
        y_mean : ndarray of shape (n,)
            X beta + Z b, in units of y and double precision. A row whose level of a factor is
            unknown or missing gets no effect of that factor, unless `handle_unknown` says
            otherwise. With `interval` of shape (n, 3): these, and the ends that `predict_interval`
            returns.
        y_std : ndarray of shape (n,)
            Standard errors of these, if return_std is True: the standard deviation of X beta + Z b
            about its prediction, at the estimated variances. An unknown level widens it by the
            variance of its effects. The noise of single observations is not in it; see
            `predict_interval`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            For invalid input, an unknown factor in `random`, and, if handle_unknown="error", for
            unknown levels. With `interval` also as in `predict_interval`, and beside
            return_std=True or another `random`. With serial=True for other residual structures,
            columns of it that are not there, and beside another `random`.

        Warns
        -----
        UnknownLevelWarning
            If no groups are given to a model that was fitted with them.
        """
        if leaves_gaps(self._state(), missing):
            complete = CompleteRows.to_predict(self._state(), X, groups, random)
            settings: dict[str, Any] = {"return_std": return_std, "interval": interval}
            settings |= {"random": random, "serial": serial, "missing": "raise"}
            return complete.predicted(self.predict, **settings)
        if interval is not None:
            refuse_beside_interval(random, return_std)
            means, half = self._means_and_half_widths(
                X, groups, interval, observation=True, serial=serial
            )
            return np.column_stack([means, means - half, means + half])
        fitted = self._state()
        if serial:
            if random != "all":
                raise ValueError(
                    "serial=True goes on from residuals given all random effects, of which "
                    f"random={random!r} leaves some out"
                )
            return self._forecast(fitted, X, groups, return_std=return_std)
        _, rows = fitted.predictor.read(self, X, groups, random)
        means = rows.means(self.handle_unknown)
        if not return_std:
            return means
        check_residual(fitted.fit)
        rows.refuse_parts("leave return_std out, or name the factor")
        return means, np.where(np.isnan(means), np.nan, rows.deviations(fitted.posterior))

    def _forecast(
        self, fitted: LinearState, X: Any, groups: Any, *, return_std: bool
    ) -> FloatArray | tuple[FloatArray, FloatArray]:
        """Return predictions that go on from the last residuals, as `predict`."""
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
            Whether the interval is for a new observation of the row, or for X beta + Z b, the mean
            of all observations that could be made of it in its groups.
        method : {"analytic", "bootstrap"}, default="analytic"
            Whether the quantiles are those of a t distribution, or of the standardised errors of a
            parametric bootstrap, which has the uncertainty of the variances in it.
        n_samples : int, default=1000
            Replicates of the bootstrap.
        random_state : None, int, RandomState or Generator, default=None
            Seed of the bootstrap.
        serial : bool, default=False
            Whether rows that follow the last row of their series are forecast, as in `predict`.
            With kind="mean" the interval is then for the mean given the rows before.

        Returns
        -------
        ndarray of shape (n, 2)
            Lower and upper ends, in units of y. NaN for rows whose prediction is.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`; for a level that is no probability, and if the fit left no residual.
            For the bootstrap after `update_groups`, with several large factors, and with a
            residual structure. For observations of strata or visits whose variance is not known,
            unless handle_unknown="nan".

        See Also
        --------
        predict : Predictions, with standard errors if return_std is True.

        Notes
        -----
        The interval is prediction -+ t s. s^2 is the square of the standard error that `predict`
        returns, in which a level that is not known has the variance of its effects; for an
        observation plus sigma^2, the residual variance of a row of weight one, or that of its
        stratum or visit; and plus twice the
        variance that the prediction has because the variances are estimates [2]_ [3]_. t is the
        quantile of the t distribution with Satterthwaite's degrees of freedom [4]_, row by row:
        n - p without random terms, where this is the interval of ordinary least squares, and about
        the number of levels less one for a new level.

        The bootstrap draws data from the fitted model, refits, and takes the quantiles of
        (truth - prediction) / s over the replicates, s^2 being the first two parts, in the place of
        those of t [5]_. It costs a refit
        and a pass over the rows a replicate.

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
                "method='bootstrap' draws residuals that are alike and independent, and this model "
                f"has residual={self.residual!r}: take method='analytic'"
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
        """Return predictions and half the widths of their intervals, (n,) each."""
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
        """Draw new responses from the fitted model.

        Parameters
        ----------
        X : array-like or data frame of shape (n, n_features)
            The columns, as in `predict`.
        groups : array-like of shape (n,) or (n, n_factors), or data frame, default=None
            Labels, if they were given as `groups` to `fit`. Rows of one label share an effect,
            whether or not the model knows it; a row with a missing label has one of its own.
        sample_weight : None or array-like of shape (n,), default=None
            Positive precisions, of a model with ``weighting="precision"``: the residual variance of
            a row is sigma^2 by its weight.
        parameters : mapping of str to float or None, default=None
            Values of parameters in the place of the estimates, by the names that
            `skmixed.inference.confidence_intervals` has: coefficients, ``sd_x|g``, ``cor_x.z|g``
            and ``sigma`` (lme4's ``newparams``). Others stay as they are, and so do the BLUPs of
            ``random="fitted"``.
        n_samples : int, default=1
            Number of draws.
        random_state : None, int, RandomState or Generator, default=None
            Seed of the random numbers.
        random : {"new", "fitted"}, default="new"
            Random effects: new ones from their estimated distribution in every draw, as
            ``simulate`` of lme4, or the BLUPs of the levels that the model knows (lme4's
            ``use.u``); levels that it does not know get new ones.

        Returns
        -------
        ndarray of shape (n, n_samples)
            Responses in units of y; a column a draw. The residual variance is that of a row of
            weight one, or of its stratum or visit, and rows of one series are correlated as the
            residual structure has it.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            As in `predict`, if labels are not given, if the fit left no residual, for weights that
            are not positive or no precisions, and for parameters that the model does not have or
            that cannot be so.

        See Also
        --------
        predict_interval : Where single responses lie.

        Notes
        -----
        Coefficients and variances are the estimated ones, but for `parameters`;
        `skmixed.inference.sim` draws coefficients too.

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
        weights = self._precisions(sample_weight, source.n_rows)
        values = None if parameters is None else ParameterValues.of(fitted.fit, parameters)
        generator = generator_of(random_state)
        return simulate_rows(
            fitted.fit, source, rows, n_samples, random, generator, values, weights
        )

    def _precisions(self, sample_weight: Any, n_rows: int) -> FloatArray | None:
        """Read the weights of rows to be drawn, (n,)."""
        weights = read_weights(sample_weight, n_rows)
        if weights is None:
            return None
        if self.weighting != "precision":
            raise ValueError(
                "sample_weight counts rows where weighting='frequency', and a row that is drawn is "
                "one: repeat the rows, or fit with weighting='precision'"
            )
        if not weights.all():
            raise ValueError(
                f"sample_weight is 0 in row {int(np.argmin(weights))}: nothing is observed there, "
                "leave such rows out"
            )
        return weights


def half_widths(
    fitted: LinearState, rows: PredictionRows, level: float, *, observation: bool
) -> FloatArray:
    """Return half the widths of intervals by quantiles of t, (n,)."""
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
    """Return the quantiles at `tails` of the bootstrap's standardised errors, (2, n)."""
    if fitted.posterior is not fitted.fit:
        raise ValueError(
            "method='bootstrap' refits the model to its data, which update_groups has added "
            "to: call partial_fit with the rows instead, or use method='analytic'"
        )
    pivots = prediction_pivots(
        fitted.fit,
        rows.rows,
        observation=observation,
        n_samples=n_samples,
        generator=generator,
    )
    return np.quantile(pivots, tails, axis=0)
