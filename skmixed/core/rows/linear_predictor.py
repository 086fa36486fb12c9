"""X beta + Z b of rows.

Every row is computed from itself alone: BLAS would round by the number of rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.spec import ModelSpec


def linear_predictor(
    spec: ModelSpec,
    columns: FloatArray,
    codes: Sequence[IntArray],
    beta: FloatArray,
    effects: Blocks,
) -> FloatArray:
    """Return X beta + Z b of rows, (n,), as `x_beta` and `z_b` have them."""
    return x_beta(spec, columns, beta) + z_b(spec, columns, codes, effects)


def x_beta(spec: ModelSpec, columns: FloatArray, beta: FloatArray) -> FloatArray:
    """Return X beta, (n,), of rows in the columns of a layout, (n, n_columns)."""
    return np.asarray(np.einsum("ij,j->i", columns[:, list(spec.fixed)], beta))


def z_b(
    spec: ModelSpec,
    columns: FloatArray,
    codes: Sequence[IntArray],
    effects: Blocks,
    wanted: Sequence[bool] | None = None,
) -> FloatArray:
    """Return Z b, (n,), of rows in the columns of a layout, (n, n_columns).

    `effects` are (n_levels, k) of every used factor, or (n_levels, k, R) for R sets of them, which
    give (n, R). `codes` are the levels of every factor, (n,), negative where there is none, which
    has no effect. `wanted` tells which of the used factors count, all by default.
    """
    total = np.zeros((len(columns), *(effects[0].shape[2:] if effects else ())))
    keeps = [True] * len(effects) if wanted is None else wanted
    for factor, of_levels, keep in zip(spec.used_factors, effects, keeps, strict=True):
        if not keep:
            continue
        level = codes[factor]
        if of_levels.shape[0] == 1 and of_levels.ndim == 2 and level.min(initial=0) == 0:
            z = columns[:, list(spec.factor_columns(factor))]
            total += np.einsum("ij,j->i", z, of_levels[0])
            continue
        missing = np.flatnonzero(level < 0)
        for place, effect in zip(
            spec.factor_columns(factor), of_levels.swapaxes(0, 1), strict=True
        ):
            part = effect[level] * columns[:, place].reshape(-1, *[1] * (effect.ndim - 1))
            part[missing] = 0.0
            total += part
    return total
