"""Model matrices from expressions, learned from one table and replayed on others.

What is plain (`skmixed.design.plain`) is multiplied here; formulaic evaluates all else, with R's
spellings translated. `skmixed.design.grammar.permitted` says what expressions may hold; what they
may name beside columns and known functions is their context, which the user gives.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import product
from types import MappingProxyType
from typing import Any

import numpy as np
import pandas as pd

from skmixed.core.linalg import FloatArray
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.design.grammar.expressions import (
    FormulaTerms,
    KnownColumns,
    NamedColumns,
    column_references,
    prepare,
    read_terms,
    text_names,
    variables,
)
from skmixed.design.materializing import (
    Learned,
    contrasts_of,
    learn_by_formulaic,
    replay_by_formulaic,
)
from skmixed.design.plain import (
    TermColumns,
    fill,
    kept_columns,
    read_plain,
    replay_plain,
    structure_of,
)
from skmixed.design.polynomial_contrasts import polynomial_contrasts
from skmixed.design.records import read, write
from skmixed.design.values import TRUTH_LEVELS
from skmixed.design.wording import known_columns, row_numbers

INTERCEPT = "(Intercept)"  # name of the constant column
NO_CONTEXT: Mapping[str, Any] = MappingProxyType({})
"""Nothing beside columns and known functions may be named."""


@dataclass(frozen=True, slots=True, eq=False)
class FormulaMatrix:
    """What was learned about the columns of one model matrix; it holds no rows.

    Columns of strings and of the category type are categorical, with treatment contrasts against
    the first level. Their levels are those that occur, sorted or in the order of the categories.
    Truth values are a factor of the levels False and True, whether or not both occur. ``C()`` makes
    any column categorical.
    """

    terms: FormulaTerms
    structure: tuple[TermColumns, ...]  # of every term
    known: KnownColumns  # of which kinds the columns of the data were
    is_plain: bool  # whether its columns are products of plain columns
    learned: Learned = field(repr=False)
    context: Mapping[str, Any] = field(default_factory=dict, repr=False)  # what it needs of it

    def record(self) -> dict[str, Any]:
        """Return all that is known as a record."""
        return {
            "expression": self.expression,
            "available": list(self.terms.available),
            "dot": None if self.terms.dot is None else list(self.terms.dot),
            "structure": [write((each.term, each.names, each.products)) for each in self.structure],
            "categorical": sorted(self.known.categorical),
            "truths": sorted(self.known.truths),
            "is_plain": self.is_plain,
            "learned": write((dict(self.learned.transforms), dict(self.learned.encodings))),
        }

    @classmethod
    def from_record(cls, record: Mapping[str, Any], context: Mapping[str, Any]) -> FormulaMatrix:
        """Read the expression again, and put in what was learned."""
        expression, columns = record["expression"], tuple(record["available"])
        dot = record.get("dot")
        dots = () if dot is None else (tuple(dot),)
        terms = read_terms(expression, expression, columns, frozenset(context), *dots)
        return cls(
            terms,
            tuple(TermColumns(*read(each)) for each in record["structure"]),
            KnownColumns(frozenset(record["categorical"]), frozenset(record.get("truths", ()))),
            record["is_plain"],
            Learned(*read(record["learned"])),
            _needed(terms, context),
        )

    @property
    def expression(self) -> str:
        """The expression as it was given."""
        return self.terms.given

    @property
    def variables(self) -> tuple[str, ...]:
        """The columns of the data that it needs."""
        return self.terms.columns

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns; the constant is INTERCEPT."""
        return tuple(
            INTERCEPT if term.term == "1" else self.terms.restore(name)
            for term in self.structure
            for name in term.names
        )

    @property
    def term_names(self) -> tuple[str, ...]:
        """The term of every column, in the user's names."""
        return tuple(self._label(term) for term in self.structure for _ in term.names)

    def _label(self, term: TermColumns) -> str:
        return INTERCEPT if term.term == "1" else self.terms.restore(term.term)

    @property
    def term_operands(self) -> dict[str, tuple[str, ...]]:
        """The operands of every term but the constant, as written."""
        return {
            name: operands
            for name, operands in zip(self.terms.names, self.terms.keys, strict=True)
            if operands
        }

    def columns_without(self, gone: Collection[str]) -> tuple[list[int], bool] | None:
        """Return which columns a matrix without some terms has, and whether the constant beside.

        None where other columns than these would span what is left.
        """
        kept = [
            (term, name not in gone)
            for term, name in zip(self.structure, self.terms.names, strict=True)
        ]
        return kept_columns(kept, self.terms.products, self.learned.levels)

    @property
    def has_intercept(self) -> bool:
        """Whether the constant is one of the columns."""
        return any(term.term == "1" for term in self.structure)

    @property
    def is_stateful(self) -> bool:
        """Whether a transform, as poly, scale or bs, learned from all rows; levels do not count."""
        return any(self.learned.transforms.values())

    @property
    def has_categorical(self) -> bool:
        """Whether an operand is categorical."""
        return bool(self.learned.levels)

    @property
    def ordered(self) -> list[str]:
        """The categorical operands with polynomial contrasts, in the user's names."""
        return sorted(self.terms.restore(text) for text in self.learned.ordered)

    @property
    def categories(self) -> dict[str, tuple[Any, ...]]:
        """Levels of every categorical operand whose levels were learned, in the user's names."""
        return {
            self.terms.restore(text): tuple(levels)
            for text, levels in self.learned.known_levels.items()
        }

    def matrix(self, table: NamedColumns) -> FloatArray:
        """Return the columns for other rows, (n, p), exactly as they were learned.

        Raises ValueError for a missing column or value, a category not seen in learning, and a
        value at which the expression is not finite.
        """
        prepared, _ = prepare(table, self.terms, self.known, self.learned.known_levels)
        if self.is_plain:
            with np.errstate(all="ignore"):
                learned = self.learned
                operands = replay_plain(self.terms, prepared, learned.known_levels, learned.ordered)
                values = fill(self.structure, operands, len(table))
        else:
            values = replay_by_formulaic(
                self.terms, self.structure, self.learned, self.context, prepared, len(table)
            )
        self.check_finite(values)
        return values

    def check_finite(self, values: FloatArray) -> None:
        """Raise ValueError where columns, (n, p), are not finite."""
        finite = np.isfinite(values)
        if not finite.all():
            place = int(np.argmin(finite.all(axis=0)))
            rows = row_numbers(np.flatnonzero(~finite[:, place]))
            name = self.names[place]
            if name.startswith("I(") and self.names == (name,):  # arithmetic, perhaps read as I()
                name = self.expression
            raise ValueError(f"'{name}' is not finite in {rows}")

    def would_learn_the_same(self, table: NamedColumns) -> bool:
        """Tell whether the transforms would learn the same from another table.

        They do where nothing is learned, and where the expression gives all there is to learn, as
        in ``bs(x, knots=[2, 4], lower_bound=0, upper_bound=9)``.
        """
        if not self.is_stateful:
            return True
        return self.learned_the_same_as(learn_terms(self.terms, table, self.context)[0])

    def learned_the_same_as(self, other: FormulaMatrix) -> bool:
        """Tell whether the same expression learned the same transforms from another table.

        Categories are not compared.
        """
        return _same_state(self.learned.transforms, other.learned.transforms)

    @property
    def fixed_part(self) -> FixedPart:
        """What the columns are products of, in the user's names.

        A column of a term is the product of one column of each of its operands, of which the first
        varies fastest.
        """
        columns: list[FixedColumn] = []
        for term in self.structure:
            for _, scoped in term.products:
                coded = [self._coded_columns(text, cut, term.names) for text, cut in scoped]
                for chosen in product(*reversed(coded)):
                    columns.append(_column(self._label(term), chosen[::-1]))
        levels = self._variable_levels()
        numbers = tuple(name for name in self.variables if name not in levels)
        return FixedPart(tuple(columns), levels, numbers)

    def _coded_columns(self, text: str, reduced: bool, names: tuple[str, ...]) -> list[_Coded]:
        """Return the columns of an operand of a term whose columns have the given names."""
        name = self.terms.restore(text)
        if text in self.learned.levels:
            return [(name, codes) for codes in self._coding(text, reduced).T]
        indices = dict.fromkeys(
            index
            for column in names
            for index in re.findall(re.escape(text) + r"\[(.*?)\]", column)
        )
        return [(name, f"{name}[{index}]") for index in indices] or [(name, name)]

    def _coding(self, text: str, reduced: bool) -> FloatArray:
        """Return the columns of a categorical operand by level, (n_levels, n_columns).

        `reduced` leaves the constant out of the columns' span.
        """
        levels = self.learned.known_levels.get(text, [])
        if reduced and text in self.learned.ordered:
            return polynomial_contrasts(len(levels))
        if self.is_plain or len(levels) < 2:
            return np.eye(len(levels))[:, int(reduced) :]
        contrasts = contrasts_of(self.terms, self.learned, self.context, text, self.known)
        coding = contrasts.get_coding_matrix(levels, reduced_rank=reduced)
        return np.asarray(coding, dtype=np.float64)

    def _variable_levels(self) -> dict[str, tuple[Any, ...]]:
        """Return the levels of the columns of the data that serve as categories only."""
        found: dict[str, tuple[Any, ...]] = {}
        for expression, levels in self.categories.items():
            references = column_references(expression, self.variables)
            names = {reference.column for reference in references}
            plain = expression.strip("`") in names or all(r.as_label for r in references)
            if len(names) == 1 and plain:
                found[names.pop()] = levels
        return found


