"""The parameters of a curve as columns: a formula each, and effects of groups on some of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import Term
from skmixed.core.model.structures.named import structures_of_terms
from skmixed.core.sums.layout import Layout
from skmixed.design.design import Design
from skmixed.design.grammar.random_part import RandomTerm
from skmixed.design.grammar.syntax import parse_random, split_formula
from skmixed.design.grouping import Grouping, factor_layouts, structures_asked
from skmixed.design.records import stored
from skmixed.design.residual import ResidualDesign
from skmixed.design.source import Source


@stored
@dataclass(frozen=True, eq=False)
class CurveParameters:
    """What was learned about the columns that every parameter is made of.

    A parameter without a formula is one coefficient. Those that vary have a column of ones, their
    intercept or one beside it.
    """

    names: tuple[str, ...]  # of the parameters
    designs: tuple[Design | None, ...]  # of the formulas, a parameter each
    extra: tuple[int, ...]  # parameters that vary and have no intercept

    @classmethod
    def learn(
        cls,
        source: Source,
        names: tuple[str, ...],
        fixed: Mapping[str, str],  # formulas of parameters
        varying: Sequence[RandomTerm],  # whose slopes are parameters
        context: Mapping[str, Any],
    ) -> CurveParameters:
        """Learn formulas from rows.

        Raises ValueError for a formula or a random effect of what is no parameter, and for curves
        and random terms in a formula.
        """
        for name in fixed:
            _check_name(name, names, "fixed has a formula of")
        designs = tuple(
            _learned(source, name, fixed[name], context) if name in fixed else None
            for name in names
        )
        wanted = dict.fromkeys(names.index(name) for term in varying for name in term.slope_names)
        own = [design is None or design.has_intercept for design in designs]
        return cls(names, designs, tuple(place for place in wanted if not own[place]))

    @property
    def owners(self) -> IntArray:
        """The parameter that every column belongs to, (c,)."""
        sizes = [1 if design is None else len(design.fixed) for design in self.designs]
        own = np.repeat(np.arange(len(sizes)), sizes)
        return np.concatenate([own, np.array(self.extra, dtype=np.intp)])

    @property
    def column_names(self) -> tuple[str, ...]:
        """Names of the columns, (c,): of the parameter, and of its formula's columns."""
        found: list[str] = []
        for name, design in zip(self.names, self.designs, strict=True):
            inner = [""] if design is None else [f".{each}" for each in design.fixed_names]
            found += [name + each for each in inner]
        return (*found, *(f"{self.names[place]}.(random)" for place in self.extra))

    def columns(self, source: Source) -> tuple[FloatArray, FloatArray]:
        """Return the columns of rows, (n, c), and the offsets of parameters, (P, n) or (P, 1)."""
        ones = np.ones((source.n_rows, 1))
        parts, offsets = [], np.zeros((len(self.names), 1))
        for place, design in enumerate(self.designs):
            if design is None:
                parts.append(ones)
                continue
            parts.append(design.columns(source, [])[:, list(design.fixed)])
            offset = design.offset(source)
            if offset is not None:
                offsets = np.repeat(offsets, source.n_rows // offsets.shape[1], axis=1)
                offsets[place] += offset
        return np.hstack([*parts, *[ones] * len(self.extra)]), offsets

    def linear(
        self,
        source: Source,
        varying: Sequence[RandomTerm],
        covariance: str | Mapping[str, str],
        residual: str | None = None,  # residual structure
    ) -> tuple[Design, tuple[IntArray, ...]]:
        """Return the design of the linear model of pseudo-data, and the codes of its rows.

        It knows names, terms and levels; its columns are derivatives, which it cannot make.
        """
        keys = tuple(dict.fromkeys(term.group for term in varying))
        structures = structures_asked(covariance, varying)
        n_fixed = len(self.owners) - len(self.extra)
        terms: list[Term] = []
        for term, structure in zip(varying, structures, strict=True):
            places = tuple(self._random_place(name) for name in term.slope_names)
            factor = keys.index(term.group)
            terms += [
                Term(factor, places, each) for each in structures_of_terms(structure, len(places))
            ]
        grouping, codes = Grouping.learn(source.groups, keys, source.n_rows)
        layout = Layout(("1", *self.column_names, "y"), factor_layouts(keys, terms))
        fixed = tuple(range(1, 1 + n_fixed))
        noise = None if residual is None else ResidualDesign.learn(residual, source.residual)
        design = Design(layout, fixed, tuple(terms), grouping, (), (), (), residual=noise)
        return design, codes

    def _random_place(self, name: str) -> int:
        """Return the place in the layout of the column of ones of a parameter."""
        parameter = self.names.index(name)
        if parameter in self.extra:
            return 1 + len(self.owners) - len(self.extra) + self.extra.index(parameter)
        first = 1 + int(np.flatnonzero(self.owners == parameter)[0])
        design = self.designs[parameter]
        return first if design is None else first + design.fixed.index(0)


def parse_varying(random: Any, names: Sequence[str]) -> tuple[RandomTerm, ...]:
    """Read which parameters vary over which groups: ``"Asym + xmid | tree"``, or a mapping.

    The intercept that a bar implies is left out. Raises ValueError for what is no parameter.
    """
    found = parse_random(with_parentheses(random))
    groups = {term.group for term in found if term.slopes}
    for term in found:
        if term.members is not None:
            raise ValueError(
                f"rows belong to several levels of {term.name!r}, and one curve has the parameters "
                "of one level: name a grouping column"
            )
        if term.smooths or (not term.slopes and term.group not in groups):
            raise ValueError(
                f"random says nothing of what varies over {term.name!r}: name parameters, as in "
                f"'{names[0]} | {term.name}'. The curve has {list(names)}"
            )
        for name in term.slope_names:
            _check_name(name, names, f"random varies over {term.name!r}")
    return tuple(replace(term, intercept=False) for term in found if term.slopes)


def with_parentheses(random: Any) -> Any:
    """Return a random part with the parentheses that a single bar of parameters may lack."""
    bare = isinstance(random, str) and "(" not in random and "|" in random
    return f"({random})" if bare else random


def _check_name(name: str, names: Sequence[str], what: str) -> None:
    if name not in names:
        raise ValueError(f"{what} {name!r}, which is no parameter: the curve has {list(names)}")


def _learned(source: Source, name: str, formula: str, context: Mapping[str, Any]) -> Design:
    parts = split_formula(formula)
    if parts.response is not None:
        raise ValueError(f"fixed[{name!r}] is a right-hand side: leave out '{parts.response} ~'")
    if parts.random or parts.smooths:
        raise ValueError(
            f"fixed[{name!r}] has {'random terms' if parts.random else 'curves'}, and a parameter "
            "is made of fixed columns: what varies over groups belongs to random"
        )
    design, _, _ = Design.learn(source, (), parts, context=context)
    if not design.fixed:
        raise ValueError(f"fixed[{name!r}] has no column: leave the parameter out of the curve")
    return design
