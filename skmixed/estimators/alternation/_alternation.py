"""Alternating fits of a regressor or classifier and a mixed model.

The linear predictor is f(X) + Z b. Given b, f is fitted to the response without b; given f, the
variances and b are those of a mixed model that includes f(X), where f(X) of a row is cross-fitted.
Otherwise a flexible f would absorb the group effects and the noise.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import clone, is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.pipeline import Pipeline
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.estimators.alternation._learned_responses import (
    EffectsOfRows,
    LearnedResponse,
    LearnedTarget,
)
from skmixed.estimators.alternation._random_parts import RandomPart
from skmixed.estimators.reading._input_table import InputTable, pick_rows

Folds = Sequence[IntArray]
_MOST_COPIES = 10  # of a row on average: more room than this is not taken for weights
# Beginnings of the errors of numpy, and of pandas by the type that it has for text.
_REFUSALS_OF_TEXT = ("could not convert string", "cannot cast str", "cannot cast object")


@dataclass(frozen=True, slots=True, eq=False)
class LearnerPart:
    """A regressor or classifier f and its training rows. Every fit is to a clone."""

    learner: Any
    response: LearnedResponse
    y: NDArray[Any]  # (n,)
    X: Any  # array-like or data frame, (n, n_features)
    weights: FloatArray | None  # (n,)
    folds: Folds | None  # the rows of each; None: every row is predicted by all
    out_of_bag: bool  # whether rows are predicted by the trees that have not seen them
    n_jobs: int | None  # over which the folds are spread
    repeats: bool  # whether a row of weight w stands for w rows
    exposure: FloatArray | None = None  # (n,), to which the mean is proportional

    def fit(self, given: EffectsOfRows | None) -> Any:
        """Return f fitted to all rows, given random effects or none."""
        return self._fitted(np.arange(len(self.y)), self._target(given))

    def with_coefficients(self, coef: FloatArray, intercept: float) -> Any:
        """Return linear f with given coefficients, (n_features,)."""
        with warnings.catch_warnings():  # of a search for what is known
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = self.fit(None)
        model.coef_ = coef.reshape(np.shape(model.coef_))
        model.intercept_ = np.full(np.shape(model.intercept_), intercept)
        return model

    def predictors(self, given: EffectsOfRows | None) -> FloatArray:
        """Return f(X) of all rows, each predicted from other folds, (n,).

        Without folds they are in-sample. Out of bag, rows that no tree has left out are predicted
        by all trees.
        """
        if self.out_of_bag:
            model = self.fit(given)
            unseen = self.response.unseen(model)
            known = np.isfinite(unseen)
            return unseen if known.all() else np.where(known, unseen, self._of(model, self.X))
        if self.folds is None:
            return self._of(self.fit(given), self.X)
        target = self._target(given)
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(self._predicted)(fold, target) for fold in self.folds
        )
        predictors = np.empty(len(target.y))
        for fold, values in zip(self.folds, found, strict=True):
            predictors[fold] = values
        return predictors

    def _target(self, given: EffectsOfRows | None) -> LearnedTarget:
        if given is not None:
            return self.response.target(self.y, given)
        if self.exposure is None:
            return LearnedTarget(self.y)
        weights = self.exposure if self.response.needs_weights else None
        return LearnedTarget(self.y / self.exposure, weights)

    def _of(self, model: Any, X: Any) -> FloatArray:
        return self.response.predictor(model, X)

    def _predicted(self, fold: IntArray, target: LearnedTarget) -> FloatArray:
        """Return f(X) of the rows of a fold by the other rows, (m,)."""
        model = self._fitted(np.setdiff1d(np.arange(len(target.y)), fold), target)
        return self._of(model, pick_rows(self.X, fold))

    def _fitted(self, rows: IntArray, target: LearnedTarget) -> Any:
        """Return a clone fitted to these rows of a target, which has all of them."""
        weights = target.weights
        if self.weights is not None and self.repeats and are_numbers_of_rows(self.weights):
            rows = np.repeat(rows, self.weights[rows].astype(np.intp))
        elif self.weights is not None:
            weights = self.weights if weights is None else self.weights * weights
        X = self.X if np.array_equal(rows, np.arange(len(target.y))) else pick_rows(self.X, rows)
        y = target.y[rows]
        model = clone(self.learner)
        try:
            return model.fit(X, y) if weights is None else _fit_weighted(model, X, y, weights[rows])
        except ValueError as error:
            if any(words in str(error).lower() for words in _REFUSALS_OF_TEXT):
                refuse_words(self.learner, InputTable.of(X))
            raise


def refuse_words(learner: Any, table: InputTable, places: Sequence[int] | None = None) -> None:
    """Raise ValueError for columns of text, at some or all places, that a learner does not take."""
    places = range(len(table.names)) if places is None else places
    words = [table.names[place] for place in places if table.has_labels(place)]
    if words:
        kind = "Classifier" if is_classifier(learner) else "Regressor"
        raise ValueError(
            f"the columns {words} hold text, which {type(learner).__name__} does not take: encode "
            "them, as OneHotEncoder does in a pipeline with the learner, or make them categories, "
            f"X.astype({{{words[0]!r}: 'category'}}), and take HistGradientBoosting{kind}("
            "categorical_features='from_dtype')"
        )


def are_numbers_of_rows(weights: FloatArray) -> bool:
    """Tell whether weights are numbers of rows, small enough to repeat the rows."""
    return bool((weights == np.floor(weights)).all()) and weights.mean() <= _MOST_COPIES


def check_takes_weights(learner: Any, weights: FloatArray | None, *, repeats: bool) -> None:
    """Raise ValueError for weights that can neither be repeated rows nor be passed to `fit`."""
    if weights is None or has_fit_parameter(learner, "sample_weight"):
        return
    if not (repeats and are_numbers_of_rows(weights)):
        kind = "classifier" if is_classifier(learner) else "regressor"
        raise ValueError(
            f"sample_weight was given, but {type(learner).__name__} does not accept it in fit: "
            f"use another {kind}, or leave the weights out"
        )


def check_takes_effects(learner: Any, family: str, beside: str) -> None:
    """Raise ValueError for a learner to which random effects or exposures cannot be passed."""
    last = learner.steps[-1][1] if isinstance(learner, Pipeline) else learner
    if not has_fit_parameter(last, "sample_weight"):
        raise ValueError(
            f"family {family!r} is fitted with {beside} through weights of the rows, but "
            f"{type(last).__name__} does not accept sample_weight in fit: use another learner, "
            "such as boosting, a forest or a penalised linear model"
        )


def check_classes(y: NDArray[Any], folds: Folds | None) -> None:
    """Raise ValueError if the training rows of a fold have a single class."""
    for fold in folds or ():
        others = np.delete(y, fold)
        if not (others != others[0]).any():
            raise ValueError(
                f"for one of the {len(folds or ())} folds, all training rows are of class "
                f"{others.tolist()[0]!r}, from which nothing can be learned: use another cv, or "
                "cross_fit='rows', whose folds have rows of all groups"
            )


def _fit_weighted(model: Any, X: Any, y: NDArray[Any], weights: FloatArray) -> Any:
    """Fit with weights, (n,), in a pipeline those of its last step."""
    if isinstance(model, Pipeline):
        return model.fit(X, y, **{f"{model.steps[-1][0]}__sample_weight": weights})
    return model.fit(X, y, sample_weight=weights)


@dataclass(frozen=True, slots=True, eq=False)
class Alternation:
    """Result of fitting the two parts alternately."""

    fit: Any  # of the random part, at the lowest criterion
    effects: EffectsOfRows  # under it
    given: EffectsOfRows | None  # which the learner had that it was fitted to; None: none
    criteria: tuple[float, ...]  # of every iteration
    converged: bool  # whether the last iteration gained too little to go on

    @classmethod
    def of(
        cls, fixed: LearnerPart, random: RandomPart, *, max_iter: int, tol: float, verbose: int
    ) -> Alternation:
        """Fit alternately until the criterion stops decreasing; return the best iteration.

        `tol` is the decrease of the criterion per row of weight one at which to stop. The random
        effects start at zero.
        """
        best: Alternation | None = None
        criteria: list[float] = []
        effects: EffectsOfRows | None = None
        n = len(fixed.y)
        enough = tol * (n if fixed.weights is None else float(fixed.weights.sum()))
        for iteration in range(1, max_iter + 1):
            given, f = effects, fixed.predictors(effects)
            fit = random.fit(f)
            effects = random.effects(fit, f)
            criteria.append(fit.criterion)
            if verbose:
                print(f"iteration {iteration}  criterion {fit.criterion:.3f}")
            last = np.inf if best is None else best.fit.criterion
            if best is None or fit.criterion < last:
                best = cls(fit, effects, given, tuple(criteria), False)
            if not last - fit.criterion > enough:
                return replace(best, criteria=tuple(criteria), converged=True)
        assert best is not None
        return replace(best, criteria=tuple(criteria))
