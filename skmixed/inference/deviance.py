"""The deviance as a function of sigma and the absolute factors, with its gradient.

    f = log|V| + n log(2 pi sigma^2) + (y - X beta)'V^-1(y - X beta) / sigma^2,

minimised over beta, or over beta but for one coefficient that is held; that changes the others by
generalised least squares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skmixed.core.elimination import Blocks
from skmixed.core.fit import Fit


@dataclass(frozen=True, slots=True, eq=False)
class Deviance:
    """The deviance at one point, with its derivatives.

    Parameters
    ----------
    value : float
        -2 log-likelihood.
    by_factors : list of ndarray of shape (k, k)
        Derivative in Lambda of every factor.
    by_log_sigma : float
        Derivative in log sigma at given Lambda.
    by_held : float
        Derivative in the coefficient that is held; 0 without.
    """

    value: float
    by_factors: Blocks
    by_log_sigma: float
    by_held: float


def deviance_at(
    fit: Fit, factors: Blocks, log_sigma: float, held: tuple[int, float] | None = None
) -> Deviance:
    """Evaluate the deviance.

    Parameters
    ----------
    fit : Fit
        By maximum likelihood.
    factors : list of ndarray of shape (k, k)
        Lambda of every factor, in raw units; any square root of the covariance.
    log_sigma : float
        Logarithm of the residual standard deviation.
    held : tuple of (int, float), optional
        Position among the fixed columns, and value, of the coefficient that is held.

    Returns
    -------
    Deviance
        Minimised over the other coefficients.
    """
    problem, model = fit.problem, fit.problem.model
    sigma = float(np.exp(log_sigma))
    scaled = problem.scaled_factors([factor / sigma for factor in factors])
    evaluation = problem.evaluate(scaled)
    s = (sigma * model.response_scale) ** 2
    square = float(evaluation.lower[-1, -1] ** 2)
    contrast, by_held = evaluation.contrast, 0.0
    if held is not None:
        place = fit.spec.fixed[held[0]]
        row = model.to_raw[place, :-1]
        target = held[1] * model.response_scale + model.to_raw[place, -1]
        along = evaluation.beta_covariance @ row
        off = (target - float(row @ evaluation.beta)) / float(row @ along)
        contrast = contrast - np.append(along * off, 0.0)
        square += off**2 * float(row @ along)
        by_held = 2.0 * off * model.response_scale / s
    n = problem.n_observations
    value = evaluation.factorisation.log_det + n * np.log(2.0 * np.pi * s) + square / s
    outer = np.outer(contrast, contrast / s).ravel()
    by_scaled = [
        2.0
        * (evaluation.factorisation.total_information(f) - (gram @ outer).reshape(lam.shape))
        @ lam
        for f, (gram, lam) in enumerate(zip(evaluation.grams, scaled, strict=True))
    ]
    by_factors = [
        np.asarray(linalg.solve(random_map, slope, transposed=True)) / sigma
        for random_map, slope in zip(model.random_maps, by_scaled, strict=True)
    ]
    by_log_sigma = 2.0 * (n - square / s) - sum(
        float((slope * lam).sum()) for slope, lam in zip(by_scaled, scaled, strict=True)
    )
    return Deviance(float(value + problem.constant), by_factors, by_log_sigma, by_held)
