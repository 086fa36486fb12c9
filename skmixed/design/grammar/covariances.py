"""Random terms of a covariance structure by name, as in lme4 and glmmTMB: ``ar1(0 + t | g)``."""

from __future__ import annotations

from skmixed.design.grammar.tokens import (
    BARS,
    Phrase,
    Token,
    arguments_of,
    is_called,
    read_phrase,
)

# By the name of the function: the structure without `hom`, and with hom = FALSE and TRUE.
_NAMED: dict[str, tuple[str, str, str]] = {
    "us": ("unstructured", "", ""),
    "diag": ("diagonal", "diagonal", "identity"),
    "homdiag": ("identity", "", ""),
    "cs": ("cs", "cs", "homcs"),
    "homcs": ("homcs", "", ""),
    "ar1": ("ar1", "hetar1", "ar1"),
    "hetar1": ("hetar1", "", ""),
    "toep": ("toep", "toep", "homtoep"),
    "homtoep": ("homtoep", "", ""),
    "rr": ("rr", "", ""),
    "fa": ("fa", "", ""),
}
_OF_RANK = frozenset({"rr", "fa"})
_TRUTHS = {"TRUE": True, "True": True, "T": True, "FALSE": False, "False": False, "F": False}
_RANK_DIGITS = 3  # at most: no table has a thousand columns that vary


def is_structured(phrase: Phrase) -> bool:
    """Tell whether a phrase is ``cs(x | g)`` or alike, and nothing else."""
    return phrase.is_call and structured_within(phrase) is phrase.tokens[0]


def structured_within(phrase: Phrase) -> Token | None:
    """Return the name of the first call that makes a random term, None if there is none."""
    for index, token in enumerate(phrase.tokens):
        if token.text not in _NAMED or token.in_call or not is_called(phrase.tokens, index):
            continue
        for inner in phrase.tokens[index + 2 :]:
            if inner.depth <= token.depth:
                break
            if inner.text in BARS and inner.depth == token.depth + 1:
                return token
    return None


def structured_text(bar: str, covariance: str | None) -> str:
    """Write a random term of a structure, None for one that the formula does not name."""
    if covariance is None:
        return f"({bar})"
    name, _, rank = covariance.partition("(")
    functions = {each: function for function, (each, _, _) in _NAMED.items()}
    return f"{functions[name]}({bar}{', d=' * bool(rank)}{rank or ')'}"


def structured_bar(phrase: Phrase) -> tuple[Phrase, str]:
    """Return what stands in the call, ``x | g``, and the name of the structure.

    Raises FormulaSyntaxError for anything else.
    """
    function = phrase.tokens[0].text
    (name, bar), *settings = arguments_of(phrase)
    if name is not None or not bar.operators(BARS):
        raise bar.error(f"expected {function}(columns | factor)")
    for index in bar.operators({"||"}):
        raise bar.error(f"within {function}(...) the bar is single", bar.tokens[index])
    structure, heterogeneous, homogeneous = _NAMED[function]
    rank = ""
    for name, part in settings:
        if name == "hom" and heterogeneous:
            if part.text not in _TRUTHS:
                raise part.error("hom is TRUE or FALSE")
            structure = homogeneous if _TRUTHS[part.text] else heterogeneous
        elif name in ("d", None) and function in _OF_RANK and not rank:
            if not part.text.isdecimal() or len(part.text) > _RANK_DIGITS or int(part.text) < 1:
                raise part.error("d is the number of latent effects: 1, 2 or more")
            rank = f"({int(part.text)})"
        else:
            takes = "d" if function in _OF_RANK else "hom" if heterogeneous else "nothing"
            raise part.error(f"beside columns and factor {function}(...) takes {takes}")
    return read_phrase(bar.text), structure + rank
