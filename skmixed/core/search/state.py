"""Where a trust-region search in theta stands, and how it got there."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Protocol

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, eigenpairs, eigenvalues
from skmixed.core.model.evaluation import Evaluation
from skmixed.core.model.problem import Problem
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import Callback, Iteration
from skmixed.core.search.starts import is_like_residual

SNAP_RISE = 1e-8  # of the criterion, that an exact zero may cost: the default tolerance of a search
SMALLEST_RADIUS = 1e-8  # in units of theta: the criterion changes with the square of such a step
NO_GAIN = 1e-12  # predicted decrease at which a search ends at once: rounding of a criterion
ESCAPE_GAIN = 1e-9  # decrease that is worth leaving the boundary or another optimum
_SHARES = (1.0, 0.25, 0.0625)  # of the way to the boundary, at which to look along a line
_LONGEST_LINE = 1e3  # steps on a line that does not meet the boundary
_EDGE_VALUE = 1e-12  # relative eigenvalue: of less, a covariance counts as on the boundary
_TINY = float(np.finfo(float).tiny)  # divisor in the place of zero
_LEAST_RATIO = 1e-2  # of a variance to the one before: Newton's steps find what is nothing


class SearchSettings(Protocol):
    """What a search is told."""

    @property
    def tol(self) -> float:
        """A decrease of the criterion that does not matter."""
        ...

    @property
    def max_iter(self) -> int:
        """Most evaluations of the criterion."""
        ...

    @property
    def callback(self) -> Callback | None:
        """Called with every iteration."""
        ...


class SearchState:
    """State of a trust-region search, and the moves that do not depend on how steps are judged."""

    current: Evaluation
    theta: FloatArray
    radius: float

    def __init__(self, problem: Problem, settings: SearchSettings) -> None:
        self.problem = problem
        self._callback = settings.callback
        self.began = time.perf_counter()
        self.numbered = (1, 1)  # of this start and of all
        self.trace: list[Iteration] = []
        self.n_evaluations = 0
        self.confounded: tuple[int, ...] = ()
        self.converged, self.message = False, "the number of evaluations reached max_iter"
        self.coordinates = Coordinates.natural(problem.structures)

    def evaluate(self, theta: FloatArray) -> Evaluation:
        """Set the model up at theta, (t,)."""
        raise NotImplementedError

    def theta_of(self, omegas: Blocks) -> FloatArray:
        """Return theta, (t,), of relative covariances in the present coordinates."""
        return self.coordinates.theta(omegas)

    @property
    def omegas(self) -> Blocks:
        """Relative covariances, (k, k) of every factor, where the search stands."""
        return self.current.omegas

    def units(self) -> FloatArray:
        """Return the unit in which each entry of theta is measured: 1, or its factor's largest."""
        return self.coordinates.units(self.theta)

    def move_to(self, omegas: Blocks) -> None:
        """Start afresh from given covariances."""
        self.coordinates = self.coordinates.pivoted(omegas)
        self.theta = self.theta_of(omegas)
        self.current = self.evaluate(self.theta)
        self.radius = max(1.0, math.hypot(*(self.theta / self.units()).tolist()) / 2.0)

    def pivot(self) -> None:
        """Change to better coordinates where there are any."""
        omegas = self.omegas
        better = self.coordinates.pivoted(omegas)
        if better is not self.coordinates:
            self.coordinates = better
            self.theta = self.theta_of(omegas)
            self.current = self.current.with_lambdas(better.lambdas(self.theta))

    def way_off(self) -> tuple[int, FloatArray] | None:
        """Find the steepest direction that leaves the boundary and lowers the criterion.

        It comes as the factor to change and the direction, (k, k); None where the
        Karush-Kuhn-Tucker conditions hold. The gradient is asked for on the boundary only.
        """
        omegas = self.omegas
        zipped = zip(self.problem.structures, omegas, strict=True)
        on_boundary = [bool(structure.is_on_boundary(omega)) for structure, omega in zipped]
        slopes = [
            self.current.gradient[f] if is_on else None for f, is_on in enumerate(on_boundary)
        ]
        return self.coordinates.way_off(omegas, slopes)

    def ahead(self, since: Blocks) -> list[Blocks]:
        """Return covariances on the straight line from others, (k, k) a factor, the farthest first.

        Those are of the lambdas `since`. The farthest are on the boundary. Variances of which only
        a sum is determined lie on a straight line, but theta on a circle, along which steps are
        short.
        """
        lines = [
            (omega, omega - lam @ lam.T) for omega, lam in zip(self.omegas, since, strict=True)
        ]
        length = min(_length_within(*line) for line in lines)
        return [
            [
                structure.projected(omega + share * length * step)
                for structure, (omega, step) in zip(self.problem.structures, lines, strict=True)
            ]
            for share in _SHARES
        ]

    def drop_confounded(self, slope: FloatArray, hessian: FloatArray) -> None:
        """Zero, in place, slopes and curvatures of confounded factors: they are but rounding."""
        for factor in self.confounded:
            place = self.coordinates.places[factor]
            slope[place], hessian[place], hessian[:, place] = 0.0, 0.0, 0.0

    def flat_factors(self, hessian: FloatArray, least: float) -> list[int]:
        """Return the factors in which neither slope nor curvature is felt.

        Their variance cannot be told from other parts of the model. `hessian`, (t, t), is in theta;
        what is felt is at least `least`, relative to the information on the effects.
        """
        flat = []
        for f, place in enumerate(self.coordinates.places):
            if is_like_residual(self.problem, f):
                flat.append(f)
                continue
            felt = least * self.current.factorisation.total_information(f).trace()
            slope = np.abs(self.current.gradient[f]).max()
            if slope < felt and np.abs(hessian[place]).max() < felt:
                flat.append(f)
        return flat

    def record(self, criterion: float, gradient_norm: float, step: float, accepted: bool) -> None:
        """Write a line of the trace."""
        seconds = time.perf_counter() - self.began
        line = Iteration(criterion, gradient_norm, step, accepted, seconds, self.numbered)
        self.trace.append(line)
        if self._callback is not None:
            self._callback(line)


