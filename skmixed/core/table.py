"""Rows in the scaled units of a fit: what any pass over rows after fitting reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skmixed.core.basis import apply_basis
from skmixed.core.elimination import Blocks
from skmixed.core.fit import Fit
from skmixed.core.groups import IntArray
from skmixed.core.layout import FloatArray, Rows

_CHUNK = 2**16


@dataclass(frozen=True, slots=True, eq=False)
class ScaledTable:
    """Rows in the scaled units of a fit.

    Parameters
    ----------
    fixed : ndarray of shape (n, p + 1)
        [X y].
    random : list of ndarray of shape (k_f, n)
        z of every used factor; zeros where a row has no known level of it.
    codes : list of ndarray of int of shape (n,)
        Their levels; any level where there is none.
    scale : float
        Multiplier of the response.
    """

    fixed: FloatArray
    random: Blocks
    codes: list[IntArray]
    scale: float

    @classmethod
    def of(cls, fit: Fit, rows: Rows) -> ScaledTable:
        """Scale rows.

        Parameters
        ----------
        fit : Fit
            The model.
        rows : Rows
            Rows of its layout; a negative code is no level.

        Returns
        -------
        ScaledTable
            The rows in the units that its search works in.
        """
        model, basis = fit.problem.model, fit.products.basis
        right_map = linalg.solve_triangular(basis, model.to_raw, unit_diagonal=True)
        random, codes = [], []
        for factor, random_map in zip(fit.spec.used_factors, model.random_maps, strict=True):
            known = rows.codes[factor] >= 0
            z = rows.columns[:, list(fit.spec.factor_columns(factor))] @ random_map
            random.append(np.ascontiguousarray(z.T * known))
            codes.append(np.where(known, rows.codes[factor], 0))
        fixed = apply_basis(rows.columns, basis) @ right_map
        return cls(fixed, random, codes, model.response_scale)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.fixed)

    def reduced(self, factors: Blocks, cross: Blocks) -> Iterator[tuple[slice, FloatArray]]:
        """Take from [X y] what the random effects take of each column, some rows at a time.

        Parameters
        ----------
        factors : list of ndarray of shape (k, k)
            lambda of every used factor.
        cross : list of ndarray of shape (k, p + 1, n_levels)
            Z'V^-1[X y] of every used factor.

        Yields
        ------
        chosen : slice
            Some of the rows.
        reduced : ndarray of shape (m, p + 1)
            [X y] - Z Omega Z'V^-1[X y] of these; of the rows of the fit, and times their weights,
            it is V^-1[X y].
        """
        shrunk = [
            lam @ (lam.T @ u.reshape(len(u), -1)) for lam, u in zip(factors, cross, strict=True)
        ]
        for start in range(0, self.n_rows, _CHUNK):
            chosen = slice(start, start + _CHUNK)
            reduced = self.fixed[chosen].copy()
            for z, codes, effects, u in zip(self.random, self.codes, shrunk, cross, strict=True):
                by_level = effects.reshape(u.shape)
                for column, effect in zip(z[:, chosen], by_level, strict=True):
                    reduced -= column[:, None] * effect.T[codes[chosen]]
            yield chosen, reduced
