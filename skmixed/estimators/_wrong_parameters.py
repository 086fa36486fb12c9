"""What is said of a parameter that is given as something else, and plainly stands for something."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any

from sklearn.utils._param_validation import StrOptions

from skmixed.design.grammar.tokens import quoted

_RESEMBLANCE = 0.7  # of two words, in difflib's measure, where one is a slip for the other
_LEARNERS = ("regressor", "classifier")


def meant(estimator: Any, name: str, value: Any, constraints: Sequence[Any]) -> str:
    """Return what to write instead of a value of a parameter, a sentence, or nothing."""
    if name == "fixed":
        return _formula_of(value)
    if name == "random":
        return _terms_of(value)
    if name in _LEARNERS and isinstance(value, str):
        kind = type(estimator).__name__
        return f" A learner comes first: {kind}({name}, {_bar(value)!r}), or random={_bar(value)!r}"
    options = [
        word for each in constraints if isinstance(each, StrOptions) for word in each.options
    ]
    word = _alike(value, options) if isinstance(value, str) else None
    return "" if word is None else f" Did you mean {word!r}?"


def _formula_of(value: Any) -> str:
    """Return the formula of columns that are listed."""
    if not _is_list_of_text(value):
        return ""
    return f" It is a formula: fixed={' + '.join(map(quoted, value))!r}"


def _terms_of(value: Any) -> str:
    """Return the random terms that are listed, or of which the grouping columns are."""
    if not _is_list_of_text(value):
        return ""
    return f" It is a sum of terms: random={' + '.join(map(_bar, value))!r}"


def _is_list_of_text(value: Any) -> bool:
    """Tell whether a value is a list of text that is not empty."""
    is_list = isinstance(value, list | tuple) and len(value) > 0
    return is_list and all(isinstance(entry, str) for entry in value)


def _bar(text: str) -> str:
    """Return a random term, made of the name of a grouping column if it has no bar."""
    if "|" not in text:
        return f"(1 | {quoted(text)})"
    return text if "(" in text else f"({text})"


def _alike(word: str, options: Sequence[str]) -> str | None:
    """Return the option that a word is a slip or an abbreviation of, if it is one.

    An abbreviation has letters of the option in their order, "nbinom" of "negative_binomial".
    """
    lower = word.lower()
    longer = [option for option in options if _is_within(lower, option)]
    if len(lower) > 1 and longer:
        return min(longer, key=len)
    close = get_close_matches(lower, options, 1, _RESEMBLANCE)
    return close[0] if close else None


def _is_within(word: str, option: str) -> bool:
    """Tell whether the letters of a word are those of an option in their order, from the first."""
    letters = iter(option)
    return option[:1] == word[:1] and all(letter in letters for letter in word)
