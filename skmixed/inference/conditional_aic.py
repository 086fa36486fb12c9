"""The conditional Akaike information criterion, for predictions within the groups of the data.

With rho = tr(H) the trace of the hat matrix of the fitted values X beta + Z b,

    cAIC = -2 log f(y | b) + 2 (rho + 1)

(Vaida & Blanchard 2005, doi:10.1093/biomet/92.2.351, eq. 8, counting the residual variance and
taking the relative covariances as known). With u = Z'V^-1(y - X beta), U = Z'V^-1 X and
F = Z'V^-1 Z of every level,

    e'W e = r^2 - sum u'Omega u,     rho = p + sum tr(Omega F) - tr(V_b sum U'Omega U).
"""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit


def conditional_aic(fit: Fit) -> float:
    """Return the conditional AIC of a fit that leaves a residual, by ML or REML.

    Without random terms and by ML it is the ordinary AIC.
    """
    evaluation, problem = fit.evaluation, fit.problem
    omegas = [lam @ lam.T for lam in evaluation.lambdas]
    explained = sum(
        float((score * (omega @ score)).sum())
        for omega, score in zip(omegas, evaluation.scores(), strict=True)
    )
    n = problem.n_observations
    deviance = n * float(np.log(2.0 * np.pi * fit.sigma2))
    deviance += (evaluation.square - explained) / evaluation.sigma2 + fit.products.log_det
    if fit.spec.weighting == "precision":
        deviance -= fit.products.total_log_weight
    return deviance + 2.0 * (effective_parameters(fit, omegas) + (fit.spec.sigma2 is None))


def effective_parameters(fit: Fit, omegas: Blocks) -> float:
    """Return rho, the trace of the hat matrix, for relative covariances in scaled units.

    It lies between the number of coefficients and that of coefficients and random effects together.
    """
    evaluation = fit.evaluation
    m = len(evaluation.to_residual)
    rho = float(fit.rank)
    for factor, (omega, gram) in enumerate(zip(omegas, evaluation.grams, strict=True)):
        rho += float((omega * evaluation.factorisation.total_information(factor)).sum())
        crossed = (omega.ravel() @ gram).reshape(m, m)[:-1, :-1]
        rho -= float((evaluation.beta_covariance * crossed).sum())
    return rho
