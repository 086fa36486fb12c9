"""Refits of a model with a residual structure to responses drawn from it, row by row."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.batch.refits import Refits
from skmixed.core.batch.responses import draw_effects
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.residual.fitting import fit_tables, tables_of
from skmixed.core.residual.residual_fit import ResidualFit
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.structure import draw
from skmixed.core.rows.linear_predictor import x_beta, z_b
from skmixed.core.search.unbounded import NoMaximumError
from skmixed.core.sums.layout import Rows


@dataclass(frozen=True, slots=True, eq=False)
class ResidualRefits(Refits):
    """Estimates of R replicates, with the parameters of the residual structure."""

    residual: FloatArray  # (R, q)


def draw_rows(
    fit: ResidualFit,
    rows: Rows,
    residual: ResidualRows,
    n_samples: int,
    generator: np.random.Generator,
    random: str = "new",
) -> FloatArray:
    """Draw responses of the rows of a fit, (n, R), in units of y, effects as `draw_effects`."""
    effects, _ = draw_effects(fit, n_samples, generator, random)
    by_level = [each.transpose(2, 0, 1) for each in effects]
    noise = np.sqrt(fit.sigma2) * draw(fit.structure, fit.phi, residual, generator, n_samples)
    if rows.weights is not None:
        noise /= np.sqrt(rows.weights)[:, None]
    means = x_beta(fit.spec, rows.columns, fit.beta)[:, None]
    of_effects = z_b(fit.spec, rows.columns, rows.codes, by_level).reshape(len(noise), -1)
    return np.asarray(means + of_effects + noise)


def refit_rows(
    fit: ResidualFit, rows: Rows, residual: ResidualRows, response: FloatArray
) -> Fit | None:
    """Fit the model of a fit to another response of its rows, (n,); None where it has no fit."""
    columns = rows.columns.copy()
    columns[:, -1] = response
    layout, structure = fit.products.layout, fit.tables.structure
    tables = tables_of(layout, replace(rows, columns=columns), residual, structure)
    try:
        return fit_tables(tables, fit.spec, near=fit)
    except (NoMaximumError, ValueError, ArithmeticError, np.linalg.LinAlgError):
        return None


def estimates(fit: ResidualFit, found: list[Fit | None]) -> ResidualRefits:
    """Stack the estimates of refits, NaN where there is none."""
    n = len(found)
    sizes = [len(lam) for lam in fit.scaled_lambdas]
    residual = np.full((n, len(fit.residual_parameters)), np.nan)
    beta = np.full((n, len(fit.spec.fixed)), np.nan)
    sigma2, criterion = np.full((2, n), np.nan)
    lambdas = [np.full((n, k, k), np.nan) for k in sizes]
    covariances = [np.full((n, k, k), np.nan) for k in sizes]
    converged = np.zeros(n, dtype=bool)
    for number, other in enumerate(found):
        if not isinstance(other, ResidualFit):
            continue
        beta[number], sigma2[number] = other.beta, other.sigma2
        residual[number] = [each.value for each in other.residual_parameters]
        converged[number], criterion[number] = other.report.converged, other.criterion
        for of_factor, lam in zip(lambdas, other.scaled_lambdas, strict=True):
            of_factor[number] = lam
        for of_factor, covariance in zip(covariances, other.covariances, strict=True):
            of_factor[number] = covariance
    return ResidualRefits(beta, sigma2, lambdas, covariances, converged, criterion, residual)
