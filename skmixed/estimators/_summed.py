"""Cross-products of a whole table, from which models are fitted to parts of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import IntArray
from skmixed.core.model.spec import Term
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Rows
from skmixed.design.design import Design
from skmixed.design.terms import RandomTerm
from skmixed.estimators._data import TrainingData


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


@dataclass(frozen=True, slots=True, eq=False)
class SummedTable:
    """One pass over the rows of a table, made for one or more models."""

    data: tuple[TrainingData, ...]  # as each model reads the table; rows and columns are the same
    terms: tuple[tuple[Term, ...], ...]  # of each model
    design: Design  # of the columns and factors of all models together
    rows: Rows
    products: CrossProducts

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
        return cls(tuple(data), terms, design, rows, CrossProducts.of(design.layout, rows))

    @property
    def is_weighted(self) -> bool:
        """Whether the rows have weights."""
        return self.rows.weights is not None

    def part(self, places: IntArray) -> CrossProducts:
        """Return the sums of some rows, (m,), each once: those of all less those of the others.

        The cost is that of summing the others.
        """
        others = np.ones(len(self.rows.columns), dtype=bool)
        others[places] = False
        if not others.any():
            return self.products
        return self.products.without(self.rows.take(np.flatnonzero(others)))

    def fit(self, model: Any, products: CrossProducts, number: int = 0) -> None:
        """Fit a model, which gets the fitted attributes, to a part of the rows.

        `number` says which of the models it is.
        """
        design = replace(self.design.with_levels(products.levels), terms=self.terms[number])
        fit = model._search(design, products, self.rows.weights)
        model._adopt(self.data[number], design)
        model._adopt_fit(design, fit)
