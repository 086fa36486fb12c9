"""How rows are summed and fitted, whatever their residual structure."""

from __future__ import annotations

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits_fit import VisitsFit
from skmixed.core.residual.visits_structure import VisitStructure
from skmixed.core.residual.visits_tables import VisitTables
from skmixed.core.search.newton import Newton
from skmixed.core.sums.layout import Layout, Rows


def tables_of(
    layout: Layout,
    rows: Rows,
    residual_rows: ResidualRows,
    structure: ResidualStructure,
    basis: FloatArray | None = None,
) -> ResidualTables:
    """Sum over rows of a layout, whose series are whole, for a residual structure.

    Raises ValueError for what the structure refuses, and MemoryError for sums that would not fit
    into this machine.
    """
    if isinstance(structure, VisitStructure) and not layout.factors:
        return VisitTables.of_visits(layout, rows, residual_rows, structure, basis)
    return ResidualTables.of(layout, rows, residual_rows, structure, basis)


def fit_tables(
    tables: ResidualTables, spec: ModelSpec, solver: Newton | None = None
) -> ResidualFit:
    """Fit a model to sums.

    Raises ValueError where the likelihood has no maximum, or the sums do not tell its parameters.
    """
    kind = VisitsFit if isinstance(tables, VisitTables) else ResidualFit
    return kind.of_tables(tables, spec, solver)