# An operand with its codes by level, (n_levels,), or with the name of a numeric column.
_Coded = tuple[str, Any]


def _column(term: str, chosen: tuple[_Coded, ...]) -> FixedColumn:
    codes = {name: codes for name, codes in chosen if isinstance(codes, np.ndarray)}
    numbers = tuple(number for _, number in chosen if isinstance(number, str))
    return FixedColumn(term, codes, numbers)


def _same_state(first: Any, second: Any) -> bool:
    """Compare what transforms learned: nested dictionaries of numbers and arrays."""
    if isinstance(first, Mapping) and isinstance(second, Mapping):
        return first.keys() == second.keys() and all(
            _same_state(first[key], second[key]) for key in first
        )
    return bool(np.array_equal(np.asarray(first), np.asarray(second)))


def learn_matrix(
    expression: str,
    table: NamedColumns,
    columns: tuple[str, ...] | None = None,  # those of the table that the expression may name
    context: Mapping[str, Any] = NO_CONTEXT,  # what else it may name
) -> tuple[FormulaMatrix, FloatArray]:
    """Learn the columns of an expression from a table; return them for its rows too, (n, p).

    The expression is the right-hand side of a formula without bars and offsets, such as ``"open +
    agree * x"``; the constant is included unless ``0 +`` or ``- 1`` takes it out, and p may be 0.
    Raises ValueError for an expression that cannot be evaluated, a missing value, and a value at
    which the expression is not finite.
    """
    columns = text_names(table.columns) if columns is None else columns
    terms = read_terms(expression, expression, columns, frozenset(context))
    return learn_terms(terms, table, context)


