"""Shared methods of the estimators of generalized linear mixed models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.validation import check_scalar

from skmixed.bayes.penalties import Penalising
from skmixed.core.linalg import FloatArray, generator_of
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.estimators._estimator import Averaging, Refused, UnknownLevels, check_choice
from skmixed.estimators.mixed._generalized_state import GeneralizedAttributes, GeneralizedState
from skmixed.estimators.mixed._mixed_estimator import PENALISING, MixedEstimator
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import read_positive_weights
from skmixed.estimators.reading._prediction_rows import PredictionRows, draw_predictors
from skmixed.estimators.reading._training_data import read_exposure, read_observed
from skmixed.inference.parameter_values import ParameterValues


class BaseGeneralized(GeneralizedAttributes, MixedEstimator[GeneralizedState]):
    """Methods of a fitted generalized linear mixed model."""

    averaging: Averaging
    handle_unknown: UnknownLevels

    _state_type: ClassVar[type[GeneralizedState]] = GeneralizedState

    prior: Penalising = None

    @property
    def _penalised_by(self) -> Penalising:
        return self.prior

    partial_fit = Refused(
        "generalized models cannot be fitted from sums of batches: call fit with all rows, or "
        "update_groups, which updates the random effects alone"
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        **MixedEstimator._parameter_constraints,
        "quadrature": [Interval(Integral, 1, None, closed="left")],
        "prior": PENALISING,
        "relationship": [Mapping, None],
        "averaging": [StrOptions({"integrate", "plug-in"})],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
    }

    def update_groups(
        self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None
    ) -> Self:
        """Update the random effects with further rows, all other parameters held fixed.

        Parameters
        ----------
        X : array-like or data frame of shape (n_samples, n_features)
            Further data with the columns seen in `fit`.
        y : array-like of shape (n_samples,)
            Response, as in `fit`; for a classifier it need not contain every class.
        sample_weight : array-like of shape (n_samples,), default=None
            Nonnegative weights, as in `fit`.
        groups : array-like of shape (n_samples,) or (n_samples, n_factors), default=None
            Group labels, if `fit` was given `groups`.

        Returns
        -------
        estimator
            The estimator itself. `random_effects_`, their covariances and predictions are now given
            all rows so far, at the coefficients, variances and dispersion of the last fit.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `fit`, if y has unknown classes, and if parameters that determine the columns have
            changed since `fit`.

        Notes
        -----
        For a new level whose rows have no known level of another factor, the effects are exactly
        the modes given its rows. For known levels, earlier rows enter through their quadratic
        approximation at the previous modes, as the rows are not kept; the further new rows move the
        modes, the less exact they are.

        Examples
        --------
        >>> import numpy as np
        >>> import pandas as pd
        >>> from skmixed import MixedGeneralizedRegressor
        >>> shop = np.arange(200) % 20
        >>> visits = np.random.default_rng(0).poisson(2.0 + shop % 3)
        >>> model = MixedGeneralizedRegressor("(1 | shop)").fit(
        ...     pd.DataFrame({"shop": shop}), visits
        ... )
        >>> opened = pd.DataFrame({"shop": [20]})
        >>> model.predict(opened).round(2)
        array([3.17])
        >>> model.update_groups(pd.DataFrame({"shop": [20] * 4}), [5, 3, 7, 4])
        MixedGeneralizedRegressor(random='(1 | shop)')
        >>> model.predict(opened).round(2)
        array([4.])
        """
        fitted = self._state()
        rows, offset = read_observed(self, fitted, X, y, sample_weight, groups)
        self._fitted = fitted.with_effects_of(rows, offset)
        return self

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
    ) -> NDArray[Any]:
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
            Positive weights: for proportions, whole numbers of trials; for counts, exposures, so
            that rates are drawn; other families ignore them. If None, those named by the formula of
            `glmer` are read from X; a model fitted to single trials draws one trial per row.
            Classifiers draw one class per row and accept no weights.
        parameters : mapping of str to float or None, default=None
            Parameter values to use in place of the estimates (lme4's ``newparams``), named as in
            `skmixed.inference.confidence_intervals`: coefficients, ``sd_x|g`` and ``cor_x.z|g``.
            Other parameters keep their estimates.
        n_samples : int, default=1
            Number of draws.
        random_state : int, RandomState instance, Generator or None, default=None
            Seed or generator of the random numbers.
        random : {"new", "fitted"}, default="new"
            Random effects to use: "new" draws them from their estimated distribution, as lme4's
            ``simulate``, "fitted" uses the conditional modes of known levels (lme4's ``use.u``);
            unknown levels always get new ones.

        Returns
        -------
        ndarray of shape (n_samples_X, n_samples)
            Responses in the form that `fit` takes, a column per draw.

        Raises
        ------
        NotFittedError
            If the estimator is not fitted.
        ValueError
            As in `predict`, if group labels are missing, weights are not positive or not numbers of
            trials, weights of a model fitted to trials or exposures are neither given nor in X, or
            `parameters` are unknown or invalid.

        Notes
        -----
        Coefficients, variances and the dispersion are held at their estimates, unless set in
        `parameters`.

        References
        ----------
        .. [1] Bates, D., Maechler, M., Bolker, B. & Walker, S. (2015). Fitting linear mixed-effects
           models using lme4. Journal of Statistical Software 67(1), :doi:`10.18637/jss.v067.i01`,
           section 5.

        Examples
        --------
        >>> import numpy as np
        >>> from skmixed import MixedGeneralizedRegressor
        >>> X = np.repeat(np.arange(20), 5)[:, None]
        >>> y = np.random.default_rng(0).poisson(3.0, 100)
        >>> model = MixedGeneralizedRegressor(group_features=[0]).fit(X, y)
        >>> model.simulate(X, n_samples=3, random_state=0).shape
        (100, 3)
        """
        check_scalar(n_samples, "n_samples", Integral, min_val=1)
        check_choice("random", random, ("new", "fitted"))
        fitted = self._state()
        if sample_weight is not None and fitted.classes is not None:
            raise ValueError(
                f"a {type(self).__name__} simulates one class per row and accepts no "
                "sample_weight: repeat the rows instead"
            )
        source, rows, log_exposure = self._rows_to_predict(fitted, X, groups)
        if fitted.has_sizes:
            sample_weight = self._weights_of(fitted, X, sample_weight)
        weights = read_positive_weights(sample_weight, len(rows.columns))
        generator = generator_of(random_state)
        values = None if parameters is None else ParameterValues.of(fitted.fit, parameters)
        etas = draw_predictors(fitted.fit, source, rows, n_samples, random, generator, values)
        if log_exposure is not None:
            etas += log_exposure[:, None]
        family, phi = fitted.fit.family, fitted.fit.phi
        drawn = np.empty_like(etas)
        for draw in range(n_samples):
            drawn[:, draw] = family.draw(etas[:, draw], weights, phi, generator)
        return drawn if fitted.classes is None else fitted.classes[drawn.astype(np.intp)]

    def _sizes_told(self, fitted: GeneralizedState, X: Any, sample_weight: Any) -> Any:
        """Return trials or exposures of rows, (n,): None where neither the user nor X has them."""
        written = fitted.response
        if sample_weight is None and fitted.has_sizes and written is not None:
            return written.weights_of(X, self.context) if written.tells_weights(X) else None
        return sample_weight

    def _rows_of_fit(
        self, fitted: GeneralizedState, X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> tuple[Rows, FloatArray | None]:
        """Read the training data again, with their offsets, (n,)."""
        return read_observed(self, fitted, X, y, sample_weight, groups)

    def _rows_to_predict(
        self,
        fitted: GeneralizedState,
        X: Any,
        groups: Any,
        random: str | Sequence[str] = "all",
        *,
        all_columns: bool = False,  # also those of random effects that are not selected
    ) -> tuple[Source, PredictionRows, FloatArray | None]:
        """Validate the arguments of a prediction; also return log exposures, (n,), or None."""
        table = InputTable.of(X)
        source, rows = fitted.predictor.read(self, table, groups, random, all_columns=all_columns)
        exposure = read_exposure(table, fitted.columns.exposure)
        return source, rows, None if exposure is None else np.log(exposure)

    def _averages(self, fitted: GeneralizedState) -> bool:
        """Tell whether predictions are averaged over uncertain random effects."""
        return self.averaging == "integrate" and bool(fitted.fit.spec.terms)


def refuse_missing(values: FloatArray, consequence: str) -> None:
    """Raise ValueError, naming the consequence, if rows have no prediction, (n,)."""
    missing = np.flatnonzero(np.isnan(values))
    if len(missing):
        raise ValueError(
            f"{len(missing)} rows have group labels that are missing or were not seen in fit, "
            f"the first in row {missing[0]}; with handle_unknown='nan' {consequence}, or use "
            "handle_unknown='population'"
        )
