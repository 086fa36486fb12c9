"""Rows in the scaled units of a fit: what any pass over rows after fitting reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, IntArray, triangular_solution
from skmixed.core.model.scaling import ScaledModel
from skmixed.core.model.spec import ModelSpec
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summation import apply_basis

_ROWS_AT_ONCE = 2**16  # half a megabyte a column: copies stay small, and loops over them short


@dataclass(frozen=True, slots=True, eq=False)
class ScaledTable:
    """Rows in the scaled units of a fit."""

    fixed: FloatArray  # (n, p + 1), [X y]
    random: Blocks  # (k_f, n) a used factor: z, zeros where a row has no known level of it
    codes: list[IntArray]  # (n,) a used factor: levels, any level where there is none
    scale: float  # multiplier of the response

    @classmethod
    def of(cls, fit: Fit | Posterior, rows: Rows) -> ScaledTable:
        """Scale rows of the layout to the units of the search; a negative code is no level."""
        return cls.in_units(fit.problem.model, fit.products.basis, fit.spec, rows)

    @classmethod
    def in_units(
        cls, model: ScaledModel, basis: FloatArray, spec: ModelSpec, rows: Rows
    ) -> ScaledTable:
        """Scale rows of the layout to the units of a model, whose sums have a basis."""
        right_map = triangular_solution(basis, model.to_raw, lower=False, unit=True)
        random, codes = [], []
        for factor, random_map in zip(spec.used_factors, model.random_maps, strict=True):
            known = rows.codes[factor] >= 0
            z = rows.columns[:, list(spec.factor_columns(factor))] @ random_map
            random.append(np.ascontiguousarray(z.T * known))
            codes.append(np.where(known, rows.codes[factor], 0))
        fixed = apply_basis(rows.columns, basis) @ right_map
        return cls(fixed, random, codes, model.response_scale)

    def of_factors(self, wanted: tuple[bool, ...] | None) -> ScaledTable:
        """Return the same with no effect of the used factors that are not wanted."""
        if wanted is None:
            return self
        return replace(self, random=[z * k for z, k in zip(self.random, wanted, strict=True)])

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.fixed)

    def reduced(self, lambdas: Blocks, cross: Blocks) -> Iterator[tuple[slice, FloatArray]]:
        """Yield slices of the rows and their [X y] - Z Omega Z'V^-1[X y], (m, p + 1).

        Of the rows of the fit, and times their weights, this is V^-1[X y]. Every used factor gives
        its lambda, (k, k), and its Z'V^-1[X y], (k, p + 1, n_levels), in `cross`.
        """
        shrunk = [
            lam @ (lam.T @ u.reshape(len(u), -1)) for lam, u in zip(lambdas, cross, strict=True)
        ]
        for start in range(0, self.n_rows, _ROWS_AT_ONCE):
            chosen = slice(start, start + _ROWS_AT_ONCE)
            reduced = self.fixed[chosen].copy()
            for z, codes, effects, u in zip(self.random, self.codes, shrunk, cross, strict=True):
                by_level = effects.reshape(u.shape)
                for column, effect in zip(z[:, chosen], by_level, strict=True):
                    reduced -= column[:, None] * effect.T[codes[chosen]]
            yield chosen, reduced
