"""Cross-products of a whole table, from which models are fitted to parts of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import IntArray
from skmixed.core.model.spec import Term
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.summed_rows import SummedRows
from skmixed.design.design import Design
from skmixed.estimators._linear_state import LinearState, learn_rows
from skmixed.estimators._training_data import TrainingData


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
        weights = self.summed.rows.weights
        model._fitted = LinearState.of_sums(model, self.data[number], design, products, weights)
