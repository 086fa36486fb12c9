"""How well the random effects of rows are known."""

from __future__ import annotations

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.layout import Rows
from skmixed.design.source import Source
from skmixed.estimators.linear import MixedLinearRegressor


def effect_variances(model: MixedLinearRegressor, source: Source) -> FloatArray:
    """Return the variance of Z b of rows, (n,), in squared units of y.

    It is conditional on the response of the fit, at its coefficients and variances. Levels that are
    not known have the variance of their distribution.
    """
    fit = model.fit_
    if not fit.is_determined or not fit.spec.terms:
        return np.zeros(source.n_rows)
    columns = np.column_stack([model.design_.columns(source), np.zeros(source.n_rows)])
    codes = model.design_.grouping.codes(source.groups, source.n_rows)
    table = ScaledTable.of(fit, Rows(columns, codes))
    relative = fit.evaluation.factorisation.effect_variances(table.random, table.codes)
    variances: FloatArray = fit.sigma2 * relative
    for factor, covariance in zip(fit.spec.used_factors, fit.covariances, strict=True):
        z = columns[:, list(fit.spec.factor_columns(factor))]
        prior = np.einsum("ij,jk,ik->i", z, covariance, z)
        variances += np.where(codes[factor] < 0, prior, 0.0)
    return variances