def evaluate_expression(
    expression: str,
    table: NamedColumns,
    columns: tuple[str, ...] | None = None,  # of the whole, if the table is a part of it
    context: Mapping[str, Any] = NO_CONTEXT,  # what else the expression may name
    *,
    has_outcomes: bool = False,  # whether two categories are 0 and 1, in their order
) -> FloatArray:
    """Evaluate a response or an offset, such as ``"2 * Days^2"``: one number per row, (n,).

    The expression is arithmetic: ``+``, ``*`` and ``^`` mean what they mean within ``I()``. Raises
    ValueError where `learn_matrix` does, and if the result is categorical, has several columns, or
    uses no column of the table.
    """
    columns = text_names(table.columns) if columns is None else columns
    if expression.isidentifier() and expression in columns and expression not in context:
        alone = table[expression]
        if getattr(alone, "dtype", None) == np.float64 and np.ndim(alone) == 1:
            numbers = np.asarray(alone)
            if np.isfinite(numbers).all():
                return numbers
    terms = arithmetic_terms(expression, columns, frozenset(context))
    learned, values = learn_terms(terms, table, context)
    if list(learned.categories.values()) == [tuple(TRUTH_LEVELS)]:
        return values[:, 1]  # as R, 0 and 1
    if learned.has_categorical and has_outcomes:
        levels = [level for levels in learned.categories.values() for level in levels]
        if len(levels) == 2:
            return values[:, 1]
        raise ValueError(
            f"'{expression}' has {len(levels)} categories, {', '.join(map(repr, levels[:5]))}"
            f"{', ...' if len(levels) > 5 else ''}: a binomial response has two. Compare with one "
            "of them in a column of its own, True or False"
        )
    if learned.has_categorical:
        raise ValueError(f"'{expression}' is categorical; a numeric expression is needed")
    if values.shape[1] != 1:
        raise ValueError(f"'{expression}' has {values.shape[1]} columns; one is needed")
    return values[:, 0]


