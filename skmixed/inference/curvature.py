"""Curvature of the criterion in the variances, and how the covariance of beta changes with them.

Everything is relative to the residual variance and in scaled units. The variance parameters are
theta, the entries of lambda, and log sigma^2. They stay meaningful on the boundary: where a
variance is zero, neither the criterion nor V_b changes with it to first order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.derivatives import exact_hessian
from skmixed.core.elimination import Blocks
from skmixed.core.evaluation import Evaluation
from skmixed.core.fit import Fit
from skmixed.core.layout import FloatArray
from skmixed.core.solvers.coordinates import Coordinates, theta_gradient

DIFFERENCE_STEP = 1e-4  # relative, of central differences of a gradient: they err by its square
_FLAT_CURVATURE = 1e-8  # of the largest one: less is no more than the error of the differences


@dataclass(frozen=True, slots=True, eq=False)
class Curvature:
    """Second derivatives of the criterion at the optimum, and first derivatives of V_b.

    The second derivative in theta and log sigma^2 is q, and in log sigma^2 alone nu.
    """

    hessian: FloatArray  # (t, t), K: in theta, sigma^2 being profiled out
    inverse: FloatArray  # (t, t), of K, without the directions in which the criterion is flat
    shares: FloatArray  # (t,), q: -d log r^2 / d theta, times nu
    slopes: FloatArray  # (t, p, p), dV_b / d theta
    degrees: float  # nu

    @classmethod
    def of(cls, fit: Fit) -> Curvature:
        """Differentiate at the optimum of a fit that leaves a residual.

        Exact for one grouping factor; for several, second derivatives are central differences of
        the exact gradient.
        """
        evaluation = fit.evaluation
        coordinates = Coordinates.natural(fit.problem)
        directions = theta_directions(evaluation, coordinates.patterns)
        forms = _forms_along(evaluation, directions)
        w, v_b = evaluation.contrast, evaluation.beta_covariance
        shares = np.asarray(forms @ w @ w / evaluation.sigma2)
        slopes = v_b @ forms[:, :-1, :-1] @ v_b
        hessian = _hessian(evaluation, coordinates, directions)
        return cls(hessian, _inverse(hessian), shares, slopes, fit.problem.degrees)

    def log_covariance(self) -> FloatArray:
        """Return the covariance of theta and log sigma^2, (t + 1, t + 1).

        Twice the inverse of the second derivatives of the criterion, which is -2 log-likelihood.
        """
        t = len(self.shares)
        lean = self.shares / self.degrees
        covariance = np.empty((t + 1, t + 1))
        covariance[:t, :t] = self.inverse
        covariance[:t, t] = covariance[t, :t] = -self.inverse @ lean
        covariance[t, t] = 1.0 / self.degrees + lean @ self.inverse @ lean
        return 2.0 * covariance


def theta_directions(evaluation: Evaluation, patterns: Blocks) -> list[FloatArray]:
    """Return dOmega / d theta of every factor, (t_f, k, k)."""
    halves = [pattern @ lam.T for pattern, lam in zip(patterns, evaluation.factors, strict=True)]
    return [half + half.transpose(0, 2, 1) for half in halves]


def _forms_along(evaluation: Evaluation, directions: list[FloatArray]) -> FloatArray:
    """Return the sum over levels of U'E U for every direction E, (t, p + 1, p + 1)."""
    m = len(evaluation.contrast)
    parts = [
        matrices.reshape(len(matrices), -1) @ gram
        for matrices, gram in zip(directions, evaluation.grams, strict=True)
    ]
    return np.concatenate([np.empty((0, m * m)), *parts]).reshape(-1, m, m)


def _hessian(
    evaluation: Evaluation, coordinates: Coordinates, directions: list[FloatArray]
) -> FloatArray:
    """Return K, (t, t): exact for one factor, by differences for several."""
    if len(directions) == 1:
        pattern, gradient = coordinates.patterns[0], evaluation.gradient[0]
        flat = pattern.reshape(len(pattern), -1)
        from_theta = 2.0 * (flat @ (gradient @ pattern).reshape(len(pattern), -1).T)
        return exact_hessian(evaluation, [(0, directions[0])]) + (from_theta + from_theta.T) / 2.0
    return _differences(evaluation, coordinates)


def _differences(evaluation: Evaluation, coordinates: Coordinates) -> FloatArray:
    """Return central differences of the exact gradient in theta, (t, t)."""
    theta = theta_of(evaluation.factors, coordinates.patterns)
    hessian = np.empty((len(theta), len(theta)))
    for place in coordinates.places:
        step = DIFFERENCE_STEP * max(1.0, float(np.abs(theta[place]).max(initial=0.0)))
        for column in range(place.start, place.stop):
            ends = []
            for sign in (1.0, -1.0):
                moved = theta.copy()
                moved[column] += sign * step
                at_moved = evaluation.problem.evaluate(coordinates.factors(moved))
                ends.append(theta_gradient(at_moved, coordinates.patterns))
            hessian[column] = (ends[0] - ends[1]) / (2.0 * step)
    return np.asarray((hessian + hessian.T) / 2.0)


def theta_of(lambdas: Blocks, patterns: Blocks) -> FloatArray:
    """Return theta, (t,), of lambdas that are combinations of patterns, (t_f, k, k) a factor."""
    parts = [
        np.einsum("aij,ij->a", pattern, lam) / np.einsum("aij,aij->a", pattern, pattern)
        for pattern, lam in zip(patterns, lambdas, strict=True)
    ]
    return np.concatenate([np.empty(0), *parts])


def _inverse(hessian: FloatArray) -> FloatArray:
    """Invert, leaving out directions without curvature, as a variance that is not identified."""
    if not len(hessian):
        return hessian
    values, vectors = np.linalg.eigh(hessian)
    curved = values > _FLAT_CURVATURE * max(1.0, float(values[-1]))
    kept = vectors[:, curved]
    return np.asarray((kept / values[curved]) @ kept.T)
