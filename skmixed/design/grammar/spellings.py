"""Spellings that R reads otherwise than Python, refused before either of them is asked."""

from __future__ import annotations

import keyword

from skmixed.design.grammar.functions import SPELLINGS
from skmixed.design.grammar.permitted import UnknownNameError
from skmixed.design.grammar.terms import NotATermError
from skmixed.design.grammar.tokens import Token, is_called

_MODULO = frozenset({"%%", "%/%"})
_SAME_RANK = frozenset({"*", "/"})
_ARITHMETIC = frozenset({"*", "/", "^", "**", "%%", "%/%", "%", "//"})  # of a chain without sums
_NO_OPERATORS = {
    "#": "a comment is no part of a formula",
    "!": "'!' is written as == FALSE",
    "@": "'@' is no operator",
    "$": "columns are named as they are, without the table before '$'",
    ";": "';' is no operator",
    "\\": "'\\' is no operator",
    "?": "'?' is no operator",
}


def check_spellings(tokens: tuple[Token, ...]) -> None:
    """Raise NotATermError for what R and Python read as different calculations.

    UnknownNameError for functions of R that no name of Python could be, such as ``as.numeric``.
    """
    for index, token in enumerate(tokens):
        following = tokens[index + 1] if index + 1 < len(tokens) else None
        if token.text in ("factor", "as.factor") and is_called(tokens, index):
            _check_factor(tokens, index + 1)
        elif (
            is_called(tokens, index)
            and token.text not in SPELLINGS
            and _is_no_name_of_python(token.text)
        ):
            raise UnknownNameError(token.text, called=True)
        if token.kind == "string" and "\\" in token.text:
            raise NotATermError("text may not hold backslashes")
        if token.kind != "operator" or not token.in_call:
            continue
        if token.text in _NO_OPERATORS:
            raise NotATermError(_NO_OPERATORS[token.text])
        if token.text in _MODULO and _follows_product(tokens, index):
            raise NotATermError(
                f"R calculates {token.text} before * and /: put one of them into parentheses"
            )
        is_arrow = following is not None and (token.text, following.text) == ("<", "-")
        if is_arrow and following is not None and following.start == token.end:
            raise NotATermError("R reads <- as an assignment: write < -1 with a space")


def _is_no_name_of_python(text: str) -> bool:
    """Tell whether a name with dots has a word of Python's own between them."""
    return "." in text and any(map(keyword.iskeyword, text.split(".")))


def _follows_product(tokens: tuple[Token, ...], index: int) -> bool:
    """Tell whether * or / stands before, in the same product without parentheses."""
    depth = tokens[index].depth
    for token in reversed(tokens[:index]):
        if token.depth < depth:
            return False
        if token.depth == depth and token.kind == "operator":
            if token.text in _SAME_RANK:
                return True
            if token.text not in _ARITHMETIC:
                return False
    return False


def _check_factor(tokens: tuple[Token, ...], opening: int) -> None:
    """Refuse further arguments of ``factor()`` without a name, which are levels in R."""
    depth = tokens[opening].depth + 1
    place = opening + 1
    while tokens[place].depth >= depth:
        if tokens[place].text == "," and tokens[place].depth == depth:
            named = tokens[place + 2].text == "=" and tokens[place + 1].text == "levels"
            if not named:
                raise NotATermError(
                    "factor() has one further argument here: factor(x, levels=c(...))"
                )
        place += 1
