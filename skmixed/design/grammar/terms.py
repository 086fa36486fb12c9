"""A formula as a sum of terms, each a product of operands, read as R reads it.

``a * b`` is a + b + a:b, ``a / b`` is a + a:b, ``a %in% b`` is a:b and ``(a + b)^2`` is a + b +
a:b. Terms are sorted by how many operands they have, those of one degree stand as they first occur,
and the constant is there unless ``0`` or ``- 1`` takes it out. Where R has another reading than
formulaic, as of ``a + (b - 1)``, the formula is refused.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import Literal

from skmixed.design.grammar.permitted import MAX_OPERATORS
from skmixed.design.grammar.tokens import SUM, Phrase


class NotATermError(ValueError):
    """A formula that is no sum of terms; the message says why."""


@dataclass(frozen=True, slots=True)
class Operand:
    """An expression whose columns a term multiplies; those of one text are one."""

    text: str  # a name, a literal, or Python code in Python's own layout
    kind: Literal["name", "literal", "code"] = field(compare=False)


Product = tuple[Operand, ...]  # of different operands
_Sum = dict[frozenset[Operand], Product]  # products of the same operands are one term

ONE = (Operand("1", "literal"),)  # the constant
_CONSTANT: _Sum = {frozenset(ONE): ONE}
MAX_TERMS = 2_000  # of one product or power, which grow exponentially
_MAX_CHAIN = 100  # operators of one rank in a row
_MAX_OPERANDS = 30  # of one term
_MAX_POWER = 10  # of a sum
_MAX_TOKENS = 4 * MAX_OPERATORS  # of one expression
_NOT_A_TERM = "numbers and text in quotes are no terms; ':' scales a term, as in 2:x"
_WITHIN_BRACKETS = (
    "0 and 1 within brackets tell R whether the formula has an intercept: write them outside"
)
_TOO_LONG = f"an expression is too long or too deep; {MAX_OPERATORS} operators are read at most"


@dataclass(frozen=True, slots=True)
class _Reading:
    """How operands are read."""

    columns: Sequence[str]  # that "." stands for
    code: Callable[[Phrase], str] | None  # writes one; None is as Python code


def expand(
    phrase: Phrase, columns: Sequence[str], code: Callable[[Phrase], str] | None = None
) -> tuple[Product, ...]:
    """Return the terms of a formula; ``.`` stands for the sum of `columns`.

    `code` writes an operand, by default as Python code, and a name without backticks. Raises
    NotATermError for what is no sum of terms.
    """
    terms = list(_sum(phrase.content, _Reading(columns, code), _CONSTANT).values())
    scaled = [tuple(each for each in term if each.kind != "literal") for term in terms]
    for term, rest in zip(terms, scaled, strict=True):
        quoted = any(each.kind == "literal" and each.text[0] in "'\"" for each in term)
        if quoted or (not rest and term != ONE):
            raise NotATermError(_NOT_A_TERM)
    if len(set(scaled)) < len(terms):
        raise NotATermError("a term occurs at two scales; ':' scales a term, '*' adds its parts")
    return tuple(sorted(terms, key=lambda term: sum(each.kind != "literal" for each in term)))


def _sum(phrase: Phrase, reading: _Reading, found: _Sum) -> _Sum:
    """Add the summands of a phrase to what was found, or take out those with a minus.

    What was found before is the constant, or nothing within brackets.
    """
    plus, start, is_whole, found = True, 0, bool(found), dict(found)
    for cut in [*phrase.operators(SUM), len(phrase.tokens)]:
        if cut > start:
            summand = phrase.between(start, cut)
            is_zero = summand.text == "0"  # which is - 1
            if not is_whole and summand.text in ("0", "1"):
                raise NotATermError(_WITHIN_BRACKETS)
            terms = _CONSTANT if is_zero else _product(summand, reading)
            for key, term in terms.items():
                if plus != is_zero:
                    found.setdefault(key, term)
                else:
                    found.pop(key, None)
            plus = True
        if cut < len(phrase.tokens) and phrase.tokens[cut].text == "-":
            plus = not plus
        start = cut + 1
    return found


def _product(phrase: Phrase, reading: _Reading) -> _Sum:
    rules = {
        "*": lambda left, right: _union(left, right, _crossed(left, right)),
        "/": _nested,
    }
    return _folded(phrase, rules, lambda part: _within(part, reading))


def _within(phrase: Phrase, reading: _Reading) -> _Sum:
    return _folded(phrase, {"%in%": _inside}, lambda part: _interaction(part, reading))


def _interaction(phrase: Phrase, reading: _Reading) -> _Sum:
    return _folded(phrase, {":": _crossed}, lambda part: _power(part, reading))


def _folded(
    phrase: Phrase,
    rules: dict[str, Callable[[_Sum, _Sum], _Sum]],
    read: Callable[[Phrase], _Sum],
) -> _Sum:
    """Join the parts between operators of one rank, from left to right."""
    cuts = phrase.operators(rules.keys())
    if len(cuts) > _MAX_CHAIN:
        raise NotATermError(f"a term has more than {_MAX_CHAIN} operators")
    parts = [
        read(phrase.between(start, stop))
        for start, stop in zip([0, *(cut + 1 for cut in cuts)], [*cuts, None], strict=True)
    ]
    found = parts[0]
    for cut, part in zip(cuts, parts[1:], strict=True):
        found = rules[phrase.tokens[cut].text](found, part)
    return found


def _power(phrase: Phrase, reading: _Reading) -> _Sum:
    cuts = phrase.operators({"^", "**"})
    if not cuts:
        return _operand(phrase, reading)
    exponent = phrase.between(cuts[0] + 1, None).content.text
    if not exponent.isdecimal() or int(exponent) == 0:
        raise NotATermError(f"the power '{exponent[:20]}' of a term is no positive integer")
    if len(exponent) > 2 or int(exponent) > _MAX_POWER:
        raise NotATermError(f"the power '{exponent[:20]}' is larger than {_MAX_POWER}")
    base = found = _operand(phrase.between(0, cuts[0]), reading)
    for _ in range(int(exponent) - 1):
        found = _crossed(found, base)
    return found


def _operand(phrase: Phrase, reading: _Reading) -> _Sum:
    if phrase.is_group:
        return _sum(phrase.between(1, -1), reading, {})
    first = phrase.tokens[0]
    if phrase.text == ".":
        return _terms_of(Operand(name, "name") for name in reading.columns)
    if len(phrase.tokens) > 1:
        return _terms_of([Operand((reading.code or _code)(phrase), "code")])
    if first.is_name:
        text = first.value if reading.code is None else reading.code(phrase)
        return _terms_of([Operand(text, "name")])
    if first.text == "0":
        raise NotATermError(_NOT_A_TERM)
    return _terms_of([Operand(first.text, "literal")])


def _code(phrase: Phrase) -> str:
    """Return Python code, without braces around it, in Python's own layout."""
    if any(token.kind == "operator" and not token.in_call for token in phrase.tokens):
        raise NotATermError("a sum of terms is expected, without '~', '|' or ','")
    text = phrase.text
    if phrase.tokens[0].text == "{":
        text = text[1:-1]
    n_operators = sum(token.kind == "operator" for token in phrase.tokens)
    if n_operators > MAX_OPERATORS or len(phrase.tokens) > _MAX_TOKENS:
        raise NotATermError(_TOO_LONG)
    try:
        return ast.unparse(ast.parse(text.strip(), mode="eval")).replace("\n", " ")
    except (RecursionError, MemoryError) as error:  # of Python's parser, for what is too deep
        raise NotATermError(_TOO_LONG) from error


