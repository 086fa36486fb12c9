"""The exact search: by Newton's method, from as many starts as promise something."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import semidefinite_cholesky
from skmixed.core.model.dense import is_small
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.search.grid import is_gridded, lowest_on_grid
from skmixed.core.search.minque import minque_start
from skmixed.core.search.report import Callback, SolverReport
from skmixed.core.search.spread import spread
from skmixed.core.search.starts import (
    beside_curve,
    has_plenty,
    largest_root,
    other_starts,
    term_kinds,
    without_weak_terms,
)
from skmixed.core.search.state import ESCAPE_GAIN, with_larger_curves
from skmixed.core.search.theta_search import ThetaSearch
from skmixed.core.search.trust_region import ROUNDING_MARGIN
from skmixed.core.search.unbounded import evaluate_bounded

_SHORT = 30  # evaluations: fewer allow one search, from one start
_LARGE = 3.0  # a lambda that large may be one of two minima, in whatever number of rows
_HARDLY_HIGHER = 3.0  # of the criterion: what the other variances may make up for
_POLISHED = 4  # ends of many searches, at most: the lowest is enough but for those cut short
_MOST_SLOPES = 100_000  # evaluations times parameters: a minute with 1,275 of them
_MOST_SQUARES = 4_000_000  # evaluations times squared parameters: about a second of LAPACK's
_FEWEST = 5  # evaluations, with however many parameters: after them the variances are of right size
_TOO_LONG = (
    "a search for {} parameters takes too long and was ended early: take fewer random columns, or "
    "a covariance of fewer parameters"
)


@dataclass(frozen=True, slots=True)
class Newton:
    """Trust-region Newton search with the exact Hessian or the average information.

    `tol` is a decrease of the criterion that does not matter. The search ends when a step,
    predicted to gain little, converges at such a rate that a negligible part of it is left.
    """

    tol: float = 1e-8
    max_iter: int = 200  # most evaluations of the criterion
    callback: Callback | None = None  # called with every `Iteration`
    krylov: ClassVar[None] = None  # elimination is exact

    def solve(
        self, problem: Problem, start: Blocks | None = None
    ) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion of a problem with at least one random term.

        The lambdas of the result are lower triangular. `start` holds relative covariances, (k, k)
        of every factor in scaled units, for one search from there; without it, the search starts
        from MINQUE(0) and is repeated from other starts where that promises something. Raises
        `NoMaximumError` if the criterion falls without end.
        """
        if start is not None:
            return self._search(problem, start)
        begin = minque_start(problem)
        is_short = self.max_iter < _SHORT
        is_plain = has_plenty(problem)
        if len(begin) > 1 and not is_short and not is_plain and is_small(problem):
            found = self._search_widely(problem, begin)
            if found is not None:
                return found
        if not is_short:
            begin = self._larger_curves(problem, begin)
        try:
            found = self._search(problem, begin)
        except LostPrecisionError:
            found = self._search(problem, [np.eye(s.size) for s in problem.structures])
        if is_short:
            return found
        if is_plain and largest_root(found[0]) < _LARGE:
            found = self._search_without(problem, *found)
            if len(begin) == 1:
                found = self._search_again(problem, *found)
        elif is_small(problem):
            found = self._search_widely(problem, found[0].omegas, found) or found
        else:
            found = self._search_again(problem, *found)
        return self._search_beside_curves(problem, *found)

    def _larger_curves(self, problem: Problem, begin: Blocks) -> Blocks:
        """Return covariances, (k, k) a factor, to begin at in the place of MINQUE's, of curves."""
        curves = term_kinds(problem.structures, problem.n_levels).curves
        if not curves:
            return begin
        try:
            roots = [semidefinite_cholesky(omega) for omega in begin]
            return with_larger_curves(evaluate_bounded(problem, roots), curves)
        except LostPrecisionError:
            return begin

    def _search_widely(
        self,
        problem: Problem,
        begin: Blocks,
        found: tuple[Evaluation, SolverReport] | None = None,
    ) -> tuple[Evaluation, SolverReport] | None:
        """Search a small problem from many starts; return the lowest end, or what was found."""
        many = lowest_on_grid(problem, found and begin) if is_gridded(problem) else None
        if many is None:
            confounded = found[1].confounded if found else self._confounded(problem, begin)
            many = spread(problem, [begin], confounded)
        if self.callback is not None:
            for line in many.trace:
                self.callback(line)
        spent = len(many.trace) + (found[1].n_evaluations if found else 0)
        ends = zip(many.omegas, many.criterion, many.settled, strict=True)
        for omegas, criterion, is_settled in islice(ends, _POLISHED):
            is_higher = found is not None and criterion > _surely(found[0]) - ESCAPE_GAIN
            if is_higher and is_settled:
                continue
            try:
                again = self._search(problem, omegas, known=found and found[0])
            except LostPrecisionError:
                continue
            spent += again[1].n_evaluations
            if found is None or _surely(again[0]) < _surely(found[0]) - ESCAPE_GAIN:
                trace = (*many.trace[:1], *many.trace[-1:], *again[1].trace)
                found = again[0], replace(again[1], trace=trace)
        return found and (found[0], _having_spent(found[1], spent))

    def _confounded(self, problem: Problem, begin: Blocks) -> tuple[int, ...]:
        """Return the positions of factors that the criterion does not depend on."""
        search = ThetaSearch(problem, self)
        try:
            search.start(begin)
        except LostPrecisionError:
            return ()
        return search.confounded

    def _search_again(
        self, problem: Problem, found: Evaluation, report: SolverReport
    ) -> tuple[Evaluation, SolverReport]:
        """Search from the few other starts that promise something."""
        spent, others = report.n_evaluations, other_starts(found)
        for number, other in enumerate(others, start=2):
            try:
                again, second = self._search(
                    problem, other, known=found, numbered=(number, len(others) + 1)
                )
            except LostPrecisionError:
                continue
            spent += second.n_evaluations
            if _is_lower(again.criterion, found):
                found, report = again, second
        return found, _having_spent(report, spent)

    def _search_without(
        self, problem: Problem, found: Evaluation, report: SolverReport
    ) -> tuple[Evaluation, SolverReport]:
        """Search again without a weak term where the criterion is lower without it."""
        spent = report.n_evaluations
        for other, is_weak in without_weak_terms(problem.structures, found.lambdas):
            if not is_weak:
                continue
            spent += 1
            roots = [semidefinite_cholesky(omega) for omega in other]
            if _is_lower(evaluate_bounded(problem, roots).criterion, found):
                found, report = self._search(problem, other)
                spent += report.n_evaluations
        return found, _having_spent(report, spent)

    def _search_beside_curves(
        self, problem: Problem, found: Evaluation, report: SolverReport
    ) -> tuple[Evaluation, SolverReport]:
        """Search again with a larger variance of a curve where that is nearly as low, or lower."""
        spent = report.n_evaluations
        for place in term_kinds(problem.structures, problem.n_levels).curves:
            tried = beside_curve(found, *place)
            ends = [self._criterion(problem, omegas) for omegas in tried]
            spent += len(ends)
            lowest = min(range(len(ends)), key=ends.__getitem__, default=None)
            if lowest is None or ends[lowest] > found.criterion + _HARDLY_HIGHER:
                continue
            again, second = self._search(problem, tried[lowest])
            spent += second.n_evaluations
            if _is_lower(again.criterion, found):
                found, report = again, second
        return found, _having_spent(report, spent)

    def _criterion(self, problem: Problem, omegas: Blocks) -> float:
        """Return the criterion at covariances, infinite where it has too few digits."""
        try:
            roots = [semidefinite_cholesky(omega) for omega in omegas]
            return evaluate_bounded(problem, roots).criterion
        except LostPrecisionError:
            return np.inf

    def _search(
        self,
        problem: Problem,
        start: Blocks,
        known: Evaluation | None = None,
        numbered: tuple[int, int] = (1, 1),
    ) -> tuple[Evaluation, SolverReport]:
        """Search from covariances, as long as that does not lead to where an end is known."""
        search = ThetaSearch(problem, self)
        search.numbered = numbered
        search.start(start)
        most = self._most_evaluations(problem, len(search.theta))
        if most < self.max_iter:
            search.message = _TOO_LONG.format(len(search.theta))
        while search.n_evaluations < most:
            if search.descend() and search.has_ended():
                break
            if known is not None and search.comes_to(known):
                break
        return search.finish()

    def _most_evaluations(self, problem: Problem, n_theta: int) -> int:
        """Return the most evaluations, fewer for very many parameters: each takes a second.

        Far fewer where effects are as many as rows: the criterion falls on and on along parameters
        of which the rows say nothing.
        """
        if problem.n_effects >= problem.n_observations:
            return min(self.max_iter, max(_FEWEST, _MOST_SQUARES // n_theta**2))
        return min(self.max_iter, max(_SHORT, _MOST_SLOPES // n_theta))


def _having_spent(report: SolverReport, spent: int) -> SolverReport:
    """Return a report in which the evaluations of all searches are counted."""
    return report if spent == report.n_evaluations else replace(report, n_evaluations=spent)


def _surely(found: Evaluation) -> float:
    """Return what the criterion is at most, rounding considered."""
    return found.criterion + ROUNDING_MARGIN * found.rounding


def _is_lower(criterion: float, found: Evaluation) -> bool:
    """Tell whether another end is lower by more than rounding."""
    return bool(criterion < found.criterion - ESCAPE_GAIN - found.rounding)
