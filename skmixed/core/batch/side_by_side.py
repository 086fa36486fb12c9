"""One model of many responses to the same rows.

What does not depend on the response is summed once, and with one factor all are searched in
lock-step. Each response is taken less its least-squares fit, which changes the coefficients alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import linalg

from skmixed.core.batch.refits import (
    Refits,
    collected,
    refit_stack,
    shared_stack,
    solve_replicate,
    takes_lockstep,
)
from skmixed.core.batch.responses import (
    Responses,
    ScaledResponses,
    replicate_problem,
    replicate_products,
    sum_responses,
)
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray
from skmixed.core.model.stack import LockstepData
from skmixed.core.rows.scaled import ScaledTable
from skmixed.core.sums.layout import Rows

_NUMBERS_AT_A_TIME = 2**24  # of rows times responses at a time: 128 MB, and as much again
_SIDE_BY_SIDE = "fitted beside other responses"


@dataclass(frozen=True, slots=True, eq=False)
class ManyResponses:
    """The fits of R responses, in units of the data; NaN where one could not be fitted."""

    fit: Fit  # of one of them, whose columns and levels all have
    sums: Responses  # of the responses less their least-squares fits
    least_squares: FloatArray  # (R, n_fixed), coefficients
    refits: Refits  # of what is left, at the coefficients of `fit`
    covariances: FloatArray  # (R, p, p), V_b in scaled units, relative to sigma^2

    @classmethod
    def of(cls, fit: Fit, rows: Rows, values: FloatArray) -> ManyResponses:
        """Fit responses, (n, R), to the rows of a fit, with codes that count its levels."""
        sums, least_squares = _sums(fit, rows, values)
        scaled = ScaledResponses.of(fit, sums)
        if takes_lockstep(fit):
            stack = shared_stack(fit, scaled)
            start = np.eye(len(fit.scaled_lambdas[0])) if fit.is_singular else None
            refits = refit_stack(fit, stack, fit.problem.constant, start)
            covariances = _fixed_covariances(stack, refits.scaled_lambdas[0])
        else:
            problems = (replicate_problem(fit, scaled, number) for number in range(len(sums)))
            found = [solve_replicate(fit, problem, anew=True) for problem in problems]
            refits = collected(fit, found)
            nothing = np.full((fit.rank, fit.rank), np.nan)
            covariances = np.array(
                [nothing if each is None else each.beta_covariance for each, _ in found]
            )
        return cls(fit, sums, least_squares, refits, covariances)

    @property
    def beta(self) -> FloatArray:
        """Coefficients of all fixed columns, (R, n_fixed); 0 where they depend on those before."""
        return np.asarray(self.least_squares + (self.refits.beta - self.fit.beta))

    @property
    def errors(self) -> FloatArray:
        """Standard errors of the coefficients, (R, n_fixed); zero for dependent columns."""
        maps = self.fit.problem.model.to_raw[list(self.fit.spec.fixed), :-1]
        variances = np.einsum("fi,rij,fj->rf", maps, self.covariances, maps)
        return np.asarray(np.sqrt(variances * self.refits.sigma2[:, None]))

    def at(self, number: int) -> Fit:
        """Return the whole fit of one response, with cross-products of its own."""
        products = replicate_products(self.fit, self.sums, number, self.least_squares[number])
        fit = self.fit.at(products)
        maps = self.fit.problem.model.random_maps
        zipped = zip(maps, self.refits.scaled_lambdas, strict=True)
        lambdas = fit.problem.scaled_lambdas([each @ lam[number] for each, lam in zipped])
        return fit.moved(lambdas, _SIDE_BY_SIDE)


def _sums(fit: Fit, rows: Rows, values: FloatArray) -> tuple[Responses, FloatArray]:
    """Sum responses, (n, R), less their least-squares fits; return these coefficients too."""
    model, p = fit.problem.model, fit.rank
    fixed = np.ascontiguousarray(ScaledTable.of(fit, rows).fixed[:, :p])
    weighted = fixed if rows.weights is None else fixed * rows.weights[:, None]
    root = linalg.cholesky(weighted.T @ fixed, lower=True) if p else np.empty((0, 0))
    maps = model.to_raw[list(fit.spec.fixed), :-1]
    parts, coefficients = [], []
    step = max(1, _NUMBERS_AT_A_TIME // len(fixed))
    for start in range(0, values.shape[1], step):
        left = values[:, start : start + step]
        shift = left.mean(axis=0) if fit.spec.has_intercept else np.zeros(left.shape[1])
        left = left - shift
        found = np.zeros((p, left.shape[1]))
        for _ in range(2 if p else 0):  # the second time takes off what was rounded
            change = linalg.cho_solve((root, True), weighted.T @ left)
            found += change
            left -= fixed @ change
        raw = (maps @ found).T
        if fit.spec.has_intercept:
            raw[:, fit.spec.fixed.index(0)] += shift
        coefficients.append(raw)
        parts.append(sum_responses(fit, rows, left))
    levels = [np.concatenate(each, axis=1) for each in zip(*[p.levels for p in parts], strict=True)]
    sums = Responses(
        np.concatenate([part.fixed for part in parts]),
        np.concatenate([part.squares for part in parts]),
        levels,
        [],
    )
    return sums, np.concatenate(coefficients)


def _fixed_covariances(stack: LockstepData, lambdas: FloatArray) -> FloatArray:
    """Return V_b of every data set, (R, p, p), some at a time."""
    n_numbers = stack.fixed.size + len(stack.own) * stack.response.shape[2]
    step = max(1, _NUMBERS_AT_A_TIME // n_numbers)
    lambdas = np.where(np.isfinite(lambdas), lambdas, 0.0)
    places = [slice(start, start + step) for start in range(0, len(stack), step)]
    return np.concatenate([stack.take(at).fixed_covariances(lambdas[at]) for at in places])
