"""Sums over a part of the data, and how parts are merged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.sums.blocks import FactorBlock, PairBlock
from skmixed.core.sums.crossproducts import CrossProducts, arranged, united_layout
from skmixed.design.categories import Categories, differing_expression, table_of_levels
from skmixed.design.design import Design
from skmixed.design.source import Source
from skmixed.design.values import UNCLEAR_KINDS, Kind, are_other_kinds
from skmixed.estimators.mixed._series_ends import SeriesEnds
from skmixed.estimators.reading._training_data import TrainingData
from skmixed.exceptions import PartitionError

FAN_IN = 8  # sums merged per task: few stages, and few sums in memory at once


@dataclass(frozen=True, slots=True, eq=False)
class Declaration:
    """What is declared about the columns, the same for all rows."""

    data: TrainingData  # as read from some rows, of which none is kept
    fit_intercept: bool  # parameter of the model
    covariance: Any  # parameter of the model

    @classmethod
    def of(cls, model: Any, data: TrainingData) -> Declaration:
        """Keep what is declared and leave the rows.

        Raises ValueError for terms whose levels are columns, which parts do not have in common.
        """
        for term in data.terms:
            if term.members is not None:
                raise ValueError(
                    f"the levels of {term.name!r} are columns, which parts of the data do not "
                    "share: call fit with all rows"
                )
        nothing = np.empty(0)
        source = Source(0, data.source.names)
        bare = replace(data, source=source, y=nothing, weights=None)
        return cls(bare, model.fit_intercept, model.covariance)

    def learn(
        self, source: Source, y: FloatArray | None = None
    ) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn a design, as `Design.learn` does."""
        return Design.learn(
            source,
            self.data.terms,
            self.data.fixed,
            fit_intercept=self.fit_intercept,
            covariance=self.covariance,
            context=self.data.context,
            y=y,
        )

    def learn_columns(self, frame: pd.DataFrame) -> Design:
        """Learn a design from a small table with the columns of X.

        Every factor has a single level: no level matters.
        """
        names = self.data.source.names
        keys = dict.fromkeys(name for term in self.data.terms for name in term.group)
        levels = {name: np.zeros(len(frame), dtype=np.intp) for name in keys}
        numeric = frame[list(names)].to_numpy(np.float64) if names else None
        return self.learn(Source(len(frame), names, numeric, frame, levels))[0]


@dataclass(frozen=True, slots=True, eq=False)
class PartialSums:
    """The sums over one part of the rows, and how its columns were made."""

    products: CrossProducts
    design: Design  # what was learned, without levels
    declared: Declaration
    name: str = ""  # of the part, or of the first of several
    kinds: Mapping[str, Kind] = field(default_factory=dict)  # of labels and columns of formulas
    weights: str | None = None  # "whole" or "fractional" numbers; None without weights
    head: Any = None  # a row of the data frame, where formulas have categorical columns
    # The levels of these columns that occur.
    categories: Mapping[str, Categories] = field(default_factory=dict)
    tables: ResidualTables | None = None  # of a residual structure, the products among them
    ends: SeriesEnds | None = None  # last rows of series, if forecasts start from them

    @property
    def n_bytes(self) -> int:
        """Approximate size in bytes: products, counts, and the labels or places beside them."""
        blocks: list[FactorBlock | PairBlock] = [
            *self.products.factors,
            *self.products.pairs.values(),
        ]
        of_tables = 0 if self.tables is None else self.tables.n_bytes
        return of_tables + sum(b.products.nbytes + 3 * b.counts.nbytes for b in blocks)

    def complete(self) -> tuple[Design, CrossProducts | ResidualTables]:
        """Return the design and the sums over its columns, as learned from all rows together.

        The design has levels, and the categories that occur.
        """
        if self.tables is not None:
            return self.design.with_levels(self.tables.base.levels), self.tables
        design, products = self.design, self.products
        if self.categories:
            design = self.declared.learn_columns(
                table_of_levels(self.head, self.categories, complete=True)
            )
            products = arranged(products, design.layout)
        products = products.in_order()
        return design.with_levels(products.levels), products


