"""Rows that belong to several levels, ``mm(a, b, weights=cbind(u, v))``: what the call says."""

from __future__ import annotations

from dataclasses import dataclass

from skmixed.design.grammar.tokens import Phrase, arguments_of

FUNCTION = "mm"
_TAKES = "mm() takes two grouping columns or more, weights=cbind(...) and scale"
_TRUTHS = {"TRUE": True, "True": True, "FALSE": False, "False": False}


@dataclass(frozen=True, slots=True)
class MembersTerm:
    """The grouping columns whose levels a row belongs to, as a formula has them."""

    text: str  # in one spelling: the name of the factor
    groups: tuple[str, ...]  # grouping columns, which have their levels in common
    weights: tuple[str, ...] = ()  # columns of the weights, one for each; none: equal ones
    is_scaled: bool = True  # whether the weights of a row are divided by their sum

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns of the data that it needs."""
        return self.groups + self.weights


def is_members(phrase: Phrase) -> bool:
    """Tell whether a phrase is ``mm(...)``, and nothing else."""
    return phrase.tokens[0].text == FUNCTION and phrase.is_call


def members_of(phrase: Phrase) -> MembersTerm:
    """Read the call that a phrase is.

    Raises FormulaSyntaxError, whose message points at the place.
    """
    groups: list[Phrase] = []
    weights: list[Phrase] = []
    is_scaled = True
    for name, part in arguments_of(phrase):
        if name is None:
            groups.append(part)
        elif name == "weights" and not weights:
            weights = _bound_columns(part)
        elif name == "scale" and part.text in _TRUTHS:
            is_scaled = _TRUTHS[part.text]
        else:
            raise part.error(_TAKES)
    if len(groups) < 2:
        raise phrase.error(f"expected two grouping columns at least: {_TAKES}")
    names, values = tuple(map(_column, groups)), tuple(map(_column, weights))
    if len(set(names + values)) < len(names + values):
        raise phrase.error("expected different columns, which mm() has each once")
    if values and len(values) != len(names):
        raise phrase.error(
            f"expected a column of weights for each of the {len(names)} grouping columns, not "
            f"{len(values)}"
        )
    return MembersTerm(_written(groups, weights, is_scaled), names, values, is_scaled)


def _written(groups: list[Phrase], weights: list[Phrase], is_scaled: bool) -> str:
    parts = [part.text for part in groups]
    if weights:
        parts.append(f"weights=cbind({', '.join(part.text for part in weights)})")
    if not is_scaled:
        parts.append("scale=FALSE")
    return f"{FUNCTION}({', '.join(parts)})"


def _bound_columns(phrase: Phrase) -> list[Phrase]:
    if phrase.tokens[0].text != "cbind" or not phrase.is_call:
        raise phrase.error("expected weights=cbind(w1, w2), a column for each grouping column")
    return [part for _, part in arguments_of(phrase)]


def _column(phrase: Phrase) -> str:
    token = phrase.tokens[0]
    if len(phrase.tokens) > 1 or not token.is_name:
        raise phrase.error("expected the name of a column")
    return token.value
