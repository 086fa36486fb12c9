"""Formulas cut into tokens, and the phrases that tokens make between brackets and operators."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import lru_cache

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
MAX_LENGTH = 20_000  # characters of a formula: a thousand columns, read in a tenth of a second
MAX_DEPTH = 50  # brackets in brackets: what reads them recurses


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


@lru_cache(maxsize=512)  # a fit reads its texts several times, and a session has few
def tokenize(text: str) -> tuple[Token, ...]:
    """Cut a text into tokens, without white space.

    Raises FormulaSyntaxError if a quote or a bracket is not closed, and for a text that is too long
    or has too many brackets in brackets.
    """
    if len(text) > MAX_LENGTH:
        reason = f"a formula of {len(text):,} characters is not read; the most are {MAX_LENGTH:,}"
        raise FormulaSyntaxError(reason, text[:40] + " ...", 0)
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
            if len(opened) > MAX_DEPTH:
                reason = f"brackets are within brackets here more than {MAX_DEPTH} times"
                raise FormulaSyntaxError(reason, text[: token.end] + " ...", token.start)
        tokens.append(token)
    if opened:
        raise FormulaSyntaxError(
            f"this '{opened[-1].text}' is never closed", text, opened[-1].start
        )
    return tuple(tokens)


def _refined_kind(kind: str, piece: str, before: list[Token]) -> str:
    """Tell calls from grouping brackets, and Python's operator ``in`` from names."""
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


def quoted(name: str) -> str:
    """Return a name as formulas take it, in backticks unless it is syntactic."""
    return name if re.fullmatch(r"[A-Za-z_.][\w.]*", name) else f"`{name}`"


def is_called(tokens: tuple[Token, ...], index: int) -> bool:
    """Tell whether a name is followed by the opening bracket of a call."""
    following = tokens[index + 1 : index + 2]
    return bool(following) and following[0].kind == "call" and following[0].text == "("


SUM = frozenset({"+", "-"})
BARS = frozenset({"|", "||"})
INFIX = frozenset({"+", "-", "*", "/", ":", "^", "**", "%in%", "|", "||", "~"})
_COMPARING = frozenset({"<", ">", "<=", ">=", "==", "!=", "&"})
_OPENING = ("open", "call")
BARE_BAR = "a bar needs parentheses: write (1 | g)"


@dataclass(frozen=True, slots=True)
class Phrase:
    """Consecutive tokens of a formula, at least one, with balanced brackets."""

    source: str
    tokens: tuple[Token, ...]

    @property
    def text(self) -> str:
        """The phrase as written."""
        return self.source[self.tokens[0].start : self.tokens[-1].end]

    @property
    def depth(self) -> int:
        """How many brackets are around its outermost tokens."""
        return min(token.depth for token in self.tokens)

    @property
    def content(self) -> "Phrase":
        """What stands inside the brackets around the whole phrase, if there are any."""
        phrase = self
        while phrase.is_group:
            phrase = phrase.between(1, -1)
        return phrase

    @property
    def is_group(self) -> bool:
        """Whether one pair of parentheses is around the whole phrase."""
        first, last = self.tokens[0], self.tokens[-1]
        level = [token for token in self.tokens if token.depth == first.depth]
        return first.kind == "open" and last.kind == "close" and len(level) == 2

    @property
    def is_bar(self) -> bool:
        """Whether it is a random term, ``(x | g)``."""
        return self.is_group and bool(self.content.operators(BARS))

    @property
    def is_offset(self) -> bool:
        """Whether it is ``offset(...)``."""
        return self.tokens[0].text == "offset" and self.is_call

    @property
    def is_call(self) -> bool:
        """Whether it is one function call, ``f(...)``, and nothing else."""
        level = [token for token in self.tokens if token.depth == self.tokens[0].depth]
        return [token.kind for token in level] == ["name", "call", "endcall"]

    def between(self, start: int, stop: int | None) -> "Phrase":
        """Return the phrase made of the tokens `start` to `stop`."""
        return Phrase(self.source, self.tokens[start:stop])

    def operators(self, texts: Collection[str]) -> list[int]:
        """Return the indices of these operators where they join operands of the phrase itself."""
        depth = self.depth
        return [
            index
            for index, token in enumerate(self.tokens)
            if token.kind == "operator" and token.depth == depth and token.text in texts
        ]

    def split(self, operator: str) -> list["Phrase"]:
        """Return the phrases between the outermost occurrences of an operator."""
        cuts = self.operators({operator})
        starts = [0, *(cut + 1 for cut in cuts)]
        return [
            self.between(start, stop) for start, stop in zip(starts, [*cuts, None], strict=True)
        ]

    def error(self, expected: str, token: Token | None = None) -> FormulaSyntaxError:
        """Return an error that points at a token, by default the first."""
        position = (token or self.tokens[0]).start
        return FormulaSyntaxError(expected, self.source, position)


