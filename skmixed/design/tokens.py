"""Formulas cut into tokens."""

import re
from dataclasses import dataclass

from skmixed.exceptions import FormulaSyntaxError

_TOKEN = re.compile(
    r"""
      (?P<space>\s+)
    | (?P<quoted>`[^`]+`)
    | (?P<string>"(?:\\.|[^"\\])*"|'(?:\\.|[^'\\])*')
    | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
    | (?P<name>(?:[^\W\d]|\.)[\w.]*)
    | (?P<open>[(\[{])
    | (?P<close>[)\]}])
    | (?P<operator>\|\||\*\*|//|%(?:in|/)?%|[=!<>]=|.)
    """,
    re.VERBOSE,
)
_CLOSING = {"(": ")", "[": "]", "{": "}"}


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of a formula."""

    kind: str  # "name", "number", "operator" ...; brackets of a call are "call" and "endcall"
    text: str  # as written
    start: int  # position of its first character
    depth: int  # how many brackets are around it; those of a call stand outside the call
    in_call: bool  # whether a call, an index or braces are around it: the text there is Python

    @property
    def end(self) -> int:
        """Position after its last character."""
        return self.start + len(self.text)

    @property
    def value(self) -> str:
        """The name meant, without backticks."""
        return self.text[1:-1] if self.kind == "quoted" else self.text

    @property
    def is_name(self) -> bool:
        """Whether it names a column or a function."""
        return self.kind in ("name", "quoted")


def tokenize(text: str) -> tuple[Token, ...]:
    """Cut a text into tokens, without white space.

    Raises FormulaSyntaxError if a quote or a bracket is not closed.
    """
    tokens: list[Token] = []
    opened: list[Token] = []
    for match in _TOKEN.finditer(text):
        kind, piece = str(match.lastgroup), match.group()
        if kind == "space":
            continue
        if piece in ("`", '"', "'"):
            raise FormulaSyntaxError(f"this {piece} is never closed", text, match.start())
        if kind == "close":
            token = _close(opened, piece, text, match.start())
        else:
            kind = _refined_kind(kind, piece, tokens)
            in_call = any(bracket.kind == "call" for bracket in opened)
            token = Token(kind, piece, match.start(), len(opened), in_call)
        if kind in ("open", "call"):
            opened.append(token)
        tokens.append(token)
    if opened:
        raise FormulaSyntaxError(
            f"this '{opened[-1].text}' is never closed", text, opened[-1].start
        )
    return tuple(tokens)


def _refined_kind(kind: str, piece: str, before: list[Token]) -> str:
    """Tell calls from grouping brackets, and the operator ``in`` from names."""
    if piece == "in":
        return "operator"
    if kind != "open":
        return kind
    after_operand = bool(before) and (before[-1].is_name or before[-1].kind == "endcall")
    return "call" if piece == "{" or after_operand else "open"


def _close(opened: list[Token], piece: str, text: str, start: int) -> Token:
    if not opened:
        raise FormulaSyntaxError(f"this '{piece}' closes nothing", text, start)
    bracket = opened.pop()
    expected = _CLOSING[bracket.text]
    if piece != expected:
        raise FormulaSyntaxError(
            f"expected '{expected}' to close '{bracket.text}', found '{piece}'", text, start
        )
    kind = "endcall" if bracket.kind == "call" else "close"
    return Token(kind, piece, start, bracket.depth, bracket.in_call)


def is_called(tokens: tuple[Token, ...], index: int) -> bool:
    """Tell whether a name is followed by the opening bracket of a call."""
    following = tokens[index + 1 : index + 2]
    return bool(following) and following[0].kind == "call" and following[0].text == "("