@lru_cache(maxsize=128)  # a model has one response and few offsets
def arithmetic_terms(
    expression: str, columns: tuple[str, ...], context: frozenset[str] = frozenset()
) -> FormulaTerms:
    """Read a response or an offset; nothing is evaluated."""
    quoted = f"`{expression}`" if expression in columns else expression
    if "`" in expression and quoted != expression:
        raise ValueError(f"the column {expression!r} cannot be named in a formula: rename it")
    if not variables(quoted, columns):
        raise ValueError(f"'{expression}' uses no column of the data; {known_columns(columns)}")
    return read_terms(expression, f"0 + I({quoted})", columns, context)


def read_offset(
    expression: str, columns: tuple[str, ...], context: Mapping[str, Any] = NO_CONTEXT
) -> FormulaTerms:
    """Read an offset, as `read_argument`."""
    return read_argument(expression, f"the offset '{expression}'", columns, context)


def read_argument(
    expression: str,
    what: str,  # whose it is
    columns: tuple[str, ...],
    context: Mapping[str, Any] = NO_CONTEXT,
) -> FormulaTerms:
    """Read an expression that is calculated anew for new rows; nothing is evaluated.

    Raises ValueError where `evaluate_expression` does, and for a function that learns from rows.
    """
    terms = arithmetic_terms(expression, columns, frozenset(context))
    if terms.learns:
        raise ValueError(
            f"{what} has a function that learns from all rows, which new rows "
            "would not keep: make the column beforehand"
        )
    return terms


def _needed(terms: FormulaTerms, context: Mapping[str, Any]) -> dict[str, Any]:
    return {name: context[name] for name in terms.context}


def learn_terms(
    terms: FormulaTerms, table: NamedColumns, context: Mapping[str, Any] = NO_CONTEXT
) -> tuple[FormulaMatrix, FloatArray]:
    """Learn the columns of terms, as `learn_matrix` does."""
    prepared, known = prepare(table, terms)
    with np.errstate(all="ignore"):
        operands = read_plain(terms, prepared)
        if operands is None:
            structure, learned, values = learn_by_formulaic(
                terms, _needed(terms, context), prepared, len(table)
            )
        else:
            levels = {
                text: list(values.categories)
                for text, values in operands.items()
                if isinstance(values, pd.Categorical)
            }
            ordered = [text for text in levels if operands[text].ordered]
            structure = structure_of(terms, levels, ordered)
            learned = Learned.of_levels(levels, ordered)
            values = fill(structure, operands, len(table))
    is_plain, needed = operands is not None, _needed(terms, context)
    matrix = FormulaMatrix(terms, structure, known, is_plain, learned, needed)
    matrix.check_finite(values)
    return matrix, values
