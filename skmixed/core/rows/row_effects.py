"""Random effects of every row's own levels, estimated without the row.

At given relative covariances the mixed-model equations without a row differ from those of all rows
by a matrix of rank one. With t the row's part in them, C the conditional covariance of the random
effects relative to sigma^2, G = Omega Z'V^-1 X, V_b and d as in `skmixed.core.rows.leave_out`, a
row of weight w, residual e and leverage h,

    b without it = b - (C z - G V_b d) w e / (1 - h),
    C without it = C + C z z'C w / (1 - w z'C z).

Of C z only the part of the row's own levels is wanted. It follows from the variances of z'b and of
sums and differences with single effects, 4 u'C z = (z + u)'C(z + u) - (z - u)'C(z - u), so that
every way to eliminate the random effects has it to offer.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.leave_out import UNDETERMINED
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.summed_rows import SummedRows


@dataclass(frozen=True, slots=True, eq=False)
class RowEffects:
    """Random effects of the levels of rows, a list entry a factor."""

    means: Blocks  # (n, k), BLUPs in raw units
    variances: Blocks  # (n, k), conditional variances given y and the parameters


def effects_without_rows(fit: Fit, summed: SummedRows) -> RowEffects:
    """Estimate the effects of every row's levels by the other rows.

    The rows are those of the fit in any order, summed as in it, and the fit leaves a residual.
    Relative covariances and residual variance are those of the fit. A level that has no other row
    has effects of exactly zero, and the variance of its distribution. This takes one evaluation and
    2 k + 1 passes over the rows; a row without which a coefficient is no longer determined costs an
    evaluation of its own.
    """
    rows = summed.rows
    table = ScaledTable.of(fit, rows)
    evaluation = fit.evaluation
    weights = np.ones(table.n_rows) if rows.weights is None else rows.weights
    own = evaluation.factorisation.effect_variances(table.random, table.codes)
    residuals, through, leverage = _fixed_part(fit, table)
    left = 1.0 - weights * (own + leverage)
    lost = np.flatnonzero(left < UNDETERMINED)
    left[lost] = 1.0
    pull = weights * residuals / left
    inflation = fit.sigma2 * weights / np.maximum(1.0 - weights * own, UNDETERMINED)
    means, variances = [], []
    for position, factor in enumerate(fit.spec.used_factors):
        codes = table.codes[position]
        moved = _own_parts(fit, table, position)
        alone = (fit.products.factors[factor].counts == 1)[codes]
        mean = fit.modes[position][codes]
        mean -= (moved - _coefficient_part(fit, position, codes, through)) * (pull / table.scale)[
            :, None
        ]
        mean[alone] = 0.0
        prior = fit.conditional_covariance(position).diagonal(axis1=1, axis2=2)
        variance = prior[codes] + np.square(moved) * inflation[:, None]
        variance[alone] = fit.covariances[position].diagonal()
        means.append(mean)
        variances.append(variance)
    for row in lost:
        _replace_by_refit(fit, summed, int(row), means)
    return RowEffects(means, variances)


def _fixed_part(fit: Fit, table: ScaledTable) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return residuals, (n,), V_b d, (n, p), and d'V_b d, (n,), of every row."""
    evaluation = fit.evaluation
    p = len(evaluation.beta)
    residuals, leverage = np.empty(table.n_rows), np.zeros(table.n_rows)
    through = np.empty((table.n_rows, p))
    for chosen, reduced in table.reduced(evaluation.lambdas, evaluation.cross):
        residuals[chosen] = reduced[:, p] - reduced[:, :p] @ evaluation.beta
        through[chosen] = reduced[:, :p] @ evaluation.beta_covariance
        leverage[chosen] = (through[chosen] * reduced[:, :p]).sum(axis=1)
    return residuals, through, leverage


def _own_parts(fit: Fit, table: ScaledTable, position: int) -> FloatArray:
    """Return u'C z for every effect u of a row's level of one factor, (n, k).

    u is in raw units, z in scaled ones.
    """
    random_map = fit.problem.model.random_maps[position]
    parts = np.empty((table.n_rows, len(random_map)))
    for effect, probe in enumerate(random_map):
        ends, size = [], np.linalg.norm(probe)  # a probe of the size of z loses fewest digits
        for sign in (1.0, -1.0):
            random = list(table.random)
            random[position] = random[position] + sign * (probe / size)[:, None]
            ends.append(fit.evaluation.factorisation.effect_variances(random, table.codes))
        parts[:, effect] = 0.25 * size * (ends[0] - ends[1])
    return parts


def _coefficient_part(fit: Fit, position: int, codes: IntArray, through: FloatArray) -> FloatArray:
    """Return G V_b d of every row's level of one factor, (n, k)."""
    evaluation, p = fit.evaluation, through.shape[1]
    lam = evaluation.lambdas[position]
    raw = fit.problem.model.random_maps[position] @ lam @ lam.T
    levels = np.tensordot(raw, evaluation.cross[position][:, :p], axes=1)
    along = np.zeros((len(codes), len(raw)))
    for column in range(p):
        along += levels[:, column].T[codes] * through[:, [column]]
    return along


def _replace_by_refit(fit: Fit, summed: SummedRows, row: int, means: Blocks) -> None:
    """Write the effects without one row, from a model of the others, into `means`."""
    if fit.products.n_rows == 1:
        return
    modes = fit.at(summed.without(np.array([row]))).modes
    for position, factor in enumerate(fit.spec.used_factors):
        level = int(summed.rows.codes[factor][row])
        if fit.products.factors[factor].counts[level] > 1:  # otherwise the effect is zero already
            means[position][row] = modes[position][level]
