"""A formula changed as R's ``update.formula`` changes it: ``. ~ . - x + (1 | g)``."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import TypeVar

from skmixed.design.grammar.random_part import RandomTerm, is_random, terms_of_bar
from skmixed.design.grammar.smooths import SmoothTerm, is_smooth, smooth_of
from skmixed.design.grammar.syntax import FormulaParts, formula_summands, split_formula
from skmixed.design.grammar.terms import ONE, Product, expand
from skmixed.design.grammar.tokens import Phrase, Token, quoted, read_phrase

Part = TypeVar("Part")

_DOT = "."
# Of Python, in the spelling of R.
_OPERATORS = {",": ", ", "=": " = ", "**": "^", "%": "%%", "//": "%/%"}
_CONSTANTS = {"True": "TRUE", "False": "FALSE"}
_CONSTANT = frozenset({"1"})  # the term that every fixed part has, unless 0 takes it out


def updated_parts(old: FormulaParts, text: str) -> FormulaParts:
    """Return the parts of a formula in which a dot stands for what was there.

    A side that is left out stays as it is. Raises FormulaSyntaxError where `split_formula` does,
    and ValueError for a term that is taken out and is not there.
    """
    left, _, right = _sides(text)
    response = old.response if left is None else _dots_replaced(left, old.response)
    summed = _Summed(old)
    for sign, summand in formula_summands(right):
        summed.add(sign, summand)
    return replace(summed.parts(), response=response)


def _sides(text: str) -> tuple[Phrase | None, str, Phrase]:
    """Return both sides of a formula; without ``~`` it is the right one."""
    phrase = read_phrase(text)
    cuts = phrase.operators({"~"})
    if not cuts:
        return None, "", phrase
    right = phrase.between(cuts[0] + 1, None)
    return (phrase.between(0, cuts[0]) if cuts[0] else None), "~", right


def _dots_replaced(left: Phrase, response: str | None) -> str | None:
    if left.text == _DOT:
        return response
    dots = [token for token in left.tokens if _is_dot(token)]
    if dots and response is None:
        raise left.error("the model has no formula that names its response, for which '.' stands")
    return _with(left, f"{response}")


def _is_dot(token: Token) -> bool:
    return token.kind == "name" and token.text == _DOT


def _with(phrase: Phrase, text: str) -> str:
    """Write a phrase with a text in the place of every dot."""
    pieces, place = [], phrase.tokens[0].start
    for token in phrase.tokens:
        if _is_dot(token):
            pieces += [phrase.source[place : token.start], text]
            place = token.end
    pieces.append(phrase.source[place : phrase.tokens[-1].end])
    return "".join(pieces)


def written(phrase: Phrase) -> str:
    """Write an operand as R does, the same text however it was spaced and quoted."""
    return "".join(map(_respelled, phrase.tokens))


def _respelled(token: Token) -> str:
    if token.kind == "operator":
        return _OPERATORS.get(token.text, token.text)
    if token.kind == "string" and '"' not in token.text:
        return f'"{token.text[1:-1]}"'
    if token.kind == "quoted":
        return quoted(token.value)
    return _CONSTANTS.get(token.text, token.text)


def spelled(operand: str) -> str:
    """Return what identifies an operand, whether its user or this package wrote it."""
    text = written(read_phrase(operand))
    return re.sub(r"\b(as\.)?factor\(", "C(", text)


def _terms(text: str) -> dict[frozenset[str], Product]:
    """Return the terms of a fixed part, each by what it is a product of."""
    products = expand(read_phrase(text), (), written)
    return {frozenset(each.text for each in term): term for term in products}


def fixed_terms_of(text: str) -> list[tuple[str, ...]]:
    """Return what the terms of a fixed part but the constant are products of."""
    products = _terms(text).values()
    return [tuple(each.text for each in term) for term in products if term != ONE]


@dataclass
class _Summed:
    """What a formula adds up to while its summands are read from left to right."""

    old: FormulaParts
    fixed: list[str] = field(default_factory=list)  # summands with their signs
    random: list[RandomTerm] = field(default_factory=list)
    smooths: list[SmoothTerm] = field(default_factory=list)
    offsets: list[str] = field(default_factory=list)

    def add(self, sign: int, summand: Phrase) -> None:
        """Add a summand, or take it out."""
        if summand.text == _DOT and sign > 0:
            self._add_all()
        elif is_smooth(summand):
            self._change(self.smooths, sign, [smooth_of(summand)], summand)
        elif is_random(summand):
            self._change(self.random, sign, terms_of_bar(1, summand), summand)
        elif summand.is_offset:
            self._change(self.offsets, sign, [written(summand.between(2, -1))], summand)
        else:
            self._add_fixed(sign, summand)

    def _add_all(self) -> None:
        self.fixed.append(f"+ {self.old.fixed}")
        self._add_beside_fixed()

    def _add_beside_fixed(self) -> None:
        self.random += [each for each in self.old.random if each not in self.random]
        self.smooths += [each for each in self.old.smooths if each not in self.smooths]
        offsets = [written(read_phrase(each)) for each in self.old.offsets]
        self.offsets += [each for each in offsets if each not in self.offsets]

    def _change(self, known: list[Part], sign: int, parts: list[Part], summand: Phrase) -> None:
        for part in parts:
            if sign > 0 and part not in known:
                known.append(part)
            elif sign < 0 and part in known:
                known.remove(part)
            elif sign < 0:
                raise ValueError(self._not_there(summand.text))

    def _add_fixed(self, sign: int, summand: Phrase) -> None:
        text = summand.text
        if any(map(_is_dot, summand.tokens)):
            inner = " + ".join(_labels(_terms(self.old.fixed).values()))
            text = _with(summand, f"({inner or '1'})")
            if sign > 0:
                self._add_beside_fixed()
        if sign < 0 and text not in ("0", "1"):
            left = set(_terms(self._fixed_text)) - {_CONSTANT} if self.fixed else set()
            if not set(_terms(text)) & left:
                raise ValueError(self._not_there(text))
        self.fixed.append(f"{'-' if sign < 0 else '+'} {text}")

    def _not_there(self, text: str) -> str:
        there = ", ".join(
            [
                *_labels(_terms(self.old.fixed).values()),
                *(each.text for each in self.old.smooths),
                *(f"({each.left} | {each.name})" for each in self.old.random),
                *(f"offset({each})" for each in self.old.offsets),
            ]
        )
        return f"'- {text}' takes out what is not in the model, which has the terms: {there}"

    @property
    def _fixed_text(self) -> str:
        return " ".join(self.fixed).removeprefix("+ ") or "1"

    def parts(self) -> FormulaParts:
        """Return the parts of the sum; the fixed part is simplified."""
        products = list(_terms(self._fixed_text).values())
        fixed = _labels(products)
        if ONE not in products:
            fixed = ["0", *fixed]
        formula = " + ".join(fixed) or "1"
        checked = split_formula(formula)  # refuses what is misplaced
        return FormulaParts(
            None, checked.fixed, tuple(self.random), tuple(self.offsets), tuple(self.smooths)
        )


def _labels(products: Iterable[Product]) -> list[str]:
    return list(_each_label(products))


def _each_label(products: Iterable[Product]) -> Iterator[str]:
    for term in products:
        if term != ONE:
            yield ":".join(each.text for each in term)
