"""Rows that carry their groups and sums, and an estimator that takes such rows.

scikit-learn's cross-validation slices X and hands it to everything. It does not hand `groups` to
`predict`. So X and its groups travel as one table through its functions, and are taken apart again
where the model is called. The sums over all rows come along, from which a model is fitted to a part
of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn import get_config
from sklearn.base import clone, is_regressor
from sklearn.compose import TransformedTargetRegressor
from sklearn.metrics import r2_score
from sklearn.pipeline import Pipeline
from sklearn.utils import get_tags
from sklearn.utils.metadata_routing import get_routing_for_object
from sklearn.utils.validation import _num_samples

from skmixed.core.linalg import IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.fitting import fit_tables
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.summed_series import SummedSeries
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.design import Design
from skmixed.estimators._estimator import offered_if
from skmixed.estimators.mixed._linear_state import (
    LinearState,
    Sums,
    learn_rows,
    products_of,
    residual_rows_of,
    summed_rows,
)
from skmixed.estimators.mixed._series_ends import SeriesEnds
from skmixed.estimators.reading._input_table import pick_rows
from skmixed.estimators.reading._training_data import TrainingData
from skmixed.model_selection._group_routing import accepts, fit_names, takes


@dataclass(frozen=True, slots=True, eq=False)
class SummedTable:
    """One pass over the rows of a table, made for one or more models."""

    data: tuple[TrainingData, ...]  # as each model reads the table; rows and columns are the same
    designs: tuple[Design, ...]  # of each model, over the columns and factors of all together
    summed: SummedRows | SummedSeries
    near: ResidualFit | None = None  # to all rows, where it shortens the searches

    @classmethod
    def of(cls, model: Any, data: Sequence[TrainingData]) -> SummedTable | None:
        """Sum over a table for models that are equal to `model` but for `random`.

        None where the columns of a part of the rows are not those of the whole: with formulas that
        learn categories or transforms from their rows.
        """
        first, last = data[0], np.cumsum([len(part.terms) for part in data])
        design, rows = learn_rows(model, first, [term for part in data for term in part.terms])
        if design.learns_from_rows:
            return None
        designs = tuple(
            design.with_random(end - len(part.terms), end)
            for part, end in zip(data, last.tolist(), strict=True)
        )
        summed = summed_rows(design, rows, residual_rows_of(design, first.source))
        near = None
        if isinstance(summed, SummedSeries):
            spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
            near = _fit_to_all(summed, spec)
        return cls(tuple(data), designs, summed, near)

    @property
    def is_weighted(self) -> bool:
        """Whether the rows have weights."""
        return self.data[0].weights is not None

    def part(self, places: IntArray | None) -> Sums | None:
        """Return the sums of some rows, (m,), each once: those of all less those of the others.

        The cost is that of summing the others. `places` of None is all rows; None is returned of
        rows that lack visits, whose residuals have another structure.
        """
        if places is None:
            return self.summed.products
        if isinstance(self.summed, SummedSeries) and not self.summed.have_all_visits(places):
            return None
        others = np.ones(len(self.summed.rows.columns), dtype=bool)
        others[places] = False
        if not others.any():
            return self.summed.products
        return self.summed.without(np.flatnonzero(others))

    def fit(self, model: Any, sums: Sums, number: int = 0, places: IntArray | None = None) -> None:
        """Fit a model, which gets the fitted attributes, to a part of the rows.

        `number` says which of the models it is, `places`, (m,), which rows; None is all.
        """
        design = self.designs[number].with_levels(products_of(sums).levels)
        weights, ends = self.summed.rows.weights, None
        if isinstance(self.summed, SummedSeries) and self.summed.products.structure.is_carried:
            ends = SeriesEnds.of(*self.summed.take(places))
        model._fitted = LinearState.of_sums(
            model, self.data[number], design, sums, weights, self.near, ends=ends
        )


def _fit_to_all(summed: SummedSeries, spec: ModelSpec) -> ResidualFit | None:
    """Return the fit to all rows, where there is one."""
    try:
        return fit_tables(summed.products, spec)
    except (ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None


@dataclass(frozen=True, slots=True, eq=False)
class GroupedRows:
    """Rows of a table with their groups, sliced together, and cut out when they are asked for."""

    table: Any  # X of all rows, array-like or data frame, (n, n_features)
    labels: Any  # groups of all rows, (n,) or (n, n_factors), or None
    summed: SummedTable | None = None  # cross-products of all rows
    places: IntArray | None = None  # which rows these are, (n_rows,); None is all

    @property
    def X(self) -> Any:  # noqa: N802 - as in scikit-learn
        """X of these rows."""
        return self.table if self.places is None else pick_rows(self.table, self.places)

    @property
    def groups(self) -> Any:
        """Groups of these rows."""
        if self.labels is None or self.places is None:
            return self.labels
        return pick_rows(self.labels, self.places)

    def __len__(self) -> int:
        return _num_samples(self.table) if self.places is None else len(self.places)

    @property
    def shape(self) -> tuple[int]:
        """Return the number of rows, by which scikit-learn knows an array."""
        return (len(self),)

    def __getitem__(self, key: Any) -> GroupedRows:
        rows = key[0] if isinstance(key, tuple) else key
        if self.places is not None:
            places = self.places[rows]
        elif isinstance(rows, np.ndarray) and rows.dtype.kind == "i":
            places = rows
        else:
            places = np.arange(len(self))[rows]
        return GroupedRows(self.table, self.labels, self.summed, places)

    def sums(self) -> Sums | None:
        """Return the sums of these rows: those of all, `summed`, less the others', if they suit."""
        assert self.summed is not None
        return self.summed.part(self.places)


