"""The columns of a design while they are collected from a table and its formulas."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Term, terms_of
from skmixed.core.model.structures.named import is_ordered, structure_named
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.curves import Smooth, read_smooth_expressions
from skmixed.design.formula import (
    INTERCEPT,
    NO_CONTEXT,
    FormulaMatrix,
    learn_terms,
    read_offset,
)
from skmixed.design.grammar.expressions import (
    FormulaTerms,
    NamedColumns,
    read_terms,
    text_names,
    uses_all_columns,
)
from skmixed.design.grammar.members import MembersTerm
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.smooths import SmoothTerm
from skmixed.design.grammar.syntax import FormulaParts
from skmixed.design.memberships import Membership
from skmixed.design.relationships import Relationship
from skmixed.design.source import NumericColumns, Source
from skmixed.design.tables import UNKNOWN
from skmixed.design.values import ABSENT_LEVEL, is_categorical

_BLOCK_COPY = 3  # numeric columns from which on one block copy is faster than a copy of each
_ONE = np.ones(1)  # all entries of a constant column; `np.broadcast_to` takes ten times longer
_BLOCK_BYTES = 2**18  # of the rows that are written at a time: they stay in the cache meanwhile
_FEW_COLUMNS = 8  # up to so many are read, written and summed faster each in one piece
_SHOWN_TIMES = 8  # in an error: enough to see what is wrong

_OF_MEMBERS = ("unstructured", "diagonal")  # covariances of several effects of such a level

# The slopes of a random term as written, with the places of the columns of each.
Slopes = tuple[tuple[str, tuple[int, ...]], ...]


def empty_columns(n_rows: int, n_columns: int) -> FloatArray:
    """Return room for columns, (n_rows, n_columns): few are in Fortran order, many in C order."""
    return np.empty((n_rows, n_columns), order="F" if n_columns <= _FEW_COLUMNS else "C")


def one_by_one(numeric: NumericColumns | None) -> list[NDArray[Any]]:
    """Return the columns of a source, (n_rows,) each; none where there are none."""
    if numeric is None:
        return []
    return list(numeric.T if isinstance(numeric, np.ndarray) else numeric)


@dataclass(frozen=True, slots=True, eq=False)
class FormulaColumns:
    """Columns of a formula and their places among the columns of the layout."""

    matrix: FormulaMatrix
    chosen: tuple[int, ...]  # which columns of the matrix are wanted
    places: tuple[int, ...]  # where each of them stands in the layout

    def fill(self, columns: FloatArray, table: NamedColumns) -> None:
        """Write the chosen columns into `columns`, (n_rows, >= n_columns), in place."""
        columns[:, list(self.places)] = self.matrix.matrix(table)[:, list(self.chosen)]


@dataclass(frozen=True, slots=True, eq=False)
class SmoothColumns:
    """A curve, or those of the levels of a factor, and the places of its columns in the layout."""

    smooth: Smooth
    places: tuple[int, ...]  # of all of them

    def fill(self, columns: FloatArray, table: NamedColumns) -> None:
        """Write the columns into `columns`, (n_rows, >= n_columns), in place."""
        first, last = self.places[0], self.places[-1] + 1
        is_run = self.places == tuple(range(first, last))
        columns[:, slice(first, last) if is_run else list(self.places)] = self.smooth.columns(table)

    @property
    def free(self) -> tuple[int, ...]:
        """The places of the columns without a penalty."""
        return tuple(place for free, _ in self.curve_places for place in free)

    def terms(self, factor: int) -> list[Term]:
        """Return the random terms of the penalised columns, one a curve."""
        named = zip(self.smooth.curves, self.curve_places, strict=True)
        return [Term(factor, places, "identity", curve.name) for curve, (_, places) in named]

    @property
    def curve_places(self) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
        """The places of the free columns of every curve, and of the penalised ones."""
        found, start = [], 0
        for curve in self.smooth.curves:
            middle = start + len(curve.free)
            end = middle + len(curve.penalised)
            found.append((self.places[start:middle], self.places[middle:end]))
            start = end
        return found


@dataclass(frozen=True, slots=True, eq=False)
class MembershipColumns:
    """Levels that are a column each, times what varies, and their places in the layout."""

    membership: Membership
    varying: int  # the place of what varies
    places: tuple[int, ...]  # consecutive ones

    def fill(self, columns: FloatArray, groups: Mapping[str, Any]) -> None:
        """Write the columns into `columns`, (n_rows, >= n_columns), what varies being there."""
        values = self.membership.columns(groups, len(columns))
        if self.varying != CONSTANT:
            values *= columns[:, self.varying, None]
        columns[:, self.places[0] : self.places[-1] + 1] = values


@dataclass(frozen=True)
class Formulas:
    """Reads the formulas of a model over the columns of a table; nothing is evaluated."""

    columns: tuple[str, ...]  # that formulas may name
    groups: tuple[str, ...] = ()  # grouping columns, which "." leaves out
    context: Mapping[str, Any] = field(default_factory=dict)  # what else formulas may name
    dot: tuple[str, ...] | None = None  # what "." stands for; None is all but the groups

    def read(
        self,
        fixed: FormulaParts | None,
        random: Sequence[RandomTerm],
        plain: Sequence[str] = (),  # slopes that are columns as they are
    ) -> None:
        """Read all formulas. Raises ValueError for whatever is refused, before any is evaluated."""
        if fixed is not None:
            self.read_fixed(fixed)
            for offset in fixed.offsets:
                read_offset(offset, self.columns, self.context)
        smooths = [smooth for term in random for smooth in term.smooths]
        for smooth in (*smooths, *(fixed.smooths if fixed is not None else ())):
            read_smooth_expressions(smooth, self.columns, self.context)
        for term in random:
            if not are_plain([term], plain):
                self.read_slopes(term)

    def read_fixed(self, fixed: FormulaParts) -> FormulaTerms:
        """Return the terms of the fixed part."""
        known = frozenset(self.context)
        if not uses_all_columns(fixed.fixed):
            return read_terms(fixed.fixed, fixed.fixed, self.columns, known)
        dot = self.dot
        if dot is None:
            dot = tuple(name for name in self.columns if name not in self.groups)
        return read_terms(fixed.fixed, fixed.fixed, self.columns, known, dot)

    def read_slopes(self, term: RandomTerm) -> FormulaTerms:
        """Return the terms on the left of a bar."""
        return read_terms(term.expression, term.expression, self.columns, frozenset(self.context))


def are_plain(random: Sequence[RandomTerm], columns: Sequence[str]) -> bool:
    """Tell whether all that varies is columns as they are."""
    return all(not term.smooths and set(term.slope_names) <= set(columns) for term in random)


class ColumnCollection:
    """The columns of a layout while they are being collected."""

    def __init__(
        self,
        source: Source,
        context: Mapping[str, Any] = NO_CONTEXT,
        relationships: Mapping[str, Relationship] = NO_CONTEXT,
    ) -> None:
        self.source = source
        self.context = context
        self.relationships = relationships  # of factors whose levels are to be columns
        self.names: list[str] = [INTERCEPT]
        self.values: list[FloatArray] = [np.ndarray(source.n_rows, strides=(0,), buffer=_ONE)]
        self.plain: tuple[str, ...] = ()
        self.expressions: list[FormulaColumns] = []
        self.products: dict[tuple[str, ...], int] = {(): CONSTANT}  # places, of numbers only
        self.fixed_matrix: FormulaMatrix | None = None
        self.smooths: list[SmoothColumns] = []
        self.memberships: list[MembershipColumns] = []
        self.blocks: dict[int, FloatArray] = {}  # consecutive columns, by the place of the first

    def add_fixed(self, fixed: FormulaParts | None, fit_intercept: bool) -> tuple[int, ...]:
        """Add the fixed columns; return the places of all of them."""
        if fixed is not None:
            terms = self.formulas.read_fixed(fixed)
            matrix, values = learn_terms(terms, self.source.table, self.context)
            self.fixed_matrix = matrix
            return self._add_expression(matrix, values)
        assert self.source.numeric is not None
        self.plain = self.source.names
        self.names += self.source.names
        self.values += one_by_one(self.source.numeric)
        places = tuple(range(1, len(self.names)))
        return (CONSTANT, *places) if fit_intercept else places

    @cached_property
    def formulas(self) -> Formulas:
        """The reader of formulas for these columns."""
        columns = text_names(self.source.table.columns)
        return Formulas(columns, tuple(self.source.groups), self.context)

    def add_smooth(self, term: SmoothTerm) -> SmoothColumns:
        """Add the columns of a curve."""
        smooth, values = Smooth.learn(term, self.source.table, self.context)
        names = [name for curve in smooth.curves for name in (*curve.free, *curve.penalised)]
        start = len(self.names)
        places = [self._place(name, values[:, j]) for j, name in enumerate(names)]
        if places == list(range(start, len(self.names))):
            self.blocks[start] = values
        found = SmoothColumns(smooth, tuple(places))
        self.smooths.append(found)
        return found

    def add_slopes(self, term: RandomTerm, written: str | None = None) -> Slopes:
        """Add the columns that vary over levels; return them as written, the constant left out.

        `written` is what stood in the place of an expression for its levels.
        """
        if not term.slopes:
            return ()
        if all(name in self.plain for name in term.slope_names):
            places = tuple(1 + self.plain.index(name) for name in term.slope_names)
            return tuple((self.names[place], (place,)) for place in places)
        if self.source.frame is None:
            missing = [name for name in term.slope_names if name not in self.plain]
            raise ValueError(
                f"random slopes {missing} of {term.name!r} are not among the columns "
                f"{list(self.plain)}; expressions need X to be a data frame"
            )
        terms = self.formulas.read_slopes(term)
        names = terms.names
        places = tuple(self.products.get(key, UNKNOWN) for key in terms.keys)
        if UNKNOWN in places:
            matrix, values = learn_terms(terms, self.source.table, self.context)
            names, labels = matrix.term_names, matrix.names
            if written is not None:
                within = zip(names, labels, strict=True)
                labels = tuple(written + label.removeprefix(name) for name, label in within)
                names = (written,) * len(names)
            places = self._add_expression(matrix, values, labels)
        slopes: dict[str, tuple[int, ...]] = {}
        for name, place in zip(names, places, strict=True):
            if place != CONSTANT:
                slopes[name] = (*slopes.get(name, ()), place)
        return tuple(slopes.items())

    def random_terms(
        self, term: RandomTerm, factor: int, covariance: str
    ) -> list[tuple[Term, Slopes]]:
        """Add the columns of a random term; return the terms it makes, with slopes as written.

        Curves that vary have an independent term for what is penalised of each; their lines vary
        with the slopes.
        """
        if term.members is not None or term.name in self.relationships:
            return self._of_members(term, factor, covariance)
        levels_of = None
        if is_ordered(covariance) and (term.slopes or term.smooths):
            given, term = term, self._over_levels(term, covariance)
            levels_of = None if term is given else given.slope_names[0]
        slopes = self.add_slopes(term, levels_of)
        curves = [self.add_smooth(each) for each in term.smooths]
        lines = tuple((self.names[place], (place,)) for each in curves for place in each.free)
        written = tuple(dict([*slopes, *lines]).items()) if lines else slopes
        places = (CONSTANT,) * term.intercept + tuple(p for _, places in written for p in places)
        jointly = terms_of(factor, places, covariance) if places else ()
        beside = [(own, ()) for each in curves for own in each.terms(factor)]
        return [*((own, written) for own in jointly), *beside]

    def _of_members(
        self, term: RandomTerm, factor: int, covariance: str
    ) -> list[tuple[Term, Slopes]]:
        """Add columns for every level of a term in which rows have several, or related ones."""
        members = term.members or MembersTerm(term.name, term.group)
        slopes = self.add_slopes(term)
        varying = [CONSTANT] * term.intercept + [place for _, places in slopes for place in places]
        if term.smooths or (len(varying) > 1 and covariance not in _OF_MEMBERS):
            raise ValueError(
                f"the levels of {term.name!r} are columns, for which there are no curves and only "
                f"the covariances {', '.join(_OF_MEMBERS)}: ({term.left} | {term.name}) has others"
            )
        groups, n_rows = self.source.groups, self.source.n_rows
        known = [m.membership for m in self.memberships if m.membership.term == members]
        related = self.relationships.get(term.name)
        membership = known[0] if known else Membership.learn(members, groups, n_rows, related)
        found = membership.columns(groups, n_rows)
        first = len(self.names)
        for place in varying:
            values, prefix, start = found, term.name, len(self.names)
            if place != CONSTANT:
                values, prefix = (
                    found * self.values[place][:, None],
                    f"{self.names[place]}:{prefix}",
                )
            self.names += [f"{prefix}[{label}]" for label in membership.column_labels]
            self.values += list(values.T)
            self.blocks[start] = values
            places = tuple(range(start, len(self.names)))
            self.memberships.append(MembershipColumns(membership, place, places))
        names = tuple(self.names[place] for place in varying)
        columns, n_levels = tuple(range(first, len(self.names))), len(membership.labels)
        structure = covariance if len(varying) > 1 else "identity"
        own = Term(factor, columns, structure, ", ".join(names), members=n_levels, effects=names)
        return [(own, ())]

    def _over_levels(self, term: RandomTerm, covariance: str) -> RandomTerm:
        """Return a term of a structure in which columns have an order, a time as its levels.

        Raises ValueError for a constant among the columns, and for times that are not equally
        spaced whole numbers.
        """
        if term.intercept or term.smooths:
            raise ValueError(
                f"the columns of ({term.left} | {term.name}) have no order, which the covariance "
                f"{covariance!r} asks for. Without a constant, (0 + t | {term.name}) has the "
                "levels of a category t, or whole numbers, in their order"
            )
        if len(term.slopes) > 1 or self.source.frame is None:
            return term
        (name,) = term.slope_names
        table = self.source.table
        if name not in text_names(table.columns):
            return term
        if is_categorical(table[name]):
            return self._over_categories(term, covariance, table[name])
        times = np.unique(np.asarray(table[name], dtype=np.float64))
        times = times[np.isfinite(times)]
        if (times != np.round(times)).any() or len(np.unique(np.diff(times))) > 1:
            shown = ", ".join(f"{time:g}" for time in times[:_SHOWN_TIMES])
            raise ValueError(
                f"the times {name!r} of the covariance {covariance!r} are to be equally spaced "
                f"whole numbers; they are {shown}{', ...' * (len(times) > _SHOWN_TIMES)}. Make "
                "them an ordered category that names the times between, too: "
                f"pandas.Categorical({name}, categories=range(...), ordered=True)"
            )
        return replace(term, slopes=(f"C({term.slopes[0]})",))

    def _over_categories(
        self, term: RandomTerm, covariance: str, values: pd.Series[Any]
    ) -> RandomTerm:
        """Return a term over the levels of a category, those between that never occur included.

        Raises ValueError where such a level would have a variance of its own.
        """
        if not isinstance(values.dtype, pd.CategoricalDtype):
            return term
        known = [level for level in values.cat.categories if level != ABSENT_LEVEL]
        if all(isinstance(level, Real) for level in known):  # as a column of these numbers is read
            text = f"C({term.slopes[0]})"
        else:
            text = term.slopes[0]
        used = np.flatnonzero(np.isin(np.arange(len(values.cat.categories)), values.cat.codes))
        if len(used) < 2 or used[-1] - used[0] + 1 == len(used):
            return replace(term, slopes=(text,))
        levels = values.cat.categories.tolist()[used[0] : used[-1] + 1]
        if not structure_named(covariance, 2).one_unit:
            gone = [levels[place] for place in range(len(levels)) if place + used[0] not in used]
            raise ValueError(
                f"{term.slope_names[0]!r} has no rows of {gone}, whose variance in the covariance "
                f"{covariance!r} nothing tells: take one with a single variance, such as 'ar1'"
            )
        return replace(term, slopes=(f"C({term.slopes[0]}, levels={levels!r})",))

    def _add_expression(
        self, matrix: FormulaMatrix, values: FloatArray, names: tuple[str, ...] = ()
    ) -> tuple[int, ...]:
        """Add the columns of an expression, by names of their own if any; return their places."""
        n_before = len(self.names)
        places = [self._place(name, values[:, j]) for j, name in enumerate(names or matrix.names)]
        wanted = [j for j, place in enumerate(places) if place >= n_before]
        if wanted or matrix.has_categorical:  # whose level may be the only one so far
            chosen = tuple(places[j] for j in wanted)
            self.expressions.append(FormulaColumns(matrix, tuple(wanted), chosen))
        if matrix.is_plain and not matrix.has_categorical:
            self.products |= zip(matrix.terms.keys, places, strict=True)
        return tuple(places)

    def _place(self, name: str, values: FloatArray) -> int:
        """Return the place of a column, added unless one of this name and these values is there.

        A column of other values under the same name gets its place in brackets after the name.
        """
        if name in self.names:
            place = self.names.index(name)
            if np.array_equal(self.values[place], values):
                return place
            name = f"{name} [{len(self.names)}]"
        self.names.append(name)
        self.values.append(values)
        return len(self.names) - 1

    def filled(self, y: FloatArray | None) -> FloatArray:
        """Return the columns side by side, (n_rows, n_columns), y last; room for it if None."""
        table = empty_columns(self.source.n_rows, len(self.names) + 1)
        single = dict(enumerate(self.values if y is None else [*self.values, y]))
        blocks, plain = dict(self.blocks), self.source.numeric
        many = len(self.plain) >= _BLOCK_COPY
        if many and isinstance(plain, np.ndarray) and plain.flags.c_contiguous:
            blocks[1] = plain
        for start, block in blocks.items():
            for place in range(start, start + block.shape[1]):
                del single[place]
        n_rows = max(1, _BLOCK_BYTES // (table.itemsize * table.shape[1]))
        for start in range(0, len(table), n_rows):
            rows = slice(start, start + n_rows)
            for first, block in blocks.items():
                table[rows, first : first + block.shape[1]] = block[rows]
            for place, values in single.items():
                table[rows, place] = values[rows]
        return table
