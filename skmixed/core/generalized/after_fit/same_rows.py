"""The rows of a fit once more, for what a fit that holds none cannot tell."""

from __future__ import annotations

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.generalized.approximation.laplace import (
    LEAST_DECREMENT,
    LaplaceEvaluation,
    evaluate_laplace,
)
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.quadrature import (
    QuadratureEvaluation,
    evaluate_quadrature,
)
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.sums.layout import Rows

_SAME_CRITERION = 1e-8  # relative; of the same rows in another order it agrees far better


def same_rows(
    fit: GeneralizedFit, rows: Rows, offset: FloatArray | None, hint: str = ""
) -> Observations:
    """Return the rows of a fit, which may come in any order, with an offset, (n,).

    A `hint` is added to what is said of other rows. Raises ValueError if these are: their number,
    their levels or their likelihood at the estimates differ.
    """
    other = of_other_rows(hint)
    if len(rows.columns) != fit.n_rows:
        raise other
    try:
        rows = rows.at_levels(fit.products.levels)
        observations = Observations.of(fit.products.layout, rows, fit.spec, fit.family, offset)
    except ValueError:
        raise other from None
    if observations.units.kept != fit.kept:
        raise other
    point = point_of(observations, fit.beta, fit.lambdas, fit.phi)
    criterion = evaluate_at(observations, fit.quadrature, point).criterion
    if not is_same_criterion(criterion, fit.criterion):
        raise other
    return observations


def of_other_rows(hint: str = "") -> ValueError:
    """Return what is raised for other rows than those of a fit."""
    return ValueError(
        "these are not the rows the model was fitted to: pass the same X, y, sample_weight and "
        f"groups as to fit, in any order{hint}"
    )


def is_same_criterion(found: float, expected: float) -> bool:
    """Tell whether a likelihood at the estimates is that of a fit but for rounding."""
    return abs(found - expected) <= _SAME_CRITERION * max(1.0, abs(expected))


def point_of(
    observations: Observations, beta: FloatArray, lambdas: Blocks, phi: FloatArray
) -> Point:
    """Return parameters in scaled units, given those of the data: beta, (n_fixed,), and lambdas.

    The lambdas are any square roots of covariances, (k, k) a factor; those of the point are lower
    triangular, as they stand for quadrature.
    """
    units = observations.units
    to_raw = units.to_raw[list(observations.spec.fixed), :-1][list(units.kept)]
    scaled = [
        np.linalg.solve(random_map, lam)
        for random_map, lam in zip(units.random_maps, lambdas, strict=True)
    ]
    roots = [
        structure.lam(
            structure.theta(lam @ lam.T, structure.natural_order), structure.natural_order
        )
        for structure, lam in zip(observations.structures, scaled, strict=True)
    ]
    inner = np.linalg.solve(to_raw, beta[list(units.kept)])
    return Point(np.asarray(inner, dtype=np.float64), roots, phi)


def evaluate_at(
    observations: Observations, quadrature: int, point: Point
) -> LaplaceEvaluation | QuadratureEvaluation:
    """Evaluate the criterion of a fit with a number of nodes a random column."""
    laplace = evaluate_laplace(observations, point)
    if quadrature == 1 or not observations.spec.terms:
        return laplace
    return evaluate_quadrature(
        observations, laplace, quadrature, point, laplace.remembered, LEAST_DECREMENT
    )
