"""The maximum of the likelihood of a nonlinear model, as Laplace's approximation has it.

The search goes on where a few passes of Lindstrom and Bates's have led, in coefficients and theta
together. Second derivatives are differences of the exact gradient once, then updated, and made
anew at the end, where they give the errors of the estimates.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import accumulate, pairwise

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, inverse_felt, trust_region_step
from skmixed.core.model.covariance import Structure
from skmixed.core.nonlinear.curve_likelihood import CurveLikelihood, IntegratedCurve
from skmixed.core.nonlinear.curve_rows import times_roots
from skmixed.core.nonlinear.lindstrom_bates import Linearised
from skmixed.core.residual.residual_search import RunawayError
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.report import Callback, Iteration, SolverReport
from skmixed.core.search.trust_region import ACCEPTED_RATIO, judged, new_radius

SMALL_SLOPE = 1e-4  # of the criterion, in standard errors: it has arrived, to 1e-8 of a deviance
_STEP_OF_SLOPES = 1e-4  # of differences of gradients, in standard errors: half their digits stay
_FINAL_STEP = 1e-3  # of central ones at the end, whose error is of the square of this
_CRITERION_ROUNDING = 1e-12  # of the criterion, relative
_SHORTEST_RADIUS = 1e-7  # standard errors: the criterion does not tell such a step from none
_SHARE_OF_NOISE = 0.3  # of a deviation, where it is zero: of what noise leaves of a level's effect
_LIFT = 0.3  # of that: where a variance of zero starts again
_NO_VARIANCE = 1e-4  # of that: a deviation so small is tried as none
_NO_CURVATURE = 1e-10  # of the largest curvature: less is none
_MOST_ENDS = 4  # times that second derivatives are made anew near the end


@dataclass(eq=False)
class LikelihoodSearch:
    """A trust-region search in coefficients and theta."""

    likelihood: CurveLikelihood
    start: Linearised
    tol: float = 1e-8
    max_iter: int = 100
    callback: Callback | None = None
    trace: list[Iteration] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take coordinates and units from where the search begins."""
        fit, rows = self.start.fit, self.likelihood.rows
        structures = tuple(rows.spec.structure(factor) for factor in rows.spec.used_factors)
        self.kept = list(fit.kept)
        phi, ratio = self.likelihood.phi_of(fit)
        floors = self._noise_roots(phi)
        omegas = [lam @ lam.T / ratio**2 for lam in fit.lambdas]
        confounded = self.start.fit.report.confounded
        lifted = [
            omega if place in confounded else _lifted(structures[place], omega, _LIFT * floor)
            for place, (omega, floor) in enumerate(zip(omegas, floors, strict=True))
        ]
        self.coordinates = Coordinates.natural(structures).pivoted(lifted)
        errors = np.sqrt(np.diag(fit.beta_covariance)[self.kept])
        sizes = [
            structure.sizes_of_theta(np.maximum(np.sqrt(np.diag(omega)), floor))
            for structure, omega, floor in zip(structures, omegas, floors, strict=True)
        ]
        levels = [n for n, _ in rows.sizes]
        units = [size / np.sqrt(2.0 * n) for size, n in zip(sizes, levels, strict=True)]
        self.units = np.concatenate([errors, *units, _units_of_phi(self.likelihood)])
        self.units[self.units <= 0.0] = 1.0
        self.floors = np.concatenate(
            [s.sizes_of_theta(floor) for s, floor in zip(structures, floors, strict=True)]
        )
        self.x = np.concatenate([fit.beta[self.kept], self.coordinates.theta(lifted), phi])

    def _noise_roots(self, phi: FloatArray) -> Blocks:
        """Return deviations, (k,) a factor, of effects that are as large as noise of a level."""
        rows = self.likelihood.rows
        parameters = rows.parameters(self.start.beta, self.start.effects)
        slopes = rows.curve.slopes(parameters, rows.inputs)[1]
        slopes = times_roots(slopes, self.likelihood.roots(phi))
        squares = (slopes[:, rows.made_of.varying] ** 2).sum(axis=0)
        ends = list(accumulate((k for _, k in rows.sizes), initial=0))
        return [
            _SHARE_OF_NOISE / np.sqrt(np.maximum(squares[slice(*place)] / n, np.finfo(float).tiny))
            for place, (n, _) in zip(pairwise(ends), rows.sizes, strict=True)
        ]

    @property
    def of_theta(self) -> slice:
        """Where theta is in x: after the coefficients and before phi."""
        n_theta = sum(structure.n_theta for structure in self.coordinates.structures)
        return slice(len(self.kept), len(self.kept) + n_theta)

    def parts(self, x: FloatArray) -> tuple[FloatArray, Blocks, FloatArray]:
        """Return all coefficients, (n_fixed,), lambdas, and phi, (q,), of a point."""
        beta = np.zeros(len(self.start.beta))
        beta[self.kept] = x[: len(self.kept)]
        return beta, self.coordinates.lambdas(x[self.of_theta]), x[self.of_theta.stop :]

    def at(self, x: FloatArray, near: IntegratedCurve | None) -> IntegratedCurve:
        """Evaluate a point, the modes being near those of another one."""
        beta, lambdas, phi = self.parts(x)
        if near is None:
            u = self.likelihood.spherical(self.start.effects, lambdas)
            near = self.likelihood.near(beta, lambdas, u, phi)
        return self.likelihood.at(beta, lambdas, near, phi)

    def slope(self, x: FloatArray, point: IntegratedCurve) -> FloatArray:
        """Return the derivative of the criterion in x, in units, (m,)."""
        by_beta, by_lambda = point.gradient
        parts, column = [by_beta[self.kept]], 0
        coordinates, theta = self.coordinates, x[self.of_theta]
        zipped = zip(coordinates.structures, coordinates.orders, coordinates.places, strict=True)
        for structure, order, place in zipped:
            block = slice(column, column + structure.size)
            slopes = structure.root_slopes(theta[place], order)
            parts.append(np.einsum("tab,ab->t", slopes, by_lambda[block, block]))
            column = block.stop
        return np.asarray(np.concatenate([*parts, point.phi_gradient]) * self.units)

    def hessian(
        self, x: FloatArray, point: IntegratedCurve, slope: FloatArray, *, central: bool
    ) -> FloatArray:
        """Return second derivatives in units, (m, m), by differences of the gradient."""
        step = _FINAL_STEP if central else _STEP_OF_SLOPES
        found = []
        for direction in np.eye(len(x)) * step:
            moved = x + self.units * direction
            above = self.slope(moved, self.at(moved, point))
            if central:
                moved = x - self.units * direction
                found.append((above - self.slope(moved, self.at(moved, point))) / (2.0 * step))
            else:
                found.append((above - slope) / step)
        hessian = np.array(found)
        return (hessian + hessian.T) / 2.0

    def search(self) -> tuple[IntegratedCurve, FloatArray, SolverReport]:
        """Return the optimum, the covariance of beta, (n_fixed, n_fixed), and the report.

        Raises ArithmeticError where the likelihood cannot be evaluated at the start, and
        RunawayError where a variance of rows runs away.
        """
        x, point = self._begin()
        slope = self.slope(x, point)
        hessian = self.hessian(x, point, slope, central=False)
        x, point, slope, message = self._descend(x, point, slope, hessian)
        self._refuse_runaway(x)
        x, point, slope = self._without_nothing(x, point, slope)
        for _ in range(_MOST_ENDS):
            hessian = self.hessian(x, point, slope, central=True)
            step, predicted = trust_region_step(slope, hessian, 1.0)
            moved = self._tried(x + self.units * step, point)
            if moved is None or moved.criterion > point.criterion + _CRITERION_ROUNDING * abs(
                point.criterion
            ):
                break
            x, point = x + self.units * step, moved
            slope = self.slope(x, point)
            if predicted < self.tol:
                break
        x, point, slope = self._without_nothing(x, point, slope)
        inverse = 2.0 * inverse_felt(hessian, _NO_CURVATURE)
        slope = slope * np.sqrt(np.diag(inverse))
        largest = float(np.abs(slope).max(initial=0.0))
        converged = largest < SMALL_SLOPE
        if not converged:
            message = f"{message}; {self._steepest(slope)}"
        covariance = inverse * self.units[:, None] * self.units
        n, n_fixed = len(self.kept), len(self.start.beta)
        of_beta = np.zeros((n_fixed, n_fixed))
        of_beta[np.ix_(self.kept, self.kept)] = covariance[:n, :n]
        report = SolverReport("laplace", converged, len(self.trace), message, tuple(self.trace))
        return point, of_beta, report

    def _begin(self) -> tuple[FloatArray, IntegratedCurve]:
        """Evaluate the likelihood where the last pass has led, or where it began."""
        try:
            return self.x, self.at(self.x, None)
        except ArithmeticError:
            x = self.x.copy()
            x[: len(self.kept)] = self.start.beta[self.kept]
            return x, self.at(x, None)

    def _descend(
        self, x: FloatArray, point: IntegratedCurve, slope: FloatArray, hessian: FloatArray
    ) -> tuple[FloatArray, IntegratedCurve, FloatArray, str]:
        """Go down by steps within a radius, second derivatives being updated."""
        radius = max(1.0, float(np.sqrt(len(x))))
        for _ in range(self.max_iter):
            step, predicted = trust_region_step(slope, hessian, radius)
            if predicted <= self.tol:
                return x, point, slope, "a step promises nothing"
            moved, length = self._tried(x + self.units * step, point), float(np.linalg.norm(step))
            gained = -np.inf if moved is None else point.criterion - moved.criterion
            ratio = -1.0
            if moved is not None and np.isfinite(gained):
                rounding = _CRITERION_ROUNDING * abs(point.criterion)
                ratio = float(judged(gained, float(predicted), rounding))
            self._note(point, slope, length, ratio)
            if moved is not None and ratio > ACCEPTED_RATIO:
                after = self.slope(x + self.units * step, moved)
                hessian = _updated(hessian, step, after - slope)
                x, point, slope = x + self.units * step, moved, after
            radius = float(new_radius(ratio, length, radius))
            if radius < _SHORTEST_RADIUS:
                return x, point, slope, "no shorter step is lower"
        return x, point, slope, f"max_iter={self.max_iter} was reached"

    def _tried(self, x: FloatArray, point: IntegratedCurve) -> IntegratedCurve | None:
        """Evaluate a point, None where that is not possible."""
        try:
            moved = self.at(x, point)
        except ArithmeticError:
            return None
        return moved if np.isfinite(moved.criterion) else None

    def _without_nothing(
        self, x: FloatArray, point: IntegratedCurve, slope: FloatArray
    ) -> tuple[FloatArray, IntegratedCurve, FloatArray]:
        """Make deviations of nearly nothing exactly zero where that is not worse."""
        theta = x[self.of_theta]
        small = np.abs(theta) < _NO_VARIANCE * self.floors
        if not small.any() or not theta[small].any():
            return x, point, slope
        tried = x.copy()
        tried[self.of_theta] = np.where(small, 0.0, theta)
        moved = self._tried(tried, point)
        if moved is None or moved.criterion > point.criterion + self.tol:
            return x, point, slope
        return tried, moved, self.slope(tried, moved)

    def _refuse_runaway(self, x: FloatArray) -> None:
        structure = self.likelihood.structure
        advice = None if structure is None else structure.runaway(x[self.of_theta.stop :])
        if advice is not None:
            raise RunawayError(f"the likelihood has no maximum that can be reached: {advice}")

    def _note(self, point: IntegratedCurve, slope: FloatArray, length: float, ratio: float) -> None:
        taken = ratio > ACCEPTED_RATIO
        line = Iteration(point.criterion, float(np.linalg.norm(slope)), length, taken, 0.0)
        self.trace.append(line)
        if self.callback is not None:
            self.callback(line)

    def _steepest(self, slope: FloatArray) -> str:
        """Say along what the criterion still falls."""
        place, n = int(np.abs(slope).argmax()), len(self.kept)
        rows = self.likelihood.rows
        what = "the variances"
        if place < n:
            what = rows.layout.columns[rows.spec.fixed[self.kept[place]]]
        return f"along {what} the criterion changes by {abs(slope[place]):.2g} a standard error"


def _units_of_phi(likelihood: CurveLikelihood) -> FloatArray:
    """Return about the standard errors of phi, (q,), as if sigma alone were estimated beside."""
    slopes, counts = likelihood.log_slopes, likelihood.counts
    means = slopes @ counts / counts.sum()
    squares = np.square(slopes - means[:, None]) @ counts
    return np.asarray(1.0 / np.sqrt(2.0 * np.maximum(squares, np.finfo(float).tiny)))


def _lifted(structure: Structure, omega: FloatArray, roots: FloatArray) -> FloatArray:
    """Return a covariance, (k, k), off its boundary, where some gradients say nothing."""
    if not bool(structure.is_on_boundary(omega)):
        return omega
    return np.asarray(structure.projected(omega + np.diag(np.square(roots))))


def _updated(hessian: FloatArray, step: FloatArray, change: FloatArray) -> FloatArray:
    """Update second derivatives, (m, m), by the change of the gradient: symmetric, of rank one."""
    lacking = change - hessian @ step
    along = float(lacking @ step)
    if abs(along) <= _NO_CURVATURE * float(np.linalg.norm(lacking) * np.linalg.norm(step)):
        return hessian
    return np.asarray(hessian + np.outer(lacking, lacking) / along)
