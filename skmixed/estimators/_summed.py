"""Cross-products of a whole table, from which models are fitted to parts of its rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.crossproducts import CrossProducts
from skmixed.core.groups import IntArray
from skmixed.core.layout import Rows
from skmixed.core.spec import Term
from skmixed.design.design import Design
from skmixed.estimators._data import TrainingData, read_training_data


@dataclass(frozen=True, slots=True, eq=False)
class Summed:
    """One pass over the rows of a table, made for one or more models.

    Parameters
    ----------
    data : tuple of TrainingData
        The table as each model reads it; rows and columns are the same.
    terms : tuple of tuple of Term
        Random-effects terms of each model.
    design : Design
        Of the columns and factors of all models together.
    rows : Rows
        The rows.
    products : CrossProducts
        Their sums.
    """

    data: tuple[TrainingData, ...]
    terms: tuple[tuple[Term, ...], ...]
    design: Design
    rows: Rows
    products: CrossProducts

    @classmethod
    def of(
        cls, models: Sequence[Any], X: Any, y: Any, sample_weight: Any, groups: Any
    ) -> Summed | None:
        """Sum over a table.

        Parameters
        ----------
        models : sequence of MixedLinearRegressor
            Equal but for `random`; all of them read the same columns as grouping columns.
        X : array-like or data frame of shape (n, n_features)
            As in `MixedLinearRegressor.fit`.
        y : array-like of shape (n,)
            As there.
        sample_weight : None or array-like of shape (n,)
            As there.
        groups : None, array-like or data frame
            As there.

        Returns
        -------
        Summed or None
            None where the columns of a part of the rows are not those of the whole: with rows of
            weight zero, and with formulas that learn categories or transforms from their rows.
        """
        data = tuple(read_training_data(model, X, y, sample_weight, groups) for model in models)
        first, last = data[0], np.cumsum([len(part.terms) for part in data])
        if first.weights is not None and len(first.weights) != len(sample_weight):
            return None
        design, columns, codes = Design.learn(
            first.source,
            [term for part in data for term in part.terms],
            first.fixed,
            fit_intercept=models[0].fit_intercept,
            covariance=models[0].covariance,
        )
        if design.learns_from_rows:
            return None
        offset = design.offset(first.source)
        columns[:, -1] = first.y if offset is None else first.y - offset
        rows = design.rows(columns, codes, first.weights)
        terms = tuple(
            design.terms[end - len(part.terms) : end] for part, end in zip(data, last, strict=True)
        )
        return cls(data, terms, design, rows, CrossProducts.of(design.layout, rows))

    def without(self, left_out: IntArray) -> CrossProducts:
        """Return the sums of all rows but some."""
        if not len(left_out):
            return self.products
        return self.products.without(self.rows.take(left_out))

    def fit(self, model: Any, products: CrossProducts, number: int = 0) -> None:
        """Fit a model to a part of the rows.

        Parameters
        ----------
        model : MixedLinearRegressor
            Gets the fitted attributes.
        products : CrossProducts
            Of the part.
        number : int
            Which of the models it is.
        """
        design = replace(self.design.with_levels(products.levels), terms=self.terms[number])
        fit = model._search(design, products, self.rows.weights)
        model._adopt(self.data[number], design)
        model._adopt_fit(design, fit)
