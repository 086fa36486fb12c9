"""How rows are fitted by a generalized linear mixed model, and its working model found again."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.families.family import Family
from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.approximation.laplace import LaplaceEvaluation
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.quadrature import QuadratureEvaluation
from skmixed.core.generalized.approximation.working_model import (
    WorkingFit,
    linearised,
    working_products,
)
from skmixed.core.generalized.generalized_fit import GeneralizedFit, to_working
from skmixed.core.generalized.joint_search.divergence import (
    separated_columns,
    separated_thresholds,
    untold_factors,
)
from skmixed.core.generalized.joint_search.joint_newton import JointNewton, JointOptimum
from skmixed.core.generalized.joint_search.optimum import (
    check_nodes,
    is_regular,
    optimum_of,
    quadrature_shift,
)
from skmixed.core.generalized.response_sums import ResponseSums
from skmixed.core.linalg import FloatArray
from skmixed.core.model.problem import Problem, threads_for
from skmixed.core.model.spec import ModelSpec
from skmixed.core.rows.linear_predictor import linear_predictor
from skmixed.core.search.report import SolverReport
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.core.sums.layout import Layout, Rows

_GIVEN = SolverReport("none", True, 0, "the parameters were given", ())


def fit_rows(
    layout: Layout,
    rows: Rows,
    spec: ModelSpec,
    family: Family,
    *,
    offset: FloatArray | None = None,
    quadrature: int = 1,
    search: JointNewton | None = None,
) -> GeneralizedFit:
    """Fit a model to rows of a layout, whose last column is y; the offset is (n,).

    `quadrature` is the number of nodes a random column. Raises ValueError for impossible
    responses, and for nodes that several factors or a number of columns do not allow;
    LostPrecisionError where no digit is left for the coefficients.
    """
    spec = replace(spec, method="ml", weighting="frequency")
    check_nodes(spec, quadrature)
    if isinstance(family, Cumulative) and not spec.has_intercept:
        raise ValueError(
            "thresholds take the place of an intercept: leave the 0 or - 1 out of the formula"
        )
    observations = Observations.of(layout, rows, spec, family, offset)
    settings = search or JointNewton()
    n_fixed = len(spec.fixed)
    with threads_for(observations.structures, observations.n_levels, n_fixed):
        optimum, report = optimum_of(observations, quadrature, settings)
        shift = None
        if quadrature == 1 and is_regular(observations, report) and len(spec.used_factors) == 1:
            shift = quadrature_shift(observations, optimum)
        fit = fit_at(observations, optimum, report, quadrature, shift)
    if optimum.separating is None and np.isnan(fit.evaluation.lower).any():
        raise LostPrecisionError(
            "too few digits are left for the coefficients: they are told from the random "
            "effects by next to nothing of what the rows say. Rescale or centre the columns, "
            "rescale the weights, or drop random terms"
        )
    return fit


def fit_at(
    observations: Observations,
    optimum: JointOptimum,
    report: SolverReport,
    quadrature: int,
    shift: FloatArray | None = None,
) -> GeneralizedFit:
    """Return the fit of an optimum, in the units of the data."""
    evaluation: LaplaceEvaluation | QuadratureEvaluation = optimum.evaluation
    spec, units, point = observations.spec, observations.units, evaluation.point
    products = working_products(observations, evaluation)
    problem = Problem.of(products, spec)
    if shift is not None:
        shift = to_working(observations, problem, optimum.theta, len(point.phi)) @ shift
    raw = [R @ lam for R, lam in zip(units.random_maps, point.lambdas, strict=True)]
    scaled = tuple(problem.scaled_lambdas(raw))
    beta = (units.to_raw[:, :-1] @ point.beta)[list(spec.fixed)]
    separated: tuple[int, ...] = ()
    thresholds: tuple[int, ...] = ()
    if optimum.separating is not None:
        p, m = observations.rank, len(point.phi)
        along, phi_move = optimum.separating[:p], optimum.separating[len(optimum.separating) - m :]
        separated = separated_columns(observations, along)
        thresholds = separated_thresholds(observations, along, point.phi, phi_move)
    return GeneralizedFit(
        WorkingFit(products, spec, scaled, _GIVEN, {"problem": problem}),
        observations.family,
        point.phi,
        beta,
        evaluation.criterion,
        report,
        quadrature,
        separated,
        observations.n_rows,
        ResponseSums.of(observations.given, spec, observations.offset),
        shift,
        untold_factors(observations, point.lambdas),
        observations.counted,
        thresholds,
        {"observations": observations, "optimum": optimum},
    )


def working_model(fit: GeneralizedFit, observations: Observations) -> tuple[WorkingFit, Rows]:
    """Return the linear mixed model of a fit with the rows given once more, and these rows.

    The rows are those of the fit, with codes of its levels; none are put together.
    """
    rows, offset = observations.given, observations.offset
    shift = np.zeros(len(rows.columns)) if offset is None else offset
    eta = shift + linear_predictor(fit.spec, rows.columns, rows.codes, fit.beta, fit.modes)
    y = rows.columns[:, observations.layout.response]
    weights, response = linearised(fit.family, fit.phi, y, rows.weights, eta)
    columns = rows.columns.copy(order="K")
    columns[:, observations.layout.response] = response - shift
    working = Rows(columns, rows.codes, rows.indexes, weights)
    products = CrossProducts.of(observations.layout, working, observations.basis)
    return fit.working.at(products), working
