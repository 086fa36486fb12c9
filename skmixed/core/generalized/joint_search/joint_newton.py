"""Newton's method on beta, theta and phi together, the boundary of theta being an ordinary point.

The search is that of linear mixed models with more parameters: trust regions, pivot orders, exact
zeros and the way off the boundary are the same. Second derivatives that are not exact, those in
phi and those of several factors, are corrected by what the gradient did (symmetric rank one). The
end needs a small step in eta beside a small gain, for where the data separate only the gain is.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from skmixed.core.elimination.protocol import LostPrecisionError
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.joint_search.divergence import largest_move, separates
from skmixed.core.generalized.joint_search.joint_state import (
    EXACT_DECREMENT,
    FIRST_RADIUS,
    Evaluate,
    JointState,
)
from skmixed.core.linalg import (
    FloatArray,
    eigenpairs,
    eigenvalues,
    trust_region_step,
)
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import Callback, Iteration, SolverReport
from skmixed.core.search.state import ESCAPE_GAIN, NO_GAIN, SMALLEST_RADIUS, SNAP_RISE
from skmixed.core.search.trust_region import (
    ACCEPTED_RATIO,
    ROUNDING_MARGIN,
    is_interior,
    judged,
    new_radius,
)

_FIRST_DECREMENT = 1e-8  # of the modes, where the search is far from its end
_MODES_SHARE = 1e-4  # of the squared predicted gain: the gradient errs by the root of a decrement
_FIRST_SHARES = (1.0, 1e-2, 1e-4, 0.0)  # of the first covariances: small ones always have modes
_LONGEST_IN_THETA = 2.0  # of steps, in units of theta: coefficients may have further to go
_LEFT_SHARE = 1e-5  # of the tolerance: so little left moves estimates by less than 1e-6
_LEFT_ROUNDING = 1e-17  # of the criterion: negligible whatever the tolerance
_GAIN_SHARE = 0.1  # of the tolerance, predicted for a step that was taken: what is left is less
_SMALL_MOVE = 1e-3  # of eta and of theta: regular searches end at 1e-9, separated ones at 1
_LAST_MOVE = 1e-5  # of eta and in units: second derivatives, and errors from them, move as much
_UNFELT = 1e-6  # of the largest information: with so little a direction is looked at
_SLOW_SEARCH = 3  # steps in a row that gain nearly as much as the last: corrections do not help
_LONG_SEARCH = 16  # steps with one set of corrections: a good one takes no more
_SLOW_GAIN = 0.3  # of the last predicted gain: a good model makes each a small part of it
_STEPS_BACK = (16.0, 12.0, 8.0)  # from the limit of phi: one by one costs more and finds the same
_NEARLY_DONE = 1e-6  # predicted gain from which long steps are looked at


@dataclass(frozen=True, slots=True)
class JointNewton:
    """Settings of the search."""

    tol: float = 1e-8
    max_iter: int = 200  # most evaluations of the criterion
    callback: Callback | None = None  # called with every `Iteration`


@dataclass(frozen=True, slots=True, eq=False)
class JointOptimum:
    """Where a search ended."""

    evaluation: Any  # the `JointEvaluation`, its lambdas lower triangular as they stand
    theta: FloatArray  # (t,), in the natural order
    hessian: Callable[[], FloatArray]  # makes the second derivatives, (p + t + m, p + t + m)
    separating: FloatArray | None  # (p + t + m,), a direction that can be followed for ever
    report: SolverReport


class JointSearch(JointState):
    """A search, from a point to its end."""

    def __init__(
        self,
        observations: Observations,
        evaluate: Evaluate,
        settings: JointNewton,
        held: tuple[int, ...] = (),
        *,
        is_exact: bool,
        may_pivot: bool = True,
    ) -> None:
        super().__init__(observations, evaluate, held, is_exact=is_exact, may_pivot=may_pivot)
        self.settings = settings
        self.began = time.perf_counter()
        self.trace: list[Iteration] = []
        self.last_predicted = 0.0
        self.separating: FloatArray | None = None
        self.restless = False
        self.stuck = False  # no step lowers the criterion, though its derivatives say so
        self.has_snapped = False
        self.converged, self.message = False, "the number of evaluations reached max_iter"

    def solve(self, point: Point, before: Any = None) -> JointOptimum:
        """Minimise the criterion from a point on."""
        self.current = before  # where the modes are sought from
        omegas = [lam @ lam.T for lam in point.lambdas]
        if self.may_pivot:
            self.coordinates = self.coordinates.pivoted(omegas)
        if not any(
            self._place(point, [share * omega for omega in omegas], _FIRST_DECREMENT)
            for share in _FIRST_SHARES
        ):
            raise LostPrecisionError(
                "the likelihood has no number where the search begins: columns, offsets or "
                "weights are too large for double precision. Centre offsets, and rescale weights"
            )
        with np.errstate(over="ignore", invalid="ignore"):
            while self.n_evaluations < self.settings.max_iter:
                if self._descend() and self._has_ended():
                    break
        return self._finish()

    # --- steps --------------------------------------------------------------------------------

    def _without_held(self, move: FloatArray) -> FloatArray:
        """Return a move, (p + t + m,), of which what is held has none, not even its rounding."""
        for place in self._held_places():
            move[place] = 0.0
        return move

    def _descend(self) -> bool:
        """Try one step; return whether the search has arrived."""
        slopes = self.local[0]
        scales, slope, model, step, promised = self._step()
        predicted, length = float(promised), float(np.linalg.norm(step))
        self.stuck = False
        before = self.current
        move = self._without_held(scales @ step)
        if predicted < min(NO_GAIN, self.settings.tol):
            self._look_at(move)
            return True
        expected = self._left(predicted)
        tolerance = min(_FIRST_DECREMENT, max(_MODES_SHARE * expected * expected, EXACT_DECREMENT))
        move, beta, theta, phi = self._moved(move)
        is_last = expected + before.decrement < self._negligible and length < _LAST_MOVE
        if is_last and self._look_at(move) < _LAST_MOVE:
            self._advance(Point(beta, self.coordinates.lambdas(theta), phi), theta, predicted)
            return True
        trial = self._at(beta, theta, phi, tolerance)
        ratio = -1.0
        if trial is not None:
            ratio = judged(before.criterion - trial.criterion, predicted, self.rounding)
            self._correct(trial, theta, move, slopes)
        interior = is_interior(length, self.radius)
        self.radius = new_radius(ratio, length, self.radius)
        accepted = ratio > ACCEPTED_RATIO
        if accepted:
            self.theta, self.current = theta, trial
            self._pivot()
        self._record(float(np.linalg.norm(slope)), length, accepted)
        if not accepted:
            has_arrived = self.radius < SMALLEST_RADIUS
            self.stuck = has_arrived and self._promised(slope, model) > _NEARLY_DONE
        else:
            has_arrived = self._is_negligible(predicted, interior, move)
        self.since += 1
        if self.is_exact and not len(phi):
            return has_arrived
        if not has_arrived and (self.slow >= _SLOW_SEARCH or self.since >= _LONG_SEARCH):
            self._refresh()
        return has_arrived

    def _step(self) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray, FloatArray]:
        """Return the matrix from units, gradient and second derivatives in them, step and gain.

        Coefficients may have so far to go that the radius is no bound for theta, which has its own.
        """
        scales, slope, model = self._scaled_model()
        step, promised = trust_region_step(slope, model, self.radius)
        p = len(self.current.point.beta)
        of_theta = slice(p, p + len(self.theta))
        if np.linalg.norm(step[of_theta]) > _LONGEST_IN_THETA:
            units = np.ones(len(slope))
            units[of_theta] = _LONGEST_IN_THETA / self.radius
            scales, slope, model = scales * units, slope * units, model * np.outer(units, units)
            step, promised = trust_region_step(slope, model, self.radius)
        return scales, slope, model, step, promised

    def _promised(self, slope: FloatArray, model: FloatArray) -> float:
        """Return the decrease beyond rounding that a step of the first radius would have."""
        predicted = float(trust_region_step(slope, model, FIRST_RADIUS)[1])
        return predicted - ROUNDING_MARGIN * self.rounding

    def _moved(self, move: FloatArray) -> tuple[FloatArray, ...]:
        """Return a move, (p + t + m,), its end within the limit of phi, and beta, theta and phi."""
        point, limit = self.current.point, self.observations.family.limit_phi
        p, t = len(point.beta), len(self.theta)
        if limit is not None:  # beyond, phi may overflow
            move = np.append(move[: p + t], np.minimum(move[p + t :], limit - point.phi))
        parameters = np.concatenate([point.beta, self.theta, point.phi]) + move
        return move, *np.split(parameters, [p, p + t])

    def _advance(self, point: Point, theta: FloatArray, gain: float) -> None:
        """Take a step of which everything is known."""
        self.theta, self.current = theta, self.current.advanced(point, gain)

    def _left(self, predicted: float) -> float:
        """Return what is expected to be left after a step, from its predicted gain and the last."""
        share = min(1.0, predicted / self.last_predicted) if self.last_predicted > 0.0 else 1.0
        return float(predicted * (share**2 if self.is_exact else share))

    @property
    def _negligible(self) -> float:
        """Gains that are not worth a step."""
        return float(
            max(_LEFT_SHARE * self.settings.tol, _LEFT_ROUNDING * abs(self.current.criterion))
        )

    def _is_negligible(self, predicted: float, interior: bool, move: FloatArray) -> bool:
        """Tell whether nothing of interest is left after a step, or ever will be."""
        p, left = len(self.current.point.beta), predicted
        if self.last_predicted > 0.0 and predicted < self.last_predicted:
            left *= predicted / self.last_predicted
        is_slow = predicted > _SLOW_GAIN * self.last_predicted > 0.0 and interior
        self.slow = self.slow + 1 if is_slow else 0
        self.last_predicted = predicted
        tol = self.settings.tol
        share = _GAIN_SHARE if self.is_exact else _GAIN_SHARE**2
        is_small = left < self._negligible or predicted < share * tol
        moved = 0.0
        if predicted < _NEARLY_DONE:
            moved = self._look_at(move)
            if self.separating is not None:
                return True
        relative = np.abs(move[p : p + len(self.theta)]) / self.coordinates.units(self.theta)
        settled = moved < _SMALL_MOVE and relative.max(initial=0.0) < _SMALL_MOVE
        return is_small and interior and settled and self._is_arrived()

    def _is_arrived(self) -> bool:
        """Tell whether the derivatives here promise as little as the last steps do."""
        _, slope, model = self._scaled_model()
        predicted = float(trust_region_step(slope, model, self.radius)[1])
        return predicted < max(_GAIN_SHARE * self.settings.tol, 10.0 * self._negligible)

    def _look_at(self, move: FloatArray) -> float:
        """Return the largest move of eta, and see whether it goes on for ever."""
        point = self.current.point
        p, q = len(point.beta), len(move) - len(point.phi)
        moved = largest_move(self.observations, move[:p])
        self.restless = moved > _SMALL_MOVE
        if self.restless and separates(self.observations, move[:p], point.phi, move[q:]):
            self.separating = np.concatenate([move[:p], np.zeros(q - p), move[q:]])
        return moved

    def _record(self, slope: float, length: float, accepted: bool) -> None:
        seconds = time.perf_counter() - self.began
        line = Iteration(self.current.criterion, slope, length, accepted, seconds)
        self.trace.append(line)
        if self.settings.callback is not None:
            self.settings.callback(line)

    # --- the end ------------------------------------------------------------------------------

    def _has_ended(self) -> bool:
        """Tell whether no way leads down from where descents have arrived; else take it."""
        if self.separating is None:
            self.separating = self._unfelt()
        if self.separating is None:
            self.separating = self._itself()
        if self.separating is not None:
            self.message = "some coefficients have no finite estimate: the data are separated"
            return True
        if self._leave_limit() or self._leave_boundary() or self._snap():
            return False
        if self.restless:
            self.message = "the linear predictor still moves, but the criterion does not gain"
            return True
        if self.stuck:
            self.message = "no step lowers the criterion, though its derivatives promise it"
            return True
        self.converged = True
        self.message = "the criterion cannot be lowered further"
        return True

    def _unfelt(self) -> FloatArray | None:
        """Return the direction of beta with least information if it separates.

        Where responses are certain, so little may be left of its curvature that no step is long.
        """
        values, vectors = eigenpairs(self.current.fixed_information)
        if not len(values) or values[0] > _UNFELT * values[-1]:
            return None
        phi = self.current.point.phi
        rest = np.zeros(len(self.theta) + len(phi))
        for sign in (1.0, -1.0):
            direction = sign * vectors[:, 0]
            if separates(self.observations, direction, phi, np.zeros(len(phi))):
                return np.concatenate([direction, rest])
        return None

    def _itself(self) -> FloatArray | None:
        """Return beta and phi as a direction if they tell the response of every row.

        Then there is no maximum, though a search that knows second derivatives in phi by their
        changes alone can seem to have arrived.
        """
        point = self.current.point
        beside = self.observations.family.phi_beside(point.phi)
        if not separates(self.observations, point.beta, point.phi, beside, tolerated=0.0):
            return None
        return np.concatenate([point.beta, np.zeros(len(self.theta)), beside])

    def _leave_limit(self) -> bool:
        """Step back from the limit of the dispersion if that lowers the criterion; tell whether.

        The search jumps there when steps are slow, though the optimum may be on the way.
        """
        before, theta, point = self.current, self.theta, self.current.point
        if (
            not self.holds_phi
            or (before.slopes(self.coordinates, theta)[-len(point.phi) :] <= 0.0).all()
        ):
            return False
        self.may_jump = False
        for back in _STEPS_BACK:
            if not self._place(point._replace(phi=point.phi - back), self.omegas, _FIRST_DECREMENT):
                continue
            if before.criterion - self.current.criterion > ESCAPE_GAIN + self.rounding:
                self.holds_phi, self._local = False, None
                return True
            self.current, self.theta = before, theta
        return False

    def _leave_boundary(self) -> bool:
        """Step off the boundary if that lowers the criterion; return whether it did."""
        omegas, slopes = self.omegas, []
        zipped = zip(self.observations.structures, omegas, self.current.gradient, strict=True)
        for factor, (structure, omega, gradient) in enumerate(zipped):
            stays = factor in self.held or not structure.is_on_boundary(omega)
            slopes.append(None if stays else gradient)
        found = self.coordinates.way_off(omegas, slopes)
        if found is None:
            return False
        factor, direction = found
        size = max(1.0, float(eigenvalues(omegas[factor])[-1]))
        before, theta = self.current, self.theta
        for exponent in range(1, 7):  # a millionth is on the boundary again
            moved = list(omegas)
            moved[factor] = omegas[factor] + 10.0**-exponent * size * direction
            if not self._place(before.point, moved, _FIRST_DECREMENT):
                continue
            if before.criterion - self.current.criterion > ESCAPE_GAIN + self.rounding:
                self._local = None
                return True
        self.current, self.theta = before, theta
        return False

    def _snap(self) -> bool:
        """Put exact zeros where they cost nothing; return whether any was put."""
        omegas, done = self.omegas, False
        if self.has_snapped:
            return False
        self.has_snapped = True
        for factor, structure in enumerate(self.observations.structures):
            snapped = structure.snapped(omegas[factor])
            if factor in self.held or np.array_equal(snapped, omegas[factor]):
                continue
            trial = [snapped if f == factor else omega for f, omega in enumerate(omegas)]
            theta, point = self.coordinates.theta(trial), self.current.point
            if np.array_equal(theta, self.theta):
                continue
            evaluation = self._at(point.beta, theta, point.phi, EXACT_DECREMENT)
            if evaluation is None:
                continue
            if evaluation.criterion - self.current.criterion < SNAP_RISE + self.rounding:
                self.current, self.theta, omegas, done = evaluation, theta, trial, True
        return done

    def _finish(self) -> JointOptimum:
        """Put rows back in their natural order, and read the second derivatives there."""
        natural = Coordinates.natural(self.observations.structures)
        if self.observations.structures:
            theta = natural.theta(self.omegas)
            self.coordinates, self.theta = natural, theta
            self.current = self.current.with_lambdas(natural.lambdas(theta))
            self._local = None
        report = SolverReport(
            "newton",
            self.converged,
            self.n_evaluations,
            self.message,
            tuple(self.trace),
        )
        return JointOptimum(self.current, self.theta, self._hessian, self.separating, report)

    def _hessian(self) -> FloatArray:
        """Return second derivatives in beta, theta and phi, where the search has ended."""
        if not self.is_exact:
            hessian = self.differences()
            if hessian is None:
                hessian = self.local[1] + self.correction
            return np.asarray(0.5 * (hessian + hessian.T))
        self.in_phi, self._local = self._phi_rows(), None
        return self.local[1]
