"""What the parts of a fitted model are called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from skmixed.design.design import Design
from skmixed.design.syntax import FormulaParts, RandomTerm

_SHOWN_COLUMNS = 10  # of a formula: more would not fit on a line, so they are only counted


@dataclass(frozen=True, slots=True, eq=False)
class RandomLabels:
    """Labels of the random effects of one factor."""

    name: str  # of the factor
    columns: list[str]  # whose effects vary, (k,)
    levels: pd.Index[Any]  # (n_levels,), a MultiIndex for a factor of several columns

    @classmethod
    def of(cls, design: Design, factor: int, places: Sequence[int]) -> RandomLabels:
        """Read the labels off the design of a fitted model; the columns at `places` vary."""
        index = design.grouping.factors[factor].index
        if len(index.key) == 1:
            levels: pd.Index[Any] = pd.Index(index.labels[0], name=index.key[0])
        else:
            levels = pd.MultiIndex.from_arrays(index.labels, names=index.key)
        return cls(index.name, [design.layout.columns[place] for place in places], levels)


def describe(design: Design, terms: Sequence[RandomTerm], fixed: FormulaParts | None) -> str:
    """Write the model as a formula in lme4's syntax; many columns are only counted."""
    if fixed is not None:
        parts = [fixed.fixed, *(f"offset({offset})" for offset in fixed.offsets)]
    else:
        names = [
            name for place, name in zip(design.fixed, design.fixed_names, strict=True) if place
        ]
        parts = names if len(names) <= _SHOWN_COLUMNS else [f"<{len(names)} columns>"]
        if not design.has_intercept:
            parts = ["0", *parts]
    bars = [
        spec.structure.written(term.expression, term.name)
        for term, spec in zip(terms, design.terms, strict=True)
    ]
    return "y ~ " + (" + ".join([*parts, *bars]) or "1")
