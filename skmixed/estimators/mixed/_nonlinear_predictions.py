"""Predictions of nonlinear mixed models, with their uncertainty."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Any, ClassVar, Literal, overload

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.metrics import r2_score
from sklearn.utils.validation import _num_samples, check_scalar

from skmixed.core.linalg import FloatArray, IntArray, generator_of
from skmixed.core.nonlinear.curve_averages import UncertainCurve
from skmixed.core.rows.prediction_errors import effect_variances, mean_variances
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.estimators._estimator import (
    Averaging,
    averaged_as,
    check_choice,
    refuse_beside_interval,
)
from skmixed.estimators.mixed._following_rows import columns_needed, refuse_unknown_variances
from skmixed.estimators.mixed._generalized_estimator import refuse_missing
from skmixed.estimators.mixed._mixed_estimator import MixedEstimator
from skmixed.estimators.mixed._nonlinear_state import NonlinearAttributes, NonlinearState
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._curve_data import input_values
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_weights, read_y
from skmixed.estimators.reading._prediction_rows import PredictionRows, drawn_effects
from skmixed.inference.fitted import residual_fit_of
from skmixed.inference.fixed_effects.testing import check_probability


@dataclass(frozen=True, slots=True, eq=False)
class KnownCurve:
    """Rows with what a fit knows of the parameters of their curves."""

    fitted: NonlinearState
    source: Source
    rows: PredictionRows
    inputs: FloatArray  # (n, m)
    columns: FloatArray  # (n, c), of which parameters are made
    population: FloatArray  # (P, n), parameters without random effects
    missing: FloatArray  # (n,), NaN for rows without a prediction, else zero

    @classmethod
    def read(
        cls,
        model: Any,
        fitted: NonlinearState,
        X: Any,
        groups: Any,
        random: Any = "all",
        residual: Collection[str] = (),  # columns of the residual structure that are needed
    ) -> KnownCurve:
        """Validate the arguments of a prediction, and read its rows."""
        table = InputTable.of(X)
        if isinstance(random, str) and "|" in random:
            raise ValueError(
                f"random={random!r} selects some parameters of a factor, but curves are "
                f"predicted with all of them: name grouping factors, {list(fitted.n_groups)}"
            )
        source, rows = fitted.predictor.read(model, table, groups, random, residual=residual)
        missing = rows.means(model.handle_unknown)
        inputs = input_values(table, fitted.inputs)
        columns, offsets = fitted.parts.columns(source)
        beta = fitted.estimates.beta
        population = fitted.made_of.parameters(columns, offsets, beta, None)
        return cls(fitted, source, rows, inputs, columns, population, missing)

    @property
    def center(self) -> FloatArray:
        """Parameters at the modes of known and wanted levels, (P, n)."""
        found, varying, place = self.population.copy(), self.fitted.made_of.varying, 0
        spec, effects = self.fitted.fit.spec, self.fitted.estimates.effects
        for factor, own, keep in zip(spec.used_factors, effects, self.rows.wanted, strict=True):
            codes = self.rows.codes[factor]
            for column in range(own.shape[1]):
                if keep and len(own):
                    found[varying[place]] += np.where(codes < 0, 0.0, own[codes, column])
                place += 1
        return found

    def values(self, *, averages: bool) -> FloatArray:
        """Return the curve, (n,), averaged over uncertain random effects or not."""
        if not averages or not self.fitted.fit.spec.terms:
            found = self.fitted.recipe.curve.value(self.center, self.inputs)
        else:
            found = self._uncertain(self.fitted.made_of.varying, with_errors=False).moments()[0]
        return found + self.missing

    def deviations(self) -> FloatArray:
        """Return standard errors of the curve, (n,), with all parameters estimated."""
        every = np.arange(len(self.population))
        return self._uncertain(every, with_errors=True).moments()[1] + self.missing

    def noise(self, handle_unknown: str) -> FloatArray:
        """Return residual standard deviations of rows, (n,).

        Raises ValueError for unknown strata and visits, unless these are "nan".
        """
        fit, design = self.fitted.fit, self.fitted.design.residual
        near, sigma = residual_fit_of(fit), np.sqrt(fit.sigma2)
        if near is None or design is None:
            return np.full(len(self.inputs), sigma)
        rows = design.known_rows(self.source.residual, len(self.inputs))
        if handle_unknown != "nan":
            refuse_unknown_variances(rows)
        if design.parts.is_of_fitted:
            values = self.fitted.recipe.curve.value(self.center, self.inputs)
            rows = replace(rows, value=_sizes(values))
        return np.asarray(sigma * near.structure.deviations(near.phi, rows))

    def drawn_noise(self, values: FloatArray, generator: np.random.Generator) -> FloatArray:
        """Simulate the noise of rows, given the values of their curves, (n, n_samples)."""
        fit, design = self.fitted.fit, self.fitted.design.residual
        white, near = generator.standard_normal(values.shape), residual_fit_of(fit)
        if near is not None and design is not None:
            structure, phi = near.structure, near.phi
            rows = design.drawn_rows(self.source.residual, len(values))
            if not design.parts.is_of_fitted:
                white = structure.coloured(phi, rows, white)
            else:
                for place, own in enumerate(values.T):
                    of_draw = replace(rows, value=_sizes(own))
                    column = structure.coloured(phi, of_draw, white[:, place : place + 1])
                    white[:, place] = column[:, 0]
        return np.sqrt(fit.sigma2) * white

    def limits(self, level: float, sigma: FloatArray) -> FloatArray:
        """Return intervals, (n, 2), of the curve, or of observations with noise of sigma, (n,)."""
        every, tail = np.arange(len(self.population)), (1.0 - level) / 2.0
        uncertain = self._uncertain(every, with_errors=True)
        return uncertain.quantiles((tail, 1.0 - tail), sigma) + self.missing[:, None]

    def _uncertain(self, which: IntArray, *, with_errors: bool) -> UncertainCurve:
        """Return the curve at uncertain parameters, with or without errors of the coefficients.

        The other parameters are held at their centres. Covariances come from variances of sums of
        two.
        """
        which = np.unique(which)
        found = np.zeros((len(self.inputs), len(which), len(which)))
        for i, first in enumerate(which):
            found[:, i, i] = self._variance([first], with_errors)
        for i, first in enumerate(which):
            for j, second in enumerate(which[:i]):
                both = self._variance([first, second], with_errors)
                mixed = (both - found[:, i, i] - found[:, j, j]) / 2.0
                found[:, i, j] = found[:, j, i] = mixed
        curve = self.fitted.recipe.curve
        return UncertainCurve(curve, self.inputs, self.center, which, found)

    def _variance(self, parameters: Sequence[int], with_errors: bool) -> FloatArray:
        """Return the variance of a sum of parameters, (n,)."""
        fit, rows = self.fitted.fit, self.rows.rows_of_wanted
        chosen = np.isin(self.fitted.made_of.owners, parameters)
        table = np.zeros((len(self.columns), self.columns.shape[1] + 2))
        table[:, 1:-1] = self.columns * chosen
        made = Rows(table, rows.codes, rows.indexes)
        variances = mean_variances if with_errors else effect_variances
        return np.maximum(variances(fit.posterior, made), 0.0)


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
        drawn = _drawn_parameters(known, n_samples, random, generator)
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


def _sizes(values: FloatArray) -> FloatArray:
    """Return the sizes of values, (n,), that powers are taken of: none is zero."""
    return np.maximum(np.abs(values), np.finfo(float).tiny)


def _drawn_parameters(
    known: KnownCurve, n_samples: int, random: str, generator: np.random.Generator
) -> FloatArray:
    """Simulate the parameters of rows, (P, n, n_samples); ValueError if labels are missing."""
    fit, source, rows = known.fitted.fit, known.source, known.rows
    drawn = np.repeat(known.population[:, :, None], n_samples, axis=2)
    effects = [
        drawn_effects(fit, position, source, rows, n_samples, random, generator)
        for position in range(len(fit.spec.used_factors))
    ]
    if effects:
        for place, own in zip(
            known.fitted.made_of.varying, np.hstack(effects).swapaxes(0, 1), strict=True
        ):
            drawn[place] += own
    return drawn
