"""Mixed models beside a regressor or classifier f, whose predictions they are given.

Everything that is learned of rows is learned once, before the first fit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from skmixed.core.families.family import MeanFamily
from skmixed.core.fit import Fit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.linear_predictor import x_beta, z_b
from skmixed.core.rows.prediction_errors import effect_variances
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.plan import Plan
from skmixed.design.design import Design
from skmixed.estimators.alternation._learned_responses import EffectsOfRows
from skmixed.estimators.linear import MixedLinearRegressor
from skmixed.estimators.mixed._diagnosis import check_effects, check_sizes, check_weights
from skmixed.estimators.mixed._generalized_estimator import BaseGeneralized
from skmixed.estimators.mixed._generalized_state import GeneralizedState, fit_generalized
from skmixed.estimators.mixed._linear_state import LinearState, search_of
from skmixed.estimators.reading._training_data import (
    TrainingData,
    read_training_data,
    with_exposure,
)


class RandomPart(Protocol):
    """Rows, and the mixed model that is fitted to them given f."""

    @property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of every row, a factor each."""

    def fit(self, f: FloatArray | None) -> Any:
        """Fit given f, (n,); None where the model has all features itself."""

    def effects(self, fit: Any, f: FloatArray | None) -> EffectsOfRows:
        """Return what the fit that was made given f says of the rows."""

    def fitted(self, fit: Any) -> Any:
        """Return the estimator at a fit; warns as its own `fit` would."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearPart:
    """A linear mixed model of y - f(X), which `fit` writes over the response in `columns`."""

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
    ) -> LinearPart:
        """Read a table of slopes and grouping columns, a response (n,) and positive weights."""
        data = read_training_data(model, table, y, weights, None)
        design, columns, codes = data.learn(model, data.terms)
        spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
        check_weights(weights, spec)
        plan = Plan.of(design.layout, design.rows(columns, codes, weights))
        return cls(model, data, design, columns, weights, plan, spec)

    @property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of every row, a factor each."""
        return self.plan.codes

    def fit(self, f: FloatArray | None) -> Fit:
        """Fit to y - f(X)."""
        self.columns[:, -1] = self.data.y if f is None else self.data.y - f
        products = CrossProducts.filled(self.plan, self.columns, self.weights)
        check_sizes(products, self.spec)
        return Fit.of(products, self.spec, *search_of(self.model, products, self.spec))

    def effects(self, fit: Fit, f: FloatArray | None) -> EffectsOfRows:
        """Return Z b of every row, (n,)."""
        given = np.zeros(len(self.columns)) if f is None else f
        return EffectsOfRows(given, z_b(self.spec, self.columns, self.codes, fit.modes))

    def fitted(self, fit: Fit) -> MixedLinearRegressor:
        """Return the model at a fit; warns as its own `fit` would."""
        check_effects(fit.products, self.spec, self.data.unnamed_groups)
        self.model._fitted = LinearState.of(self.model, self.data, self.design, fit)
        return self.model


@dataclass(frozen=True, slots=True, eq=False)
class GeneralizedPart:
    """A generalized linear mixed model in which f(X) is a fixed column.

    Its coefficient is below one where f is too sure of what it says of rows it has not seen, as
    boosting without early stopping is; a residual variance would be larger for that, but the
    variances of these families follow from the mean.
    """

    model: BaseGeneralized
    data: TrainingData
    design: Design
    rows: Rows
    family: MeanFamily
    place: int | None  # of f(X) among the columns; None where it is not needed

    @classmethod
    def of(
        cls,
        model: BaseGeneralized,
        family: MeanFamily,
        table: Any,
        y: Any,
        weights: FloatArray | None,
        name: str | None,  # of the column of f(X)
    ) -> GeneralizedPart:
        """Read a table of slopes and grouping columns, a response (n,) and positive weights."""
        data = read_training_data(model, table, y, weights, None)
        design, columns, codes = data.learn(model, data.terms)
        place = None if name is None else design.fixed[design.fixed_names.index(name)]
        return cls(model, data, design, design.rows(columns, codes, weights), family, place)

    @property
    def codes(self) -> tuple[IntArray, ...]:
        """Level of every row, a factor each."""
        return self.rows.codes

    @property
    def offset(self) -> FloatArray | None:
        """Logarithms of exposures, (n,), if there are any."""
        return with_exposure(None, self.data.exposure)

    def fit(self, f: FloatArray | None) -> GeneralizedFit:
        """Fit to f(X), or to the features that take its place."""
        if self.place is not None:
            self.rows.columns[:, self.place] = f
        return fit_generalized(self.model, self.design, self.rows, self.family, self.offset)

    def effects(self, fit: GeneralizedFit, f: FloatArray | None) -> EffectsOfRows:
        """Return the fixed part, in the place of f(X), and what the random part adds."""
        columns = self.rows.columns
        if self.place is not None:
            columns[:, self.place] = f
        shift = z_b(fit.spec, columns, self.codes, fit.modes)
        if self.offset is not None:
            shift += self.offset
        return EffectsOfRows(
            x_beta(fit.spec, columns, fit.beta),
            shift,
            np.maximum(effect_variances(fit.working, self.rows), 0.0),
            fit.phi,
        )

    def fitted(self, fit: GeneralizedFit) -> BaseGeneralized:
        """Return the model at a fit; warns as its own `fit` would."""
        self.model._fitted = GeneralizedState.of_fit(self.model, self.data, self.design, fit)
        return self.model
