"""lme4's formula syntax: a formula cut into its fixed part, random terms and offsets.

Only text is handled here; `skmixed.design.formula` learns what the pieces mean for a table.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from skmixed.design.grammar.covariances import structured_within
from skmixed.design.grammar.random_part import (
    RandomTerm,
    is_random,
    summands,
    terms_of_bar,
    terms_of_entry,
)
from skmixed.design.grammar.smooths import (
    MISPLACED,
    SmoothTerm,
    is_smooth,
    smooth_of,
    smooth_within,
)
from skmixed.design.grammar.tokens import (
    BARE_BAR,
    BARS,
    SUM,
    Phrase,
    Token,
    is_called,
    read_phrase,
)


@dataclass(frozen=True, slots=True)
class FormulaParts:
    """A whole formula, taken apart."""

    response: str | None  # the left side of ``~``
    fixed: str  # the right side without bars and offsets; "1" when nothing remains
    random: tuple[RandomTerm, ...]  # the bars, expanded, in the order of the text
    offsets: tuple[str, ...]  # the arguments of ``offset()``
    smooths: tuple[SmoothTerm, ...] = ()  # the curves


def parse_random(spec: str | Mapping[Any, Any]) -> tuple[RandomTerm, ...]:
    """Read the random part of a model: lme4's bars, or a mapping from factors to columns.

    Bars are a string, ``"(1 + Days | Subject) + (1 | school/class)"``; a mapping is like
    ``{"school/class": ["1", "open"]}``. A key is the right side of a bar, a tuple of column names
    (their interaction), or, taken literally, a column name that is not valid syntax. A value is a
    list of columns, with "1" for the intercept, or the left side of a bar. ``a/b`` and ``||`` are
    expanded in lme4's order: ``b:a`` before ``a``. Raises FormulaSyntaxError, whose message points
    at the place.
    """
    if isinstance(spec, str):
        return _terms_of_text(spec)
    if isinstance(spec, Mapping):
        terms = [term for key, value in spec.items() for term in terms_of_entry(key, value)]
        repeated = _repeated(terms)
        if repeated:
            raise ValueError(repeated)
        return tuple(terms)
    raise TypeError(f"random must be a string or a mapping, not {type(spec).__name__}")


def _repeated(terms: Iterable[RandomTerm]) -> str:
    """Say which term has the columns and the factor of another: only their sum is identified."""
    known: set[tuple[Any, ...]] = set()
    for term in terms:
        key = (
            frozenset(term.key),
            term.intercept,
            frozenset(term.slope_names),
            frozenset(term.smooths),
            (term.covariance or "").startswith("rr"),  # which may stand beside variances
        )
        if key in known:
            return (
                f"the random term ({term.left} | {term.name}) is there twice; a/b stands for "
                "a and b:a, || for a term of each column"
            )
        known.add(key)
    return ""


@lru_cache(maxsize=128)  # a model reads its text at every fit, and a session has few
def split_formula(text: str) -> FormulaParts:
    """Cut a whole lme4 formula into response, fixed part, curves, random terms and offsets.

    The text is like ``"extro ~ open + (1 + open | school/class) + offset(2 * x)"``; what is not
    taken apart is returned as it was written. Raises FormulaSyntaxError, whose message points at
    the place.
    """
    formula = read_phrase(text)
    response, right = _split_response(formula)
    fixed: list[tuple[int, Phrase]] = []
    random: list[RandomTerm] = []
    offsets: list[str] = []
    smooths: list[SmoothTerm] = []
    for sign, summand in [(1, right)] if is_bare_bar(right) else formula_summands(right):
        if is_smooth(summand):
            smooths.append(_added_smooth(sign, summand))
        elif is_random(summand) or (summand is right and is_bare_bar(right)):
            random += terms_of_bar(sign, summand)
        elif summand.is_offset:
            offsets.append(_offset_argument(sign, summand))
        else:
            _refuse_misplaced(summand)
            fixed.append((sign, summand))
    repeated = _repeated(random)
    if repeated:
        raise right.error(repeated)
    twice = [smooth for smooth in smooths if smooths.count(smooth) > 1]
    if twice:
        raise right.error(f"the curve {twice[0].text} is there twice")
    return FormulaParts(
        response, _join(fixed) or "1", tuple(random), tuple(offsets), tuple(smooths)
    )


def is_bare_bar(phrase: Phrase) -> bool:
    """Tell whether a phrase is one bar without brackets, ``1 | g``, and no sum before it.

    Of a sum, ``x + 1 | g``, all varies in R, which nobody means: there brackets are asked for.
    """
    bars = phrase.operators(BARS)
    return len(bars) == 1 and not phrase.between(0, bars[0]).operators(SUM)


def _added_smooth(sign: int, summand: Phrase) -> SmoothTerm:
    if sign < 0:
        raise summand.error("a curve can be added, not subtracted")
    return smooth_of(summand)


def formula_summands(phrase: Phrase) -> Iterator[tuple[int, Phrase]]:
    """Yield the terms of a sum, entering brackets that hold bars or offsets."""
    if is_random(phrase):
        yield 1, phrase
        return
    for sign, summand in summands(phrase):
        is_sum = summand.is_group and not is_random(summand)
        if is_sum and sign > 0 and _own_term(summand) is not None:
            yield from formula_summands(summand)
        else:
            yield sign, summand


def _own_term(phrase: Phrase) -> Token | None:
    """Return the first bar, ``offset`` or ``s`` of a phrase that is not within a function.

    Of a bar with a covariance structure it is the name of that.
    """
    for index, token in enumerate(phrase.tokens):
        is_own = token.text in ("offset", "s") and is_called(phrase.tokens, index)
        if not token.in_call and (token.text in BARS or is_own):
            return token
    return structured_within(phrase)


def _split_response(formula: Phrase) -> tuple[str | None, Phrase]:
    tildes = [i for i, t in enumerate(formula.tokens) if t.text == "~" and not t.in_call]
    if not tildes:
        return None, formula
    first = tildes[0]
    for tilde in tildes:
        if tilde != first or formula.tokens[tilde].depth:
            raise formula.error("expected one '~', outside brackets", formula.tokens[tilde])
    right = formula.between(first + 1, None)
    if first == 0:
        return None, right
    response = formula.between(0, first)
    found = _own_term(response) or smooth_within(response)
    if found is not None:
        raise formula.error(f"'{found.text}' cannot be part of the response", found)
    return response.text, right


def _offset_argument(sign: int, summand: Phrase) -> str:
    if sign < 0:
        raise summand.error("an offset can be added, not subtracted")
    if len(summand.tokens) == 3:
        raise summand.error("expected an expression inside offset()", summand.tokens[2])
    return summand.between(2, -1).text


def _refuse_misplaced(summand: Phrase) -> None:
    """Refuse a bar, an offset or a curve that is not a term of the sum by itself."""
    found = _own_term(summand) or smooth_within(summand)
    if found is None:
        return
    if found.text == "s":
        expected = MISPLACED
    elif found.text == "offset":
        expected = "offset(...) must be a term of the sum by itself"
    elif found.text in BARS and found.depth == summand.depth:
        expected = BARE_BAR
    else:
        expected = "a bar must be a term of the sum by itself, not part of an interaction"
    raise summand.error(expected, found)


def _join(summands: Iterable[tuple[int, Phrase]]) -> str:
    text = " ".join(f"{'-' if sign < 0 else '+'} {summand.text}" for sign, summand in summands)
    return text.removeprefix("+ ")


@lru_cache(maxsize=128)  # as many as whole formulas
def _terms_of_text(text: str) -> tuple[RandomTerm, ...]:
    phrase = read_phrase(text)
    for token in phrase.tokens:
        if token.text == "~" and not token.in_call:
            raise phrase.error("expected only random terms, without '~'", token)
    if is_bare_bar(phrase):
        return tuple(terms_of_bar(1, phrase))
    for index in phrase.operators(BARS):
        raise phrase.error(BARE_BAR, phrase.tokens[index])
    terms: list[RandomTerm] = []
    for sign, summand in formula_summands(phrase):
        if is_smooth(summand):
            raise summand.error(
                "a curve of all rows belongs to `fixed`, one a level into (s(x) | g)"
            )
        if not is_random(summand):
            _refuse_misplaced(summand)
            name = summand.text.strip()
            asked = f": did you mean (1 | {name})? All" if len(summand.tokens) == 1 else "; all"
            raise summand.error(
                f"expected only random terms, (x | g){asked} else belongs to `fixed`"
            )
        terms += terms_of_bar(sign, summand)
    repeated = _repeated(terms)
    if repeated:
        raise phrase.error(repeated)
    return tuple(terms)
