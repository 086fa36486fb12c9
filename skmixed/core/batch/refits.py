"""Refits of one model to many data sets: in lock-step for one factor, otherwise one by one."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from skmixed.core.batch.responses import (
    Responses,
    ScaledResponses,
    replicate_problem,
    replicate_products,
)
from skmixed.core.elimination.choose import arrange
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.model.problem import Problem, threads_for
from skmixed.core.model.stack import LockstepData, with_levels_merged
from skmixed.core.rows.monte_carlo import check_exact
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.search.lockstep import solve_stack
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import SolverReport
from skmixed.core.search.unbounded import NoMaximumError
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summation import level_sums

_REFIT = SolverReport("newton", True, 0, "refitted to a replicate", ())
_LOST = SolverReport("newton", False, 0, "a replicate could not be fitted", ())


@dataclass(frozen=True, slots=True, eq=False)
class Refits:
    """Estimates of R replicates, in units of the data; NaN where one could not be fitted."""

    beta: FloatArray  # (R, n_fixed)
    sigma2: FloatArray  # (R,)
    scaled_lambdas: Blocks  # (R, k_f, k_f): lambda of every used factor in scaled units of the fit
    covariances: Blocks  # (R, k_f, k_f): of the random effects
    converged: NDArray[np.bool_]  # (R,)
    criterion: FloatArray  # (R,); NaN, too, where the replicates are other rows

    @property
    def scales(self) -> FloatArray:
        """Residual standard deviations, (R, 1)."""
        return np.sqrt(self.sigma2)[:, None]

    @property
    def singular(self) -> NDArray[np.bool_]:
        """Whether some covariance matrix is singular, (R,)."""
        found = np.zeros(len(self.sigma2), dtype=bool)
        for lam in self.scaled_lambdas:
            found |= (np.diagonal(lam, axis1=1, axis2=2) == 0.0).any(axis=1)
        return found

    @classmethod
    def of_scaled(
        cls,
        fit: Fit,
        beta: FloatArray,
        sigma2: FloatArray,
        lambdas: Blocks,
        converged: NDArray[np.bool_],
        criterion: FloatArray,
    ) -> Refits:
        """Bring estimates to the units of the data.

        All are in scaled units: beta, (R, p), of the scaled columns, as a deviation from the
        coefficients of the fit; sigma2, (R,); lambdas, (R, k_f, k_f) of every used factor.
        """
        model = fit.problem.model
        to_fixed = model.to_raw[list(fit.spec.fixed), :-1] / model.response_scale
        raw_sigma2 = sigma2 / model.response_scale / model.response_scale
        covariances = []
        for lam, random_map in zip(lambdas, model.random_maps, strict=True):
            raw = random_map / model.response_scale @ lam
            covariances.append(sigma2[:, None, None] * (raw @ raw.transpose(0, 2, 1)))
        found = fit.beta + beta @ to_fixed.T
        return cls(found, raw_sigma2, lambdas, covariances, converged, criterion)


def takes_lockstep(fit: Fit) -> bool:
    """Tell whether replicates can be refitted in lock-step: one factor, its variance identified."""
    return len(fit.spec.used_factors) == 1 and not fit.report.confounded


def refit_responses(fit: Fit, responses: Responses) -> Refits:
    """Fit the model of a fit to other responses, starting from its covariances."""
    check_exact(fit, "a bootstrap")
    scaled = ScaledResponses.of(fit, responses)
    if takes_lockstep(fit):
        return refit_stack(fit, shared_stack(fit, scaled), fit.problem.constant)
    found = [
        solve_replicate(fit, replicate_problem(fit, scaled, number))
        for number in range(len(responses))
    ]
    return collected(fit, found)


def shared_stack(fit: Fit, scaled: ScaledResponses) -> LockstepData:
    """Return the data sets of responses to the rows of a fit with one factor."""
    model, p = fit.problem.model, len(fit.problem.model.kept)
    gram = np.tile(model.gram, (len(scaled.squares), 1, 1))
    gram[:, :p, p] = gram[:, p, :p] = scaled.fixed
    gram[:, p, p] = scaled.squares
    return LockstepData(
        own=model.own[0][:, :, None],
        fixed=model.right[0][:, :p, None],
        response=scaled.levels[0],
        gram=gram,
        structure=fit.problem.structures[0],
        degrees=np.full(len(gram), fit.problem.degrees),
        reml=fit.spec.method == "reml",
        penalty=fit.problem.joint_penalty,
        sigma2=fit.problem.sigma2,
    )


def refit_stack(
    fit: Fit, stack: LockstepData, constant: float = np.nan, start: FloatArray | None = None
) -> Refits:
    """Fit data sets with one factor, in the scaled units of a fit.

    Their responses deviate from the fitted means; `constant` is what their criteria have beside the
    scaled ones. The search starts from the covariance of the fit, or another, (k, k). The few that
    do not settle in lock-step are searched for one by one.
    """
    (lam,) = fit.scaled_lambdas
    optima = solve_stack(with_levels_merged(stack), lam @ lam.T if start is None else start)
    beta, sigma2 = optima.beta.copy(), optima.sigma2.copy()
    lambdas, converged = optima.lambdas.copy(), optima.settled.copy()
    criterion = optima.criterion + constant
    for number in np.flatnonzero(~converged):
        evaluation, report = solve_replicate(fit, _stack_problem(fit, stack, int(number)))
        converged[number] = report.converged
        if evaluation is None:
            beta[number], sigma2[number], lambdas[number] = np.nan, np.nan, np.nan
            criterion[number] = np.nan
        else:
            beta[number], sigma2[number] = evaluation.beta, evaluation.sigma2
            lambdas[number] = evaluation.lambdas[0]
            criterion[number] = evaluation.criterion - evaluation.problem.constant + constant
    return Refits.of_scaled(fit, beta, sigma2, [lambdas], converged, criterion)


def _stack_problem(fit: Fit, stack: LockstepData, number: int) -> Problem:
    one = stack.take(slice(number, number + 1))
    own = one.own[:, :, 0]
    right = np.concatenate([one.fixed[:, :, 0], one.response], axis=1)
    model = replace(
        fit.problem.model, own=[own], right=[right], gram=one.gram[0], within=None, first=None
    )
    change = float(one.degrees[0]) - fit.problem.degrees
    n = fit.problem.n_observations + change
    return replace(fit.problem, model=model, elimination=arrange([own], {}), n_observations=n)


def solve_replicate(
    fit: Fit, problem: Problem, *, anew: bool = False
) -> tuple[Evaluation | None, SolverReport]:
    """Search from the covariances of a fit for the optimum of the same model of other data.

    Or search anew, as if there were no fit. The evaluation is None if the criterion cannot be
    evaluated anywhere, or falls without end.
    """
    try:
        if not fit.spec.terms:
            return evaluate(problem, []), _REFIT
        start = [lam @ lam.T for lam in fit.scaled_lambdas]
        with threads_for(problem.structures, problem.n_levels, problem.rank):
            evaluation, report = Newton().solve(problem, None if anew else start)
            is_singular = any((np.diag(lam) == 0.0).any() for lam in evaluation.lambdas)
            if not anew and (is_singular or not report.converged):
                evaluation, report = Newton().solve(problem)
    except (LostPrecisionError, NoMaximumError, np.linalg.LinAlgError):
        return None, _LOST
    return evaluation, report


def collected(fit: Fit, found: list[tuple[Evaluation | None, SolverReport]]) -> Refits:
    """Put together what was found of replicates one by one."""
    p = len(fit.kept)
    beta = np.full((len(found), p), np.nan)
    sigma2, criterion = np.full((2, len(found)), np.nan)
    lambdas = [np.full((len(found), *lam.shape), np.nan) for lam in fit.scaled_lambdas]
    for number, (evaluation, _) in enumerate(found):
        if evaluation is not None:
            beta[number], sigma2[number] = evaluation.beta, evaluation.sigma2
            criterion[number] = evaluation.criterion
            for target, lam in zip(lambdas, evaluation.lambdas, strict=True):
                target[number] = lam
    converged = np.array([report.converged for _, report in found], dtype=bool)
    return Refits.of_scaled(fit, beta, sigma2, lambdas, converged, criterion)


def refit_without_products(fit: Fit, scaled: ScaledResponses, refits: Refits, number: int) -> Fit:
    """Return the fit of one replicate for what needs no cross-products of its own.

    Its estimates, effects and variances are right; it cannot be refitted.
    """
    lambdas = tuple(lam[number] for lam in refits.scaled_lambdas)
    problem = replicate_problem(fit, scaled, number)
    return Fit(fit.products, fit.spec, lambdas, _REFIT, {"problem": problem})


def refit_at(fit: Fit, responses: Responses, refits: Refits, number: int) -> Fit:
    """Return the whole fit of one replicate, with cross-products of its own."""
    lambdas = tuple(lam[number] for lam in refits.scaled_lambdas)
    one = Responses(
        responses.fixed[number : number + 1],
        responses.squares[number : number + 1],
        [sums[:, number : number + 1] for sums in responses.levels],
        [],
    )
    problem = replicate_problem(fit, ScaledResponses.of(fit, one), 0)
    products = replicate_products(fit, one, 0)
    return Fit(products, fit.spec, lambdas, _REFIT, {"problem": problem})


def stack_of_levels(fit: Fit, rows: Rows, draws: IntArray) -> LockstepData:
    """Make data sets of whole levels of the only factor.

    Their responses deviate from the fitted means. The rows are those of the fit, with codes that
    count its levels. `draws`, (R, n_draws), are the levels of every data set; one drawn twice
    counts as two.
    """
    model, (factor,) = fit.problem.model, fit.spec.used_factors
    p = len(model.kept)
    table = ScaledTable.of(fit, rows)
    columns = table.fixed.copy()
    columns[:, p] -= columns[:, :p] @ fit.evaluation.beta
    codes, n_levels = rows.codes[factor], len(fit.products.factors[factor].index)
    by_level = level_sums(codes, n_levels, list(columns.T), columns, rows.weights)
    right = level_sums(codes, n_levels, list(table.random[0]), columns, rows.weights)
    flat = by_level.reshape(-1, n_levels)
    counts = np.stack([np.bincount(of, minlength=n_levels) for of in draws]).astype(float)
    frequency = fit.spec.weighting == "frequency" and rows.weights is not None
    sizes = np.bincount(codes, rows.weights if frequency else None, minlength=n_levels)
    reml = fit.spec.method == "reml"
    return LockstepData(
        own=model.own[0][:, :, draws],
        fixed=right[:, :p][:, :, draws],
        response=right[:, p][:, draws],
        gram=(counts @ flat.T).reshape(len(draws), p + 1, p + 1),
        structure=fit.problem.structures[0],
        degrees=np.asarray(counts @ sizes - p * reml, dtype=np.float64),
        reml=reml,
        penalty=fit.problem.joint_penalty,
        sigma2=fit.problem.sigma2,
    )
