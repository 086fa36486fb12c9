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

from skmixed.core.crossproducts import CrossProducts
from skmixed.core.fit import Fit
from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray, Rows
from skmixed.core.spec import ModelSpec
from skmixed.design.design import Design
from skmixed.estimators._data import TrainingData, read_training_data
from skmixed.estimators._diagnosis import check_sizes, check_weights
from skmixed.estimators._inputs import pick_rows
from skmixed.estimators.linear import MixedLinearRegressor

Folds = Sequence[IntArray]


@dataclass(frozen=True, slots=True, eq=False)
class FixedPart:
    """A regressor and the rows it is fitted to.

    Parameters
    ----------
    regressor : estimator
        Not fitted; every fit is to a clone.
    X : array-like or data frame of shape (n, n_features)
        Its columns.
    weights : ndarray of shape (n,) or None
        Weights of the rows.
    folds : sequence of ndarray of int, or None
        Rows that are predicted by the others; None for predictions by all.
    out_of_bag : bool
        Whether the regressor itself predicts rows by trees that have not seen them.
    n_jobs : int or None
        Number of jobs over which the folds are spread.
    """

    regressor: Any
    X: Any
    weights: FloatArray | None
    folds: Folds | None
    out_of_bag: bool
    n_jobs: int | None

    def fit(self, y: FloatArray) -> Any:
        """Return the regressor fitted to all rows."""
        return _fitted(self.regressor, self.X, y, self.weights)

    def predictions(self, y: FloatArray) -> FloatArray:
        """Return predictions of all rows, each by rows of other folds."""
        if self.out_of_bag:
            model = self.fit(y)
            unseen: FloatArray = np.array(model.oob_prediction_, dtype=np.float64).ravel()
            return np.where(np.isfinite(unseen), unseen, model.predict(self.X))
        if self.folds is None:
            return np.asarray(self.fit(y).predict(self.X), dtype=np.float64).ravel()
        found = Parallel(n_jobs=self.n_jobs)(
            delayed(_predicted)(self.regressor, self.X, y, self.weights, fold)
            for fold in self.folds
        )
        predictions = np.empty(len(y))
        for fold, values in zip(self.folds, found, strict=True):
            predictions[fold] = values
        return predictions


def _fitted(regressor: Any, X: Any, y: FloatArray, weights: FloatArray | None) -> Any:
    model = clone(regressor)
    return model.fit(X, y) if weights is None else model.fit(X, y, sample_weight=weights)


def _predicted(
    regressor: Any, X: Any, y: FloatArray, weights: FloatArray | None, fold: IntArray
) -> FloatArray:
    """Predict the rows of a fold by the other rows."""
    rest = np.setdiff1d(np.arange(len(y)), fold)
    known = None if weights is None else weights[rest]
    model = _fitted(regressor, pick_rows(X, rest), y[rest], known)
    return np.asarray(model.predict(pick_rows(X, fold)), dtype=np.float64).ravel()


def check_takes_weights(regressor: Any, weights: FloatArray | None) -> None:
    """Refuse weights that a regressor could not be given.

    Parameters
    ----------
    regressor : estimator
        Any.
    weights : ndarray of shape (n,) or None
        Weights of the rows.

    Raises
    ------
    ValueError
        If its `fit` has no argument `sample_weight`.
    """
    if weights is not None and not has_fit_parameter(regressor, "sample_weight"):
        raise ValueError(
            f"sample_weight was given, but the fit of {type(regressor).__name__} takes none: "
            "choose another regressor, or leave the weights out"
        )


@dataclass(frozen=True, slots=True, eq=False)
class RandomPart:
    """A linear mixed model of residuals and the rows it is fitted to.

    Parameters
    ----------
    model : MixedLinearRegressor
        Its settings; gets the fitted attributes in the end.
    data : TrainingData
        The rows.
    design : Design
        Their columns and levels.
    rows : Rows
        The same as arrays; the response is written over.
    spec : ModelSpec
        The model.
    """

    model: MixedLinearRegressor
    data: TrainingData
    design: Design
    rows: Rows
    spec: ModelSpec

    @classmethod
    def of(
        cls, model: MixedLinearRegressor, table: Any, y: FloatArray, weights: FloatArray | None
    ) -> RandomPart:
        """Read the rows.

        Parameters
        ----------
        model : MixedLinearRegressor
            Not fitted.
        table : DataFrame
            Slopes and grouping columns.
        y : ndarray of shape (n,)
            The response.
        weights : ndarray of shape (n,) or None
            Positive weights.

        Returns
        -------
        RandomPart
            Nothing is fitted yet.
        """
        data = read_training_data(model, table, y, weights, None)
        design, columns, codes = Design.learn(
            data.source,
            data.terms,
            data.fixed,
            fit_intercept=model.fit_intercept,
            covariance=model.covariance,
        )
        columns[:, -1] = y
        spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
        part = cls(model, data, design, design.rows(columns, codes, weights), spec)
        check_weights(weights, spec)
        return part

    @property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of every row, a factor each."""
        return self.rows.codes

    def fit(self, residuals: FloatArray) -> Fit:
        """Fit to y - f(X)."""
        self.rows.columns[:, -1] = residuals
        products = CrossProducts.of(self.design.layout, self.rows)
        check_sizes(products, self.spec)
        return Fit.of(products, self.spec, self.model._solver())

    def effects(self, fit: Fit) -> FloatArray:
        """Return Z b of every row."""
        total = np.zeros(len(self.rows.columns))
        for factor, modes in zip(self.spec.used_factors, fit.modes, strict=True):
            columns = self.spec.factor_columns(factor)
            for column, effect in zip(columns, modes.T, strict=True):
                total += effect[self.codes[factor]] * self.rows.columns[:, column]
        return total

    def adopt(self, fit: Fit) -> MixedLinearRegressor:
        """Return the model with the attributes of a fit; warns as its own `fit` would."""
        self.model._adopt(self.data, self.design)
        self.model._adopt_fit(self.design, fit)
        return self.model


@dataclass(frozen=True, slots=True, eq=False)
class Alternation:
    """Where two parts, fitted in turn, have come to.

    Parameters
    ----------
    fit : Fit
        The model of residuals at its lowest criterion.
    effects : ndarray of shape (n,)
        Z b of every row under it.
    criteria : tuple of float
        The criterion of every iteration.
    converged : bool
        Whether the last iteration gained too little to go on.
    """

    fit: Fit
    effects: FloatArray
    criteria: tuple[float, ...]
    converged: bool

    @classmethod
    def of(
        cls,
        fixed: FixedPart,
        random: RandomPart,
        y: FloatArray,
        *,
        max_iter: int,
        tol: float,
        verbose: int,
    ) -> Alternation:
        """Fit in turn until the criterion falls no more.

        Parameters
        ----------
        fixed : FixedPart
            The regressor.
        random : RandomPart
            The model of what it leaves.
        y : ndarray of shape (n,)
            The response.
        max_iter : int
            Most iterations.
        tol : float
            Decrease of the criterion a row that ends the search.
        verbose : int
            Whether to print a line an iteration.

        Returns
        -------
        Alternation
            At the iteration of the lowest criterion.
        """
        best, criteria = None, []
        effects = np.zeros(len(y))
        enough = tol * float(random.rows.sum_weights)
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
