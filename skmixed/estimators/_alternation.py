"""A regressor and a linear mixed model of what it leaves, fitted in turn.

y = f(X) + Z b + e. Given b, f is fitted to y - Z b; given f, the variances and b are those of a
linear mixed model of y - f(X), in which f(X) of a row comes from rows of other folds. Without that,
a flexible f would take the effects of the groups, and the noise, into itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.utils.parallel import Parallel, delayed
from sklearn.utils.validation import has_fit_parameter

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.linear_predictor import z_b
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.plan import Plan
from skmixed.design.design import Design
from skmixed.estimators._diagnosis import check_effects, check_sizes, check_weights
from skmixed.estimators._linear_state import LinearState, search_of
from skmixed.estimators._reading import pick_rows
from skmixed.estimators._training_data import TrainingData, read_training_data
from skmixed.estimators.linear import MixedLinearRegressor

Folds = Sequence[IntArray]
_MOST_COPIES = 10  # of a row on average: more room than this is not taken for weights


@dataclass(frozen=True, slots=True, eq=False)
class RegressorPart:
    """A regressor and the rows it is fitted to.

    Every fit is to a clone.
    """

    regressor: Any
    X: Any  # array-like or data frame, (n, n_features)
    weights: FloatArray | None  # (n,)
    folds: Folds | None  # the rows of each; None: every row is predicted by all
    out_of_bag: bool  # whether rows are predicted by the trees that have not seen them
    n_jobs: int | None  # over which the folds are spread
    repeats: bool  # whether a row of weight w stands for w rows

    def fit(self, y: FloatArray) -> Any:
        """Return the regressor fitted to all rows."""
        return self._fitted(np.arange(len(y)), y)

    def predictions(self, y: FloatArray) -> FloatArray:
        """Return predictions of all rows, each by rows of other folds, (n,).

        Without folds they are by all rows. Out of bag, all trees predict only the rows that none
        has left out.
        """
        if self.out_of_bag:
            model = self.fit(y)
            unseen: FloatArray = np.array(model.oob_prediction_, dtype=np.float64).ravel()
            return np.where(np.isfinite(unseen), unseen, model.predict(self.X))
        if self.folds is None:
            return np.asarray(self.fit(y).predict(self.X), dtype=np.float64).ravel()
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(self._predicted)(fold, y) for fold in self.folds
        )
        predictions = np.empty(len(y))
        for fold, values in zip(self.folds, found, strict=True):
            predictions[fold] = values
        return predictions

    def _predicted(self, fold: IntArray, y: FloatArray) -> FloatArray:
        """Predict the rows of a fold by the other rows, (m,)."""
        model = self._fitted(np.setdiff1d(np.arange(len(y)), fold), y)
        return np.asarray(model.predict(pick_rows(self.X, fold)), dtype=np.float64).ravel()

    def _fitted(self, rows: IntArray, y: FloatArray) -> Any:
        """Return a clone fitted to these rows; y, (n,), is of all."""
        model, weights = clone(self.regressor), None
        if self.weights is not None and self.repeats and are_numbers_of_rows(self.weights):
            rows = np.repeat(rows, self.weights[rows].astype(np.intp))
        elif self.weights is not None:
            weights = self.weights[rows]
        X = self.X if np.array_equal(rows, np.arange(len(y))) else pick_rows(self.X, rows)
        return (
            model.fit(X, y[rows])
            if weights is None
            else model.fit(X, y[rows], sample_weight=weights)
        )


def are_numbers_of_rows(weights: FloatArray) -> bool:
    """Tell whether weights say how often rows occur, and not so often that this takes much room."""
    return bool((weights == np.floor(weights)).all()) and weights.mean() <= _MOST_COPIES


def check_takes_weights(regressor: Any, weights: FloatArray | None, *, repeats: bool) -> None:
    """Raise ValueError for weights that are no numbers of rows and that `fit` does not take."""
    if weights is None or has_fit_parameter(regressor, "sample_weight"):
        return
    if not (repeats and are_numbers_of_rows(weights)):
        raise ValueError(
            f"sample_weight was given, but the fit of {type(regressor).__name__} takes none: "
            "choose another regressor, or leave the weights out"
        )


@dataclass(frozen=True, slots=True, eq=False)
class RandomPart:
    """A linear mixed model of residuals and the rows it is fitted to.

    `fit` writes the residuals over the response in `columns`.
    """

    model: MixedLinearRegressor
    data: TrainingData
    design: Design
    columns: FloatArray  # (n, n_columns), of the layout; the response is written over
    weights: FloatArray | None  # (n,)
    plan: Plan  # of these rows
    spec: ModelSpec

    @classmethod
    def of(
        cls, model: MixedLinearRegressor, table: Any, y: FloatArray, weights: FloatArray | None
    ) -> RandomPart:
        """Read a table of slopes and grouping columns, a response (n,) and positive weights."""
        data = read_training_data(model, table, y, weights, None)
        design, columns, codes = Design.learn(
            data.source,
            data.terms,
            data.fixed,
            fit_intercept=model.fit_intercept,
            covariance=model.covariance,
            context=data.context,
        )
        spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
        check_weights(weights, spec)
        plan = Plan.of(design.layout, design.rows(columns, codes, weights))
        return cls(model, data, design, columns, weights, plan, spec)

    @property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of every row, a factor each."""
        return self.plan.codes

    def fit(self, residuals: FloatArray) -> Fit:
        """Fit to y - f(X), (n,)."""
        self.columns[:, -1] = residuals
        products = CrossProducts.filled(self.plan, self.columns, self.weights)
        check_sizes(products, self.spec)
        return Fit.of(products, self.spec, *search_of(self.model, products, self.spec))

    def effects(self, fit: Fit) -> FloatArray:
        """Return Z b of every row, (n,)."""
        return z_b(self.spec, self.columns, self.codes, fit.modes)

    def fitted(self, fit: Fit) -> MixedLinearRegressor:
        """Return the model at a fit; warns as its own `fit` would."""
        check_effects(fit.products, self.spec, self.data.unnamed_groups)
        self.model._fitted = LinearState.of(self.model, self.data, self.design, fit)
        return self.model


@dataclass(frozen=True, slots=True, eq=False)
class Alternation:
    """Where two parts, fitted in turn, have come to."""

    fit: Fit  # of residuals, at the lowest criterion
    effects: FloatArray  # (n,), Z b under it
    criteria: tuple[float, ...]  # of every iteration
    converged: bool  # whether the last iteration gained too little to go on

    @classmethod
    def of(
        cls,
        fixed: RegressorPart,
        random: RandomPart,
        y: FloatArray,
        *,
        max_iter: int,
        tol: float,
        verbose: int,
    ) -> Alternation:
        """Fit in turn until the criterion falls no more; return the iteration of the lowest.

        `tol` is the decrease of the criterion for a row of weight one that ends the search. The
        random effects start at zero.
        """
        best, criteria = None, []
        effects = np.zeros(len(y))
        enough = tol * (len(y) if random.weights is None else float(random.weights.sum()))
        for iteration in range(1, max_iter + 1):
            fit = random.fit(y - fixed.predictions(y - effects))
            effects = random.effects(fit)
            criteria.append(fit.criterion)
            if verbose:
                print(f"iteration {iteration}  criterion {fit.criterion:.3f}")
            last = np.inf if best is None else best.fit.criterion
            if best is None or fit.criterion < last:
                best = cls(fit, effects, tuple(criteria), False)
            if not last - fit.criterion > enough:
                return replace(best, criteria=tuple(criteria), converged=True)
        assert best is not None
        return replace(best, criteria=tuple(criteria))
