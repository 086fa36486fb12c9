"""The deviance as a function of sigma and Lambda = sigma lambda, with its gradient.

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
    """The deviance at one point, with its derivatives."""

    value: float  # -2 log-likelihood
    by_lambdas: Blocks  # (k, k) a factor, in Lambda
    by_log_sigma: float  # at given Lambda
    by_held: float  # in the coefficient that is held; 0 without


def deviance_at(
    fit: Fit, lambdas: Blocks, log_sigma: float, held: tuple[int, float] | None = None
) -> Deviance:
    """Return the full deviance, minimised over the coefficients that are not held.

    `lambdas` are Lambda of every factor, (k, k) in raw units: any square roots of the covariances.
    `held` is the place among the fixed columns, and the value, of a coefficient that is held.
    """
    problem, model = fit.problem, fit.problem.model
    sigma = float(np.exp(log_sigma))
    scaled = problem.scaled_factors([lam / sigma for lam in lambdas])
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
    by_lambdas = [
        np.asarray(linalg.solve(random_map, slope, transposed=True)) / sigma
        for random_map, slope in zip(model.random_maps, by_scaled, strict=True)
    ]
    by_log_sigma = 2.0 * (n - square / s) - sum(
        float((slope * lam).sum()) for slope, lam in zip(by_scaled, scaled, strict=True)
    )
    return Deviance(float(value + problem.constant), by_lambdas, by_log_sigma, by_held)