def _length_within(omega: FloatArray, step: FloatArray) -> float:
    """Return how many steps, (k, k), from a covariance, (k, k), lie within the boundary."""
    values, vectors = eigenpairs(omega)
    half = vectors / np.sqrt(np.maximum(values, _EDGE_VALUE * values[-1] + _TINY))
    least = float(eigenvalues(half.T @ step @ half)[0])
    return min(_LONGEST_LINE, 1.0 / max(-least, _TINY))


def with_larger_curves(evaluation: Evaluation, curves: Sequence[tuple[int, slice]]) -> Blocks:
    """Return relative covariances, (k, k) a factor, with those of curves after a fixed-point step.

    MINQUE(0) takes curves for smaller than they are, and Newton's steps lead up slowly. A variance
    is multiplied by u'u / sigma^2 over tr F less what the fixed columns take, which are equal at
    the optimum (Wood & Fasiolo 2017, doi:10.1111/biom.12666).
    """
    omegas = [omega.copy() for omega in evaluation.omegas]
    scores, slopes = evaluation.scores(), evaluation.gradient
    for factor, columns in curves:
        square = float(np.square(scores[factor][columns]).sum() / evaluation.sigma2)
        expected = float(slopes[factor][columns, columns].trace()) + square
        if expected > 0.0:
            omegas[factor][columns, columns] *= max(square / expected, _LEAST_RATIO)
    return omegas


def em_step(evaluation: Evaluation) -> Blocks:
    """Return the relative covariances, (k, k) a factor, after a step of the EM algorithm.

    With sigma^2 and beta at their conditional optima (ECME; Liu & Rubin 1994,
    doi:10.1093/biomet/81.4.633), the expected second moment of the random effects of a factor of q
    levels, relative to sigma^2, is Omega - Omega G Omega / q with G the derivative of the criterion
    in Omega, so that it is a step along the gradient. It never raises the criterion.
    """
    problem, result = evaluation.problem, []
    zipped = zip(problem.structures, evaluation.lambdas, evaluation.gradient, strict=True)
    for factor, (structure, lam, gradient) in enumerate(zipped):
        omega = lam @ lam.T
        moment = omega - omega @ gradient @ omega / problem.model.n_levels(factor)
        result.append(structure.projected(moment))
    return result