def merged_sums(parts: Iterable[PartialSums | None]) -> PartialSums | None:
    """Merge the sums over disjoint sets of rows; None where no part has rows.

    Raises ValueError if an expression learned different things from different rows, and
    PartitionError, which names the part, for values of another kind than in the others.
    """
    present = [part for part in parts if part is not None]
    if len(present) < 2:
        return present[0] if present else None
    first = present[0]
    for other in present[1:]:
        _refuse_different(first, other)
    layout = united_layout([part.products.layout for part in present])
    weights = {part.weights for part in present}
    tables = [part.tables for part in present if part.tables is not None]
    ends = [part.ends for part in present if part.ends is not None]
    return replace(
        first,
        tables=ResidualTables.merged(tables) if tables else None,
        ends=reduce(SeriesEnds.with_others, ends) if ends else None,
        products=CrossProducts.merged([arranged(part.products, layout) for part in present]),
        kinds=_united_kinds(present),
        weights="fractional" if "fractional" in weights else first.weights,
        categories=_united_categories(present),
    )


def _united_categories(parts: Sequence[PartialSums]) -> dict[str, Categories]:
    """Return the levels of the categorical columns of all parts."""
    united = dict(parts[0].categories)
    for part in parts[1:]:
        for name, categories in part.categories.items():
            united[name] = united[name].union(categories)
    return united


def _united_kinds(parts: Sequence[PartialSums]) -> dict[str, Kind]:
    """Return the kinds of all columns; where some parts are unclear, the others tell."""
    united: dict[str, Kind] = {}
    for part in parts:
        for name, kind in part.kinds.items():
            if united.get(name, "nothing") in UNCLEAR_KINDS:
                united[name] = kind
    return united


def _refuse_other_kinds(first: PartialSums, second: PartialSums) -> None:
    """Raise PartitionError for a column of other values than before: text and numbers, say."""
    for name, kind in second.kinds.items():
        before = first.kinds.get(name, kind)
        if are_other_kinds(before, kind):
            raise PartitionError(
                f"{second.name}: the column {name!r} holds {kind}, but {before} in {first.name}: "
                "convert it to the same kind in all parts"
            )


def _refuse_other_levels(first: PartialSums, second: PartialSums) -> None:
    """Raise PartitionError for integers that are categories here and floating-point there.

    Their levels, and with them the columns, have other names.
    """
    for name in first.categories.keys() & second.categories.keys():
        kinds = [{type(level) for level in part.categories[name].seen} for part in (first, second)]
        if kinds[0] != kinds[1] and kinds[0] | kinds[1] == {int, float}:
            raise PartitionError(
                f"{second.name}: the categories of {name!r} are integers in some parts and "
                f"floating-point numbers in others, unlike in {first.name}: convert them to one "
                "type"
            )


def _refuse_other_classes(first: PartialSums, second: PartialSums) -> None:
    """Raise PartitionError for other strata or visits of a residual structure than before."""
    one, other = first.design.residual, second.design.residual
    if one is None or other is None or one.structure == other.structure:
        return
    named = {"strata": one.strata_labels, "visits": one.visit_labels}
    now = {"strata": other.strata_labels, "visits": other.visit_labels}
    kind = next(each for each in named if named[each] != now[each])
    raise PartitionError(
        f"{second.name}: the {kind} {now[kind]} of {one.text!r} are not those of {first.name}, "
        f"{named[kind]}: say all levels of their column in `categories`"
    )


def _refuse_different(first: PartialSums, second: PartialSums) -> None:
    """Raise ValueError for parts whose columns were not made alike."""
    _refuse_other_kinds(first, second)
    _refuse_other_levels(first, second)
    _refuse_other_classes(first, second)
    expression = differing_expression(first.design, second.design)
    if expression is not None:
        raise ValueError(
            f"{expression!r} would learn different values from each part of the data: compute "
            "its columns beforehand, or write all it would learn into the formula, as in C(x, "
            "levels=[...]) or bs(x, knots=[...], lower_bound=..., upper_bound=...)"
        )
    if not first.categories and first.products.layout != second.products.layout:
        raise ValueError(
            f"parts of the data have different columns: {first.products.layout.columns[1:-1]} and "
            f"{second.products.layout.columns[1:-1]}"
        )
    if first.categories.keys() != second.categories.keys():
        raise ValueError(
            f"columns are categorical only in some parts of the data: {list(first.categories)} "
            f"and {list(second.categories)}"
        )