class GroupPassingEstimator:
    """An estimator that takes `GroupedRows` for X and hands the groups on to the one inside."""

    def __init__(self, estimator: Any) -> None:
        self.estimator = estimator

    def __sklearn_clone__(self) -> GroupPassingEstimator:
        return GroupPassingEstimator(clone(self.estimator))

    def __sklearn_tags__(self) -> Any:
        return get_tags(self.estimator)

    def get_metadata_routing(self) -> Any:
        """Return the requests of the estimator inside: what else than groups is handed on."""
        return get_routing_for_object(self.estimator)

    @property
    def classes_(self) -> Any:
        """The classes of a fitted classifier."""
        return self.estimator.classes_

    def fit(self, X: GroupedRows, y: Any = None, **params: Any) -> GroupPassingEstimator:
        """Fit the estimator inside, from cross-products if the rows have any that suit.

        Those were summed with or without weights; they are used only if `params` agrees.
        """
        summed = X.summed
        if summed is not None and summed.is_weighted == ("sample_weight" in params):
            sums = X.sums()
            if sums is not None:
                summed.fit(self.estimator, sums, places=X.places)
                return self
        handed = dict.fromkeys(fit_names(self.estimator), X.groups)
        self.estimator.fit(X.X, *as_arguments(y), **handed, **params)
        return self

    def _call(self, method: str, X: GroupedRows, **params: Any) -> Any:
        # A parameter search does not pass groups to its best model.
        """Call a method of the estimator inside, with groups if it takes them."""
        model = getattr(self.estimator, "best_estimator_", self.estimator)
        if takes(model, method):
            params["groups"] = X.groups
        return getattr(model, method)(X.X, **params)

    def predict(self, X: GroupedRows, **params: Any) -> Any:
        """Predict by the estimator inside."""
        return self._call("predict", X, **params)

    @offered_if(lambda self: hasattr(self.estimator, "predict_proba"))
    def predict_proba(self, X: GroupedRows, **params: Any) -> Any:
        """Predict the probabilities of the classes."""
        return self._call("predict_proba", X, **params)

    @offered_if(lambda self: hasattr(self.estimator, "predict_log_proba"))
    def predict_log_proba(self, X: GroupedRows, **params: Any) -> Any:
        """Predict the logarithms of the probabilities of the classes."""
        return self._call("predict_log_proba", X, **params)

    @offered_if(lambda self: hasattr(self.estimator, "decision_function"))
    def decision_function(self, X: GroupedRows, **params: Any) -> Any:
        """Return the scores of the classes."""
        return self._call("decision_function", X, **params)

    @offered_if(lambda self: hasattr(self.estimator, "score"))
    def score(self, X: GroupedRows, y: Any = None, **params: Any) -> Any:
        """Return the default score of the estimator inside, the groups being known."""
        model = self.estimator
        if isinstance(model, Pipeline) and not get_config()["enable_metadata_routing"]:
            # Its own `score` would leave the groups out.
            inner = model[:-1].transform(X.X) if len(model) > 1 else X.X
            return GroupPassingEstimator(model[-1]).score(GroupedRows(inner, X.groups), y, **params)
        if accepts(model, "score"):
            return model.score(X.X, *as_arguments(y), groups=X.groups, **params)
        if isinstance(model, TransformedTargetRegressor) or (
            is_regressor(model) and takes(model, "predict")
        ):
            return float(r2_score(y, self.predict(X), **params))
        return model.score(X.X, *as_arguments(y), **params)


def as_arguments(y: Any) -> tuple[Any, ...]:
    """Return y as the arguments it makes; none where there is no response."""
    return () if y is None else (y,)
