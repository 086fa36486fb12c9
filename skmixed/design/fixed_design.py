"""The fixed part of a design: what its columns stand for, and their values in other rows."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.model.fixed_part import FixedColumn, FixedPart
from skmixed.core.sums.layout import CONSTANT
from skmixed.design.column_collection import SmoothColumns
from skmixed.design.curves import Smooth
from skmixed.design.formula import INTERCEPT, FormulaMatrix
from skmixed.design.grammar.expressions import NamedColumns
from skmixed.design.grammar.tokens import quoted


@dataclass(frozen=True, slots=True, eq=False)
class FixedDesign:
    """The fixed columns among those of a layout: of a formula, or numeric columns as they are."""

    names: tuple[str, ...]  # of the columns of the layout
    places: tuple[int, ...]  # of the fixed ones among them, 0 for the intercept
    formula: FormulaMatrix | None  # None where the fixed part is the numeric columns
    smooths: tuple[SmoothColumns, ...]

    @property
    def part(self) -> FixedPart:
        """What the fixed columns stand for; without a formula every column is a term."""
        if self.formula is not None:
            part, columns = self.formula.fixed_part, []
            numbers: list[str] = []
            for smooth, places, _ in self._curves():
                names = [self.names[place] for place in places]
                columns += [FixedColumn(name, {}, (name,)) for name in names]
                numbers += smooth.free_variables
            more = dict.fromkeys([*part.numbers, *numbers])
            return replace(part, columns=(*part.columns, *columns), numbers=tuple(more))
        names = [self.names[place] for place in self.places if place != CONSTANT]
        columns = [FixedColumn(name, {}, (name,)) for name in names]
        constant = [FixedColumn(INTERCEPT)] if CONSTANT in self.places else []
        return FixedPart((*constant, *columns), {}, tuple(names))

    @property
    def terms(self) -> dict[str, tuple[str, ...]]:
        """The operands of every term of the fixed part but the constant and curves, as written."""
        if self.formula is not None:
            return self.formula.term_operands
        names = [self.names[place] for place in self.places if place != CONSTANT]
        return {name: (quoted(name),) for name in names}

    def without(self, gone: Collection[str]) -> tuple[int, ...] | None:
        """Return the places of the fixed columns of a model without some of `terms`.

        The constant may be among them in the place of a term that spans it. None where the columns
        of the other terms would be others than those that are there.
        """
        if self.formula is None:
            return tuple(p for p in self.places if p == CONSTANT or self.names[p] not in gone)
        kept = self.formula.columns_without(gone)
        if kept is None:
            return None
        n_columns = len(self.formula.names)
        places = [self.places[column] for column in kept[0]]
        constant = [CONSTANT] if kept[1] else []
        return (*constant, *places, *self.places[n_columns:])

    def _curves(self) -> Iterator[tuple[Smooth, list[int], list[int]]]:
        """Yield curves, the places of what they add to the fixed columns, and which these are."""
        assert self.formula is not None
        known = set(self.places[: len(self.formula.names)])
        for each in self.smooths:
            new = [n for n, place in enumerate(each.free) if place in self.places]
            new = [n for n in new if each.free[n] not in known]
            known.update(each.free)
            if new:
                yield each.smooth, [each.free[n] for n in new], new

    def matrix(self, table: NamedColumns) -> FloatArray:
        """Return the fixed columns, (n, n_fixed), the constant included; curves at their means.

        The table needs only the variables of `part`.
        """
        if self.formula is not None:
            parts = [self.formula.matrix(table)]
            for smooth, _, chosen in self._curves():
                parts.append(smooth.means(table)[:, chosen])
            return np.hstack(parts)
        columns = [table[name].to_numpy(dtype=np.float64) for name in self.part.numbers]
        constant = [np.ones(len(table))] if CONSTANT in self.places else []
        return np.reshape([*constant, *columns], (-1, len(table))).T
