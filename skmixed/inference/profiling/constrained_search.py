"""Searches for the lowest deviance with one parameter held, from one value of it to the next."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
from scipy.optimize import minimize

from skmixed.core.generalized.joint_search.joint_state import secant_corrected
from skmixed.core.linalg import FloatArray, trust_region_step
from skmixed.core.model.evaluation import CRITERION_DIGITS, CRITERION_ROUNDING
from skmixed.core.search.trust_region import ACCEPTED_RATIO, judged, new_radius
from skmixed.inference.fixed_effects.degrees import DIFFERENCE_STEP

NOT_COMPUTED = (ArithmeticError, np.linalg.LinAlgError)
_GRADIENT_LEFT = 1e-6  # by BFGS; the deviance, of curvature near one, is then right to its square
_UNREACHABLE = 1e300  # deviance if it cannot be computed: finite, so that searches step back
_FLATTEST = 1e-2  # of a Hessian of unit diagonal: directions flatter than that count as this flat
_MOST_LEARNED = 1e2  # factor by which one search, with few steps, may change a curvature
_GAIN_LEFT = 1e-10  # predicted decrease at which Newton's method ends: zeta errs by half of it
_ROUND_RADIUS = 2.0  # deviations of the free coordinates: one step where the deviance is a parabola
_SMALLEST_RADIUS = 1e-6  # the same; a step so short changes the deviance by its square
_MOST_NEWTON_STEPS = 100  # of Newton's method; it takes two to five


class End(NamedTuple):
    """Where a search ended."""

    value: float  # the deviance
    x: FloatArray  # (m,), the free coordinates
    learned: FloatArray  # (m, m), what it tells of second derivatives


class Searcher(Protocol):
    """Searches for the lowest deviance over the free coordinates."""

    def lowest(self, x: FloatArray, t: float) -> End:
        """Search from x, (m,), at a value t of the parameter that is held."""
        ...

    def learn(self, end: End) -> None:
        """Take over the second derivatives learned in a search."""
        ...


class RoundSearch:
    """BFGS in coordinates in which the deviance is nearly round."""

    def __init__(self, constrained: Any) -> None:
        self.constrained = constrained
        hessian = differenced(constrained, constrained.start, constrained.optimum)
        self.root = _root_of_inverse(hessian)  # (m, m), U with U U' near the inverse Hessian

    def lowest(self, x: FloatArray, t: float) -> End:
        """Search from x, (m,)."""
        given = self.constrained, x, self.root, t
        result = minimize(
            _in_round_coordinates, np.zeros(len(x)), args=given, jac=True,
            method="BFGS", options={"gtol": _GRADIENT_LEFT},
        )  # fmt: skip
        return End(float(result.fun), x + self.root @ result.x, np.asarray(result.hess_inv))

    def learn(self, end: End) -> None:
        """Take over the inverse Hessian in round coordinates."""
        if np.isfinite(end.learned).all():
            self.root = _updated(self.root, end.learned)


class ConditionedSearch(RoundSearch):
    """Sequential quadratic programming in the same coordinates, where t is a function of x."""

    def lowest(self, x: FloatArray, t: float) -> End:
        """Search from x, (m,), which need not meet the constraint."""

        def apart(z: FloatArray) -> float:
            return float(self.constrained.condition(x + self.root @ z)[0] - t)

        def slopes(z: FloatArray) -> FloatArray:
            return np.asarray(self.root.T @ self.constrained.condition(x + self.root @ z)[1])

        result = minimize(
            _in_round_coordinates, np.zeros(len(x)), args=(self.constrained, x, self.root, t),
            jac=True, method="SLSQP", options={"ftol": _GAIN_LEFT, "maxiter": _MOST_NEWTON_STEPS},
            constraints={"type": "eq", "fun": apart, "jac": slopes},
        )  # fmt: skip
        if not result.success:
            raise FloatingPointError(f"a search with a parameter held ended: {result.message}")
        return End(float(result.fun), x + self.root @ result.x, np.eye(len(x)))


@dataclass(slots=True)
class _Stand:
    """Where Newton's method stands."""

    x: FloatArray  # (m,)
    value: float
    gradient: FloatArray  # (m,)
    hessian: FloatArray  # (m, m), as far as it is known


