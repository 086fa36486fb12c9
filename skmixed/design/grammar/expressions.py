"""The columns that an expression names, under names and with types that suit formulaic.

R's spellings are turned into Python's on the way.
"""

from __future__ import annotations

import ast
import keyword
import re
import unicodedata
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import chain
from typing import Any, Protocol

import numpy as np
import pandas as pd

from skmixed.design.grammar.functions import ROOTS, SPELLINGS
from skmixed.design.grammar.permitted import NotPermittedError, Permission, UnknownNameError
from skmixed.design.grammar.spellings import check_spellings
from skmixed.design.grammar.terms import ONE, NotATermError, Product, expand
from skmixed.design.grammar.tokens import Phrase, Token, is_called, read_phrase, tokenize
from skmixed.design.values import (
    check_labels,
    find_missing,
    is_categorical,
    labels_of,
    operand_kind,
    operand_of,
    truth_of,
)
from skmixed.design.wording import known_columns, row_numbers
from skmixed.exceptions import FormulaSyntaxError

_MOST_SHOWN = 200  # characters of a formula in an error: two lines


@dataclass(frozen=True, slots=True)
class Reference:
    """A place ``[start, end)`` in an expression, backticks included, that names a column."""

    start: int
    end: int
    column: str
    as_label: bool  # the first argument of ``C()``, where values serve as categories only


def translate_r(expression: str, columns: Collection[str]) -> str:
    """Return an expression for formulaic, R's spellings rewritten in Python's.

    Inside calls ``^`` becomes ``**``, ``%%`` and ``%/%`` become ``%`` and ``//``, TRUE and FALSE
    become True and False; ``factor()`` and ``as.factor()`` become ``C()``; names of columns that
    are no Python identifiers (``total.fruits``) get backticks. All else stays as it is.
    """
    tokens = tokenize(expression)
    edits = [
        (reference.start, reference.end, f"`{reference.column}`")
        for reference in _references(tokens, frozenset(columns))
        if not reference.column.isidentifier() and expression[reference.start] != "`"
    ]
    for index, token in enumerate(tokens):
        spelling = _python_spelling(token, is_called(tokens, index))
        if "." in token.text and _is_keyword_argument(tokens, index):
            spelling = token.text.replace(".", "_")
        if spelling is not None and token.text not in columns:
            edits.append((token.start, token.end, spelling))
    return replace_spans(expression, edits)


def column_references(expression: str, columns: Collection[str]) -> tuple[Reference, ...]:
    """Return the places of an expression that name a column of the data, from left to right.

    Functions (``log`` in ``log(x)``) and keywords (``degree`` in ``poly(x, degree=2)``) are not
    columns, whatever their names.
    """
    return tuple(_references(tokenize(expression), frozenset(columns)))


def uses_all_columns(expression: str) -> bool:
    """Tell whether the term ``.``, every column of the data, occurs in an expression."""
    return any(token.kind == "name" and token.text == "." for token in tokenize(expression))


