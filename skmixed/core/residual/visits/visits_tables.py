"""Sums of a covariance over visits without random effects, in the place of tables of pairs of rows.

There is a table for every pattern of visits seen and pair of its visits, but without levels they
are small, and stand in one matrix.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import Weighting
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables, united_series
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits.visits_structure import VisitStructure
from skmixed.core.residual.visits.visits_sums import VisitSums
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Layout, Rows
from skmixed.core.sums.summation import apply_basis, change_of_basis, in_unit


@dataclass(frozen=True, eq=False)
class VisitTables(ResidualTables):
    """Everything that fitting a covariance over visits needs to know of the data.

    The counts are numbers of rows; by weights they are the sums of these and of their squares,
    which are no others if all are one.
    """

    structure: VisitStructure
    sums: VisitSums = field(kw_only=True)

    @classmethod
    def of_visits(
        cls,
        layout: Layout,
        rows: Rows,
        residual_rows: ResidualRows,
        structure: VisitStructure,
        basis: FloatArray | None = None,
    ) -> VisitTables:
        """Sum over rows of a layout without factors, whose subjects are whole.

        Raises ValueError if a subject is twice at a visit, and MemoryError for sums that would not
        fit into this machine.
        """
        assert residual_rows.series is not None
        base = CrossProducts.of(layout, rows, basis)
        columns, weights = apply_basis(rows.columns, base.basis), in_unit(rows.weights, base.unit)
        if weights is not None:
            columns = columns * np.sqrt(weights)[:, None]
        counts = np.full(2, float(base.n_rows))
        weighted = counts
        if rows.weights is not None:
            weighted = np.array([rows.weights.sum(), rows.weights @ rows.weights])
        return cls(
            structure,
            base,
            (),
            counts,
            weighted,
            (),
            residual_rows.labels,
            np.bincount(residual_rows.series),
            sums=VisitSums.of(columns, residual_rows, structure.n_visits),
        )

    @property
    def n_bytes(self) -> int:
        return self.sums.products.nbytes

    def combined(
        self, phi: FloatArray, structure: ResidualStructure, weighting: Weighting = "precision"
    ) -> CrossProducts:
        assert isinstance(structure, VisitStructure)
        self.counts_for(weighting)
        return self.sums.weighted(self.base, structure.covariance(phi))

    def _of_part(self, rows: Rows, residual_rows: ResidualRows) -> VisitTables:
        base = self.base
        return VisitTables.of_visits(base.layout, rows, residual_rows, self.structure, base.basis)

    def _left(self, part: ResidualTables) -> dict[str, Any]:
        assert isinstance(part, VisitTables)
        return {
            "counts": self.counts - part.counts,
            "weighted_counts": self.weighted_counts - part.weighted_counts,
            "sums": self.sums.minus(part.sums, part.base.unit / self.base.unit),
        }

    @classmethod
    def _united(cls, parts: Sequence[ResidualTables]) -> VisitTables:
        series, sizes = united_series(parts)
        base = CrossProducts.merged([part.base for part in parts])
        of_visits = [part for part in parts if isinstance(part, VisitTables)]
        moved = []
        for part in of_visits:
            change = change_of_basis(part.base.basis, base.basis)
            times = part.base.unit / base.unit
            if change is None:
                change = np.eye(len(base.basis))
            moved.append(part.sums.transformed(change, times))
        return replace(
            of_visits[0],
            base=base,
            counts=np.sum([part.counts for part in parts], axis=0),
            weighted_counts=np.sum([part.weighted_counts for part in parts], axis=0),
            series=series,
            sizes=sizes,
            sums=VisitSums.merged(moved),
        )