class NewtonSearch:
    """Newton's method within a trust region.

    Inexact second derivatives are corrected by changes of the gradient (symmetric rank one);
    corrections carry over from one search to the next.
    """

    def __init__(self, constrained: Any) -> None:
        self.constrained = constrained
        start, t = constrained.start, constrained.optimum
        known = constrained.evaluate_all(start, t)[3]
        hessian = known
        self.correction = np.zeros_like(known)  # (m, m), to be added to what is known
        if not constrained.is_exact:
            hessian = differenced(constrained, start, t)
            self.correction = hessian - known
        self.root = _root_of_inverse(hessian)  # (m, m), from units in which it is nearly round

    def lowest(self, x: FloatArray, t: float) -> End:
        """Search from x, (m,)."""
        correction, radius = self.correction.copy(), _ROUND_RADIUS
        stand = self._at(x, t)
        if stand is None:
            return End(_UNREACHABLE, x, correction)
        for _ in range(_MOST_NEWTON_STEPS):
            slope = self.root.T @ stand.gradient
            model = self.root.T @ (stand.hessian + correction) @ self.root
            step, promised = trust_region_step(slope, model, radius)
            predicted, length = float(promised), float(np.linalg.norm(step))
            if predicted < _GAIN_LEFT:
                break
            move = self.root @ step
            trial = self._at(stand.x + move, t)
            if trial is None:
                radius = length / 4.0
            else:
                rounding = CRITERION_DIGITS * abs(stand.value) + CRITERION_ROUNDING
                ratio = judged(stand.value - trial.value, predicted, rounding)
                radius = new_radius(ratio, length, radius)
                if not self.constrained.is_exact:
                    change = trial.gradient - stand.gradient - trial.hessian @ move
                    correction = secant_corrected(correction, change, move)
                if ratio > ACCEPTED_RATIO:
                    stand = trial
            if radius < _SMALLEST_RADIUS:
                break
        return End(stand.value, stand.x, correction)

    def learn(self, end: End) -> None:
        """Take over the corrections."""
        self.correction = end.learned

    def _at(self, x: FloatArray, t: float) -> _Stand | None:
        try:
            value, gradient, _, hessian = self.constrained.evaluate_all(x, t)
        except NOT_COMPUTED:
            return None
        if not (np.isfinite(value) and np.isfinite(gradient).all() and np.isfinite(hessian).all()):
            return None
        return _Stand(x, value, gradient, hessian)


def _in_round_coordinates(
    z: FloatArray, constrained: Any, x: FloatArray, root: FloatArray, t: float
) -> tuple[float, FloatArray]:
    """Return the deviance at x + U z and its gradient in z, (m,)."""
    if not np.isfinite(z).all():
        return _UNREACHABLE, np.zeros_like(z)
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # a line search may go far out
            value, gradient, _ = constrained.evaluate(x + root @ z, t)
    except NOT_COMPUTED:
        return _UNREACHABLE, np.zeros_like(z)
    if not (np.isfinite(value) and np.isfinite(gradient).all()):
        return _UNREACHABLE, np.zeros_like(z)
    return value, root.T @ gradient


def differenced(constrained: Any, x: FloatArray, t: float) -> FloatArray:
    """Difference the gradient in the free coordinates, (m, m)."""
    hessian = np.empty((len(x), len(x)))
    for place in range(len(x)):
        step = np.zeros(len(x))
        step[place] = DIFFERENCE_STEP * constrained.units[place]
        ends = [constrained.evaluate(x + sign * step, t)[1] for sign in (1.0, -1.0)]
        hessian[place] = (ends[0] - ends[1]) / (2.0 * step[place])
    return (hessian + hessian.T) / 2.0


def _root_of_inverse(hessian: FloatArray) -> FloatArray:
    """Return U, (m, m), with U U' near the inverse of a Hessian, limited in flat directions."""
    if not len(hessian):
        return hessian
    size = np.sqrt(np.maximum(np.abs(np.diag(hessian)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(hessian / np.outer(size, size))
    tame = np.maximum(np.abs(values), _FLATTEST)
    return np.asarray(vectors / np.sqrt(tame) / size[:, None])


def _updated(root: FloatArray, inverse: FloatArray) -> FloatArray:
    """Update the root by the inverse Hessian of BFGS in round coordinates, (m, m)."""
    values, vectors = np.linalg.eigh((inverse + inverse.T) / 2.0)
    values = np.clip(values, 1.0 / _MOST_LEARNED, _MOST_LEARNED)
    return np.asarray(root @ (vectors * np.sqrt(values)))