def replace_spans(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Replace the spans ``[start, end)`` of a text, which must not overlap."""
    pieces, place = [], 0
    for start, end, replacement in sorted(edits):
        pieces += [text[place:start], replacement]
        place = end
    return "".join((*pieces, text[place:]))


_CATEGORY_FUNCTIONS = frozenset(
    {"C", "relevel", "dummy", "ordered", "as_ordered", "as_character", *SPELLINGS}
) - frozenset({"as.numeric", "as.double", "as.integer"})
_PYTHON_OPERATORS = {"^": "**", "%%": "%", "%/%": "//"}
_PYTHON_CONSTANTS = {"TRUE": "True", "FALSE": "False"}


def _is_keyword_argument(tokens: tuple[Token, ...], index: int) -> bool:
    return (
        0 < index < len(tokens) - 1
        and tokens[index].in_call
        and tokens[index + 1].text == "="
        and tokens[index - 1].text in ("(", ",")
    )


def _references(tokens: tuple[Token, ...], columns: frozenset[str]) -> Iterator[Reference]:
    for index, token in enumerate(tokens):
        if not token.is_name or _is_keyword_argument(tokens, index):
            continue
        is_function = token.kind == "name" and is_called(tokens, index)
        if token.value in columns and not is_function:
            yield Reference(token.start, token.end, token.value, is_label(tokens, index))


def is_label(tokens: tuple[Token, ...], index: int) -> bool:
    """Tell whether a token is a name and the first argument of ``C()`` or ``factor()``."""
    if index < 2 or not tokens[index].is_name:
        return False
    if is_called(tokens, index - 2) and tokens[index - 2].text in _CATEGORY_FUNCTIONS:
        return True
    return _calls(tokens, index) == "interaction"


def _calls(tokens: tuple[Token, ...], index: int) -> str | None:
    """Return the function of which a token is an argument by itself, None if it is none."""
    depth = tokens[index].depth
    beside = [tokens[place].text for place in (index - 1, index + 1) if place < len(tokens)]
    if not set(beside) <= {"(", ",", ")"}:
        return None
    for place in range(index - 1, 0, -1):
        if tokens[place].depth < depth:
            return tokens[place - 1].text if tokens[place].kind == "call" else None
    return None


def _python_spelling(token: Token, called: bool) -> str | None:
    if token.kind == "operator" and token.in_call:
        return _PYTHON_OPERATORS.get(token.text)
    if token.kind != "name":
        return None
    if called:
        return SPELLINGS.get(token.text)
    return _PYTHON_CONSTANTS.get(token.text) if token.in_call else None


def variables(expression: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns of the data that an expression uses, each once, by first appearance.

    The term ``.`` uses all of them.
    """
    used = [reference.column for reference in column_references(expression, columns)]
    if uses_all_columns(expression):
        used.extend(columns)
    return tuple(dict.fromkeys(used))


@dataclass(frozen=True, slots=True)
class FormulaTerms:
    """An expression as terms, and the columns it needs under the aliases they have there.

    An alias differs from the column's name if the name would break a Python expression
    (``total.fruits``, ``class``) or hide a function that is called.
    """

    given: str  # the expression in the user's words
    products: tuple[Product, ...]
    columns: tuple[str, ...]  # the columns needed
    aliases: tuple[str, ...]  # their names in `products`
    labels: frozenset[str]  # those whose values serve as categories only
    available: tuple[str, ...]  # all columns of the table
    dot: tuple[str, ...] | None = None  # those that "." stands for, if not all
    context: tuple[str, ...] = ()  # names of the user's that are needed
    learns: bool = False  # whether a function learns from whole columns

    @property
    def shown(self) -> str:
        """What was given, or the beginning of it."""
        return self.given if len(self.given) < _MOST_SHOWN else self.given[:_MOST_SHOWN] + " ..."

    @property
    def names(self) -> tuple[str, ...]:
        """Every term in the user's names."""
        return tuple(self.restore(":".join(each.text for each in term)) for term in self.products)

    @property
    def keys(self) -> tuple[tuple[str, ...], ...]:
        """What identifies every term in any expression: its operands; none for the constant."""
        terms = [() if term == ONE else term for term in self.products]
        return tuple(tuple(self.restore(each.text, "`") for each in term) for term in terms)

    def restore(self, text: str, quote: str = "") -> str:
        """Return a text with the columns' own names, in quotes, in place of their aliases."""
        for column, alias in zip(self.columns, self.aliases, strict=True):
            if alias != column:
                text = text.replace(alias, f"{quote}{column}{quote}")
        return re.sub(r"\bas_(?=(?:numeric|double|integer|character|ordered)\()", "as.", text)

    def unknown(self, name: str, remedy: str = "") -> ValueError:
        """Return the error for a name that stands for nothing."""
        return ValueError(
            f"'{self.shown}' refers to '{self.restore(name)}', which is neither a column nor a "
            f"known function; {remedy or known_columns(self.available)}"
        )


@lru_cache(maxsize=256)  # a fit reads its text several times, and a session has few
def read_terms(
    given: str,  # the expression in the user's words
    expression: str,  # what stands for it
    columns: tuple[str, ...],  # of the table
    context: frozenset[str] = frozenset(),  # further names that it may use
    dot: tuple[str, ...] | None = None,  # the columns that "." stands for; None is all
) -> FormulaTerms:
    """Read an expression over the columns of a table; nothing is evaluated.

    Raises ValueError if it is no sum of terms, for a name that is no column, and for whatever
    expressions may not hold.
    """
    translated = translate_r(expression, columns)
    every = columns if dot is None else dot
    tokens = tokenize(translated)
    named = [reference.column for reference in _references(tokens, frozenset(columns))]
    with_dot = any(token.kind == "name" and token.text == "." for token in tokens)
    used = tuple(dict.fromkeys([*named, *(every if with_dot else ())]))
    called = {t.text.split(".")[0] for i, t in enumerate(tokens) if is_called(tokens, i)}
    stem = "column"
    while any(f"{stem}_" in text for text in (given, *used)):
        stem += "_"
    aliases = {
        column: f"{stem}_{position}__" if _is_awkward(column, called) else column
        for position, column in enumerate(used)
    }
    references = tuple(_references(tokens, frozenset(used)))
    labels = frozenset(reference.column for reference in references if reference.as_label)
    terms = FormulaTerms(given, (), used, tuple(aliases.values()), labels, columns, dot)
    edits = [(each.start, each.end, aliases[each.column]) for each in references]
    permission = Permission(frozenset(terms.aliases), context)
    try:
        check_spellings(tokenize(expression))
        phrase = read_phrase(replace_spans(translated, edits))
        summed = [aliases[name] for name in every] if with_dot else ()
        terms = replace(terms, products=expand(phrase, summed))
        _check_operands(terms, phrase, permission)
    except UnknownNameError as error:
        raise terms.unknown(error.name, error.remedy if error.called else "") from None
    except (FormulaSyntaxError, NotATermError, NotPermittedError, SyntaxError) as error:
        reason = error.expected if isinstance(error, FormulaSyntaxError) else str(error)
        raise ValueError(f"cannot evaluate '{terms.shown}': {terms.restore(reason)}") from error
    return replace(terms, context=tuple(sorted(permission.used)), learns=permission.learns)


def _check_operands(terms: FormulaTerms, phrase: Phrase, permission: Permission) -> None:
    """Refuse names that stand for nothing, and what may not be evaluated."""
    for token in phrase.tokens:
        if token.in_call and token.kind == "quoted":
            raise UnknownNameError(token.value, called=False)
    for operand in dict.fromkeys(chain.from_iterable(terms.products)):
        if operand.kind == "code":
            permission.check(ast.parse(operand.text, mode="eval").body)
        elif operand.kind == "name" and operand.text not in terms.aliases:
            raise UnknownNameError(operand.text, called=False)


def _is_awkward(column: str, called: Collection[str]) -> bool:
    """Tell whether a name is none to Python, another to it, or that of something else."""
    is_name = column.isidentifier() and not keyword.iskeyword(column)
    is_itself = unicodedata.normalize("NFKC", column) == column  # as Python's parser has it
    return (
        not (is_name and is_itself)
        or column in called
        or column in ROOTS
        or column.startswith("__")
    )


def text_names(names: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of columns that are text: a formula knows no others."""
    return tuple(name for name in names if isinstance(name, str))


class NamedColumns(Protocol):
    """A table whose columns are Series of pandas, asked for by name: a data frame, if nothing else.

    It raises KeyError for a column that is not there.
    """

    @property
    def columns(self) -> Iterable[Any]:
        """Names of the columns."""
        ...

    def __getitem__(self, name: str, /) -> Any:
        """Return a column, (n_rows,)."""
        ...

    def __len__(self) -> int:
        """Return the number of rows."""
        ...


@dataclass(frozen=True, slots=True)
class KnownColumns:
    """Of which kinds the columns of a formula were when it was learned; others were numbers."""

    categorical: frozenset[str]  # text and categorical types
    truths: frozenset[str]

    def without_rows(self, name: str) -> pd.Series[Any]:
        """Return a column of its kind, (0,)."""
        dtype = "object" if name in self.categorical else "bool" if name in self.truths else "float"
        return pd.Series([], dtype=dtype)

    def restored(self, column: Any, name: str, levels: Sequence[Any]) -> Any:
        """Return a column of other rows, (n,), as one of the kind that was learned.

        0 and 1 may stand for truth values and the reverse, and numbers for categories that were
        numbers, which `levels` tells. Raises ValueError for other kinds, which formulaic would
        accept.
        """
        if name in self.truths:
            column = truth_of(column, name)
        values = operand_of(column, name)
        is_category, was_category = is_categorical(values), name in self.categorical
        were_numbers = len(levels) and {type(level) for level in levels} <= {int, float}
        if is_category != was_category and not (was_category and were_numbers):
            kinds = ("categorical", "numeric") if was_category else ("numeric", "categorical")
            raise ValueError(
                f"the column '{name}' was {kinds[0]} in fitting and is {kinds[1]} now, of type "
                f"{column.dtype}"
            )
        is_truth = not is_category and values.dtype == np.bool_
        return pd.Series(values.astype(float)) if is_truth and name not in self.truths else column


def prepare(
    table: NamedColumns,
    terms: FormulaTerms,
    known: KnownColumns | None = None,  # where the columns were learned before
    levels: Mapping[str, Sequence[Any]] | None = None,  # that were learned, by alias
) -> tuple[dict[str, Any], KnownColumns]:
    """Return the columns that terms need, by alias, and of which kinds they are.

    Numbers and truth values are arrays, (n,), the former of 64 bits; categories, text and columns
    that serve as labels are Series. Raises ValueError for a column that is not there, has missing
    values, holds dates or anything else that is neither, or is not of the kind that is known.
    """
    prepared: dict[str, Any] = {}
    categorical, truths = set(), set()
    for name, alias in zip(terms.columns, terms.aliases, strict=True):
        column = _pick(table, name)
        if name in terms.labels:
            if known is not None and name in known.truths:
                column = truth_of(column, name)
            check_labels({name: column}, "the data")
            prepared[alias] = labels_of(column)
            is_truth = operand_kind(column) == "truth values"
        else:
            if known is not None:
                column = known.restored(column, name, (levels or {}).get(alias, ()))
            prepared[alias] = operand_of(column, name)
            is_truth = prepared[alias].dtype == np.bool_
        if is_truth:
            truths.add(name)
        elif is_categorical(prepared[alias]):
            categorical.add(name)
    return prepared, KnownColumns(frozenset(categorical), frozenset(truths))


def _pick(table: NamedColumns, name: str) -> Any:
    try:
        column: Any = table[name]
    except KeyError:
        known = known_columns(table.columns)
        raise ValueError(f"the column '{name}' is missing; {known}") from None
    if isinstance(column, pd.DataFrame):
        raise ValueError(f"the name '{name}' belongs to {column.shape[1]} columns")
    missing = find_missing(column)
    if missing is not None and missing.any():
        rows = row_numbers(np.flatnonzero(missing))
        raise ValueError(
            f"the column '{name}' has missing values in {rows}; drop such rows, or impute them, "
            "for example by SimpleImputer"
        )
    return column
