"""Smooth curves of formulas, ``s(x, k=20)``: what their calls say; nothing is evaluated."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.design.grammar.tokens import Phrase, Token, arguments_of, is_called, read_phrase

DEFAULT_SIZE = 10  # of the basis, as in mgcv
_MOST_SIZE = 1_000  # of the basis, as many columns as one call may ask for
_LEAST_SIZES = {"ps": 4, "cp": 4}  # one cubic piece; around a circle, four
_BASES = {"ps": "ps", "cp": "cp", "cc": "cp"}  # by mgcv's names: P-splines, and cyclic ones
_TAKES = "s() takes one expression, k, by, bs, low and high"
_NOT_THERE = {
    "m": "the penalty is of second differences of cubic B-splines",
    "sp": "the smoothness is estimated",
    "fx": "bs(x, df=...), ns(x, df=...) and cr(x, df=...) are splines without a penalty",
    "id": "every curve has a smoothness of its own",
    "pc": "what a curve is at one point is in the intercept",
    "xt": "a basis needs nothing more",
}
MISPLACED = (
    "a curve is a term of the sum by itself: log(s(x)) has no meaning here, and s(x, by=z) is what "
    "z multiplies"
)


@dataclass(frozen=True, slots=True)
class SmoothTerm:
    """A curve as a formula has it."""

    text: str  # as written
    argument: str  # the expression it is a curve of
    k: int = DEFAULT_SIZE  # number of B-splines
    by: str | None = None  # what it is multiplied by; of a factor every level has a curve
    low: float | None = None  # the range, or the period; None is to be learned
    high: float | None = None
    is_cyclic: bool = False  # whether the curve goes on at the other end

    @property
    def expressions(self) -> tuple[str, ...]:
        """What has to be evaluated."""
        return (self.argument,) if self.by is None else (self.argument, self.by)


def is_smooth(phrase: Phrase) -> bool:
    """Tell whether a phrase is a curve, ``s(...)``, and nothing else."""
    return phrase.tokens[0].text == "s" and phrase.is_call


def smooth_within(phrase: Phrase) -> Token | None:
    """Return the first call of ``s`` in a phrase, None if there is none."""
    for index, token in enumerate(phrase.tokens):
        if token.text == "s" and token.kind == "name" and is_called(phrase.tokens, index):
            return token
    return None


def read_smooth(text: str) -> SmoothTerm:
    """Read a curve by itself. Raises FormulaSyntaxError for anything else."""
    phrase = read_phrase(text)
    if not is_smooth(phrase):
        raise phrase.error("expected a curve, s(x)")
    return smooth_of(phrase)


def smooth_of(phrase: Phrase) -> SmoothTerm:
    """Read the call that a phrase is.

    Raises FormulaSyntaxError, whose message points at the place.
    """
    argument, size, given = "", None, {}
    for number, (name, part) in enumerate(arguments_of(phrase)):
        inner = smooth_within(part)
        if inner is not None:
            raise phrase.error("a curve cannot be made of curves", inner)
        if name is not None and (name in given or (name == "k" and size is not None)):
            raise part.error(f"{name} is given twice")
        if name is not None:
            given[name] = part
        elif number == 0:
            argument = part.text
        elif number == 1 and part.text.isdecimal():
            size = part
        else:
            raise part.error(f"{_TAKES}: curves of several variables are not there")
    if not argument:
        raise phrase.error(f"expected what it is a curve of: {_TAKES}")
    for name in given.keys() - {"k", "by", "bs", "low", "high"}:
        raise given[name].error(f"{_TAKES}, not {name}" + _hint(name))
    size = given.get("k", size)
    basis = _basis(given["bs"]) if "bs" in given else "ps"
    low, high = (_number(given[each]) if each in given else None for each in ("low", "high"))
    if low is not None and high is not None and not low < high:
        raise given["high"].error(f"low = {low:g} is not below high = {high:g}")
    return SmoothTerm(
        phrase.text,
        argument,
        DEFAULT_SIZE if size is None else _size(size, basis),
        given["by"].text if "by" in given else None,
        low,
        high,
        basis == "cp",
    )


def _hint(name: str) -> str:
    return f": {_NOT_THERE[name]}" if name in _NOT_THERE else ""


def _size(part: Phrase, basis: str) -> int:
    least = _LEAST_SIZES[basis]
    if not part.text.isdecimal() or not least <= int(part.text[:9]) <= _MOST_SIZE:
        raise part.error(f"k is the number of B-splines, from {least} to {_MOST_SIZE:,}")
    return int(part.text)


def _number(part: Phrase) -> float:
    sign, tokens = 1.0, part.tokens
    if len(tokens) == 2 and tokens[0].text in ("+", "-"):
        sign, tokens = (-1.0 if tokens[0].text == "-" else 1.0), tokens[1:]
    if len(tokens) != 1 or tokens[0].kind != "number":
        raise part.error("low and high are numbers")
    value = sign * float(tokens[0].text)
    if not abs(value) <= 1e300:
        raise part.error("a number is too large")
    return value


def _basis(part: Phrase) -> str:
    name = part.text[1:-1] if part.tokens[0].kind == "string" else ""
    if len(part.tokens) != 1 or name not in _BASES:
        raise part.error(
            "bs is 'ps', a P-spline, or 'cp', one that goes around (which 'cc' means, too)"
        )
    return _BASES[name]