def _terms_of(operands: Iterable[Operand]) -> _Sum:
    return {frozenset({operand}): (operand,) for operand in operands}


def _union(*sums: _Sum) -> _Sum:
    """Return the terms of all sums, each as it first occurs."""
    found: _Sum = {}
    for key, term in chain.from_iterable(each.items() for each in sums):
        found.setdefault(key, term)
    return found


def _crossed(left: _Sum, right: _Sum) -> _Sum:
    """Return every product of a term on the left and one on the right."""
    found: _Sum = {}
    for first in left.values():
        for second in right.values():
            term = tuple(dict.fromkeys((*first, *second)))
            if len(term) > _MAX_OPERANDS:
                raise NotATermError(f"a term is a product of more than {_MAX_OPERANDS}")
            found.setdefault(frozenset(term), term)
        if len(found) > MAX_TERMS:
            raise NotATermError(f"it has more than {MAX_TERMS:,} terms when it is expanded")
    return found


def _nested(parents: _Sum, nested: _Sum) -> _Sum:
    """Return the parents, and the nested terms within the product of all parents."""
    return _union(parents, _inside(nested, parents))


def _inside(nested: _Sum, parents: _Sum) -> _Sum:
    """Return the nested terms within the product of all parents."""
    common = tuple(dict.fromkeys(chain.from_iterable(parents.values())))
    return _crossed({frozenset(common): common}, nested)
