"""Shared fitting of `MixedEffectsRegressor` and `MixedEffectsClassifier`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from numbers import Integral, Real
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.base import MetaEstimatorMixin, clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import Tags, get_tags
from sklearn.utils._param_validation import Interval, StrOptions

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.estimators._cross_fitting import folds_of_groups
from skmixed.estimators._estimator import Refused, UnknownLevels
from skmixed.estimators.alternation._alternation import (
    Alternation,
    LearnerPart,
    check_classes,
    check_takes_effects,
    check_takes_weights,
    refuse_words,
)
from skmixed.estimators.alternation._effect_predictions import EffectAttributes, EffectState
from skmixed.estimators.alternation._learned_responses import LearnedResponse
from skmixed.estimators.alternation._random_parts import RandomPart
from skmixed.estimators.mixed._mixed_estimator import COVARIANCES
from skmixed.estimators.reading._columns import Columns, RandomColumns, coarsest, declared
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._numbers import check_lengths, read_weights
from skmixed.estimators.reading._training_data import read_arguments, read_exposure
from skmixed.exceptions import warn

CrossFitting = Literal["groups", "rows", "oob", "none"]


class BaseEffects(MetaEstimatorMixin, EffectAttributes):
    """A regressor or classifier f and random effects, fitted alternately."""

    random: Any
    context: Any
    group_features: Any
    covariance: Any
    handle_unknown: UnknownLevels
    cross_fit: CrossFitting
    cv: Any
    random_state: Any
    max_iter: int
    tol: float
    n_jobs: int | None
    verbose: int
    quadrature: int
    exposure: Any = None  # which a classifier has not

    partial_fit = Refused("f learns from all rows at once: call fit with all rows")
    update_groups = Refused(
        "updating groups requires predictions of f that has not seen the rows, which are not "
        "kept: call fit with all rows"
    )

    _parameter_constraints: ClassVar[dict[str, list[Any]]] = {
        "random": [str, Mapping, None],
        "context": [Mapping, None],
        "group_features": [str, Integral, "array-like", None],
        "covariance": [*COVARIANCES, Mapping],
        "quadrature": [Interval(Integral, 1, None, closed="left")],
        "averaging": [StrOptions({"integrate", "plug-in"})],
        "handle_unknown": [StrOptions({"population", "error", "nan"})],
        "cross_fit": [StrOptions({"groups", "rows", "oob", "none"})],
        "cv": [Interval(Integral, 2, None, closed="left"), "cv_object"],
        "random_state": ["random_state"],
        "max_iter": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left")],
        "n_jobs": [Integral, None],
        "verbose": ["verbose"],
    }

    __metadata_request__fit: ClassVar = {"groups": True}
    __metadata_request__predict: ClassVar = {"groups": True}
    __metadata_request__score: ClassVar = {"groups": True}

    def __sklearn_tags__(self) -> Tags:
        tags = super().__sklearn_tags__()
        inner = get_tags(self._learner()).input_tags
        tags.input_tags.allow_nan = inner.allow_nan
        tags.input_tags.string = (
            inner.string or self.random is not None or self.group_features is not None
        )
        return tags

    @abstractmethod
    def _learner(self) -> Any:
        """Return f as set by the parameters, or its default."""

    @abstractmethod
    def _is_whole(self, learner: Any) -> bool:
        """Tell whether f is linear and unpenalised, so that the whole is a mixed model."""

    @abstractmethod
    def _read_response(
        self, y: Any, n_rows: int, weights: FloatArray | None, exposure: FloatArray | None
    ) -> tuple[NDArray[Any], LearnedResponse]:
        """Validate the response, (n_rows,), and determine its kind."""

    @abstractmethod
    def _random_part(
        self,
        params: dict[str, Any],
        f_name: str | None,
        table: Any,
        y: Any,
        weights: FloatArray | None,
    ) -> RandomPart:
        """Return the mixed model with these and its own parameters, and its rows."""

    @property
    def _counts_rows(self) -> bool:
        """Whether a row of weight w counts as w rows."""
        return True

    def _random_params(
        self,
        roles: RandomColumns,
        columns: Columns,
        learner: Any,
        f_name: str | None,
        *,
        whole: bool,
    ) -> dict[str, Any]:
        """Return the parameters of the mixed model of the random effects."""
        params = {
            "random": self.random,
            "context": self.context,
            "group_features": roles.group_features or None,
            "covariance": self.covariance,
            "handle_unknown": self.handle_unknown,
            "fit_intercept": roles.formulas or not whole or learner.fit_intercept,
            "fixed": _fixed_formula(learner, f_name, whole=whole) if roles.formulas else None,
        }
        return params if columns.exposure is None else {**params, "exposure": columns.exposure}

    def _state_of(self, X: Any, y: Any, sample_weight: Any, groups: Any) -> EffectState:
        """Fit both parts."""
        table = InputTable.of(X)
        kept = _positive(sample_weight, table.n_rows)
        table, y, weights, given = read_arguments(self, table, y, sample_weight, groups)
        feature_names = table.feature_names
        table.check_shape(self)
        learner = self._learner()
        whole = self._is_whole(learner)
        out_of_bag = self.cross_fit == "oob" and not whole
        repeats = self._counts_rows and not out_of_bag
        check_takes_weights(learner, weights, repeats=repeats)
        terms, columns = declared(self.random, self.group_features, table.names, given, None)
        columns = columns.with_exposure(self.exposure)
        exposure = read_exposure(table, columns.exposure)
        roles = RandomColumns.of(columns, terms, all_features=whole)
        y, response = self._read_response(y, table.n_rows, weights, exposure)
        if given is not None:
            check_lengths(table.n_rows, *given.values())
        f_name = None if whole or response.family is None else _free_name(columns)
        if whole:
            refuse_words(learner, table, columns.numeric)
        else:
            self._check_learner(learner, response, bool(terms), exposure is not None)
        random = None
        if terms:
            params = self._random_params(roles, columns, learner, f_name, whole=whole)
            random_table = roles.table(table, given)
            if f_name is not None:
                random_table.insert(0, f_name, np.zeros(table.n_rows))
            random = self._random_part(params, f_name, random_table, y, weights)
        codes = None if random is None else random.codes[coarsest(terms)]
        folds = self._folds(kept, codes, y, whole=whole)
        if out_of_bag:
            learner = clone(learner).set_params(oob_score=True)
        features = roles.features(table, learner)
        fixed = LearnerPart(
            learner,
            response,
            y,
            features,
            weights,
            folds,
            out_of_bag,
            self.n_jobs,
            repeats,
            exposure,
        )
        found = self._alternated(fixed, random, whole=whole)
        parts = _without_groups(fixed) if found is None else _of_groups(random, found)
        return EffectState(
            n_features_in=len(table.names),
            feature_names_in=feature_names,
            roles=roles,
            response=response,
            f_name=f_name,
            learner=self._final(fixed, found, parts["mixed_model"], whole=whole),
            **parts,
        )

    def _folds(
        self, kept: NDArray[np.bool_], codes: IntArray | None, y: NDArray[Any], *, whole: bool
    ) -> list[IntArray] | None:
        """Return the test rows of the cross-fitting folds; None if f predicts in-sample.

        `codes` are the levels of the coarsest factor, (n_kept,), None without groups.
        """
        folds = folds_of_groups(
            kept,
            codes,
            cross_fit="none" if whole else self.cross_fit,
            y=y,
            cv=self.cv,
            random_state=self.random_state,
        )
        if codes is not None and is_classifier(self):
            check_classes(y, folds)
        return folds

    def _check_learner(
        self, learner: Any, response: LearnedResponse, has_groups: bool, has_exposure: bool
    ) -> None:
        """Raise ValueError for f that lacks what the fit requires of it."""
        if self.cross_fit == "oob" and "oob_score" not in learner.get_params():
            raise ValueError(
                "cross_fit='oob' requires a forest with the parameter oob_score, which "
                f"{type(learner).__name__} does not have: use cross_fit='groups' or 'rows'"
            )
        if response.family is not None and response.needs_weights:
            for beside, there in [("random effects", has_groups), ("exposures", has_exposure)]:
                if there:
                    check_takes_effects(learner, response.family.name, beside)

    def _alternated(
        self, fixed: LearnerPart, random: RandomPart | None, *, whole: bool
    ) -> Alternation | None:
        """Estimate the variances and random effects."""
        if random is None:
            return None
        if whole:  # the mixed model has the features itself
            fit = random.fit(None)
            return Alternation(fit, random.effects(fit, None), None, (fit.criterion,), True)
        return Alternation.of(
            fixed, random, max_iter=self.max_iter, tol=self.tol, verbose=self.verbose
        )

    def _final(
        self, fixed: LearnerPart, found: Alternation | None, mixed_model: Any, *, whole: bool
    ) -> Any:
        """Return f fitted to all rows: for a family, the one that the mixed model was fitted to."""
        if found is None or fixed.response.family is None:
            return fixed.fit(None if found is None else found.effects)
        if not whole:
            return fixed.fit(found.given)
        return fixed.with_coefficients(mixed_model.coef_, mixed_model.intercept_)


def _without_groups(fixed: LearnerPart) -> dict[str, Any]:
    """Return the random part of the state if there are no groups."""
    family, variance, phi = fixed.response.family, None, np.empty(0)
    if family is None:
        squares = np.square(fixed.y - fixed.predictors(None))
        variance = float(np.average(squares, weights=fixed.weights))
    elif family.n_dispersions:
        center = fixed.predictors(None)
        if fixed.exposure is not None:
            center += np.log(fixed.exposure)
        phi = family.moment_phi(fixed.y, center)
    return {
        "mixed_model": None,
        "residual_variance": variance,
        "phi": phi,
        "criterion": np.nan,
        "criteria": (),
        "n_iter": 1,
        "converged": True,
    }


def _of_groups(random: Any, found: Alternation) -> dict[str, Any]:
    """Return the random part of the state; warns about doubtful results."""
    model, n_iter = random.fitted(found.fit), len(found.criteria)
    if not found.converged:
        warn(
            f"the criterion was still decreasing after {n_iter} iterations: increase max_iter or "
            "tol",
            ConvergenceWarning,
        )
    phi = found.effects.phi
    return {
        "mixed_model": model,
        "residual_variance": model.residual_variance_ if phi is None else None,
        "phi": np.empty(0) if phi is None else phi,
        "criterion": model.criterion_,
        "criteria": found.criteria,
        "n_iter": n_iter,
        "converged": found.converged,
    }


def _free_name(columns: Columns) -> str:
    """Return a name for the column of f(X) that no other column has."""
    name = "f"
    while name in columns.names + columns.from_argument:
        name += "_"
    return name


def _fixed_formula(learner: Any, f_name: str | None, *, whole: bool) -> str:
    """Return the fixed part of a mixed model whose slopes are expressions."""
    if not whole:
        return f_name or "1"
    return "." if learner.fit_intercept else "0 + ."


def _positive(sample_weight: Any, n_rows: int) -> NDArray[np.bool_]:
    """Tell which rows have a positive weight, (n_rows,)."""
    weights = read_weights(sample_weight, n_rows)
    return np.ones(n_rows, dtype=bool) if weights is None else weights > 0
