"""The rows of a nonlinear model, which it holds while it is fitted, and its pseudo-data.

Every parameter of the curve is X beta + Z b of its own. The derivatives of the curve in the
coefficients are the columns of a linear mixed model, whose random columns are derivatives in the
parameters that vary: where the parameter has an intercept, these are one column of the layout.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec
from skmixed.core.nonlinear.curve import Curve
from skmixed.core.nonlinear.curve_noise import CurveNoise
from skmixed.core.residual.fitting import tables_of
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.residual_tables import ResidualTables
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import GroupIndex, Layout, Rows
from skmixed.core.sums.plan import Plan


@dataclass(frozen=True, eq=False)
class ParameterColumns:
    """Columns of which the parameters of a curve are made: those of the layout but 1 and y."""

    owners: IntArray  # (c,), which parameter every column belongs to
    spec: ModelSpec  # its places are those of the layout, and 0 is none of the fixed ones

    @property
    def fixed(self) -> IntArray:
        """The columns that have coefficients, (n_fixed,), counted from zero."""
        return np.array(self.spec.fixed, dtype=np.intp) - 1

    @cached_property
    def varying(self) -> IntArray:
        """The parameters that vary, (K,), of all used factors side by side."""
        places = [p for f in self.spec.used_factors for p in self.spec.factor_columns(f)]
        return self.owners[np.array(places, dtype=np.intp) - 1]

    def parameters(
        self,
        columns: FloatArray,  # (n, c)
        offsets: FloatArray,  # (P, n) or (P, 1)
        beta: FloatArray,  # (n_fixed,)
        random: FloatArray | None,  # (n, K), effects of the levels of every row
    ) -> FloatArray:
        """Return the parameters of rows, (P, n)."""
        found = np.repeat(offsets, len(columns) // offsets.shape[1], axis=1)
        fixed, owners = self.fixed, self.owners[self.fixed]
        for place in range(len(found)):
            own = owners == place
            found[place] += columns[:, fixed[own]] @ beta[own]
        if random is not None:
            for place, values in zip(self.varying, random.T, strict=True):
                found[place] += values
        return found


@dataclass(frozen=True, eq=False)
class CurveRows:
    """Rows of a nonlinear model."""

    curve: Curve
    made_of: ParameterColumns
    layout: Layout
    columns: FloatArray  # (n, c), of which the parameters are made
    offsets: FloatArray  # (P, n), or (P, 1) where all rows have the same
    inputs: FloatArray  # (n, m), of the curve
    y: FloatArray  # (n,)
    codes: tuple[IntArray, ...]  # (n,) a factor of the layout
    indexes: tuple[GroupIndex, ...]
    weights: FloatArray | None  # (n,), positive
    noise: CurveNoise | None = None  # None for independent residuals of one variance

    @property
    def spec(self) -> ModelSpec:
        """The linear model of the pseudo-data."""
        return self.made_of.spec

    @cached_property
    def plan(self) -> Plan:
        """Where the rows go in sums, found once."""
        n_columns = len(self.layout.columns)
        empty = np.broadcast_to(np.ones(1), (len(self.y), n_columns))
        return Plan.of(self.layout, self._rows(empty))

    def _rows(self, columns: FloatArray) -> Rows:
        return Rows(columns, self.codes, self.indexes, self.weights)

    @cached_property
    def roots(self) -> FloatArray | None:
        """Roots of the weights, (n,)."""
        return None if self.weights is None else np.sqrt(self.weights)

    @cached_property
    def n_observations(self) -> float:
        """Number of rows, or the sum of weights that count them."""
        if self.weights is None or self.spec.weighting == "precision":
            return float(len(self.y))
        return float(self.weights.sum())

    @property
    def log_weights(self) -> float:
        """Sum of the logarithms of precisions, zero of weights that count rows."""
        if self.weights is None or self.spec.weighting == "frequency":
            return 0.0
        return float(np.log(self.weights).sum())

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Number of levels and of columns of every used factor."""
        spec = self.spec
        return [(len(self.indexes[f]), len(spec.factor_columns(f))) for f in spec.used_factors]

    def no_effects(self) -> Blocks:
        """Return random effects of zero, (n_levels, k) a used factor."""
        return [np.zeros(size) for size in self.sizes]

    def of_rows(self, effects: Blocks) -> FloatArray | None:
        """Return the effects of the levels of every row, (n, K), None without random terms."""
        if not effects:
            return None
        codes = [self.codes[factor] for factor in self.spec.used_factors]
        return np.hstack([own[code] for own, code in zip(effects, codes, strict=True)])

    def parameters(self, beta: FloatArray, effects: Blocks) -> FloatArray:
        """Return the parameters of all rows, (P, n)."""
        return self.made_of.parameters(self.columns, self.offsets, beta, self.of_rows(effects))

    def weighted(self, values: FloatArray) -> FloatArray:
        """Return values, (n, ...), times the roots of the weights."""
        return times_roots(values, self.roots)

    def residuals(self, beta: FloatArray, effects: Blocks) -> FloatArray:
        """Return y less the curve, (n,), times the roots of the weights."""
        return self.weighted(self.y - self.curve.value(self.parameters(beta, effects), self.inputs))

    def pseudo_sums(self, beta: FloatArray, effects: Blocks) -> CrossProducts | ResidualTables:
        """Sum the linear model that the nonlinear one is near some coefficients and effects.

        Raises ValueError for rows that a residual structure cannot have, and FloatingPointError
        where derivatives leave the range of numbers.
        """
        parameters = self.parameters(beta, effects)
        value, slopes = self.curve.slopes(parameters, self.inputs)
        made = slopes[:, self.made_of.owners] * self.columns
        response = self.y - value + made[:, self.made_of.fixed] @ beta
        random = self.of_rows(effects)
        if random is not None:
            response += np.einsum("nk,nk->n", slopes[:, self.made_of.varying], random)
        table = np.column_stack([np.ones(len(made)), made, response])
        if self.noise is None:
            try:
                return CrossProducts.filled(self.plan, table, self.weights, np.eye(table.shape[1]))
            except ValueError as error:  # of numbers that leave their range
                raise FloatingPointError(
                    "the curve has no derivatives in the range of double precision"
                ) from error
        known, rows = self.noise.at(value), self._rows(table)
        return tables_of(self.layout, rows, known, self.noise.structure, np.eye(table.shape[1]))

    def residual_rows(self, beta: FloatArray, effects: Blocks) -> ResidualRows | None:
        """Return what a residual structure knows of the rows near coefficients and effects."""
        if self.noise is None or not self.noise.is_of_fitted:
            return None if self.noise is None else self.noise.rows
        return self.noise.at(self.curve.value(self.parameters(beta, effects), self.inputs))


def times_roots(values: FloatArray, roots: FloatArray | None) -> FloatArray:
    """Return values, (n, ...), times numbers of their rows, (n,), None being ones."""
    if roots is None:
        return values
    return np.asarray(values * roots.reshape(-1, *[1] * (values.ndim - 1)))
