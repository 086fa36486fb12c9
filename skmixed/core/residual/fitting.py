"""How rows are summed and fitted, whatever their residual structure."""

from __future__ import annotations

from skmixed.core.linalg import FloatArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits.visits_fit import VisitsFit
from skmixed.core.residual.visits.visits_structure import VisitStructure
from skmixed.core.residual.visits.visits_tables import VisitTables
from skmixed.core.search.newton import Newton
from skmixed.core.sums.layout import CONSTANT, Layout, Rows


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
    tables: ResidualTables,
    spec: ModelSpec,
    solver: Newton | None = None,
    near: ResidualFit | None = None,
) -> ResidualFit:
    """Fit a model to sums; `near` is a fit of it to like data, from which the search may begin.

    Raises ValueError where the likelihood has no maximum, or the sums do not tell its parameters.
    """
    _check_told_apart(tables, spec)
    kind = VisitsFit if isinstance(tables, VisitTables) else ResidualFit
    return kind.of_tables(tables, spec, solver, near=near)


def _check_told_apart(tables: ResidualTables, spec: ModelSpec) -> None:
    """Raise ValueError for a random intercept that the residuals of its levels have already."""
    if tables.series is None or not tables.structure.holds_intercept:
        return
    for term in spec.terms:
        index = tables.base.factors[term.factor].index
        if CONSTANT in term.columns and len(index) == len(tables.series):
            raise ValueError(
                f"a variance that all rows of a level of {index.name!r} share is part of the "
                "residual structure, and nothing tells it from the random intercept: drop that, as "
                f"'(1 | {index.name})', or take a residual structure without it, such as ar1(...)"
            )
