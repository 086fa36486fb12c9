"""The text of a residual structure, ``ar1(visit | subject) * var(sex)``, taken apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Literal, get_args

from skmixed.design.grammar.tokens import Phrase, read_phrase
from skmixed.exceptions import FormulaSyntaxError

CorrelationName = Literal["ar1", "car1", "cs", "toeplitz", "us"]

_CORRELATIONS: tuple[CorrelationName, ...] = get_args(CorrelationName)
_WITHOUT_ORDER = ("ar1", "cs")  # these may do without a column on the left of the bar
_EITHER_SPREAD = ("ar1", "cs", "toeplitz")  # one variance, or one a visit with hom=False
_TRUTHS = {"True": True, "TRUE": True, "False": False, "FALSE": False}
_EXAMPLES = (
    "ar1(visit | subject), car1(time | subject), cs(| subject), toeplitz(visit | subject), "
    "us(visit | subject), var(stratum), power(x), or products of these"
)


@dataclass(frozen=True, slots=True)
class SeriesTerm:
    """How the residuals of one series are correlated."""

    name: CorrelationName
    order: str | None  # column of visits or times; None is the order of the rows, or any
    series: tuple[str, ...]  # columns whose combinations are the series
    is_homogeneous: bool = True  # whether all visits have one variance

    @property
    def counts_rows(self) -> bool:
        """Whether rows are as far apart as they are numbered in their series, in their order."""
        return self.name == "ar1" and self.order is None

    @property
    def has_own_variances(self) -> bool:
        """Whether every visit has a variance of its own."""
        return self.name == "us" or not self.is_homogeneous


@dataclass(frozen=True, slots=True)
class ResidualParts:
    """A residual structure, taken apart."""

    correlation: SeriesTerm | None
    strata: tuple[str, ...]  # columns whose combinations have a variance each
    power: str | None  # column to a power of which the standard deviation is proportional
    is_of_fitted: bool = False  # whether it is proportional to one of the fitted values

    @property
    def has_power(self) -> bool:
        """Whether the standard deviation is proportional to a power."""
        return self.power is not None or self.is_of_fitted

    @property
    def labels(self) -> tuple[str, ...]:
        """The columns that are labels: of series and strata, which are no numbers to a model."""
        series = () if self.correlation is None else self.correlation.series
        return tuple(dict.fromkeys((*series, *self.strata)))

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns that it needs."""
        order = None if self.correlation is None else self.correlation.order
        others = (name for name in (order, self.power) if name is not None)
        return tuple(dict.fromkeys((*self.labels, *others)))


@lru_cache(maxsize=128)  # a model reads its text at every fit, and a session has few
def parse_residual(text: str) -> ResidualParts:
    """Read a residual structure.

    Raises FormulaSyntaxError, whose message points at the place, for what is none.
    """
    if not text.strip():
        raise FormulaSyntaxError(f"expected a residual structure: {_EXAMPLES}", text, 0)
    phrase = read_phrase(text).content
    parts = ResidualParts(None, (), None)
    for factor in phrase.split("*"):
        parts = _with(parts, factor.content)
    term = parts.correlation
    if term is not None and term.has_own_variances and (parts.strata or parts.has_power):
        raise phrase.error(
            f"{term.name}(...) with a variance a visit leaves nothing to var(...) and power(...)"
        )
    return parts


def _with(parts: ResidualParts, factor: Phrase) -> ResidualParts:
    """Add a factor of a product to the parts before it."""
    name = factor.tokens[0].text
    is_known = factor.is_call and factor.tokens[1].text == "("
    if not is_known or name not in (*_CORRELATIONS, "var", "power"):
        raise factor.error(f"expected {_EXAMPLES}")
    if [token.text for token in factor.tokens] == ["power", "(", ")"]:
        return replace(_with_power(parts, factor), is_of_fitted=True)
    if len(factor.tokens) == 3:
        raise factor.error(f"expected a column inside {name}()", factor.tokens[2])
    first, *settings = _pieces(factor.between(2, -1), ",")
    if name in ("var", "power"):
        return _with_variance(parts, factor, first, settings)
    if parts.correlation is not None:
        raise factor.error("expected one correlation: a product has one factor with a bar")
    return replace(parts, correlation=_series_term(factor, name, first, settings))


def _with_variance(
    parts: ResidualParts, factor: Phrase, inner: Phrase, settings: list[Phrase]
) -> ResidualParts:
    if settings:
        raise settings[0].error(f"{factor.tokens[0].text}(...) has no settings")
    if factor.tokens[0].text == "power":
        return replace(_with_power(parts, factor), power=_column(inner))
    if parts.strata:
        raise factor.error("expected one var(...): var(a:b) has a variance for every combination")
    return replace(parts, strata=_combination(inner))


def _with_power(parts: ResidualParts, factor: Phrase) -> ResidualParts:
    if parts.has_power:
        raise factor.error("expected one power(...)")
    return parts


def _series_term(factor: Phrase, name: str, inner: Phrase, settings: list[Phrase]) -> SeriesTerm:
    bars = inner.operators({"|"})
    if len(bars) != 1 or bars[0] == len(inner.tokens) - 1:
        raise factor.error(f"expected the series on the right of one bar: {name}(visit | subject)")
    (bar,) = bars
    order = _column(inner.between(0, bar)) if bar else None
    known = next(each for each in _CORRELATIONS if each == name)
    if order is None and known not in _WITHOUT_ORDER:
        raise factor.error(f"expected a column on the left of the bar: {name}(visit | subject)")
    series = _combination(inner.between(bar + 1, None))
    if order in series:
        raise factor.error("expected different columns on both sides of the bar")
    term = SeriesTerm(known, order, series)
    for setting in settings:
        term = replace(term, is_homogeneous=_homogeneity(setting, known))
    if not term.is_homogeneous and order is None:
        raise factor.error(f"a variance a visit needs visits: {name}(visit | subject, hom=False)")
    return term


def _homogeneity(setting: Phrase, name: str) -> bool:
    tokens = setting.tokens
    written = [token.text for token in tokens]
    if len(tokens) != 3 or written[:2] != ["hom", "="] or written[2] not in _TRUTHS:
        raise setting.error("expected hom=True or hom=False, the only setting")
    found = _TRUTHS[tokens[2].text]
    if name not in _EITHER_SPREAD and found != (name != "us"):
        raise setting.error(
            "us(...) has a variance a visit by its nature"
            if name == "us"
            else f"{name}(...) has one variance: multiply it by var(...) or power(...)"
        )
    return found


def _combination(phrase: Phrase) -> tuple[str, ...]:
    """Return the columns of ``a:b``; of ``a/b`` those of the finest level."""
    outer = _pieces(phrase.content, "/")
    names = tuple(_column(part) for each in outer for part in _pieces(each, ":"))
    if len(set(names)) < len(names):
        raise phrase.error("expected different columns")
    return names


def _pieces(phrase: Phrase, operator: str) -> list[Phrase]:
    """Split at an operator; raises FormulaSyntaxError where nothing stands beside one."""
    cuts = phrase.operators({operator})
    for before, after in zip([-1, *cuts], [*cuts, len(phrase.tokens)], strict=True):
        if after == before + 1:
            place = phrase.tokens[min(after, len(phrase.tokens) - 1)]
            raise phrase.error(f"expected something on both sides of '{operator}'", place)
    return phrase.split(operator)


def _column(phrase: Phrase) -> str:
    phrase = phrase.content
    if len(phrase.tokens) != 1 or not phrase.tokens[0].is_name:
        raise phrase.error(
            "expected the name of a column; an expression is made a column beforehand"
        )
    return phrase.tokens[0].value
