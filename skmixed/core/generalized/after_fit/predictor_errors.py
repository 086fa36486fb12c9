"""How far the linear predictor of rows may be off, all parameters being estimates.

With hats for estimates and V the covariance of beta and theta,

    var(x'beta^ + z'b^ - x'beta - z'b) = z'C z + J V J',

C being the conditional covariance of the random effects and J the derivatives of x'beta^ + z'b^: in
beta x less what the effects give way, in theta those of the modes at given beta. They are the
derivatives in the working model, whose response stands still to first order (Kass & Steffey 1989,
doi:10.1080/01621459.1989.10478825). The dispersion is taken as known.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.generalized.approximation.working_model import WorkingFit
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray, semidefinite_root
from skmixed.core.rows.linear_predictor import z_b
from skmixed.core.rows.prediction_errors import (
    MovedFits,
    PredictionErrors,
    effect_variances,
    mean_variances,
    of_unknown_levels,
)
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.layout import Rows


def predictor_errors(
    fit: GeneralizedFit,
    working: WorkingFit,
    rows: Rows,
    wanted: tuple[bool, ...] | None = None,
    weight: FloatArray | None = None,
) -> PredictionErrors:
    """Assess the linear predictor of rows, as in `mean_variances`, given the data of `working`.

    Factors that are not wanted are averaged over: with v the variance of their z'b, the errors are
    those of the predictor plus v times a `weight`, (n,). The degrees of freedom are Satterthwaite's
    of the variance, as the linear model has them.
    """
    model, nearby = fit.posterior_of(working), _moved(fit)

    def at(moved: WorkingFit) -> Posterior:
        own = moved if working is fit.working else moved.at(working.products)
        return Posterior(own, fit.beta, moved.beta_covariance, 1.0)

    def predicted(moved: WorkingFit) -> FloatArray:
        there = at(moved)
        total = z_b(fit.spec, rows.columns, rows.codes, there.modes, wanted)
        if weight is not None and wanted is not None:
            total += weight * of_unknown_levels(there, rows, tuple(not keep for keep in wanted))
        return total

    def variances(moved: WorkingFit) -> FloatArray:
        return mean_variances(at(moved), rows, wanted)

    def logs(moved: WorkingFit) -> FloatArray:
        return np.log(np.maximum(variances(moved), np.finfo(float).tiny))

    slopes = log_slopes = np.zeros((0, len(rows.columns)))
    if nearby.pairs:
        slopes, log_slopes = nearby.slopes(predicted), nearby.slopes(logs)
    squares = effect_variances(model, rows, wanted)
    squares += _of_parameters(fit, model, rows, wanted, slopes)
    separated = rows.columns[:, [fit.spec.fixed[place] for place in fit.separated]]
    squares[(separated != 0.0).any(axis=1)] = np.nan
    return PredictionErrors(squares, variances(working), log_slopes, nearby.covariance, 0.0)


def _moved(fit: GeneralizedFit) -> MovedFits:
    """Return the working model a small step of each entry of theta away, kept by the fit."""
    n, t = len(fit.spec.fixed), len(fit.theta)
    covariance = fit.parameter_covariance[n : n + t, n : n + t]
    return fit.cached("moved", lambda: MovedFits.around(fit.working, covariance))


def _of_parameters(
    fit: GeneralizedFit,
    model: Posterior,
    rows: Rows,
    wanted: tuple[bool, ...] | None,
    slopes: FloatArray,  # (t, n), derivatives of the predictor in theta
) -> FloatArray:
    """Return J V J' of rows, (n,); coefficients that are infinite count as known."""
    n, t = len(fit.spec.fixed), len(slopes)
    covariance = fit.parameter_covariance[: n + t, : n + t].copy()
    infinite = list(fit.separated)
    covariance[infinite], covariance[:, infinite] = 0.0, 0.0
    back = model.from_raw
    p = len(back)
    change = np.zeros((p + t, n + t))
    change[:p, :n], change[p:, n:] = back, np.eye(t)
    root = semidefinite_root(change @ covariance @ change.T)
    squares = np.empty(slopes.shape[1])
    evaluation = model.evaluation
    table = ScaledTable.of(model, rows).of_factors(wanted)
    for chosen, reduced in table.reduced(evaluation.lambdas, evaluation.cross):
        along = np.column_stack([reduced[:, :p], slopes[:, chosen].T])
        squares[chosen] = np.square(along @ root).sum(axis=1)
    return squares
