"""Exceptions and warnings of the package."""

import re

__all__ = [
    "FormulaSyntaxError",
    "LostPrecisionWarning",
    "PartitionError",
    "UnidentifiedWarning",
    "UnknownLevelWarning",
]


class FormulaSyntaxError(ValueError):
    """A formula that cannot be read; its message points at the place.

    Parameters
    ----------
    expected : str
        What is wrong there, or what was expected instead.
    text : str
        The formula, on one line.
    position : int
        The place in `text`, counted from 0.
    """

    def __init__(self, expected: str, text: str, position: int) -> None:
        super().__init__(expected, text, position)
        self.expected = expected
        self.text = text
        self.position = position

    def __str__(self) -> str:
        """Return the reason, the formula, and a caret beneath the place."""
        line = re.sub(r"\s", " ", self.text)
        return f"{self.expected}\n    {line}\n    {' ' * self.position}^"


class UnidentifiedWarning(UserWarning):
    """A parameter that the data cannot tell from others was set by convention."""


class UnknownLevelWarning(UserWarning):
    """Predictions leave out random effects because the groups of the rows were not given."""


class LostPrecisionWarning(UserWarning):
    """Estimates have few digits, because the residual is tiny beside what explains the response."""


class PartitionError(ValueError):
    """A part of the data could not be read or summed; the message names it."""
