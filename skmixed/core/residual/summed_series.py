"""Rows beside the tables of their residual structure, for what takes whole series out again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import IntArray
from skmixed.core.residual.fitting import tables_of
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.sums.layout import Layout, Rows


@dataclass(frozen=True, eq=False)
class SummedSeries:
    """Rows, what their residual structure knows of them, and their tables."""

    rows: Rows
    residual_rows: ResidualRows
    products: ResidualTables

    @classmethod
    def of(
        cls,
        layout: Layout,
        rows: Rows,
        residual_rows: ResidualRows,
        structure: ResidualStructure,
    ) -> SummedSeries:
        """Sum over rows of the layout."""
        return cls(rows, residual_rows, tables_of(layout, rows, residual_rows, structure))

    def without(self, chosen: IntArray) -> ResidualTables:
        """Return the tables without some of the rows, (m,).

        By subtraction where these are less than half of all, and whole series if residuals are
        correlated; else by summing the others, which keep their positions, so that rows taken out
        leave gaps. Raises ValueError if nothing is left.
        """
        n_rows = len(self.rows.columns)
        if 2 * len(chosen) <= n_rows and not self.are_torn(chosen):
            return self.products.without(self.rows.take(chosen), self.residual_rows.take(chosen))
        kept = np.ones(n_rows, dtype=bool)
        kept[chosen] = False
        left = np.flatnonzero(kept)
        if not len(left):
            raise ValueError(f"all {n_rows} rows are taken out: nothing is left")
        own = self.products
        return tables_of(own.base.layout, *self.take(left), own.structure)

    def take(self, chosen: IntArray | None) -> tuple[Rows, ResidualRows]:
        """Return some of the rows, (m,), their codes counting their levels; None is all."""
        if chosen is None:
            return self.rows, self.residual_rows
        return self.rows.take(chosen).at_own_levels(), self.residual_rows.take(chosen)

    def are_torn(self, chosen: IntArray) -> bool:
        """Tell whether some rows, (m,), are parts of series whose rows depend on each other."""
        series = self.residual_rows.series
        if series is None or not self.products.structure.is_correlated:
            return False
        n_rows, n_chosen = np.bincount(series), np.bincount(series[chosen])
        return bool(((n_chosen > 0) & (n_chosen < n_rows[: len(n_chosen)])).any())

    def have_all_visits(self, kept: IntArray) -> bool:
        """Tell whether some rows, (m,), have every planned visit that a structure has of its own.

        Without rows a visit has no covariance with the others.
        """
        n_visits, position = self.products.structure.n_visits, self.residual_rows.position
        return not n_visits or position is None or len(np.unique(position[kept])) == n_visits
