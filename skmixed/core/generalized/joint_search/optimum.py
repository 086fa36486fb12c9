"""The optimum of the approximated likelihood, and what tells that it is none."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.approximation.laplace import (
    LEAST_DECREMENT,
    LaplaceEvaluation,
    evaluate_laplace,
)
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.penalised import PenalisedEvaluation
from skmixed.core.generalized.approximation.quadrature import (
    MOST_NODES,
    evaluate_quadrature,
    shift_nodes,
)
from skmixed.core.generalized.joint_search.divergence import PURE_DEVIATION, like_rows, pure_factors
from skmixed.core.generalized.joint_search.joint_newton import (
    JointNewton,
    JointOptimum,
    JointSearch,
)
from skmixed.core.generalized.joint_search.start import first_point
from skmixed.core.linalg import FloatArray, inverse_felt
from skmixed.core.model.spec import ModelSpec
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import SolverReport

_NO_INFORMATION = 1e-13  # of second derivatives at unit diagonal: less is rounding of zero


def optimum_of(
    observations: Observations,
    quadrature: int,
    search: JointNewton,
    start: Point | None = None,  # in scaled units; None looks for one
) -> tuple[JointOptimum, SolverReport]:
    """Search for the optimum with a number of nodes a random column."""
    optimum, report = laplace_optimum(observations, search, start)
    if quadrature > 1 and is_regular(observations, report):
        optimum = _with_nodes(observations, optimum, quadrature, search)
        spent = report.n_evaluations + optimum.report.n_evaluations
        report = _judged(optimum, replace(optimum.report, n_evaluations=spent))
    return optimum, report


def is_regular(observations: Observations, report: SolverReport) -> bool:
    """Tell whether a search has found an optimum of all parameters of some random effects."""
    return report.converged and not report.confounded and bool(observations.spec.terms)


def laplace_optimum(
    observations: Observations,
    search: JointNewton,
    start: Point | None = None,
    penalty: FloatArray | None = None,
) -> tuple[JointOptimum, SolverReport]:
    """Search for the optimum, variances that have none being held.

    The penalty is M, (p, p), of beta'M beta in scaled units, or None.
    """
    alike, pure = like_rows(observations), pure_factors(observations)
    pure = tuple(factor for factor in pure if factor not in alike)
    point = first_point(observations) if start is None else start
    lambdas = list(point.lambdas)
    for factor in (*alike, *pure):
        size = PURE_DEVIATION if factor in pure else 0.0
        lambdas[factor] = size * np.eye(len(lambdas[factor]))
    held = (*alike, *pure)

    def evaluated(where: Point, before: Any, tolerance: float, is_curved: bool) -> Any:
        remembered = None if before is None else before.remembered
        found = evaluate_laplace(observations, where, remembered, tolerance, is_curved=is_curved)
        return found if penalty is None else PenalisedEvaluation(found, penalty)

    running = JointSearch(
        observations,
        evaluated,
        search,
        held,
        is_exact=len(observations.structures) <= 1,
    )
    optimum = running.solve(Point(point.beta, lambdas, point.phi))
    report = replace(optimum.report, confounded=alike, is_unbounded=bool(pure))
    if pure:
        used = [observations.spec.used_factors[factor] for factor in pure]
        names = [observations.rows.indexes[factor].name for factor in used]
        message = (
            f"every level of {names} has one response alone, 0 or 1: its variance has no maximum, "
            "and is held at 100"
        )
        report = replace(report, converged=False, message=message)
    elif observations.spec.terms and observations.family.leaves_no_rest(
        optimum.evaluation.point.phi
    ):
        message = "the random effects explain the response without a rest: there is no maximum"
        report = replace(report, converged=False, is_unbounded=True, message=message)
    return optimum, _judged(optimum, report)


def _judged(optimum: JointOptimum, report: SolverReport) -> SolverReport:
    """Return the report of a search, and say so if it went after infinite variances."""
    if report.converged or report.is_unbounded or _largest_deviation(optimum) <= PURE_DEVIATION:
        return report
    message = "the variances of the random effects grow without end"
    return replace(report, is_unbounded=True, message=message)


def _largest_deviation(optimum: JointOptimum) -> float:
    """Return the largest deviation of any combination of random effects, in scaled units."""
    lambdas = optimum.evaluation.point.lambdas
    return max((float(np.linalg.norm(lam, 2)) for lam in lambdas), default=0.0)


def check_nodes(spec: ModelSpec, n_nodes: int) -> None:
    """Raise ValueError if so many nodes a random column are not possible."""
    if n_nodes < 1:
        raise ValueError(f"quadrature is a number of nodes, at least 1: got {n_nodes}")
    if n_nodes == 1 or not spec.used_factors:  # without random effects there is no integral
        return
    if len(spec.used_factors) > 1:
        raise ValueError(
            f"quadrature={n_nodes} needs one grouping factor, and the model has "
            f"{len(spec.used_factors)}: use quadrature=1, Laplace's approximation"
        )
    k = len(spec.factor_columns(spec.used_factors[0]))
    if n_nodes**k > MOST_NODES:
        most = int((MOST_NODES + 0.5) ** (1.0 / k))
        raise ValueError(
            f"quadrature={n_nodes} for {k} random columns takes {n_nodes}^{k} nodes, more than "
            f"{MOST_NODES}: use at most {most}"
        )


def _with_nodes(
    observations: Observations, optimum: JointOptimum, n_nodes: int, settings: JointNewton
) -> JointOptimum:
    """Search on from the optimum of Laplace's approximation by quadrature."""
    laplace: LaplaceEvaluation = optimum.evaluation
    running = JointSearch(
        observations,
        lambda where, before, tolerance, _: evaluate_quadrature(
            observations, laplace, n_nodes, where, before.remembered, tolerance
        ),
        settings,
        is_exact=False,
        may_pivot=False,
    )
    return running.solve(laplace.point, laplace)


def quadrature_shift(observations: Observations, optimum: JointOptimum) -> FloatArray | None:
    """Return by how much quadrature would move beta, theta and phi, scaled, (p + t + m,)."""
    laplace: LaplaceEvaluation = optimum.evaluation
    n_nodes = shift_nodes(observations.structures[0].size)
    if n_nodes is None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        try:
            there = evaluate_quadrature(
                observations, laplace, n_nodes, laplace.point, laplace.remembered, LEAST_DECREMENT
            )
        except LostPrecisionError:
            return None
    if not there.is_finite:
        return None
    slopes = there.slopes(Coordinates.natural(observations.structures), optimum.theta)
    return -inverse_information(optimum.hessian()) @ slopes


def modes_at(observations: Observations, optimum: JointOptimum) -> Blocks:
    """Return the modes of the random effects of every used factor, (n_levels, k), in raw units."""
    units, kept = observations.units, optimum.evaluation.remembered
    modes = [
        np.zeros((size, len(R)))
        for size, R in zip(observations.n_levels, units.random_maps, strict=True)
    ]
    for block, found in zip(observations.blocks, kept, strict=True):
        for factor, own in enumerate(block.levels):
            modes[factor][own] = (units.random_maps[factor] @ found.effects[factor][:, 0]).T
    return modes


def inverse_information(hessian: FloatArray) -> FloatArray:
    """Invert second derivatives along what is felt."""
    sizes = np.sqrt(np.abs(np.diag(hessian)))
    units = np.divide(1.0, sizes, out=np.zeros(len(sizes)), where=sizes > 0.0)
    return units[:, None] * inverse_felt(hessian * np.outer(units, units), _NO_INFORMATION) * units
