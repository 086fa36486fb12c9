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
from typing import Any, Protocol

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.divergence import largest_move, separates
from skmixed.core.generalized.modes import Point
from skmixed.core.generalized.observations import Observations
from skmixed.core.linalg import (
    FloatArray,
    block_diagonal,
    eigenpairs,
    eigenvalues,
    trust_region_step,
)
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
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
_EXACT_DECREMENT = 1e-20  # of the modes: rounding of the gradient
_FIRST_SHARES = (1.0, 1e-2, 1e-4, 0.0)  # of the first covariances: small ones always have modes
_FIRST_RADIUS = 0.5  # in units of theta: twice of it has more rejected steps
_LONGEST_IN_THETA = 2.0  # of steps, in units of theta: coefficients may have further to go
_WIDE_UNITS = 1e3  # of errors of phi: it starts far off, yet is not to drown what theta feels
_LEFT_SHARE = 1e-5  # of the tolerance: so little left moves estimates by less than 1e-6
_LEFT_ROUNDING = 1e-17  # of the criterion: negligible whatever the tolerance
_GAIN_SHARE = 0.1  # of the tolerance, predicted for a step that was taken: what is left is less
_SMALL_MOVE = 1e-3  # of eta and of theta: regular searches end at 1e-9, separated ones at 1
_LAST_MOVE = 1e-5  # of eta and in units: second derivatives, and errors from them, move as much
_UNFELT = 1e-6  # of the largest information: with so little a direction is looked at
_TRUSTED_SHARE = 0.2  # of the lowest curvature, below which a correction is dropped for a step
_SECANT_ANGLE = 1e-8  # cosine below which a correction would divide by rounding
_DIFFERENCE_STEP = 1e-7  # in units of the columns: differences err by as much, rounding by less
_DISPERSION_STEP = 1e-4  # of central ones: log-gamma functions have fewer digits
_SLOW_SEARCH = 3  # steps in a row that gain nearly as much as the last: corrections do not help
_LONG_SEARCH = 16  # steps with one set of corrections: a good one takes no more
_SLOW_GAIN = 0.3  # of the last predicted gain: a good model makes each a small part of it
_RIDGE = 1e-12  # of the mean information, so that separated columns have a unit
_LEAST_INFORMATION = 1e-100  # of coefficients: less is none, and its root has no inverse
_STEPS_BACK = (16.0, 12.0, 8.0)  # from the limit of phi: one by one costs more and finds the same
_NEARLY_DONE = 1e-6  # predicted gain from which long steps are looked at


