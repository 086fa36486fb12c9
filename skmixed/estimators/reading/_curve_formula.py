"""Formulas of three parts: response ~ curve ~ random effects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from skmixed.design.curve_parameters import parse_varying
from skmixed.design.grammar.expressions import variables
from skmixed.design.grammar.permitted import check_context
from skmixed.design.grammar.syntax import split_formula
from skmixed.estimators.reading._curve_data import CurveRecipe, is_expression
from skmixed.estimators.reading._formula_rows import quoted
from skmixed.estimators.reading._input_table import InputTable


@dataclass(frozen=True, slots=True)
class CurveFormula:
    """The parts of a formula."""

    response: str
    curve: str  # called with its columns and parameters
    random: str | None
    inputs: tuple[str, ...]  # columns of the curve
    groups: tuple[tuple[str, ...], ...]

    @classmethod
    def read(cls, formula: str, start: Any, context: Mapping[str, Any] | None) -> CurveFormula:
        """Read a formula. Raises ValueError for one of other than three parts."""
        parts = [part.strip() for part in formula.split("~")]
        if len(parts) != 3 or not all(parts):
            raise ValueError(
                f"the formula {formula!r} has {len(parts)} parts: write response ~ curve ~ random "
                "effects, as in 'y ~ SSlogis(x, Asym, xmid, scal) ~ Asym | group'"
            )
        response, curve, random = parts
        recipe = CurveRecipe.read(curve, start, None, check_context(context or {}))
        if recipe.inputs is None:
            raise ValueError(
                f"the curve {curve!r} has no arguments: write its columns and parameters, as in "
                "'SSlogis(x, Asym, xmid, scal)'"
            )
        if "|" not in random:
            if random != "1":
                raise ValueError(
                    f"the third part of the formula, {random!r}, has no random effects: write "
                    f"'{recipe.names[0]} | group', or 1 for none. Fixed-effects formulas of "
                    "parameters go into `fixed`"
                )
            return cls(response, curve, None, recipe.inputs, ())
        terms = parse_varying(random, recipe.names)
        groups = tuple(term.group for term in terms)
        return cls(response, curve, random, recipe.inputs, groups)

    def linear_text(self, fixed: Mapping[str, str] | None, data: Any) -> str:
        """Return the formula of a linear model of the same columns, by which rows are read."""
        table, columns = InputTable.of_frame(data), list[str]()
        names = self.inputs if table is None else table.names
        for text in self.inputs:
            columns += variables(text, names) if is_expression(text, names) else [text]
        for text in (fixed or {}).values():
            parts = split_formula(text)
            for expression in (parts.fixed, *parts.offsets):
                columns += variables(expression, names)
        missing = [
            name for name in self.inputs if name not in names and not is_expression(name, names)
        ]
        if missing:
            raise ValueError(
                f"the curve has the inputs {missing}, which do not exist: data has the columns "
                f"{list(names)}"
            )
        bars = [f"(1 | {':'.join(map(quoted, group))})" for group in dict.fromkeys(self.groups)]
        plain = [quoted(name) for name in dict.fromkeys(columns)]
        return f"{self.response} ~ {' + '.join([*plain, *bars]) or '1'}"
