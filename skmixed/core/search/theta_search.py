"""Newton's method on the lambdas, in which the boundary is an interior point.

Omega = lambda lambda' makes the criterion smooth across singular covariances: near one it grows
with the square of theta, so that Newton's method converges quadratically to an exact zero. The
second derivatives in theta have a term 2 tr(G L_a L_b') beside those in Omega; it is what makes
them right there. Rows of lambda are kept in an order of falling variance (pivoting), which avoids
the curved valley that a vanishing first variance leaves.
"""

from __future__ import annotations

import math

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import FloatArray, eigenvalues, trust_region_step
from skmixed.core.model.dense import is_small
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates, local_model, theta_gradient
from skmixed.core.search.lockstep import LITTLE_HIGHER, are_near
from skmixed.core.search.report import SolverReport
from skmixed.core.search.starts import is_like_residual
from skmixed.core.search.state import (
    ESCAPE_GAIN,
    NO_GAIN,
    SMALLEST_RADIUS,
    SNAP_RISE,
    SearchSettings,
    SearchState,
    em_step,
)
from skmixed.core.search.trust_region import (
    ACCEPTED_RATIO,
    ROUNDING_MARGIN,
    is_interior,
    judged,
    new_radius,
)
from skmixed.core.search.unbounded import evaluate_bounded

_FLAT_FACTOR = 1e-9  # slope and curvature relative to the information: less is rounding
_LEFT_TO_GAIN = 1e-5  # of the tolerance: so little left moves theta by less than 1e-6
_LEAST_GAIN = 1e-17  # relative to the criterion: negligible even with a tolerance of zero
_PATIENCE = 6  # rejected steps in a row, which shorten the next one a thousandfold or so
_FEW_DIGITS = 1e-7  # relative error of r^2 from rounding, that rejected steps are blamed on
_IDLE_STEPS = 5  # in a row that promise next to nothing: the search goes round in rounding
_STALE_STEPS = 15  # that reach nothing lower, rounding considered: the same, though they promise
_LITTLE_GAIN = 1e-3  # of the criterion: Newton's method needs few steps for so little
_LITTLE_STEPS = 6  # in a row: the way is a curve, or convergence is linear
_SLOW_STEPS = 4  # in a row: convergence is linear, the average information too far off
_SLOW_RATE = 0.3  # of predicted decreases: a good Hessian makes each a small part of the last one
_MOST_DIFFERENCES = 60  # evaluations for one Hessian: more cost more than the steps they save
_DIFFERENCE = 1e-6  # in units of theta: about the root of the gradient's relative rounding
_LOST = "towards its end the cross-products have too few digits, the residual being nearly nothing"


