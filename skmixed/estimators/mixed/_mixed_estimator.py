"""Shared parameters, tags and metadata requests of the estimators of mixed models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from numbers import Integral, Real
from typing import Any, ClassVar, TypeVar

import numpy as np
from sklearn.utils import Tags
from sklearn.utils._param_validation import Hidden, Interval, StrOptions

from skmixed.bayes.covariance_distributions import Wishart
from skmixed.bayes.penalties import PENALTY_NAMES
from skmixed.bayes.priors import Prior
from skmixed.bayes.scale_distributions import ScaleDistribution
from skmixed.core.linalg import FloatArray
from skmixed.core.model.structures.named import OF_RANK, STRUCTURES
from skmixed.design.column_collection import Formulas
from skmixed.design.grammar.syntax import parse_random
from skmixed.estimators._estimator import FittedEstimator
from skmixed.estimators.mixed._mixed_state import MixedState
from skmixed.estimators.reading._columns import read_fixed
from skmixed.estimators.reading._complete_rows import CompleteRows, MissingRows, leaves_gaps
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._observed_rows import ObservedRows
from skmixed.estimators.reading._prediction_rows import PredictionRows
from skmixed.estimators.reading._training_data import read_exposure
from skmixed.inference.smooth_terms import summarised_curves
from skmixed.inference.summary import Summary, summarise

State = TypeVar("State", bound=MixedState)

_MOST_RANK = 100  # of covariances of reduced rank by name: more would be none
COVARIANCES = [
    StrOptions({*STRUCTURES, *OF_RANK}),
    Hidden(StrOptions({f"{name}({d})" for name in OF_RANK for d in range(1, _MOST_RANK)})),
]
"""Constraints of the parameter that names covariances."""
PENALISING = [StrOptions(set(PENALTY_NAMES)), Wishart, ScaleDistribution, Prior, Mapping, None]
"""Constraints of the parameter that gives covariances prior distributions."""


class MixedEstimator(FittedEstimator[State]):
    """Estimator whose columns and groups are declared as in `MixedLinearRegressor`."""

    random: Any
    fixed: str | None
    group_features: Any
    fit_intercept: bool
    handle_unknown: Any

    _penalised_by: Any = None  # prior distributions whose density is a part of the criterion

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random": [str, Mapping, None],
        "fixed": [str, None],
        "context": [Mapping, None],
        "group_features": [str, Integral, "array-like", None],
        "covariance": [*COVARIANCES, Mapping],
        "fit_intercept": ["boolean"],
        "handle_unknown": [StrOptions({"population", "error", "nan"})],
        "tol": [Interval(Real, 0, None, closed="neither")],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        # `categorical` stays False: to scikit-learn it says that all of X is whole numbers.
        tags.input_tags.string = any(
            part is not None for part in (self.random, self.fixed, self.group_features)
        )
        tags.input_tags.two_d_array = self.fixed is None  # a formula needs a data frame
        return tags

    def summary(self, digits: int = 2, *, correlations: bool = False) -> Summary:
        """Summarise the fit, as arm's ``display`` and R's ``print`` do.

        Parameters
        ----------
        digits : int, default=2
            Number of decimals shown.
        correlations : bool, default=False
            Whether to show the correlations of the fixed-effect estimates as well.

        Returns
        -------
        Summary
            Prints as text and shows as HTML in a notebook; generalized models are summarised on the
            link scale. ``to_frame()`` has all parameters by name, with standard errors of the fixed
            effects. The t or z tests of R's ``summary`` are in
            `skmixed.inference.coefficient_table`.
        """
        fitted = self._state()
        curves = summarised_curves(fitted.fit, fitted.design)
        formula, residual = fitted.formula, fitted.design.residual
        if residual is not None:
            formula += f", residual {residual.text}"
        return summarise(
            fitted.fit,
            formula,
            fitted.n_dropped or 0,
            digits,
            curves,
            correlations=correlations,
        )

    def _with_response(
        self, X: Any, y: Any, sample_weight: Any, groups: Any, *, of_fit: bool = False
    ) -> tuple[Any, Any, Any, Any]:
        """Return the arguments with y and weights as a whole formula reads them off X.

        Those that are given stay. Of the rows `of_fit` the incomplete ones are left out, as a
        formula does in fitting, where y is read. Raises ValueError if neither is there, and for
        rows without the trials or exposures that a model was fitted with.
        """
        fitted = self._state()
        if y is None and fitted.response is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y "
                "is None: only models fitted from a formula, as by lmer and glmer, can read y "
                "from X"
            )
        response = y
        if fitted.response is not None:
            response, sample_weight = fitted.response.read(X, y, sample_weight, self.context)
        self._check_sizes(fitted, sample_weight)
        if y is None and of_fit:
            rows = CompleteRows.of_fit(fitted, X, response, sample_weight, groups)
            if not rows.complete.all():
                X, response, sample_weight, groups = rows.arguments
        return X, response, sample_weight, groups

    def _weights_of(self, fitted: State, X: Any, sample_weight: Any) -> Any:
        """Return the weights of rows to be drawn, (n,) or None, read off X by a whole formula."""
        if sample_weight is None and fitted.response is not None and fitted.response.is_weighted:
            return fitted.response.weights_of(X, self.context)
        self._check_sizes(fitted, sample_weight)
        return sample_weight

    def _check_sizes(self, fitted: State, sample_weight: Any) -> None:
        asked = fitted.sizes_asked
        if sample_weight is None and asked is not None:
            one = "trial" if "trial" in asked else "unit"
            raise ValueError(
                f"the model was fitted with {asked} as sample_weight, without which every row "
                f"would be one {one}: pass sample_weight"
            )

    def _observed_rows(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> ObservedRows:
        """Read rows with their responses, training data or others."""
        return ObservedRows.of(self, *self._with_response(X, y, sample_weight, groups))

    def _complete_rows(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        groups: Any,
        missing: MissingRows | None,
    ) -> CompleteRows | None:
        """Find the complete rows; None where missing values are an error."""
        fitted = self._state()
        if not leaves_gaps(fitted, missing):
            return None
        given = self._with_response(X, y, sample_weight, groups)
        rows = CompleteRows.of_fit(fitted, *given)
        return None if rows.complete.all() else rows

    def _linear_predictor(
        self,
        X: Any,
        groups: Any,
        random: str | Sequence[str],
        *,
        fixed: bool,
        missing: MissingRows | None,
    ) -> FloatArray:
        """Return X beta + Z b with the selected random effects, or Z b alone, (n,)."""
        fitted = self._state()
        if leaves_gaps(fitted, missing):
            complete = CompleteRows.to_predict(fitted, X, groups, random)
            settings: dict[str, Any] = {"random": random, "fixed": fixed, "missing": "raise"}
            found: FloatArray = complete.spread(partial(self._linear_predictor, **settings))
            return found
        table = InputTable.of(X)
        _, rows = fitted.predictor.read(self, table, groups, random)
        means = rows.means(self.handle_unknown)
        if not fixed:
            return means - rows.fixed_part()
        exposure = read_exposure(table, fitted.columns.exposure)
        return means if exposure is None else means + np.log(exposure)

    def _columns_of(self, X: Any, groups: Any, random: str) -> PredictionRows:
        """Read rows, training data or others, with "all" or "none" of the random effects."""
        rows: PredictionRows = self._state().predictor.read(self, X, groups, random)[1]
        return rows

    def _fitted_means(self, X: Any, groups: Any) -> FloatArray:
        """Return mean responses at the conditional modes, (n,)."""
        return self._linear_predictor(X, groups, "all", fixed=True, missing="raise")

    def _check_formulas(self, fitted: State) -> None:
        names = fitted.columns.names
        several = isinstance(self.random, list | tuple)
        candidates = self.random if several else [] if self.random is None else [self.random]
        for each in [None, *candidates]:
            random = () if each is None else parse_random(each)
            fixed = read_fixed(self.fixed, self.fit_intercept)
            Formulas(names).read(fixed, random, names)
