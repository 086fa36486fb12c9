"""Where a search over beta, theta and phi stands: the criterion there and its second derivatives.

Those that are not exact, in phi and of several factors, are corrected by what the gradient did
(symmetric rank one), or made from differences of the gradient.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import FloatArray, block_diagonal, eigenpairs, eigenvalues
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
from skmixed.core.search.coordinates import Coordinates

FIRST_RADIUS = 0.5  # in units of theta: twice of it has more rejected steps
EXACT_DECREMENT = 1e-20  # of the modes: rounding of the gradient
_WIDE_UNITS = 1e3  # of errors of phi: it starts far off, yet is not to drown what theta feels
_TRUSTED_SHARE = 0.2  # of the lowest curvature, below which a correction is dropped for a step
_SECANT_ANGLE = 1e-8  # cosine below which a correction would divide by rounding
_DIFFERENCE_STEP = 1e-7  # in units of the columns: differences err by as much, rounding by less
_DISPERSION_STEP = 1e-4  # of central ones: log-gamma functions have fewer digits
_RIDGE = 1e-12  # of the mean information, so that separated columns have a unit
_LEAST_INFORMATION = 1e-100  # of coefficients: less is none, and its root has no inverse


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


class JointState:
    """A point of a search, with what is known there."""

    current: Any  # the `JointEvaluation`; at first one from which the modes are sought, or None
    theta: FloatArray  # (t,), in `coordinates`
    radius: float  # of the next step
    correction: FloatArray  # of second derivatives, (p + t + m, p + t + m)
    in_phi: FloatArray  # (m, p + t + m), second derivatives in phi and everything, by differences
    known_in_phi: Any  # (m, p + m) or None, what was known of them in the same place

    def __init__(
        self,
        observations: Observations,
        evaluate: Evaluate,
        held: tuple[int, ...],
        *,
        is_exact: bool,
        may_pivot: bool,
    ) -> None:
        self.observations, self._evaluate = observations, evaluate
        self.held = held  # factors whose theta stays as it is
        self.is_exact, self.may_pivot = is_exact, may_pivot
        self.coordinates = Coordinates.natural(observations.structures)
        self.n_evaluations = 0
        self.holds_phi = False  # at its limit
        self.may_jump = True  # there, where steps are slow
        self.slow = self.since = 0  # steps that gained little; all since second derivatives
        self.is_refreshed = False  # whether these were made from differences
        self._local: tuple[Any, FloatArray, FloatArray] | None = None

    def _place(self, point: Point, omegas: Blocks, tolerance: float) -> bool:
        """Evaluate at covariances, and start afresh from there; return whether one can."""
        theta = self.coordinates.theta(omegas)
        there = self._at(point.beta, theta, point.phi, tolerance)
        if there is None:
            return False
        self.theta, self.current = theta, there
        p, m = len(point.beta), len(point.phi)
        self.correction = np.zeros((p + len(self.theta) + m,) * 2)
        self.in_phi = self._phi_rows()
        self.radius = FIRST_RADIUS * max(1.0, float(np.abs(self.theta).max(initial=0.0)))
        return True

    def _at(
        self,
        beta: FloatArray,
        theta: FloatArray,
        phi: FloatArray,
        tolerance: float,
        is_curved: bool = True,
    ) -> Any:
        """Evaluate; None where that cannot be done, so far off that numbers overflow.

        Those that are not curved are for derivatives, and not counted: many dispersions take many.
        """
        self.n_evaluations += is_curved
        point = Point(beta, self.coordinates.lambdas(theta), phi)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            try:
                there = self._evaluate(point, self.current, tolerance, is_curved)
            except (LostPrecisionError, np.linalg.LinAlgError):
                return None
            return there if there.is_finite else None

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

    @property
    def omegas(self) -> Blocks:
        """Covariances, (k, k) of every factor."""
        return [lam @ lam.T for lam in self.current.point.lambdas]

    @property
    def rounding(self) -> float:
        """Error to expect in the criterion."""
        return float(CRITERION_DIGITS * abs(self.current.criterion) + CRITERION_ROUNDING)

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

    def _scaled_model(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return the matrix from units, and the gradient and second derivatives in them."""
        scales, (slopes, hessian) = self._scales(), self.local
        slope, model = scales.T @ slopes, self._trusted(scales, hessian)
        for place in self._held_places():
            slope[place], model[place], model[:, place] = 0.0, 0.0, 0.0
        return scales, slope, model

    # --- second derivatives -------------------------------------------------------------------

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
            there = self._at(beta, theta, phi, EXACT_DECREMENT, is_curved=False)
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
        self.radius = max(self.radius, FIRST_RADIUS)
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
        trial = self._at(point.beta, self.theta, phi, EXACT_DECREMENT)
        if trial is None or trial.criterion >= self.current.criterion:
            return False
        self.current, self.holds_phi = trial, True
        self.in_phi = np.zeros_like(self.in_phi)
        self.correction = np.zeros_like(self.correction)
        return True

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
