"""What is known of a part of the rows, and what several parts are together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.arranging import arranged, united_layout
from skmixed.core.blocks import FactorBlock, PairBlock
from skmixed.core.crossproducts import CrossProducts
from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray
from skmixed.design.categories import Categories, disagreement, template
from skmixed.design.design import Design
from skmixed.design.source import Source
from skmixed.distributed._merging import in_order, merge
from skmixed.estimators._data import TrainingData


@dataclass(frozen=True, slots=True, eq=False)
class Header:
    """What is declared of the columns, the same for all rows.

    Parameters
    ----------
    data : TrainingData
        As read from some rows, of which none is kept.
    fit_intercept : bool
        Parameter of the model.
    covariance : str or mapping
        Parameter of the model.
    """

    data: TrainingData
    fit_intercept: bool
    covariance: Any

    @classmethod
    def of(cls, model: Any, data: TrainingData) -> Header:
        """Keep what is declared and leave the rows."""
        nothing = np.empty(0)
        source = Source(0, data.source.names)
        bare = replace(data, source=source, y=nothing, weights=None)
        return cls(bare, model.fit_intercept, model.covariance)

    def learn(self, source: Source) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn a design, as `Design.learn` does."""
        return Design.learn(
            source,
            self.data.terms,
            self.data.fixed,
            fit_intercept=self.fit_intercept,
            covariance=self.covariance,
        )

    def learn_columns(self, frame: pd.DataFrame) -> Design:
        """Learn a design from a small table, in which no level matters.

        Parameters
        ----------
        frame : DataFrame
            The columns of X.

        Returns
        -------
        Design
            With one level a factor.
        """
        names = self.data.source.names
        keys = dict.fromkeys(name for term in self.data.terms for name in term.group)
        levels = {name: np.zeros(len(frame), dtype=np.intp) for name in keys}
        numeric = frame[list(names)].to_numpy(np.float64) if names else None
        return self.learn(Source(len(frame), names, numeric, frame, levels))[0]


@dataclass(frozen=True, slots=True, eq=False)
class Partial:
    """The sums over one part of the rows, and how its columns were made.

    Parameters
    ----------
    products : CrossProducts
        The sums.
    design : Design
        What was learned, without levels.
    header : Header
        What is declared.
    weights : {None, "whole", "fractional"}
        What numbers the weights are.
    head : DataFrame or None
        A row, where formulas have categorical columns.
    categories : mapping of str to Categories
        The levels of these columns that occur.
    """

    products: CrossProducts
    design: Design
    header: Header
    weights: str | None = None
    head: Any = None
    categories: Mapping[str, Categories] = field(default_factory=dict)

    @property
    def n_bytes(self) -> int:
        """Size of the largest arrays."""
        blocks: list[FactorBlock | PairBlock] = [
            *self.products.factors,
            *self.products.pairs.values(),
        ]
        return sum(block.products.nbytes + 4 * block.counts.nbytes for block in blocks)

    def whole(self) -> tuple[Design, CrossProducts]:
        """Return the design and the sums, as learned from all rows together.

        Returns
        -------
        design : Design
            With levels, and with the categories that occur.
        products : CrossProducts
            Over its columns.
        """
        design, products = self.design, self.products
        if self.categories:
            design = self.header.learn_columns(template(self.head, self.categories, whole=True))
            products = arranged(products, design.layout)
        products = in_order(products)
        return design.with_levels(products.levels), products


def merged(parts: Iterable[Partial | None]) -> Partial | None:
    """Merge the sums over disjoint sets of rows.

    Parameters
    ----------
    parts : iterable of Partial or None
        None for a part without rows.

    Returns
    -------
    Partial or None
        None where no part has rows.

    Raises
    ------
    ValueError
        If an expression learned different things from different rows.
    """
    present = [part for part in parts if part is not None]
    if len(present) < 2:
        return present[0] if present else None
    first = present[0]
    for other in present[1:]:
        _refuse_different(first, other)
    layout = united_layout([part.products.layout for part in present])
    weights = {part.weights for part in present}
    return replace(
        first,
        products=merge([arranged(part.products, layout) for part in present]),
        weights="fractional" if "fractional" in weights else first.weights,
        categories=_united(present),
    )


def _united(parts: Sequence[Partial]) -> dict[str, Categories]:
    united = dict(parts[0].categories)
    for part in parts[1:]:
        for name, categories in part.categories.items():
            united[name] = united[name].union(categories)
    return united


def _refuse_different(first: Partial, second: Partial) -> None:
    expression = disagreement(first.design, second.design)
    if expression is not None:
        raise ValueError(
            f"{expression!r} learns something else from every part of the data: make its columns "
            "beforehand, or say in the formula all it would learn, as in C(x, levels=[...]) or "
            "bs(x, knots=[...], lower_bound=..., upper_bound=...)"
        )
    if not first.categories and first.products.layout != second.products.layout:
        raise ValueError(
            f"parts of the data have different columns: {first.products.layout.columns[1:-1]} and "
            f"{second.products.layout.columns[1:-1]}"
        )
    if first.categories.keys() != second.categories.keys():
        raise ValueError(
            f"columns are categorical in some parts of the data only: {list(first.categories)} "
            f"and {list(second.categories)}"
        )