def arguments_of(phrase: Phrase) -> Iterator[tuple[str | None, Phrase]]:
    """Yield the arguments of a call, each with its name, None for those without one."""
    inner = phrase.tokens[2:-1]
    level = phrase.tokens[1].depth + 1
    start = 0
    for place in range(len(inner) + 1):
        is_end = place == len(inner)
        if not is_end and not (inner[place].text == "," and inner[place].depth == level):
            continue
        part = Phrase(phrase.source, inner[start:place])
        start = place + 1
        if not part.tokens:
            if is_end and place == 0:
                return
            raise phrase.error("expected an argument beside this comma", inner[min(place, -1)])
        if len(part.tokens) > 1 and part.tokens[1].text == "=" and part.tokens[0].kind == "name":
            name, part = part.tokens[0].text, Phrase(phrase.source, part.tokens[2:])
            if not part.tokens:
                raise phrase.error(f"expected a value of {name}", phrase.tokens[-1])
            yield name, part
        else:
            yield None, part


def read_phrase(text: str) -> Phrase:
    """Tokenize a formula and check that terms and operators alternate.

    Raises FormulaSyntaxError where they do not.
    """
    source = _with_calculations(re.sub(r"\s", " ", text))
    tokens = tokenize(source)
    previous: Token | None = None
    for index, token in enumerate(tokens):
        if token.in_call or token.kind == "endcall" or (token.kind == "call" and token.text != "{"):
            continue
        _check_alternation(source, token, previous)
        if token.text == "-" and previous is not None and previous.text in SUM:
            following = tokens[index + 1 : index + 2]
            if following and following[0].text not in ("0", "1"):
                reason = "after another sign R takes nothing out: write one sign"
                raise FormulaSyntaxError(reason, source, token.start)
        previous = token
    if previous is None or _leaves_open(previous):
        after = f" after '{previous.text}'" if previous else ""
        raise FormulaSyntaxError(f"expected a term{after}", source, len(source.rstrip()))
    return Phrase(source, tokens)


def _with_calculations(source: str) -> str:
    """Put what R calculates between terms into I(): ``(x > 4)``, ``x %/% 2`` and ``x %% 2``."""
    while True:
        tokens = tokenize(source)
        spans = [_modulo_span(tokens, n) for n, token in enumerate(tokens) if _is_modulo(token)]
        span = next((each for each in spans if each), None)
        if span is None:
            break
        source = f"{source[: span[0]]}I({source[span[0] : span[1]]}){source[span[1] :]}"
    starts = [token.start for n, token in enumerate(tokens) if _is_compared(tokens, n)]
    for start in reversed(starts):
        source = f"{source[:start]}I{source[start:]}"
    return source


def _is_modulo(token: Token) -> bool:
    return token.kind == "operator" and not token.in_call and token.text in ("%%", "%/%")


def _modulo_span(tokens: tuple[Token, ...], place: int) -> tuple[int, int] | None:
    """Return where the two operands of an operator begin and end, None if one is missing."""
    first, last = place - 1, place + 1
    if first < 0 or last >= len(tokens):
        return None
    depth = tokens[place].depth
    if tokens[first].kind in ("close", "endcall"):
        while first > 0 and (tokens[first].depth > depth or tokens[first].kind not in _OPENING):
            first -= 1
        if tokens[first].kind == "call" and first > 0:
            first -= 1
    if last + 1 < len(tokens) and is_called(tokens, last):
        last += 1
    if tokens[last].kind in _OPENING:
        while last < len(tokens) - 1 and (
            tokens[last].depth > depth or tokens[last].kind not in ("close", "endcall")
        ):
            last += 1
    simple = ("name", "quoted", "number", "open", "close", "endcall", "call")
    if tokens[first].kind not in simple or tokens[last].kind not in simple:
        return None
    return tokens[first].start, tokens[last].end


def _is_compared(tokens: tuple[Token, ...], place: int) -> bool:
    """Tell whether a grouping bracket is around a comparison, and around no bar."""
    opening = tokens[place]
    if opening.kind != "open" or opening.text != "(" or opening.in_call:
        return False
    level = opening.depth + 1
    found = set()
    for token in tokens[place + 1 :]:
        if token.depth < level:
            break
        if token.depth == level and token.kind == "operator":
            found.add(token.text)
    if found & (BARS | {"~"}) or not found & _COMPARING:
        return False
    return not any(_is_compared(tokens, n) and _surrounds(tokens, n, place) for n in range(place))


def _surrounds(tokens: tuple[Token, ...], outer: int, inner: int) -> bool:
    depth = tokens[outer].depth
    return all(token.depth > depth for token in tokens[outer + 1 : inner + 1])


def _leaves_open(token: Token) -> bool:
    """Tell whether an operand must follow a token."""
    return token.kind in ("operator", "open")


def _check_alternation(source: str, token: Token, previous: Token | None) -> None:
    expects_operand = previous is None or _leaves_open(previous)
    if token.text == "[" or (token.kind == "operator" and token.text not in INFIX):
        expected = f"'{token.text}' has no meaning between terms: put the expression into I(...)"
    elif token.kind in ("operator", "close") and expects_operand:
        if _may_be_unary(token, previous):
            return
        expected = f"expected a term before '{token.text}'"
    elif token.kind not in ("operator", "close") and not expects_operand:
        expected = f"expected an operator, such as '+', before '{token.text}'"
    else:
        return
    raise FormulaSyntaxError(expected, source, token.start)


def _may_be_unary(token: Token, previous: Token | None) -> bool:
    if token.text == "~":
        return previous is None
    after_sum = previous is None or previous.kind == "open" or previous.text in SUM | BARS | {"~"}
    return token.text in SUM and after_sum