class ThetaSearch(SearchState):
    """A search in theta by Newton's method, from one start."""

    def __init__(self, problem: Problem, settings: SearchSettings) -> None:
        super().__init__(problem, settings)
        self.settings = settings
        self.derivatives = local_model  # of the criterion: gradient and Hessian, at theta
        self.predicted = 0.0
        self._local: tuple[Evaluation, FloatArray, FloatArray] | None = None
        self.rejected = 0
        self.is_lost = False
        self.idle = 0
        self.stale, self.lowest = 0, np.inf
        self.slow = 0
        self.n_small = 0  # steps in a row that gained little
        self.small_since: Blocks = []  # the lambdas, (k, k) a factor, where the first of them began
        self.is_exact = len(problem.structures) > 1 and is_small(problem)  # the Hessian
        self.square = np.inf  # least residual sum of squares, but for a factor of two

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Set the model up at theta, (t,)."""
        self.n_evaluations += 1
        below = self.square / 2.0
        found = evaluate_bounded(self.problem, self.coordinates.lambdas(theta), below)
        if found.square < below:
            self.square = found.square
        return found

    def start(self, omegas: Blocks) -> None:
        """Start from given covariances, but from zero where a variance does not matter.

        It does not where a factor is part of the fixed columns, has one level, or has a level
        for every row: then the criterion does not depend on it at all.
        """
        self.move_to(omegas)
        flat = self.flat_factors(self.local[1], _FLAT_FACTOR)
        if not flat:
            return
        before = self.current.criterion
        self.move_to([np.zeros_like(o) if f in flat else o for f, o in enumerate(omegas)])
        residual_like = all(is_like_residual(self.problem, f) for f in flat)
        if (
            residual_like
            or abs(self.current.criterion - before) < SNAP_RISE + self.current.rounding
        ):
            self.confounded = tuple(flat)
        else:
            self.move_to(omegas)

    @property
    def local(self) -> tuple[FloatArray, FloatArray]:
        """Gradient and second derivatives in theta where the search stands."""
        if self._local is None or self._local[0] is not self.current:
            slope, hessian = self.derivatives(self.current, self.coordinates, self.theta)
            if self.slow >= _SLOW_STEPS and not self.is_exact and len(slope) <= _MOST_DIFFERENCES:
                hessian = self.difference_hessian(slope)
            self.drop_confounded(slope, hessian)
            self._local = (self.current, slope, hessian)
        return self._local[1:]

    def gradient_of(self, evaluation: Evaluation, theta: FloatArray) -> FloatArray:
        """Return the gradient, (t,), at another theta."""
        return theta_gradient(evaluation, self.coordinates, theta)

    def difference_hessian(self, slope: FloatArray) -> FloatArray:
        """Return second derivatives in theta, (t, t), by differences of the gradient.

        One evaluation a column: for several factors, where the average information converges too
        slowly.
        """
        hessian = np.empty((len(self.theta), len(self.theta)))
        steps = _DIFFERENCE * self.units()
        for column, step in enumerate(steps):
            theta = self.theta.copy()
            theta[column] += step
            moved = self.evaluate(theta)
            hessian[column] = (self.gradient_of(moved, theta) - slope) / step
        return (hessian + hessian.T) / 2.0

    def has_ended(self) -> bool:
        """Tell whether no way leads down from where descents have arrived; else take it."""
        if self.is_lost:
            self.message = _LOST
            return True
        if self.leave_boundary():
            return False
        self.converged = True
        self.message = "the criterion cannot be lowered further"
        return True

    def descend(self) -> bool:
        """Try one step; return whether the search has arrived."""
        units = self.units()
        slope, hessian = self.local[0] * units, self.local[1] * units[:, None] * units
        step, promised = trust_region_step(slope, hessian, self.radius)
        predicted = float(promised)
        if predicted < min(NO_GAIN, self.settings.tol):
            return True
        before, lambdas = self.current.criterion, self.current.lambdas
        theta = self.theta + units * step
        length = math.sqrt(step @ step)
        try:
            trial = self.evaluate(theta)
        except LostPrecisionError:
            self.radius = length / 4.0
            self.is_lost = self.radius < SMALLEST_RADIUS
            return self.is_lost
        gained = before - trial.criterion
        interior = is_interior(length, self.radius)
        ratio = judged(gained, predicted, self.current.rounding)
        self.radius = new_radius(ratio, length, self.radius)
        accepted = ratio > ACCEPTED_RATIO
        if accepted:
            self.theta, self.current = theta, trial
            self.pivot()
        self.record(self.current.criterion, math.sqrt(slope @ slope), length, accepted)
        if accepted and self.goes_on_straight(lambdas, gained):
            return False
        small = predicted < ROUNDING_MARGIN * max(self.settings.tol, self.current.rounding)
        self.idle = self.idle + 1 if small else 0
        if self.idle == _IDLE_STEPS:
            return True
        self.rejected = 0 if accepted else self.rejected + 1
        if self.has_stalled() or self.rejected == _PATIENCE:
            self.is_lost = self.current.relative_rounding > _FEW_DIGITS
            if self.is_lost or self.rejected < _PATIENCE:
                return True
            if self.step_by_em():
                self.is_lost = not small
                return True
        if accepted:
            return self.left_to_gain(predicted, interior) < max(
                _LEFT_TO_GAIN * self.settings.tol, _LEAST_GAIN * abs(before)
            )
        return self.radius < SMALLEST_RADIUS

    def comes_to(self, known: Evaluation) -> bool:
        """Tell whether the search, not below an end, is so near that it will arrive there."""
        excess = self.current.criterion - known.criterion
        pairs = zip(self.omegas, known.omegas, strict=True)
        return 0.0 < excess < LITTLE_HIGHER and all(bool(are_near(*pair)) for pair in pairs)

    def left_to_gain(self, predicted: float, interior: bool) -> float:
        """Return what a step that was taken has left to gain, infinity if it was cut."""
        is_slow = self.predicted > 0 and predicted > _SLOW_RATE * self.predicted and interior
        self.slow = self.slow + 1 if is_slow or self.slow >= _SLOW_STEPS else 0
        left = predicted * min(1.0, predicted / self.predicted if self.predicted else 1.0)
        self.predicted = predicted
        return left if interior else np.inf

    def has_stalled(self) -> bool:
        """Tell whether many steps have reached nothing lower, rounding considered."""
        self.stale += 1
        if self.current.criterion < self.lowest - self.current.rounding:
            self.stale, self.lowest = 0, self.current.criterion
        return self.stale == _STALE_STEPS

    def goes_on_straight(self, lambdas: Blocks, gained: float) -> bool:
        """Look ahead after steps that gained little; return whether that leads lower.

        The last step was from `lambdas`. Every search ends with a few such steps, not with so many.
        """
        if not self.n_small:
            self.small_since = lambdas
        self.n_small = self.n_small + 1 if gained < _LITTLE_GAIN else 0
        if self.n_small < _LITTLE_STEPS:
            return False
        before = self.current
        lines, here, self.n_small = self.ahead(self.small_since), self.omegas, 0
        for omegas in lines:
            try:
                self.move_to(omegas)
            except LostPrecisionError:
                continue
            if before.criterion - self.current.criterion > ESCAPE_GAIN + before.rounding:
                self.record(self.current.criterion, 0.0, 0.0, True)
                return True
        self.move_to(here)
        return False

    def step_by_em(self) -> bool:
        """Take one EM step, which fails by rounding only; return whether it did."""
        before, theta, coordinates = self.current, self.theta, self.coordinates
        self.move_to(em_step(self.current))
        self.rejected = 0
        has_risen = self.current.criterion > before.criterion + before.rounding
        if has_risen:
            self.current, self.theta, self.coordinates = before, theta, coordinates
        self.record(self.current.criterion, 0.0, 0.0, not has_risen)
        return bool(has_risen)

    def leave_boundary(self) -> bool:
        """Step off the boundary if that lowers the criterion; return whether it did."""
        found = self.way_off()
        if found is None:
            return False
        omegas, (factor, direction) = self.omegas, found
        size = max(1.0, float(eigenvalues(omegas[factor])[-1]))
        before = self.current
        for exponent in range(1, 7):  # a millionth is on the boundary again
            moved = list(omegas)
            moved[factor] = omegas[factor] + 10.0**-exponent * size * direction
            self.move_to(moved)
            if before.criterion - self.current.criterion > ESCAPE_GAIN + before.rounding:
                return True
        self.move_to(omegas)
        return False

    def finish(self) -> tuple[Evaluation, SolverReport]:
        """Put exact zeros where they cost nothing and rows back in their natural order."""
        self.snap()
        found, omegas = self.current, self.omegas
        zipped = zip(self.problem.structures, omegas, strict=True)
        hides_zeros = any(structure.is_on_boundary(omega).any() for structure, omega in zipped)
        if hides_zeros or not self.coordinates.are_natural(found.lambdas):
            natural = Coordinates.natural(self.problem.structures)
            found = found.with_lambdas(natural.lambdas(natural.theta(omegas)))
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
        """Put exact zeros where they cost nothing."""
        omegas = self.omegas
        for factor, structure in enumerate(self.problem.structures):
            trial = list(omegas)
            trial[factor] = structure.snapped(omegas[factor])
            if trial[factor] is omegas[factor] or np.array_equal(trial[factor], omegas[factor]):
                continue
            evaluation = self.evaluate(self.theta_of(trial))
            rise = evaluation.criterion - self.current.criterion
            if rise < SNAP_RISE + self.current.rounding:
                self.current, omegas = evaluation, trial
