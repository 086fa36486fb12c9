"""The EM algorithm: slow, but it never raises the criterion."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.minque import minque_start
from skmixed.core.search.newton import Newton
from skmixed.core.search.report import Callback, Iteration, SolverReport
from skmixed.core.search.state import em_step
from skmixed.core.search.unbounded import evaluate_bounded

_LIMIT = "the number of EM steps reached max_iter"


@dataclass(frozen=True, slots=True)
class EM:
    """ECME steps until the criterion stands still, then Newton's method from there.

    EM approaches a variance of zero for ever without reaching it; the last few steps by Newton's
    method put exact zeros.
    """

    tol: float = 1e-8  # the EM steps end when one lowers the criterion by less
    max_iter: int = 2_000  # most EM steps
    callback: Callback | None = None  # called with every `Iteration`
    krylov: ClassVar[None] = None  # elimination is exact

    def solve(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion of a problem with at least one random term.

        The trace of the report has the EM steps and the last steps. Raises `NoMaximumError` if the
        criterion falls without end.
        """
        began = time.perf_counter()
        trace: list[Iteration] = []
        omegas = minque_start(problem)
        current = _evaluate(problem, omegas)
        settled = False
        while not settled and len(trace) < self.max_iter:
            update = em_step(current)
            step = _distance(omegas, update)
            slope = float(np.sqrt(sum(np.sum(g**2) for g in current.gradient)))
            before, omegas = current.criterion, update
            current = _evaluate(problem, omegas)
            seconds = time.perf_counter() - began
            trace.append(Iteration(current.criterion, slope, step, True, seconds))
            if self.callback is not None:
                self.callback(trace[-1])
            settled = before - current.criterion < self.tol
        polish = Newton(tol=self.tol, callback=self.callback)
        evaluation, report = polish.solve(problem, omegas)
        return evaluation, replace(
            report,
            solver="em",
            n_evaluations=report.n_evaluations + len(trace) + 1,
            message=report.message if settled else f"{_LIMIT}; then {report.message}",
            trace=(*trace, *report.trace),
        )


def _evaluate(problem: Problem, omegas: Blocks) -> Evaluation:
    coordinates = Coordinates.natural(problem.structures)
    return evaluate_bounded(problem, coordinates.lambdas(coordinates.theta(omegas)))


def _distance(first: Blocks, second: Blocks) -> float:
    with np.errstate(over="ignore"):  # where a variance ratio grows without bound
        return float(np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(first, second, strict=True))))
