"""Fits to the cross-products of a table, and of parts of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

import numpy as np

from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec, Term
from skmixed.core.search.auto import choose
from skmixed.core.search.average_information import IterativeSolver
from skmixed.core.search.em import EM
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Solver
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.design import Design
from skmixed.design.syntax import RandomTerm
from skmixed.estimators._diagnosis import check_sizes, check_weights, print_iteration
from skmixed.estimators._linear_state import LinearState
from skmixed.estimators._training_data import TrainingData

Learned = TypeVar("Learned", bound=LinearState)

_MOST_EM_STEPS = 2_000  # for max_iter=None, EM's own default: its steps are cheap, but many
_MOST_EVALUATIONS = 200  # for max_iter=None, Newton's own default: far above what it takes


def learn_rows(model: Any, data: TrainingData, terms: Sequence[RandomTerm]) -> tuple[Design, Rows]:
    """Learn a design, and make the rows that are summed under it, the response less any offset."""
    design, columns, codes = Design.learn(
        data.source,
        terms,
        data.fixed,
        fit_intercept=model.fit_intercept,
        covariance=model.covariance,
    )
    offset = design.offset(data.source)
    columns[:, -1] = data.y if offset is None else data.y - offset
    return design, design.rows(columns, codes, data.weights)


def search_of(model: Any, products: CrossProducts, spec: ModelSpec) -> tuple[Solver, str]:
    """Return the search that the parameters of an estimator ask for, and why, if it was chosen."""
    callback = print_iteration if model.verbose else None
    if not isinstance(model.solver, str):
        return replace(model.solver, callback=model.solver.callback or callback), ""
    most = model.max_iter or _MOST_EVALUATIONS
    newton = Newton(tol=model.tol, max_iter=most, callback=callback)
    iterative = IterativeSolver(tol=model.tol, max_iter=most, callback=callback)
    if model.solver == "auto":
        return choose(products, spec, newton, iterative)
    em = EM(tol=model.tol, max_iter=model.max_iter or _MOST_EM_STEPS, callback=callback)
    named: dict[str, Solver] = {"newton": newton, "em": em, "iterative": iterative}
    return named[model.solver], ""


def checked_spec(
    model: Any, design: Design, products: CrossProducts, weights: FloatArray | None
) -> ModelSpec:
    """Return the model that an estimator asks for; warns about `weights`, (n,), and few rows."""
    spec = ModelSpec(design.fixed, design.terms, model.method, model.weighting)
    check_weights(weights, spec)
    check_sizes(products, spec)
    return spec


def fit_table(model: Any, data: TrainingData, kind: type[Learned], **more: Any) -> Learned:
    """Fit to a table as an estimator asks for; the state is of a kind with `more` fields."""
    design, rows = learn_rows(model, data, data.terms)
    products = CrossProducts.of(design.layout, rows)
    spec = checked_spec(model, design, products, data.weights)
    fit = Fit.of(products, spec, *search_of(model, products, spec))
    return kind.of(model, data, design, fit, **more)


@dataclass(frozen=True, slots=True, eq=False)
class SummedTable:
    """One pass over the rows of a table, made for one or more models."""

    data: tuple[TrainingData, ...]  # as each model reads the table; rows and columns are the same
    terms: tuple[tuple[Term, ...], ...]  # of each model
    design: Design  # of the columns and factors of all models together
    summed: SummedRows

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
        terms = tuple(
            design.terms[end - len(part.terms) : end] for part, end in zip(data, last, strict=True)
        )
        return cls(tuple(data), terms, design, SummedRows.of(design.layout, rows))

    @property
    def is_weighted(self) -> bool:
        """Whether the rows have weights."""
        return self.summed.rows.weights is not None

    def part(self, places: IntArray | None) -> CrossProducts:
        """Return the sums of some rows, (m,), each once: those of all less those of the others.

        The cost is that of summing the others. None is all rows.
        """
        if places is None:
            return self.summed.products
        others = np.ones(len(self.summed.rows.columns), dtype=bool)
        others[places] = False
        if not others.any():
            return self.summed.products
        return self.summed.without(np.flatnonzero(others))

    def fit(self, model: Any, products: CrossProducts, number: int = 0) -> None:
        """Fit a model, which gets the fitted attributes, to a part of the rows.

        `number` says which of the models it is.
        """
        design = replace(self.design.with_levels(products.levels), terms=self.terms[number])
        spec = checked_spec(model, design, products, self.summed.rows.weights)
        fit = Fit.of(products, spec, *search_of(model, products, spec))
        model._fitted = LinearState.of(model, self.data[number], design, fit)
