"""Names of columns within an expression, and R's spellings turned into Python's."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from skmixed.design.tokens import Token, is_called, tokenize


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
        if spelling is not None and token.text not in columns:
            edits.append((token.start, token.end, spelling))
    return replace_spans(expression, edits)


def column_references(expression: str, columns: Collection[str]) -> tuple[Reference, ...]:
    """Return the places of an expression that name a column of the data, from left to right.

    Functions (``log`` in ``log(x)``) and keywords (``degree`` in ``poly(x, degree=2)``) are not
    columns, whatever their names. The column of ``x.mean()`` is ``x``, unless the data have a
    column of the longer name.
    """
    return tuple(_references(tokenize(expression), frozenset(columns)))


def uses_all_columns(expression: str) -> bool:
    """Tell whether the term ``.``, every column of the data, occurs in an expression."""
    return any(token.kind == "name" and token.text == "." for token in tokenize(expression))


def replace_spans(text: str, edits: Iterable[tuple[int, int, str]]) -> str:
    """Replace the spans ``[start, end)`` of a text, which must not overlap."""
    for start, end, replacement in sorted(edits, reverse=True):
        text = text[:start] + replacement + text[end:]
    return text


_CATEGORY_FUNCTIONS = frozenset({"C", "factor", "as.factor"})
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
        column = _column_named(token, columns, called=is_called(tokens, index))
        if column is not None:
            end = token.end if token.kind == "quoted" else token.start + len(column)
            yield Reference(token.start, end, column, is_label(tokens, index))


def is_label(tokens: tuple[Token, ...], index: int) -> bool:
    """Tell whether a token is a name and the first argument of ``C()`` or ``factor()``."""
    return (
        index >= 2
        and tokens[index].is_name
        and is_called(tokens, index - 2)
        and tokens[index - 2].text in _CATEGORY_FUNCTIONS
    )


def _column_named(token: Token, columns: frozenset[str], *, called: bool) -> str | None:
    """Return the longest dotted beginning of a name that is a column."""
    if token.kind == "quoted":
        return token.value if token.value in columns else None
    parts = token.text.split(".")
    for length in range(len(parts) - called, 0, -1):
        name = ".".join(parts[:length])
        if name in columns:
            return name
    return None


def _python_spelling(token: Token, called: bool) -> str | None:
    if token.kind == "operator" and token.in_call:
        return _PYTHON_OPERATORS.get(token.text)
    if token.kind != "name":
        return None
    if called:
        return "C" if token.text in ("factor", "as.factor") else None
    return _PYTHON_CONSTANTS.get(token.text) if token.in_call else None


def variables(expression: str, columns: Collection[str]) -> tuple[str, ...]:
    """Return the columns of the data that an expression uses, each once, by first appearance.

    The term ``.`` uses all of them.
    """
    used = [reference.column for reference in column_references(expression, columns)]
    if uses_all_columns(expression):
        used.extend(columns)
    return tuple(dict.fromkeys(used))
