"""Rows beside their sums, for what takes parts of them out again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from skmixed.core.linalg import IntArray
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Layout, Rows
from skmixed.core.sums.plan import Plan


@dataclass(frozen=True, eq=False)
class SummedRows:
    """Rows, their sums, and where each row is in these."""

    rows: Rows
    products: CrossProducts
    plan: Plan | None  # None after unpickling: it is as large as the rows, and can be done without

    @classmethod
    def of(cls, layout: Layout, rows: Rows) -> SummedRows:
        """Sum over rows of the layout."""
        plan = Plan.of(layout, rows)
        return cls(rows, CrossProducts.filled(plan, rows.columns, rows.weights), plan)

    @classmethod
    def among(cls, products: CrossProducts, rows: Rows) -> SummedRows:
        """Find the rows that were summed, their codes counting the levels, in the sums."""
        return cls(rows, products, Plan.of(products.layout, rows, products.pairs))

    def __getstate__(self) -> dict[str, Any]:
        """Leave out the plan."""
        return {**self.__dict__, "plan": None}

    def without(self, chosen: IntArray) -> CrossProducts:
        """Return the sums without some of the rows, (m,), at the cost of summing these.

        Raises ValueError if nothing is left.
        """
        taken = self.rows.take(chosen)
        if self.plan is None:
            return self.products.without(taken)
        return self.products.without_planned(self.plan.part(chosen), taken.columns, taken.weights)
