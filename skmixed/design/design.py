"""From a table to the columns and codes to be summed, learned once and replayed on new rows."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import Term
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex, Layout, Rows
from skmixed.design.column_collection import (
    ColumnCollection,
    FormulaColumns,
    MembershipColumns,
    Slopes,
    SmoothColumns,
    are_plain,
    empty_columns,
    one_by_one,
)
from skmixed.design.curves import FittedCurve, Smooth, read_smooth_expressions
from skmixed.design.fixed_design import FixedDesign
from skmixed.design.formula import (
    NO_CONTEXT,
    FormulaMatrix,
    evaluate_expression,
    read_offset,
)
from skmixed.design.grammar.expressions import variables
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import FormulaParts
from skmixed.design.grouping import Grouping, factor_layouts, structures_asked
from skmixed.design.memberships import Membership
from skmixed.design.records import read, stored, write
from skmixed.design.relationships import Relationship
from skmixed.design.residual import ResidualDesign
from skmixed.design.source import Source
from skmixed.design.tables import Labels


@stored
@dataclass(frozen=True, slots=True, eq=False)
class Design:
    """What was learned about the columns of a model.

    The columns of the layout are [1, fixed, further slopes, y].
    """

    layout: Layout
    fixed: tuple[int, ...]  # places of the fixed columns, 0 for the intercept
    terms: tuple[Term, ...]  # those of the random terms, and one of every curve of all rows
    grouping: Grouping
    offsets: tuple[str, ...]  # expressions with coefficient one
    _plain: tuple[str, ...]  # numeric columns taken as they are
    _expressions: tuple[FormulaColumns, ...]
    _fixed_matrix: FormulaMatrix | None = None  # None where the fixed part is the numeric columns
    _slopes: tuple[Slopes, ...] = ()  # of every term
    _smooths: tuple[SmoothColumns, ...] = ()
    _sizes: tuple[int, ...] = ()  # number of terms that each random term makes
    _context: Mapping[str, Any] = field(default_factory=dict)  # what offsets may name
    residual: ResidualDesign | None = None  # None for independent residuals of one variance
    _memberships: tuple[MembershipColumns, ...] = ()  # levels of which rows have several

    @classmethod
    def learn(
        cls,
        source: Source,
        random: Sequence[RandomTerm],
        fixed: FormulaParts | None,  # None for all numeric columns
        *,
        fit_intercept: bool = True,  # used where no formula says it
        covariance: str | Mapping[str, str] = "unstructured",  # of all terms, or by factor
        context: Mapping[str, Any] = NO_CONTEXT,  # what formulas may name besides columns
        y: FloatArray | None = None,  # (n_rows,)
        residual: str | None = None,  # residual structure
        relationships: Mapping[str, Relationship] = NO_CONTEXT,  # whose levels are to be columns
    ) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn a design from a table; return it, the table's columns and the codes of its rows.

        The columns are those of the layout, (n_rows, n_columns), the last one not filled in without
        y; the codes give the level of every row, one array of shape (n_rows,) per factor.
        """
        table = ColumnCollection(source, context, relationships)
        if source.frame is not None and not (fixed is None and are_plain(random, source.names)):
            table.formulas.read(fixed, random, source.names)
        fixed_places = table.add_fixed(fixed, fit_intercept)
        curves = [table.add_smooth(term) for term in (() if fixed is None else fixed.smooths)]
        free = dict.fromkeys(place for each in curves for place in each.free)
        fixed_places += tuple(place for place in free if place not in fixed_places)
        keys = tuple(dict.fromkeys([*(term.key for term in random), *([()] if curves else [])]))
        names = structures_asked(covariance, random)
        terms, slopes, sizes = [], [], []
        for term, name in zip(random, names, strict=True):
            found = table.random_terms(term, keys.index(term.key), name)
            sizes.append(len(found))
            terms += [each for each, _ in found]
            slopes += [written for _, written in found]
        for each in curves:
            own = each.terms(keys.index(()))
            terms, slopes = [*terms, *own], [*slopes, *[()] * len(own)]
        groups = _with_members(source, [each.membership for each in table.memberships])
        grouping, codes = Grouping.learn(groups, keys, source.n_rows)
        layout = Layout((*table.names, "y"), factor_layouts(keys, terms))
        offsets = () if fixed is None else fixed.offsets
        design = cls(
            layout,
            fixed_places,
            tuple(terms),
            grouping,
            offsets,
            table.plain,
            tuple(table.expressions),
            table.fixed_matrix,
            tuple(slopes),
            tuple(table.smooths),
            tuple(sizes),
            dict(context),
            None if residual is None else ResidualDesign.learn(residual, source.residual),
            tuple(table.memberships),
        )
        return design, table.filled(y), codes

    def record(self) -> dict[str, Any]:
        """Return all that was learned as a record."""
        expressed = [expression.matrix for expression in self._expressions]
        matrices = list(dict.fromkeys((*expressed, self._fixed_matrix)))  # one may do for both
        return {
            "columns": list(self.layout.columns),
            "factors": write([(each.key, each.columns) for each in self.layout.factors]),
            "fixed": list(self.fixed),
            "terms": write(
                [
                    (
                        t.factor,
                        t.columns,
                        t.covariance,
                        t.curve,
                        t.whole,
                        None,
                        t.members,
                        t.effects,
                    )
                    for t in self.terms
                ]
            ),
            "grouping": self.grouping.record(),
            "offsets": list(self.offsets),
            "plain": list(self._plain),
            "matrices": [each and each.record() for each in matrices],
            "expressions": write(
                [(matrices.index(e.matrix), e.chosen, e.places) for e in self._expressions]
            ),
            "fixed_matrix": matrices.index(self._fixed_matrix),
            "slopes": write(self._slopes),
            "sizes": list(self._sizes),
            "smooths": [[each.smooth.record(), write(each.places)] for each in self._smooths],
            "context": write(dict(self._context)),
            "residual": None if self.residual is None else self.residual.record(),
            "memberships": write(
                [(each.membership, each.varying, each.places) for each in self._memberships]
            ),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Design:
        """Return the design of a record; it replays what was learned to the bit.

        Raises ValueError for text that no formula may hold, as in fitting.
        """
        context = read(record["context"]) if "context" in record else {}
        residual = record.get("residual")
        factors = [FactorLayout(*each) for each in read(record["factors"])]
        matrices = [
            each and FormulaMatrix.from_record(each, context) for each in record["matrices"]
        ]
        expressions = read(record["expressions"])
        return cls(
            Layout(tuple(record["columns"]), tuple(factors)),
            tuple(record["fixed"]),
            tuple(Term(*each) for each in read(record["terms"])),
            Grouping.from_record(record["grouping"]),
            tuple(record["offsets"]),
            tuple(record["plain"]),
            tuple(FormulaColumns(matrices[which], *each) for which, *each in expressions),
            matrices[record["fixed_matrix"]],
            read(record["slopes"]),
            tuple(
                SmoothColumns(Smooth.from_record(each, context), read(places))
                for each, places in record.get("smooths", ())
            ),
            tuple(record.get("sizes", [1] * len(record["terms"]))),
            check_context(context),
            residual and ResidualDesign.from_record(residual),
            tuple(MembershipColumns(*each) for each in read(record.get("memberships", []))),
        )

    def read_expressions(self, names: tuple[str, ...]) -> None:
        """Read offsets and what curves are made of over the columns of X, as in fitting.

        Raises ValueError for whatever is refused there.
        """
        for offset in self.offsets:
            read_offset(offset, names, self._context)
        for each in self._smooths:
            read_smooth_expressions(each.smooth.term, names, self._context)

    @property
    def fixed_names(self) -> tuple[str, ...]:
        """Names of the fixed columns, the intercept included."""
        return tuple(self.layout.columns[place] for place in self.fixed)

    @property
    def has_intercept(self) -> bool:
        """Whether the constant is a fixed column."""
        return CONSTANT in self.fixed

    @property
    def fixed_design(self) -> FixedDesign:
        """What the fixed columns stand for."""
        return FixedDesign(self.layout.columns, self.fixed, self._fixed_matrix, self._smooths)

    @property
    def curves(self) -> list[FittedCurve]:
        """The curves of all rows, one a term, in the order of the formula."""
        found = []
        for each in self._smooths:
            named = zip(each.smooth.curves, each.curve_places, strict=True)
            for number, (curve, (free, penalised)) in enumerate(named):
                terms = [term for term in self.terms if term.columns == penalised]
                whole = [t for t in terms if not self.layout.factors[t.factor].key]
                found += [
                    FittedCurve(curve.name, each.smooth, number, free, penalised, term)
                    for term in whole
                ]
        return found

    @property
    def slopes(self) -> tuple[Slopes, ...]:
        """Per random term, every slope as written with the places of its columns."""
        return self._slopes

    @property
    def learns_from_rows(self) -> bool:
        """Whether some column depends on the other rows it was learned from."""
        learned = any(m.is_stateful or m.has_categorical for m in self.matrices)
        return learned or not all(each.smooth.is_given for each in self._smooths)

    @property
    def matrices(self) -> tuple[FormulaMatrix, ...]:
        """The model matrices of the formulas that make columns."""
        bys = (each.smooth.by for each in self._smooths)
        return tuple([e.matrix for e in self._expressions] + [by for by in bys if by is not None])

    def variables_of(self, columns: Collection[int], names: Collection[str]) -> set[str]:
        """Return which columns of the data, of some names, formulas need for columns of the layout.

        Offsets, which every row has, are among what needs them.
        """
        needed = {name for offset in self.offsets for name in variables(offset, names)}
        for expression in self._expressions:
            if not set(expression.places).isdisjoint(columns):
                needed.update(expression.matrix.variables)
        for curve in self._smooths:
            if not set(curve.places).isdisjoint(columns):
                needed.update(curve.smooth.variables)
        return needed

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns of the data that formulas need."""
        names = [name for matrix in self.matrices for name in matrix.variables]
        names += [name for each in self._smooths for name in each.smooth.variables]
        return tuple(dict.fromkeys(names))

    def rows(
        self, columns: FloatArray, codes: tuple[IntArray, ...], weights: FloatArray | None
    ) -> Rows:
        """Return rows with the levels of this design, ready to be summed.

        The columns, (n, n_columns), have y filled in; weights, (n,), are positive.
        """
        indexes = tuple(factor.index for factor in self.grouping.factors)
        return Rows(columns, codes, indexes, weights)

    def new_rows(self, source: Source, y: FloatArray, weights: FloatArray | None) -> Rows:
        """Return other rows, ready to be summed under this design.

        Their levels are those that occur among them, known or new. Raises ValueError if a transform
        in a formula would learn something else from these rows, so that the columns would not be
        those of a fit to all rows together. Weights are positive.
        """
        for expression in self._expressions:
            if not expression.matrix.would_learn_the_same(source.table):
                raise ValueError(
                    f"{expression.matrix.expression!r} has a transform that learns from all rows "
                    "at once, so that rows cannot be added later: make its columns beforehand, or "
                    "say all it would learn, as in bs(x, knots=[...], lower_bound=..., "
                    "upper_bound=...)"
                )
        for curve in self._smooths:
            curve.smooth.check_further(source.table)
        columns = empty_columns(source.n_rows, len(self.layout.columns))
        self._fill(columns, source)
        columns[:, -1] = y
        offset = self.offset(source)
        if offset is not None:
            columns[:, -1] -= offset
        keys = [factor.key for factor in self.layout.factors]
        memberships = self.memberships.values()
        for membership in memberships:
            membership.check_known(source.groups, source.n_rows)
        groups = _with_members(source, memberships)
        grouping, codes = Grouping.learn(groups, keys, source.n_rows)
        indexes = tuple(factor.index for factor in grouping.factors)
        return Rows(columns, codes, indexes, weights)

    @property
    def memberships(self) -> dict[str, Membership]:
        """The levels of factors of which rows have several, by the name of the factor."""
        return {each.membership.term.text: each.membership for each in self._memberships}

    @property
    def labels(self) -> dict[str, Labels]:
        """The known labels of every grouping column."""
        known = self.memberships
        found = {name: each for name, each in self.grouping.columns.items() if name not in known}
        for membership in known.values():
            found |= dict.fromkeys(membership.term.groups, membership.labels)
        return found

    def codes(self, source: Source) -> tuple[IntArray, ...]:
        """Look up the levels of new rows, as `Grouping.codes`."""
        groups = _with_members(source, self.memberships.values())
        return self.grouping.codes(groups, source.n_rows)

    @property
    def terms_made(self) -> list[tuple[Term, ...]]:
        """The terms that each random term makes."""
        ends = accumulate(self._sizes, initial=0)
        return [self.terms[start:end] for start, end in pairwise(ends)]

    def with_random(self, first: int, last: int) -> Design:
        """Return the same design with the random terms from `first` to before `last` alone."""
        start, end, n = (sum(self._sizes[:place]) for place in (first, last, len(self._sizes)))
        chosen = [*range(start, end), *range(n, len(self.terms))]
        return replace(
            self,
            terms=tuple(self.terms[place] for place in chosen),
            _slopes=tuple(self._slopes[place] for place in chosen),
            _sizes=self._sizes[first:last],
        )

    @property
    def lines(self) -> dict[int, str]:
        """The columns of the layout that are lines of curves, with what they are lines in."""
        curves = [each for each in self._smooths if each.smooth.by is None]
        return {
            place: each.smooth.term.argument.strip("`") for each in curves for place in each.free
        }

    def with_levels(self, indexes: Sequence[GroupIndex]) -> Design:
        """Return the same design with other levels, one index per factor."""
        return replace(self, grouping=Grouping.of_levels(indexes))

    def columns(
        self,
        source: Source,
        factors: Collection[int] | None = None,
        left_out: Collection[int] = (),
    ) -> FloatArray:
        """Return the columns of the layout for new rows, without y: (n_rows, n_columns - 1).

        Expressions are evaluated that the fixed part or one of the factors, by default any, needs,
        those of columns that are left out not; the columns of others are zero.
        """
        needed = self.needed(factors).difference(left_out)
        columns = np.zeros((source.n_rows, len(self.layout.columns) - 1))
        self._fill(columns, source, needed)
        return columns

    def needed(self, factors: Collection[int] | None = None) -> set[int]:
        """Return the columns that the fixed part or one of the factors, by default any, needs."""
        needed = set(self.fixed)
        for term in self.terms:
            if factors is None or term.factor in factors:
                needed.update(term.columns)
        for each in self._memberships:
            if not needed.isdisjoint(each.places):
                needed.add(each.varying)
        return needed

    def _fill(self, columns: FloatArray, source: Source, needed: set[int] | None = None) -> None:
        """Write the columns of new rows, all but y, into `columns`, (n_rows, >= n_columns - 1).

        Those of expressions without any that is needed stay as they are; None: all are.
        """
        columns[:, CONSTANT] = 1.0
        if self._plain and isinstance(source.numeric, np.ndarray):
            columns[:, 1 : 1 + len(self._plain)] = source.numeric
        elif self._plain:
            for place, values in enumerate(one_by_one(source.numeric), 1):
                columns[:, place] = values
        for expression in self._expressions:
            places = expression.places  # none where a factor has had one level only: to be checked
            if needed is None or not places or not needed.isdisjoint(places):
                expression.fill(columns, source.table)
        for curve in self._smooths:
            if needed is None or not needed.isdisjoint(curve.places):
                curve.fill(columns, source.table)
        for members in self._memberships:
            if needed is None or not needed.isdisjoint(members.places):
                members.fill(columns, source.groups)

    def offset(self, source: Source) -> FloatArray | None:
        """Return the sum of the offsets, (n_rows,), or None if the model has none."""
        if not self.offsets:
            return None
        total = np.zeros(source.n_rows)
        for expression in self.offsets:
            total += evaluate_expression(expression, source.table, context=self._context)
        return total


def _with_members(source: Source, memberships: Iterable[Membership]) -> Mapping[str, Any]:
    """Return grouping columns with one more for every membership, in which all rows are alike."""
    alike = np.zeros(source.n_rows, dtype=np.intp)
    return {**source.groups, **{each.term.text: alike for each in memberships}}
