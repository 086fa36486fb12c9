"""Newton's method on the relative factors, in which the boundary is an interior point.

Omega = lambda lambda' makes the criterion smooth across singular covariances: near one it grows
with the square of theta, so that Newton's method converges quadratically to an exact zero. The
second derivatives in theta have a term 2 tr(G L_a L_b') beside those in Omega; it is what makes
them right there. Rows of lambda are kept in an order of falling variance (pivoting), which avoids
the curved valley that a vanishing first variance leaves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination import Blocks, LostPrecisionError
from skmixed.core.evaluation import Evaluation
from skmixed.core.layout import FloatArray
from skmixed.core.problem import Problem
from skmixed.core.solvers.base import Callback
from skmixed.core.solvers.boundary import snapped, way_off
from skmixed.core.solvers.coordinates import Coordinates, theta_gradient
from skmixed.core.solvers.ecme import ecme_step
from skmixed.core.solvers.minque import minque_start
from skmixed.core.solvers.report import SolverReport
from skmixed.core.solvers.restarts import is_like_residual, other_starts
from skmixed.core.solvers.trust_region import trust_region_step
from skmixed.core.solvers.unbounded import evaluate, solve_bounded
from skmixed.core.solvers.walk import Walk
from skmixed.core.symmetric import eigenvalues

_FLAT = 1e-9
_LEFT = 1e-5
_ROUNDING = 1e-17
_SNAP_RISE = 1e-8
_ESCAPE_GAIN = 1e-9
_SMALLEST_RADIUS = 1e-8
_PATIENCE = 6
_FEW_DIGITS = 1e-7
_IDLE = 5
_SLOW, _SLOW_RATE = 4, 0.3
_DIFFERENCE = 1e-6
_LOST = "towards its end the cross-products have too few digits, the residual being nearly nothing"


@dataclass(frozen=True, slots=True)
class Newton:
    """Trust-region Newton search with the exact Hessian or the average information.

    Parameters
    ----------
    tol : float
        Decrease of the criterion that does not matter. The search ends when a step, predicted to
        gain little, converges at such a rate that a negligible part of it is left.
    max_iter : int
        Most evaluations of the criterion.
    callback : callable or None
        Called with every `Iteration`.
    """

    tol: float = 1e-8
    max_iter: int = 200
    callback: Callback | None = None

    def solve(
        self, problem: Problem, start: Blocks | None = None
    ) -> tuple[Evaluation, SolverReport]:
        """Minimise the criterion.

        Parameters
        ----------
        problem : Problem
            The criterion; at least one random term.
        start : list of ndarray of shape (k, k), optional
            Relative covariances to start from, in scaled units; by default those of MINQUE(0).

        Returns
        -------
        evaluation : Evaluation
            The model at the optimum, with lower-triangular factors.
        report : SolverReport
            How it got there.
        """
        if start is not None:
            return self._search(problem, start)
        return solve_bounded(self._search_thoroughly, problem)

    def _search_thoroughly(self, problem: Problem) -> tuple[Evaluation, SolverReport]:
        try:
            found, report = self._search(problem, minque_start(problem))
        except LostPrecisionError:
            identity = [np.eye(structure.size) for structure in problem.structures]
            return self._search(problem, identity)
        spent = report.n_evaluations
        for other in other_starts(found):
            try:
                again, second = self._search(problem, other)
            except LostPrecisionError:
                continue
            spent += second.n_evaluations
            if again.criterion < found.criterion - _ESCAPE_GAIN - found.rounding:
                found, report = again, second
        return found, replace(report, n_evaluations=spent)

    def _search(self, problem: Problem, start: Blocks) -> tuple[Evaluation, SolverReport]:
        search = _Search(problem, self, start)
        search.run()
        return search.finish()


class _Search(Walk):
    def __init__(self, problem: Problem, settings: Newton, start: Blocks) -> None:
        super().__init__(problem, settings)
        self.settings = settings
        self.predicted = 0.0
        self._local: tuple[Evaluation, FloatArray, FloatArray] | None = None
        self.rejected = 0
        self.is_lost = False
        self.idle = 0
        self.slow = 0
        self.start(start)

    def evaluate(self, theta: FloatArray) -> Evaluation:
        self.n_evaluations += 1
        return evaluate(self.problem, self.coordinates.factors(theta))

    def start(self, omegas: Blocks) -> None:
        """Start from given covariances, but from zero where a variance does not matter.

        It does not where a factor is part of the fixed columns, has one level, or has a level
        for every row: then the criterion does not depend on it at all.
        """
        self.move_to(omegas)
        flat = self.flat_factors(self.local[1], _FLAT)
        if not flat:
            return
        before = self.current.criterion
        self.move_to([np.zeros_like(o) if f in flat else o for f, o in enumerate(omegas)])
        residual_like = all(is_like_residual(self.problem, f) for f in flat)
        if (
            residual_like
            or abs(self.current.criterion - before) < _SNAP_RISE + self.current.rounding
        ):
            self.confounded = tuple(flat)
        else:
            self.move_to(omegas)

    @property
    def local(self) -> tuple[FloatArray, FloatArray]:
        """Gradient and second derivatives in theta where the search stands."""
        if self._local is None or self._local[0] is not self.current:
            slope, hessian = self.derivatives()
            if self.slow >= _SLOW:
                hessian = self.difference_hessian(slope)
            self.leave_confounded(slope, hessian)
            self._local = (self.current, slope, hessian)
        return self._local[1:]

    def difference_hessian(self, slope: FloatArray) -> FloatArray:
        """Second derivatives in theta by differences of the gradient, an evaluation a column.

        For several factors, where the average information converges too slowly.
        """
        hessian = np.empty((len(self.theta), len(self.theta)))
        steps = _DIFFERENCE * self.units()
        for column, step in enumerate(steps):
            theta = self.theta.copy()
            theta[column] += step
            nearby = self.evaluate(theta)
            hessian[column] = (theta_gradient(nearby, self.coordinates.patterns) - slope) / step
        return (hessian + hessian.T) / 2.0

    def run(self) -> None:
        while self.n_evaluations < self.settings.max_iter:
            if self.descend():
                if self.is_lost:
                    self.message = _LOST
                    return
                if self.leave_boundary():
                    continue
                self.converged = True
                self.message = "the criterion cannot be lowered further"
                return

    def descend(self) -> bool:
        """Try one step; return whether the search has arrived."""
        units = self.units()
        slope, hessian = self.local[0] * units, self.local[1] * np.outer(units, units)
        step = trust_region_step(slope, hessian, self.radius)
        predicted = -float(slope @ step + step @ hessian @ step / 2.0)
        before = self.current.criterion
        if predicted < min(1e-12, self.settings.tol):
            return True
        theta = self.theta + units * step
        length = float(np.linalg.norm(step))
        try:
            trial = self.evaluate(theta)
        except LostPrecisionError:
            self.radius = length / 4.0
            self.is_lost = self.radius < _SMALLEST_RADIUS
            return self.is_lost
        gained = before - trial.criterion
        interior = length < 0.99 * self.radius
        ratio = _ratio(gained, predicted, self.current.rounding)
        self.adapt_radius(ratio, length, interior)
        accepted = ratio > 1e-3
        if accepted:
            self.theta, self.current = theta, trial
            self.pivot()
        self.record(self.current.criterion, float(np.linalg.norm(slope)), length, accepted)
        small = predicted < 10.0 * max(self.settings.tol, self.current.rounding)
        self.idle = self.idle + 1 if small else 0
        if self.idle == _IDLE:
            return True
        self.rejected = 0 if accepted else self.rejected + 1
        if accepted:
            left = predicted
            is_slow = self.predicted > 0 and predicted > _SLOW_RATE * self.predicted and interior
            self.slow = self.slow + 1 if is_slow or self.slow >= _SLOW else 0
            if predicted < self.predicted:
                left *= predicted / self.predicted
            self.predicted = predicted
            negligible = max(_LEFT * self.settings.tol, _ROUNDING * abs(before))
            return left < negligible and interior
        if self.rejected == _PATIENCE:
            self.is_lost = self.current.lost > _FEW_DIGITS
            if self.is_lost:
                return True
            self.step_by_em()
        return self.radius < _SMALLEST_RADIUS

    def step_by_em(self) -> None:
        """Take the step that cannot fail."""
        before = self.current.criterion
        self.move_to(ecme_step(self.current))
        self.rejected = 0
        self.record(self.current.criterion, 0.0, 0.0, self.current.criterion <= before)

    def adapt_radius(self, ratio: float, length: float, interior: bool) -> None:
        if ratio < 0.1:
            self.radius = length / 4.0
        elif ratio < 0.25:
            self.radius = length / 2.0
        elif ratio > 0.75 and not interior:
            self.radius *= 2.5

    def leave_boundary(self) -> bool:
        """Step off the boundary if that lowers the criterion; return whether it did."""
        omegas = self.omegas
        found = way_off(self.problem.structures, omegas, self.current)
        if found is None:
            return False
        factor, direction = found
        size = max(1.0, float(eigenvalues(omegas[factor])[-1]))
        before = self.current
        for exponent in range(1, 7):
            moved = list(omegas)
            moved[factor] = omegas[factor] + 10.0**-exponent * size * direction
            self.move_to(moved)
            if before.criterion - self.current.criterion > _ESCAPE_GAIN + before.rounding:
                return True
        self.move_to(omegas)
        return False

    def finish(self) -> tuple[Evaluation, SolverReport]:
        """Put exact zeros where they cost nothing and rows back in their natural order."""
        self.snap()
        found = self.current
        if not self.coordinates.are_natural(found.factors):
            natural = Coordinates.natural(self.problem)
            found = found.with_factors(natural.factors(natural.theta(self.omegas)))
        report = SolverReport(
            "newton",
            self.converged,
            self.n_evaluations,
            self.message,
            tuple(self.trace),
            self.confounded,
        )
        return found, report

    def snap(self) -> None:
        omegas = self.omegas
        for factor, structure in enumerate(self.problem.structures):
            trial = list(omegas)
            trial[factor] = snapped(structure, omegas[factor])
            if np.array_equal(trial[factor], omegas[factor]):
                continue
            evaluation = self.evaluate(self.coordinates.theta(trial))
            rise = evaluation.criterion - self.current.criterion
            if rise < _SNAP_RISE + self.current.rounding:
                self.current, omegas = evaluation, trial


def _ratio(gained: float, predicted: float, rounding: float) -> float:
    """Return achieved over predicted decrease, one where both drown in rounding."""
    if predicted < max(1e-7, 10.0 * rounding) and gained > -10.0 * rounding:
        return 1.0
    return gained / predicted
