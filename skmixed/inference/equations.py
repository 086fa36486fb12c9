"""Linear equations in the names of coefficients, such as ``"2 * Days - x = 1"``."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from skmixed.core.layout import FloatArray

_NUMBER = re.compile(r"\d+\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?")


def read_equation(text: str, names: Sequence[str]) -> tuple[FloatArray, float]:
    """Read an equation; return what multiplies each coefficient, and the right-hand side.

    The text has sums of coefficients times numbers on one or both sides of "="; without "=" it is
    about zero. Names may hold any characters; the longest that fits is taken. Raises ValueError if
    the text cannot be read or names no coefficient.
    """
    reader = _EquationReader(text, names)
    left = reader.side()
    right = np.zeros_like(left)
    if reader.take("="):
        right = reader.side()
    reader.end()
    difference = left - right
    if not difference[:-1].any():
        raise ValueError(f"the hypothesis {text!r} is about no coefficient; {_listed(names)}")
    return difference[:-1], float(-difference[-1])


def _listed(names: Sequence[str]) -> str:
    return f"the coefficients are {', '.join(map(repr, names))}"


class _EquationReader:
    """Reads a text from left to right; `place` is where the next thing begins."""

    def __init__(self, text: str, names: Sequence[str]) -> None:
        self.text = text
        self.names = names
        self.place = 0

    def side(self) -> FloatArray:
        """Read a sum; return multipliers of the coefficients and, last, the number."""
        total = np.zeros(len(self.names) + 1)
        sign = -1.0 if self.take("-") else 1.0
        self.take("+")
        while True:
            total += sign * self.product()
            if self.take("+"):
                sign = 1.0
            elif self.take("-"):
                sign = -1.0
            else:
                return total

    def product(self) -> FloatArray:
        multiplier, coefficient = 1.0, None
        while True:
            found = self.coefficient()
            if found is not None and coefficient is None:
                coefficient = found
            elif found is None:
                multiplier *= self.number()
            else:
                raise self.error("a product of two coefficients is not linear")
            if not self.take("*"):
                break
        row = np.zeros(len(self.names) + 1)
        row[-1 if coefficient is None else coefficient] = multiplier
        return row

    def coefficient(self) -> int | None:
        self.skip()
        rest = self.text[self.place :]
        fitting = [n for n, name in enumerate(self.names) if _starts_with(rest, name)]
        if not fitting:
            return None
        longest = max(fitting, key=lambda n: len(self.names[n]))
        self.place += len(self.names[longest])
        return longest

    def number(self) -> float:
        self.skip()
        match = _NUMBER.match(self.text, self.place)
        if match is None:
            raise self.error("a coefficient or a number is expected")
        self.place = match.end()
        return float(match[0])

    def take(self, symbol: str) -> bool:
        self.skip()
        found = self.text.startswith(symbol, self.place)
        self.place += len(symbol) * found
        return found

    def skip(self) -> None:
        while self.text[self.place : self.place + 1].isspace():
            self.place += 1

    def end(self) -> None:
        self.skip()
        if self.place < len(self.text):
            raise self.error("'+', '-', '*', '=' or the end is expected")

    def error(self, reason: str) -> ValueError:
        rest = self.text[self.place :] or "the end"
        return ValueError(
            f"cannot read the hypothesis {self.text!r} at {rest!r}: {reason}; {_listed(self.names)}"
        )


def _starts_with(text: str, name: str) -> bool:
    """Tell whether a text starts with a name that does not go on."""
    if not text.startswith(name):
        return False
    after = text[len(name) : len(name) + 1]
    return not (_in_word(name[-1:]) and _in_word(after))


def _in_word(character: str) -> bool:
    return character.isalnum() or (character != "" and character in "_.")
