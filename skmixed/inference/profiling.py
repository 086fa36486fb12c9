"""Signed roots of profile deviances, and their inverses."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import minimize

from skmixed.core.elimination import LostPrecisionError
from skmixed.core.layout import FloatArray
from skmixed.inference.constrained import Held

_STEP = 1e-4
_GRADIENT = 1e-6
_CLOSE, _NARROW = 1e-7, 1e-9
_TRIALS = 60
_GROWTH = 3.0
_FIRST = 0.05
_FAR = 1e12


@dataclass(slots=True, eq=False)
class ProfileCurve:
    """The signed root of the profile deviance of one parameter.

    zeta = sign(t - t_0) (f(t) - f(t_0))^(1/2), f being the deviance minimised over everything
    else. It would be a straight line if the log-likelihood were quadratic. Every search starts
    where one nearer to the optimum ended: far from it there can be other minima.

    Parameters
    ----------
    held : Held
        The model with the parameter held.
    minimum : float
        The deviance at the optimum.
    """

    held: Held
    minimum: float
    _known: dict[float, tuple[float, float, FloatArray]] = field(default_factory=dict)
    _unit: FloatArray = field(default_factory=lambda: np.empty((0, 0)))

    def __post_init__(self) -> None:
        """Begin at the optimum, in coordinates in which the deviance is nearly round."""
        optimum, start = self.held.optimum, self.held.start
        self._unit = _root_of_inverse(_curvature(self.held, start, optimum))
        self._known[optimum] = (0.0, 0.0, start)

    def zeta(self, t: float) -> tuple[float, float]:
        """Return zeta at t, and its derivative, 0 at the optimum."""
        if t not in self._known:
            self._known[t] = self._minimised(t)
        return self._known[t][:2]

    def _minimised(self, t: float) -> tuple[float, float, FloatArray]:
        optimum = self.held.optimum
        between = [other for other in self._known if min(optimum, t) <= other <= max(optimum, t)]
        nearest = min(between, key=lambda other: abs(other - t))
        x, unit = self._known[nearest][2], self._unit
        if len(x):
            result = minimize(
                _in_units, np.zeros(len(x)), args=(self.held, x, unit, t), jac=True, method="BFGS",
                options={"gtol": _GRADIENT},
            )  # fmt: skip
            x = x + unit @ result.x
            self._unit = _updated(unit, np.asarray(result.hess_inv))
        value, _, slope = self.held.evaluate(x, t)
        zeta = float(np.sqrt(max(value - self.minimum, 0.0)))
        zeta = zeta if t > self.held.optimum else -zeta
        return zeta, slope / (2.0 * zeta) if zeta else 0.0, x

    def solve(self, target: float) -> tuple[float, float]:
        """Find where zeta has a value.

        Parameters
        ----------
        target : float
            Not zero.

        Returns
        -------
        t : float
            The place, or the bound of the parameter if zeta stays nearer to zero up to there.
        zeta : float
            What zeta is there.
        """
        optimum = self.held.optimum
        sign = float(np.sign(target))
        bound = self.held.bounds[int(target > 0)]
        if bound in self._known and abs(self._known[bound][0]) <= abs(target):
            return bound, self._known[bound][0]
        inner, outer = optimum, bound
        t = self._first(sign, target)
        for _ in range(_TRIALS):
            zeta, slope = self.zeta(t)
            if abs(zeta - target) < _CLOSE:
                return t, zeta
            if sign * (zeta - target) > 0:
                outer = t
            elif t == bound:
                return bound, zeta
            else:
                inner = t
            if abs(outer - inner) < _NARROW * abs(inner - optimum):
                return t, zeta  # another minimum takes over here, or rounding is felt
            t = self._next(t, inner, outer, slope and (target - zeta) / slope)
            if abs(t - optimum) > _FAR * max(1.0, abs(optimum)):
                break
        raise RuntimeError(
            f"no likelihood limit of {self.held.component.name!r} was found: the profile "
            "likelihood does not fall far enough"
        )

    def _first(self, sign: float, target: float) -> float:
        """Return a guess, from the known points on this side or a short step."""
        optimum, (low, high) = self.held.optimum, self.held.bounds
        points = [t for t in self._known if sign * (t - optimum) > 0 and self._known[t][0] != 0]
        if points:
            t = min(points, key=lambda point: abs(self._known[point][0] - target))
            zeta, slope = self._known[t][:2]
            guess = t + (target - zeta) / slope if slope > 0 else optimum + (t - optimum) / 2.0
        else:
            guess = optimum + sign * _FIRST * self._scale
        if sign * (guess - optimum) <= 0:
            guess = optimum + sign * _FIRST * self._scale
        edge = high if sign > 0 else low
        return guess if low < guess < high else (optimum + edge) / 2.0

    @property
    def _scale(self) -> float:
        """A size of t to begin with."""
        held = self.held
        if held.component.kind == "coefficient":
            place = held.component.columns[0]
            return float(np.sqrt(held.fit.beta_covariance[place, place])) / _FIRST
        if held.component.kind == "sd":
            return max(held.optimum, _STEP + 0.1 * float(np.sqrt(held.fit.sigma2)))
        return 1.0

    def _next(self, t: float, inner: float, outer: float, step: float) -> float:
        """Take a Newton step, kept within the bracket and from growing too fast."""
        optimum, is_open = self.held.optimum, outer not in self._known
        farthest = optimum + _GROWTH * (t - optimum)
        if step and min(inner, outer) < t + step < max(inner, outer):
            guess = t + step
            return guess if abs(guess - optimum) <= abs(farthest - optimum) else farthest
        if not np.isfinite(outer):
            return farthest
        if is_open and abs(outer - inner) <= abs(inner - optimum):
            return outer
        return (inner + outer) / 2.0


def _in_units(
    z: FloatArray, held: Held, x: FloatArray, unit: FloatArray, t: float
) -> tuple[float, FloatArray]:
    try:
        value, gradient, _ = held.evaluate(x + unit @ z, t)
    except (LostPrecisionError, OverflowError, FloatingPointError):
        return 1e300, np.zeros_like(z)
    return value, unit.T @ gradient


def _curvature(held: Held, x: FloatArray, t: float) -> FloatArray:
    """Difference the gradient in the free coordinates."""
    hessian = np.empty((len(x), len(x)))
    for place in range(len(x)):
        step = np.zeros(len(x))
        step[place] = _STEP * held.units[place]
        ends = [held.evaluate(x + sign * step, t)[1] for sign in (1.0, -1.0)]
        hessian[place] = (ends[0] - ends[1]) / (2.0 * step[place])
    return (hessian + hessian.T) / 2.0


def _root_of_inverse(hessian: FloatArray) -> FloatArray:
    """Return U with U U' near the inverse of a Hessian, directions without curvature tamed."""
    if not len(hessian):
        return hessian
    size = np.sqrt(np.maximum(np.abs(np.diag(hessian)), np.finfo(float).tiny))
    values, vectors = np.linalg.eigh(hessian / np.outer(size, size))
    tame = np.maximum(np.abs(values), 1e-2)
    return np.asarray(vectors / np.sqrt(tame) / size[:, None])


def _updated(unit: FloatArray, inverse: FloatArray) -> FloatArray:
    """Take over what a search learned of the curvature."""
    values, vectors = np.linalg.eigh((inverse + inverse.T) / 2.0)
    root = vectors * np.sqrt(np.clip(values, 1e-2, 1e2))
    return np.asarray(unit @ root)
