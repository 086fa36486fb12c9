"""The residual structure of a nonlinear model: of its rows, and perhaps of the fitted values."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.structure import ResidualStructure


@dataclass(frozen=True, slots=True, eq=False)
class CurveNoise:
    """A residual structure as declared, and what it knows of rows."""

    structure: ResidualStructure
    rows: ResidualRows
    is_of_fitted: bool = False  # whether the covariate of a power is the size of the fitted values

    def at(self, fitted: FloatArray) -> ResidualRows:
        """Return what the structure knows of rows whose fitted values are these, (n,).

        Raises ValueError where a fitted value is zero and the variance one of its power.
        """
        if not self.is_of_fitted:
            return self.rows
        sizes = np.abs(fitted)
        wrong = np.flatnonzero(~(sizes > 0.0))
        if len(wrong):
            raise ValueError(
                "power() makes the variance one of the fitted values, and the curve is "
                f"{fitted[wrong[0]]:g} in row {wrong[0]}: leave out rows in which it is zero "
                "whatever its parameters, or take power(x) of a column"
            )
        return replace(self.rows, value=sizes)

    @property
    def is_of_rows(self) -> bool:
        """Whether rows are independent and their variances no functions of the curve."""
        return isinstance(self.structure, ResidualProduct) and not (
            self.structure.is_correlated or self.is_of_fitted
        )
