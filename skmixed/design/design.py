"""From a table to the columns and codes to be summed, learned once and replayed on new rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.core.model.spec import Term
from skmixed.core.model.structures.named import is_ordered, structure_named, structures_of_terms
from skmixed.core.sums.layout import CONSTANT, FactorLayout, GroupIndex, Layout, Rows
from skmixed.design.curves import Smooth, read_smooth_expressions
from skmixed.design.formula import (
    INTERCEPT,
    NO_CONTEXT,
    FormulaMatrix,
    evaluate_expression,
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
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.smooths import SmoothTerm
from skmixed.design.grammar.syntax import FormulaParts, RandomTerm
from skmixed.design.grouping import Grouping
from skmixed.design.records import read, stored, write
from skmixed.design.residual import ResidualDesign
from skmixed.design.source import NumericColumns, Source
from skmixed.design.tables import UNKNOWN
from skmixed.design.values import ABSENT_LEVEL, is_categorical

_BLOCK_COPY = 3  # numeric columns from which on one block copy is faster than a copy of each
_ONE = np.ones(1)  # all entries of a constant column; `np.broadcast_to` takes ten times longer
_BLOCK_BYTES = 2**18  # of the rows that are written at a time: they stay in the cache meanwhile
_FEW_COLUMNS = 8  # up to so many are read, written and summed faster each in one piece
_SHOWN_TIMES = 8  # in an error: enough to see what is wrong

# The slopes of a random term as written, with the places of the columns of each.
Slopes = tuple[tuple[str, tuple[int, ...]], ...]


def empty_columns(n_rows: int, n_columns: int) -> FloatArray:
    """Return room for columns, (n_rows, n_columns): few are in Fortran order, many in C order."""
    return np.empty((n_rows, n_columns), order="F" if n_columns <= _FEW_COLUMNS else "C")


def _one_by_one(numeric: NumericColumns | None) -> list[NDArray[Any]]:
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
class FittedCurve:
    """One curve of all rows, and the places of its columns in the layout."""

    name: str
    smooth: Smooth
    number: int  # among the curves of the levels of a factor
    free: tuple[int, ...]  # without a penalty: fixed columns
    penalised: tuple[int, ...]
    term: Term  # that the latter make

    def marked(self, table: NamedColumns) -> FloatArray:
        """Return what it is a curve of in rows, of a level those of that level, (m,)."""
        x, times = self.smooth.values(table)
        return x if times is None else x[times[:, self.number] != 0.0]


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

    def __init__(self, source: Source, context: Mapping[str, Any] = NO_CONTEXT) -> None:
        self.source = source
        self.context = context
        self.names: list[str] = [INTERCEPT]
        self.values: list[FloatArray] = [np.ndarray(source.n_rows, strides=(0,), buffer=_ONE)]
        self.plain: tuple[str, ...] = ()
        self.expressions: list[FormulaColumns] = []
        self.products: dict[tuple[str, ...], int] = {(): CONSTANT}  # places, of numbers only
        self.fixed_matrix: FormulaMatrix | None = None
        self.smooths: list[SmoothColumns] = []
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
        self.values += _one_by_one(self.source.numeric)
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

    def add_slopes(self, term: RandomTerm) -> Slopes:
        """Add the columns that vary over levels; return them as written, the constant left out."""
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
            names, places = matrix.term_names, self._add_expression(matrix, values)
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
        if is_ordered(covariance) and (term.slopes or term.smooths):
            term = self._over_levels(term, covariance)
        slopes, curves = self.add_slopes(term), [self.add_smooth(each) for each in term.smooths]
        lines = tuple((self.names[place], (place,)) for each in curves for place in each.free)
        written = tuple(dict([*slopes, *lines]).items())
        places = (CONSTANT,) * term.intercept + tuple(p for _, places in written for p in places)
        parts = structures_of_terms(covariance, len(places)) if places else ()
        jointly = [(Term(factor, places, part), written) for part in parts]
        return [*jointly, *((own, ()) for each in curves for own in each.terms(factor))]

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

    def _add_expression(self, matrix: FormulaMatrix, values: FloatArray) -> tuple[int, ...]:
        n_before = len(self.names)
        places = [self._place(name, values[:, j]) for j, name in enumerate(matrix.names)]
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
    ) -> tuple[Design, FloatArray, tuple[IntArray, ...]]:
        """Learn a design from a table; return it, the table's columns and the codes of its rows.

        The columns are those of the layout, (n_rows, n_columns), the last one not filled in without
        y; the codes give the level of every row, one array of shape (n_rows,) per factor.
        """
        table = ColumnCollection(source, context)
        if source.frame is not None and not (fixed is None and are_plain(random, source.names)):
            table.formulas.read(fixed, random, source.names)
        fixed_places = table.add_fixed(fixed, fit_intercept)
        curves = [table.add_smooth(term) for term in (() if fixed is None else fixed.smooths)]
        free = dict.fromkeys(place for each in curves for place in each.free)
        fixed_places += tuple(place for place in free if place not in fixed_places)
        keys = tuple(dict.fromkeys([*(term.group for term in random), *([()] if curves else [])]))
        names = _structures(covariance, random)
        terms, slopes, sizes = [], [], []
        for term, name in zip(random, names, strict=True):
            found = table.random_terms(term, keys.index(term.group), name)
            sizes.append(len(found))
            terms += [each for each, _ in found]
            slopes += [written for _, written in found]
        for each in curves:
            own = each.terms(keys.index(()))
            terms, slopes = [*terms, *own], [*slopes, *[()] * len(own)]
        grouping, codes = Grouping.learn(source.groups, keys, source.n_rows)
        layout = Layout((*table.names, "y"), _factor_layouts(keys, terms))
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
            "terms": write([(t.factor, t.columns, t.covariance, t.curve) for t in self.terms]),
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
    def fixed_part(self) -> FixedPart:
        """What the fixed columns stand for; without a formula every column is a term."""
        if self._fixed_matrix is not None:
            part, columns = self._fixed_matrix.fixed_part, []
            numbers: list[str] = []
            for smooth, places, _ in self._fixed_smooths():
                names = [self.layout.columns[place] for place in places]
                columns += [FixedColumn(name, {}, (name,)) for name in names]
                numbers += smooth.free_variables
            more = dict.fromkeys([*part.numbers, *numbers])
            return replace(part, columns=(*part.columns, *columns), numbers=tuple(more))
        names = [self.layout.columns[place] for place in self.fixed if place != CONSTANT]
        columns = [FixedColumn(name, {}, (name,)) for name in names]
        constant = [FixedColumn(INTERCEPT)] if self.has_intercept else []
        return FixedPart((*constant, *columns), {}, tuple(names))

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

    def _fixed_smooths(self) -> Iterator[tuple[Smooth, list[int], list[int]]]:
        """Yield curves, the places of what they add to the fixed columns, and which these are."""
        assert self._fixed_matrix is not None
        known = set(self.fixed[: len(self._fixed_matrix.names)])
        for each in self._smooths:
            new = [n for n, place in enumerate(each.free) if place in self.fixed]
            new = [n for n in new if each.free[n] not in known]
            known.update(each.free)
            if new:
                yield each.smooth, [each.free[n] for n in new], new

    @property
    def slopes(self) -> tuple[Slopes, ...]:
        """Per random term, every slope as written with the places of its columns."""
        return self._slopes

    def fixed_matrix(self, table: NamedColumns) -> FloatArray:
        """Return the fixed columns, (n, n_fixed), the constant included; curves at their means.

        The table needs only the variables of `fixed_part`.
        """
        if self._fixed_matrix is not None:
            parts = [self._fixed_matrix.matrix(table)]
            for smooth, _, chosen in self._fixed_smooths():
                parts.append(smooth.means(table)[:, chosen])
            return np.hstack(parts)
        columns = [table[name].to_numpy(dtype=np.float64) for name in self.fixed_part.numbers]
        constant = [np.ones(len(table))] * self.has_intercept
        return np.reshape([*constant, *columns], (-1, len(table))).T

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
        grouping, codes = Grouping.learn(source.groups, keys, source.n_rows)
        indexes = tuple(factor.index for factor in grouping.factors)
        return Rows(columns, codes, indexes, weights)

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

    def with_levels(self, indexes: Sequence[GroupIndex]) -> Design:
        """Return the same design with other levels, one index per factor."""
        return replace(self, grouping=Grouping.of_levels(indexes))

    def columns(self, source: Source, factors: Collection[int] | None = None) -> FloatArray:
        """Return the columns of the layout for new rows, without y: (n_rows, n_columns - 1).

        Expressions are evaluated that the fixed part or one of the factors, by default any, needs;
        the columns of others are zero.
        """
        needed = set(self.fixed)
        for term in self.terms:
            if factors is None or term.factor in factors:
                needed.update(term.columns)
        columns = np.zeros((source.n_rows, len(self.layout.columns) - 1))
        self._fill(columns, source, needed)
        return columns

    def _fill(self, columns: FloatArray, source: Source, needed: set[int] | None = None) -> None:
        """Write the columns of new rows, all but y, into `columns`, (n_rows, >= n_columns - 1).

        Those of expressions without any that is needed stay as they are; None: all are.
        """
        columns[:, CONSTANT] = 1.0
        if self._plain and isinstance(source.numeric, np.ndarray):
            columns[:, 1 : 1 + len(self._plain)] = source.numeric
        elif self._plain:
            for place, values in enumerate(_one_by_one(source.numeric), 1):
                columns[:, place] = values
        for expression in self._expressions:
            places = expression.places  # none where a factor has had one level only: to be checked
            if needed is None or not places or not needed.isdisjoint(places):
                expression.fill(columns, source.table)
        for curve in self._smooths:
            if needed is None or not needed.isdisjoint(curve.places):
                curve.fill(columns, source.table)

    def offset(self, source: Source) -> FloatArray | None:
        """Return the sum of the offsets, (n_rows,), or None if the model has none."""
        if not self.offsets:
            return None
        total = np.zeros(source.n_rows)
        for expression in self.offsets:
            total += evaluate_expression(expression, source.table, context=self._context)
        return total


def _structures(covariance: str | Mapping[str, str], random: Sequence[RandomTerm]) -> list[str]:
    """Return the name of the covariance structure of every random term.

    It is that of the formula, where this has one.
    """
    factors = [term.name for term in random]
    if not isinstance(covariance, str):
        unknown = sorted(set(covariance) - set(factors))
        if unknown:
            raise ValueError(
                f"covariance names factors {unknown} that the model does not have; "
                f"it has {sorted(set(factors))}"
            )
    names = [
        covariance if isinstance(covariance, str) else covariance.get(factor, "unstructured")
        for factor in factors
    ]
    for name in names:
        structures_of_terms(name, 1)
    return [term.covariance or name for term, name in zip(random, names, strict=True)]


def _factor_layouts(
    keys: Sequence[tuple[str, ...]], terms: Sequence[Term]
) -> tuple[FactorLayout, ...]:
    layouts = []
    for number, key in enumerate(keys):
        slopes = {column for term in terms if term.factor == number for column in term.columns} - {
            CONSTANT
        }
        layouts.append(FactorLayout(key, (CONSTANT, *sorted(slopes))))
    return tuple(layouts)