class JointEvaluation(Protocol):
    """A criterion at one point, with its derivatives."""

    @property
    def point(self) -> Point:
        """Where it is."""
        ...

    @property
    def criterion(self) -> float:
        """-2 log-likelihood."""
        ...

    @property
    def decrement(self) -> float:
        """Twice what is left to the modes."""
        ...

    @property
    def fixed_information(self) -> FloatArray:
        """The information on beta, (p, p), a measure of its steps."""
        ...

    @property
    def phi_curvature(self) -> FloatArray | None:
        """Second derivatives in phi and in beta and phi, (m, p + m), or what is known of them."""
        ...

    @property
    def gradient(self) -> Blocks:
        """Derivative in Omega of every factor, (k, k), on its boundary."""
        ...

    def advanced(self, point: Point, gain: float) -> JointEvaluation:
        """Return what is expected at parameters so near that second derivatives stay the same."""
        ...

    @property
    def is_finite(self) -> bool:
        """Whether the criterion and its derivatives are numbers."""
        ...

    def slopes(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return the gradient in beta, theta and phi, (p + t + m,)."""
        ...

    def curvature(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return second derivatives in beta and theta, (p + t, p + t), exact or not."""
        ...


Evaluate = Callable[[Point, Any, float, bool], Any]
"""Returns a `JointEvaluation` at a point, given one before, and the decrement of the modes.

The last argument is whether it needs second derivatives.
"""


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


class JointSearch:
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
        self.observations, self._evaluate, self.settings = observations, evaluate, settings
        self.held = held  # factors whose theta stays as it is
        self.is_exact, self.may_pivot = is_exact, may_pivot
        self.coordinates = Coordinates.natural(observations.structures)
        self.began = time.perf_counter()
        self.trace: list[Iteration] = []
        self.n_evaluations = 0
        self.last_predicted = 0.0
        self.separating: FloatArray | None = None
        self.restless = False
        self.stuck = False  # no step lowers the criterion, though its derivatives say so
        self.holds_phi = False  # at its limit
        self.may_jump = True  # there, where steps are slow
        self.slow = self.since = 0  # steps that gained little; all since second derivatives
        self.is_refreshed = False  # whether these were made from differences
        self.has_snapped = False
        self.converged, self.message = False, "the number of evaluations reached max_iter"
        self._local: tuple[Any, FloatArray, FloatArray] | None = None

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
        while self.n_evaluations < self.settings.max_iter:
            if self._descend() and self._has_ended():
                break
        return self._finish()

    # --- where it stands ----------------------------------------------------------------------

    def _place(self, point: Point, omegas: Blocks, tolerance: float) -> bool:
        """Evaluate at covariances, and start afresh from there; return whether one can."""
        theta = self.coordinates.theta(omegas) if omegas else np.zeros(0)
        there = self._at(point.beta, theta, point.phi, tolerance)
        if there is None:
            return False
        self.theta, self.current = theta, there
        p, m = len(point.beta), len(point.phi)
        self.correction = np.zeros((p + len(self.theta) + m,) * 2)
        self.in_phi = self._phi_rows()
        self.radius = _FIRST_RADIUS * max(1.0, float(np.abs(self.theta).max(initial=0.0)))
        return True

    def _at(
        self,
        beta: FloatArray,
        theta: FloatArray,
        phi: FloatArray,
        tolerance: float,
        is_curved: bool = True,
    ) -> Any:
        """Evaluate; None where that cannot be done, so far off that numbers overflow."""
        self.n_evaluations += 1
        point = Point(beta, self.coordinates.lambdas(theta), phi)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                there = self._evaluate(point, self.current, tolerance, is_curved)
            except (LostPrecisionError, np.linalg.LinAlgError):
                return None
            return there if there.is_finite else None

    @property
    def omegas(self) -> Blocks:
        """Covariances, (k, k) of every factor."""
        return [lam @ lam.T for lam in self.current.point.lambdas]

    @property
    def rounding(self) -> float:
        """Error to expect in the criterion."""
        return float(CRITERION_DIGITS * abs(self.current.criterion) + CRITERION_ROUNDING)

    def differences(self, first: int = 0) -> FloatArray | None:
        """Return rows of the second derivatives, from a first parameter on.

        They are differences of the gradient, (n_rows, p + t + m), from the one here, of which the
        modes are found to all digits first; central ones for dispersions. None if it has none.
        """
        point, rows = self.current.point, []
        parameters = np.concatenate([point.beta, self.theta, point.phi])
        p, t = len(point.beta), len(self.theta)

        def slopes_at(place: int, step: float) -> FloatArray | None:
            moved = parameters.copy()
            moved[place] += step
            beta, theta, phi = np.split(moved, [p, p + t])
            there = self._at(beta, theta, phi, _EXACT_DECREMENT, is_curved=False)
            return None if there is None else np.asarray(there.slopes(self.coordinates, theta))

        if first < p + t:
            here = slopes_at(0, 0.0)
        for place in range(first, len(parameters)):
            if place < p + t:
                pair, width = [slopes_at(place, _DIFFERENCE_STEP), here], _DIFFERENCE_STEP
            else:
                pair = [slopes_at(place, side * _DISPERSION_STEP) for side in (1.0, -1.0)]
                width = 2.0 * _DISPERSION_STEP
            if pair[0] is None or pair[1] is None:
                return None
            rows.append((pair[0] - pair[1]) / width)
        found = np.array(rows).reshape(len(parameters) - first, len(parameters))
        if self.holds_phi:
            found[:, p + t :] = found[p + t - first :] = 0.0
        return found

    def _phi_rows(self) -> FloatArray:
        """Return second derivatives in phi and everything, (m, p + t + m)."""
        point = self.current.point
        q, m = len(point.beta) + len(self.theta), len(point.phi)
        self.known_in_phi = self.current.phi_curvature
        found = self.differences(q)
        return np.eye(m, q + m, q) if found is None else found

    def _refresh(self) -> None:
        """Take second derivatives that are not exact from differences: steps make no headway."""
        self.slow = self.since = 0
        self.is_refreshed = True
        self.radius = max(self.radius, _FIRST_RADIUS)
        if self._jump_to_limit():
            return
        if self.is_exact:
            self.in_phi, self._local = self._phi_rows(), None
            self.correction = np.zeros_like(self.correction)
        else:
            hessian = self.differences()
            if hessian is None:
                return
            self.in_phi = hessian[len(hessian) - len(self.current.point.phi) :]
            self.known_in_phi = self.current.phi_curvature
            self._local = None
            self.correction = 0.5 * (hessian + hessian.T) - self.local[1]

    def _jump_to_limit(self) -> bool:
        """Put the dispersion at its limit if that is better, and hold it there; tell whether."""
        limit, point = self.observations.family.limit_phi, self.current.point
        if limit is None or not self.may_jump or self.holds_phi or (point.phi >= limit).all():
            return False
        phi = np.full(len(point.phi), limit)
        trial = self._at(point.beta, self.theta, phi, _EXACT_DECREMENT)
        if trial is None or trial.criterion >= self.current.criterion:
            return False
        self.current, self.holds_phi = trial, True
        self.in_phi = np.zeros_like(self.in_phi)
        self.correction = np.zeros_like(self.correction)
        return True

    @property
    def local(self) -> tuple[FloatArray, FloatArray]:
        """Gradient and second derivatives in beta, theta and phi, without corrections."""
        if self._local is None or self._local[0] is not self.current:
            slopes = self.current.slopes(self.coordinates, self.theta)
            hessian = self._second_derivatives(self.current, self.theta)
            self._local = (self.current, slopes, hessian)
        return self._local[1:]

    def _second_derivatives(self, there: Any, theta: FloatArray) -> FloatArray:
        """Return those at an evaluation.

        In phi they are what is known of them there, and the rest of what was found by differences
        at another place, less where the known part is less.
        """
        p, q = len(there.point.beta), len(there.point.beta) + len(theta)
        rows, known = self.in_phi, there.phi_curvature
        if known is not None and known.size:
            share = np.linalg.norm(known) / np.linalg.norm(self.known_in_phi)
            rows = min(1.0, float(share)) * (rows - _spread(self.known_in_phi, p, q))
            rows += _spread(known, p, q)
        hessian = np.zeros((q + len(rows),) * 2)
        hessian[:q, :q] = there.curvature(self.coordinates, theta)
        hessian[q:], hessian[:, q:] = rows, rows.T
        hessian[q:, q:] = 0.5 * (rows[:, q:] + rows[:, q:].T)
        return hessian

    def _held_places(self) -> list[slice]:
        p = len(self.current.point.beta)
        places = [self.coordinates.places[factor] for factor in self.held]
        held = [slice(p + place.start, p + place.stop) for place in places]
        if self.holds_phi:
            held.append(slice(p + len(self.theta), None))
        return held

    def _scales(self) -> FloatArray:
        """Return the matrix from steps in units to steps of the parameters."""
        information = self.current.fixed_information
        p = len(information)
        levels = min(self.observations.n_levels, default=self.observations.weight)
        ridge = _RIDGE * max(float(np.trace(information)) / max(1, p), _LEAST_INFORMATION)
        values, vectors = eigenpairs(information)
        root = vectors * np.sqrt(levels / np.maximum(values + ridge, ridge))
        felt = np.abs(np.diag(self.local[1])[p + len(self.theta) :])
        of_phi = np.minimum(1.0, _WIDE_UNITS * np.sqrt(levels / np.maximum(felt, levels)))
        units = np.concatenate([self.coordinates.units(self.theta), of_phi])
        return block_diagonal([root, np.diag(units)])

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
        tolerance = min(_FIRST_DECREMENT, max(_MODES_SHARE * expected**2, _EXACT_DECREMENT))
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
        predicted = float(trust_region_step(slope, model, _FIRST_RADIUS)[1])
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

    def _scaled_model(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the matrix from units, and the gradient and second derivatives in them."""
        scales, (slopes, hessian) = self._scales(), self.local
        slope, model = scales.T @ slopes, self._trusted(scales, hessian)
        for place in self._held_places():
            slope[place], model[place], model[:, place] = 0.0, 0.0, 0.0
        return scales, slope, model

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

    def _trusted(self, scales: FloatArray, hessian: FloatArray) -> FloatArray:
        """Return second derivatives in units, corrected where that leaves their curvature."""
        plain = scales.T @ hessian @ scales
        if not self.correction.any():
            return np.asarray(plain)
        corrected = plain + scales.T @ self.correction @ scales
        if self.is_refreshed:
            return np.asarray(corrected)
        lowest = float(eigenvalues(plain)[0])
        if eigenvalues(corrected)[0] < _TRUSTED_SHARE * lowest:
            return np.asarray(plain)
        return np.asarray(corrected)

    def _correct(
        self,
        trial: Any,
        theta: FloatArray,
        move: FloatArray,
        slopes: FloatArray,
    ) -> None:
        """Correct second derivatives that are not exact by what the gradient did."""
        if self.is_exact and not len(trial.point.phi):
            return
        ahead = self._second_derivatives(trial, theta)
        change = trial.slopes(self.coordinates, theta) - slopes
        self.correction = secant_corrected(self.correction, change - ahead @ move, move)

    def _pivot(self) -> None:
        """Change to better coordinates where there are any."""
        if not self.may_pivot:
            return
        omegas = self.omegas
        better = self.coordinates.pivoted(omegas)
        if better is self.coordinates:
            return
        self.coordinates, self.theta = better, better.theta(omegas)
        self.current = self.current.with_lambdas(better.lambdas(self.theta))
        self.correction = np.zeros_like(self.correction)
        self.in_phi = self._phi_rows()

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
            evaluation = self._at(point.beta, theta, point.phi, _EXACT_DECREMENT)
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


def secant_corrected(correction: FloatArray, change: FloatArray, move: FloatArray) -> FloatArray:
    """Return a correction of second derivatives, (m, m), that explains a change of the gradient.

    The change, (m,), is what other second derivatives leave of it after a move, (m,). What is added
    is symmetric and of rank one.
    """
    rest = change - correction @ move
    along = float(rest @ move)
    if abs(along) <= _SECANT_ANGLE * np.linalg.norm(rest) * np.linalg.norm(move):
        return correction
    return np.asarray(correction + np.outer(rest, rest) / along)


def _spread(known: FloatArray, p: int, q: int) -> FloatArray:
    """Put zeros for theta between the columns of beta and phi, (m, p + m): (m, q + m)."""
    between = np.zeros((len(known), q - p))
    return np.concatenate([known[:, :p], between, known[:, p:]], axis=1)
