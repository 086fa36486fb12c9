"""Selection of the random effects that a prediction includes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from skmixed.core.linalg import BoolArray
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.design import Design
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import parse_random
from skmixed.estimators.reading._columns import chosen_factors


@dataclass(frozen=True, slots=True, eq=False)
class ChosenEffects:
    """Grouping factors whose random effects are selected, and which effects if not all."""

    factors: frozenset[str]  # names
    parts: Mapping[int, BoolArray] = field(default_factory=dict)  # (k,), by the factor's place

    @classmethod
    def of(
        cls, random: str | Sequence[str], design: Design, factors: Sequence[str]
    ) -> ChosenEffects:
        """Read the argument `random` of `predict`, of a model with some factors.

        It is "all", "none", names of factors, or bars of a formula, ``"(1 | g)"``. Raises
        ValueError for whatever the model does not have.
        """
        if not isinstance(random, str) or "|" not in random:
            return cls(frozenset(chosen_factors(random, factors)))
        parts: dict[int, BoolArray] = {}
        for term in parse_random(random.strip().removeprefix("~")):
            place = _place_of(term, random, design, factors)
            columns = [c for each in design.terms if each.factor == place for c in each.columns]
            wanted = np.isin(columns, _columns_of(term, random, design, place))
            parts[place] = parts.get(place, np.zeros(len(columns), dtype=bool)) | wanted
        names = frozenset(design.grouping.factors[place].index.name for place in parts)
        return cls(names, {place: wanted for place, wanted in parts.items() if not wanted.all()})

    def left_out(self, design: Design) -> set[int]:
        """Return the columns of the layout that only unwanted effects of chosen factors need."""
        wanted, others = set(design.fixed), set()
        for place, part in self.parts.items():
            columns = [c for each in design.terms if each.factor == place for c in each.columns]
            wanted.update(np.array(columns)[part].tolist())
            others.update(columns)
        for term in design.terms:
            if term.factor not in self.parts and _name(design, term.factor) in self.factors:
                wanted.update(term.columns)
        return others - wanted


def _name(design: Design, factor: int) -> str:
    return design.grouping.factors[factor].index.name


def _place_of(term: RandomTerm, random: str, design: Design, factors: Sequence[str]) -> int:
    """Return the position of the factor of a term among those of the layout."""
    for place, factor in enumerate(design.grouping.factors):
        index = factor.index
        if index.name in factors and set(index.key) == set(term.group):
            return place
    raise ValueError(
        f"random={random!r} names the grouping factor {term.name!r}; the model has {list(factors)}"
    )


def _columns_of(term: RandomTerm, random: str, design: Design, factor: int) -> list[int]:
    """Return the columns of the layout that a term names."""
    if term.smooths:
        raise ValueError(
            f"random={random!r} names a smooth curve, which is predicted as a whole: name its "
            "factor"
        )
    known: dict[str, tuple[int, ...]] = {}
    for each, slopes in zip(design.terms, design.slopes, strict=True):
        if each.factor == factor:
            known |= {"1": (CONSTANT,)} if CONSTANT in each.columns else {}
            known |= {_plain(name): places for name, places in slopes}
    asked = [*(["1"] if term.intercept else []), *map(_plain, term.slopes)]
    missing = [name for name in asked if name not in known]
    if missing:
        raise ValueError(
            f"random={random!r} names the random effects {missing} of {term.name!r}, which has "
            f"{list(known)}; write 0 to leave out the intercept"
        )
    return [place for name in asked for place in known[name]]


def _plain(slope: str) -> str:
    """Return a slope in a canonical spelling, for comparison."""
    return "".join(slope.split()).replace("`", "").replace("^", "**")
