"""What the rows of every level say of its coefficients by themselves, the rest being as it is."""

from __future__ import annotations

import numpy as np

from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.sums.summation import level_sums

_LEVEL_STEPS = 50  # of Newton's method: regular levels take less than ten
_SMALL_STEP = 1e-6  # of eta: where responses separate, every step is one
_LARGEST_STEP = 3.0  # of eta: a longer one goes where a log link has no quadratic
_SINGULAR_LEVEL = 1e-8  # of the largest information of a level, its columns having unit diagonal


def level_estimates(
    fit: GeneralizedFit, observations: Observations, position: int, start: FloatArray
) -> FloatArray:
    """Maximise the likelihood of every level of a used factor in its coefficients, (n_levels, k).

    All else that the linear predictor is made of stays; `start`, (n_levels, k), has the sums of
    random effects and coefficients. NaN where the rows of a level do not determine them.
    """
    rows, spec, family = observations.given, fit.spec, fit.family
    codes = [rows.codes[factor] for factor in spec.used_factors]
    columns = [list(spec.factor_columns(factor)) for factor in spec.used_factors]
    rest = rows.columns[:, list(spec.fixed)] @ fit.beta
    if observations.offset is not None:
        rest = rest + observations.offset
    for of_rows, places, modes in zip(codes, columns, fit.modes, strict=True):
        rest += (rows.columns[:, places] * modes[of_rows]).sum(axis=1)
    z, of_rows, y = rows.columns[:, columns[position]], codes[position], rows.columns[:, -1]
    rest -= (z * start[of_rows]).sum(axis=1)
    n_levels, estimates = len(start), start.copy()
    moving = np.ones(n_levels, dtype=bool)
    for _ in range(_LEVEL_STEPS):
        eta = rest + (z * estimates[of_rows]).sum(axis=1)
        with np.errstate(invalid="ignore", over="ignore"):  # where nothing is determined
            _, slopes, curvatures = family.derivatives(eta, y, rows.weights, fit.phi)
        steps = _newton_steps(z, slopes, curvatures, of_rows, n_levels)
        moves = np.zeros(n_levels)
        of_eta = np.abs((z * steps[of_rows]).sum(axis=1))
        np.maximum.at(moves, of_rows, np.nan_to_num(of_eta, nan=np.inf))
        estimates -= steps / np.maximum(1.0, moves / _LARGEST_STEP)[:, None]
        moving = moves >= _SMALL_STEP
        if not moving[np.isfinite(moves)].any():
            break
    estimates[moving] = np.nan
    return estimates


def _newton_steps(
    z: FloatArray, slopes: FloatArray, curvatures: FloatArray, codes: IntArray, n_levels: int
) -> FloatArray:
    """Return H^-1 g of every level, (n_levels, k); NaN where H is singular."""
    columns = list(z.T)
    gradient = level_sums(codes, n_levels, columns, slopes[:, None])[:, 0].T
    information = level_sums(codes, n_levels, columns, z, curvatures).transpose(2, 0, 1)
    units = np.sqrt(np.diagonal(information, axis1=1, axis2=2))
    units = np.where(units > 0.0, units, 1.0)
    values, vectors = np.linalg.eigh(information / (units[:, :, None] * units[:, None, :]))
    felt = values[:, 0] > _SINGULAR_LEVEL * values[:, -1]
    inverse = (vectors / np.where(felt[:, None], values, np.nan)[:, None, :]) @ vectors.swapaxes(
        1, 2
    )
    return np.asarray(np.einsum("lab,lb->la", inverse, gradient / units) / units)
