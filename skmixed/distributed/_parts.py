"""Work of every engine on each part of the data: summing and predicting."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
from sklearn.base import clone

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.sums.crossproducts import CrossProducts, arranged
from skmixed.core.sums.layout import FactorLayout, Layout
from skmixed.core.sums.summation import choose_basis
from skmixed.design.categories import (
    Categories,
    categorical_columns,
    refuse_other_codings,
    table_of_levels,
    with_levels,
)
from skmixed.design.column_collection import are_plain
from skmixed.design.design import Design
from skmixed.design.residual import ResidualDesign
from skmixed.design.tables import to_pandas
from skmixed.design.values import ABSENT_LEVEL, Kind, kind_of, operand_kind, refuse_dates
from skmixed.design.wording import MAX_SHOWN
from skmixed.distributed._partial_sums import Declaration, PartialSums
from skmixed.estimators.mixed._linear_state import sums_of
from skmixed.estimators.reading._input_table import InputTable
from skmixed.estimators.reading._prediction_rows import Predictor
from skmixed.estimators.reading._training_data import TrainingData, read_training_data
from skmixed.exceptions import PartitionError

_HEAD_ROWS = 50  # from these a part learns its formulas first: enough for a spline, and cheap


@dataclass(frozen=True, slots=True, eq=False)
class PartSummer:
    """The columns of a model in any part of a table, summed."""

    stands_for: ClassVar = "fit"  # the method that warnings name
    model: Any  # MixedLinearRegressor, not fitted: its parameters say what the columns are
    target: str  # column of the response
    features: tuple[str, ...]  # columns of X
    groups: tuple[str, ...] = ()  # columns handed over as `groups`
    weight: str | None = None  # column of the weights
    # Levels of categorical columns, if given.
    categories: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        weight = [] if self.weight is None else [self.weight]
        return list(dict.fromkeys([*self.features, *self.groups, self.target, *weight]))

    @property
    def verbose(self) -> bool:
        """Whether progress is shown."""
        return bool(self.model.verbose)

    def __call__(
        self, chunk: Any, name: str, basis: FloatArray | None = None
    ) -> PartialSums | None:
        """Sum over a part of the rows, a data frame of any library; None where no row has weight.

        Without a `basis` to sum about, (n_columns, n_columns), the part chooses it. Raises
        PartitionError where the rows cannot be summed; its message starts with the `name` of the
        part.
        """
        try:
            partial = self._sums(chunk, basis)
            return None if partial is None else replace(partial, name=name)
        except (ValueError, TypeError, KeyError) as error:
            raise PartitionError(f"{name}: {error}") from error

    def _sums(self, chunk: Any, basis: FloatArray | None) -> PartialSums | None:
        data = self._read(chunk)
        if data is None:
            return None
        declared = Declaration.of(self.model, data)
        if data.residual is not None:
            partial = self._sum_series(declared, data, data.residual)
        elif _needs_formulas(data):
            partial = self._sum_formula_columns(declared, data)
        else:
            partial = _sum_plain_columns(declared, data, basis)
        kinds = _kinds(data, partial.design)
        partial = replace(partial, kinds=kinds)
        if data.weights is None:
            return partial
        whole = np.array_equal(data.weights, np.round(data.weights))
        return replace(partial, weights="whole" if whole else "fractional")

    def _read(self, chunk: Any) -> TrainingData | None:
        """Check and read a part; None where it has no rows or no weight."""
        table = InputTable.of_frame(chunk)
        if table is None:
            raise TypeError(
                f"it is a {type(chunk).__name__}; every chunk must be a data frame with column "
                "names"
            )
        if not table.n_rows:
            return None
        missing = [name for name in self.columns if name not in table.names]
        if missing:
            raise ValueError(f"the columns {missing} are missing; there are {list(table.names)}")
        weights = None
        if self.weight is not None:
            weights = table.column(self.weight)
            refuse_dates(weights, f"the column {self.weight!r} of weights")
            if not np.asarray(weights, dtype=np.float64).any():
                return None
        X, y = table.select(self.features), table.column(self.target)
        groups = table.select(self.groups) if self.groups else None
        return read_training_data(self.model, X, y, weights, groups)

    def _sum_formula_columns(self, declared: Declaration, data: TrainingData) -> PartialSums:
        frame = to_pandas(data.source.frame)
        head = frame.head(_HEAD_ROWS)
        design = declared.learn_columns(head)
        refuse_other_codings(design)
        names = categorical_columns(design)
        if not names:
            rows = design.new_rows(data.source, data.y, data.weights)
            return PartialSums(CrossProducts.of(design.layout, rows), design, declared)
        found = {name: self._categories(name, frame[name]) for name in names}
        full = declared.learn_columns(table_of_levels(head, found, complete=False))
        kept = declared.learn_columns(table_of_levels(head, found, complete=True)).layout
        levels = {name: [ABSENT_LEVEL, *categories.levels] for name, categories in found.items()}
        source = replace(data.source, frame=with_levels(frame, levels))
        rows = full.new_rows(source, data.y, data.weights)
        basis = _basis_of(rows.columns, full.layout, kept)
        products = arranged(CrossProducts.of(full.layout, rows, basis), _without_absent_level(full))
        return PartialSums(products, design, declared, head=head.head(1), categories=found)

    def _sum_series(self, declared: Declaration, data: TrainingData, text: str) -> PartialSums:
        """Sum whole series of rows for a residual structure."""
        if _needs_formulas(data):
            design = declared.learn_columns(to_pandas(data.source.frame).head(_HEAD_ROWS))
            names = categorical_columns(design)
            if names:
                raise ValueError(
                    f"the columns {list(names)} are categorical in a formula, which is not "
                    "supported with a residual structure for data in parts: convert them to "
                    "dummies"
                )
            rows = design.new_rows(data.source, data.y, data.weights)
        else:
            design, columns, codes = declared.learn(data.source, data.y)
            rows = design.rows(columns, codes, data.weights)
        residual = ResidualDesign.learn(text, data.source.residual, self.categories)
        design = replace(design, residual=residual)
        sums, ends = sums_of(design, rows, residual.rows(data.source.residual))
        assert isinstance(sums, ResidualTables)
        first = [index.take(np.zeros(1, dtype=np.intp)) for index in sums.base.levels]
        return PartialSums(sums.base, design.with_levels(first), declared, tables=sums, ends=ends)

    def _categories(self, name: str, values: Any) -> Categories:
        """Return the levels of a column that occur; refuse those not among the levels given."""
        found = Categories.of(values)
        if name not in self.categories:
            return found
        given = tuple(self.categories[name])
        unknown = [level for level in found.levels if level not in given]
        if unknown:
            raise ValueError(
                f"the column {name!r} has the values {unknown[:MAX_SHOWN]}, which are not among "
                f"its `categories` {list(given)}"
            )
        return Categories(found.seen, given)


def _kinds(data: TrainingData, design: Design) -> dict[str, Kind]:
    """Tell the kinds of the columns that could be another thing in another part.

    Numbers of the table have been checked; those of formulas could be categories.
    """
    operands = {name: operand_kind(data.source.table[name]) for name in design.variables}
    return operands | {name: kind_of(labels) for name, labels in data.source.groups.items()}


def _needs_formulas(data: TrainingData) -> bool:
    return data.fixed is not None or not are_plain(data.terms, data.source.names)


def _sum_plain_columns(
    declared: Declaration, data: TrainingData, basis: FloatArray | None
) -> PartialSums:
    design, columns, codes = declared.learn(data.source, data.y)
    rows = design.rows(columns, codes, data.weights)
    products = CrossProducts.of(design.layout, rows, basis)
    first = [index.take(np.zeros(1, dtype=np.intp)) for index in products.levels]
    return PartialSums(products, design.with_levels(first), declared)


def _basis_of(columns: FloatArray, layout: Layout, kept: Layout) -> FloatArray:
    """Choose the basis to sum about, (n_columns, n_columns).

    The response is shifted only by columns that remain in the whole.
    """
    twice = [name for name in kept.columns[:-1] if name not in layout.columns]
    if twice:
        raise ValueError(
            "the categories of a column are integers in some rows and other numbers elsewhere, "
            f"so that {twice[0]!r} has two names: convert the column to one type"
        )
    chosen = [layout.columns.index(name) for name in kept.columns[:-1]] + [layout.response]
    basis = np.eye(len(layout.columns))
    basis[np.ix_(chosen, chosen)] = choose_basis(columns[:, chosen])
    return basis


def _without_absent_level(design: Design) -> Layout:
    """Return the layout without the columns of the level that does not occur."""
    old = design.layout
    names = [name for name in old.columns[:-1] if ABSENT_LEVEL not in name]
    factors = tuple(
        FactorLayout(
            factor.key,
            tuple(names.index(old.columns[i]) for i in factor.columns if old.columns[i] in names),
        )
        for factor in old.factors
    )
    return Layout((*names, old.columns[-1]), factors)


@dataclass(frozen=True, slots=True, eq=False)
class PartPredictor:
    """A fitted model without its cross-products, and the columns it reads."""

    stands_for: ClassVar = "predict"  # the method that warnings name
    model: Any  # MixedLinearRegressor, not fitted
    predictor: Predictor
    features: tuple[str, ...]  # columns of X
    groups: tuple[str, ...]  # columns handed over as `groups`
    random: str | Sequence[str]  # argument of `predict`: "all", "none" or names of factors

    @classmethod
    def of(cls, model: Any, names: Sequence[str], random: str | Sequence[str]) -> PartPredictor:
        """Choose the columns that a fitted model needs from those of a table.

        The model itself finds out which are missing. Raises ValueError if it was fitted to an
        array.
        """
        predictor = model._state().predictor
        known = predictor.feature_names_in
        if known is None:
            raise ValueError("the model was fitted to an array, whose columns have no names")
        features = tuple(str(name) for name in known if name in names)
        groups = tuple(name for name in predictor.columns.from_argument if name in names)
        return cls(clone(model), predictor, features, groups, random)

    @property
    def columns(self) -> list[str]:
        """The columns that are read."""
        return list(dict.fromkeys([*self.features, *self.groups]))

    def __call__(self, chunk: Any, name: str | None = None) -> FloatArray:
        """Predict for a part of the rows, (n,), in units of y.

        Raises PartitionError if the rows are invalid; `name` says which part it is.
        """
        if not len(chunk):
            return np.empty(0)
        table = InputTable.of(chunk)
        X = table.select(self.features)
        groups = table.select(self.groups) if self.groups else None
        try:
            _, rows = self.predictor.read(self.model, X, groups, self.random)
            return rows.means(self.model.handle_unknown)
        except (ValueError, TypeError) as error:
            raise PartitionError(f"{name}: {error}" if name else str(error)) from error
