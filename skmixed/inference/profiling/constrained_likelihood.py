"""The deviance of a generalized model with one parameter held, with free coefficients.

Coordinates of the covariances are those of linear models, with Lambda absolute. They are followed
by those of beta, in scaled units and along the directions that leave a held coefficient as it is,
and phi. Gradients are exact, as are second derivatives by Laplace's approximation for one factor.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from scipy.linalg import null_space

from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.laplace import (
    LEAST_DECREMENT,
    LaplaceEvaluation,
    evaluate_laplace,
)
from skmixed.core.generalized.approximation.modes import Point
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.approximation.quadrature import (
    QuadratureEvaluation,
    evaluate_quadrature,
)
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, block_diagonal
from skmixed.inference.profiling.constrained import Constrained
from skmixed.inference.profiling.constrained_search import NewtonSearch
from skmixed.inference.profiling.term_coordinates import TermPoint

_LEAST_ROOT = 1e-5  # of covariances in scaled units, added where they are singular for quadrature


@dataclass(frozen=True, eq=False)
class ConstrainedLikelihood(Constrained):
    """A generalized model with one parameter held; t of a dispersion is phi."""

    fit: GeneralizedFit
    observations: Observations
    _kept: dict[str, Any] = field(default_factory=dict)  # modes near those of the next evaluation

    # --- coordinates --------------------------------------------------------------------------

    @property
    def is_exact(self) -> bool:
        """Whether second derivatives are exact."""
        is_laplace = self.fit.quadrature == 1
        is_one = len(self.observations.structures) <= 1
        return is_laplace and is_one and not self._n_free_phi

    @property
    def _n_free_phi(self) -> int:
        return 0 if self.component.kind == "scale" else len(self.fit.phi)

    @cached_property
    def others(self) -> FloatArray:
        """Coordinates of beta, and phi unless it is held."""
        free = self._directions.T @ self._optimum.beta
        return np.concatenate([free, self.fit.phi[: self._n_free_phi]])

    @cached_property
    def _optimum(self) -> Point:
        fit = self.fit
        return point_of(self.observations, fit.beta, fit.lambdas, fit.phi)

    @cached_property
    def _row(self) -> FloatArray:
        """The held coefficient as a function of scaled beta, (p,); zeros if none is held."""
        units = self.observations.units
        if self.component.kind != "coefficient":
            return np.zeros(len(units.kept))
        place = self.fit.spec.fixed[self.component.columns[0]]
        return units.to_raw[place, :-1]

    @cached_property
    def _directions(self) -> FloatArray:
        """Directions of scaled beta, (p, n), that leave the held coefficient as it is."""
        if self.component.kind != "coefficient":
            return np.eye(len(self._row))
        return np.asarray(null_space(self._row[None]))

    def _beta(self, free: FloatArray, t: float) -> FloatArray:
        beta = self._directions @ free
        if self.component.kind == "coefficient":
            beta = beta + self._row * (t / float(self._row @ self._row))
        return np.asarray(beta)

    @property
    def scale_optimum(self) -> float:
        """Phi."""
        return float(self.fit.phi[0])

    @property
    def scale_bound(self) -> float:
        """Phi of an infinite dispersion."""
        limit = self.fit.family.limit_phi
        return float(np.inf) if limit is None else limit

    def scale(self, t: float) -> float:
        """Return the dispersion."""
        return next(iter(self.fit.scales_at(np.array([t])).values()))

    def limit(self, t: float) -> float:
        """Return the limit of an interval that ends at t, infinite at the bound of phi."""
        is_infinite = self.component.kind == "scale" and t >= self.scale_bound
        return float(np.inf) if is_infinite else self.value(t)

    def searcher(self) -> NewtonSearch:
        """Return a search by second derivatives."""
        return NewtonSearch(self)

    # --- the deviance -------------------------------------------------------------------------

    def evaluate(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float]:
        """Return the deviance, its gradient in the free coordinates x, (m,), and its slope in t."""
        return self.evaluate_all(x, t)[:3]

    def evaluate_all(self, x: FloatArray, t: float) -> tuple[float, FloatArray, float, FloatArray]:
        """Return the same with second derivatives in x, (m, m), as far as they are known."""
        terms = self.thetas(x, t)
        n_of_effects, p = self.n_of_effects, self._directions.shape[1]
        free, phi = np.split(x[n_of_effects:], [p])
        if self.component.kind == "scale":
            phi = np.array([t])
        limit = np.minimum(phi, self.scale_bound)
        scaled = [
            np.asarray(np.linalg.solve(random_map, lam), dtype=np.float64)
            for random_map, lam in zip(
                self.observations.units.random_maps, self.lambdas(terms), strict=True
            )
        ]
        point = Point(self._beta(free, t), scaled, limit)
        if not all(np.isfinite(part).all() for part in (point.beta, *scaled, limit)):
            raise OverflowError("a parameter leaves the range of floating-point numbers")
        try:
            found = self._at(point)
        except LostPrecisionError as error:
            raise ArithmeticError(str(error)) from None
        phi_slope = np.where(phi > self.scale_bound, 0.0, found.phi_slope)
        gradient, slope = [np.empty(0)], 0.0
        for term, part, theta in terms:
            by_omega = found.by_omegas[term.position][term.block, term.block]
            directions = term.structure.directions(theta, term.order)
            own, by_t = term.slopes(part, t, directions.reshape(len(theta), -1) @ by_omega.ravel())
            gradient.append(own)
            slope += by_t
        gradient.append(self._directions.T @ found.beta_slope)
        if self.component.kind == "coefficient":
            slope += float(self._row @ found.beta_slope) / float(self._row @ self._row)
        if self.component.kind == "scale":
            slope += float(phi_slope[0])
        else:
            gradient.append(phi_slope)
        return found.value, np.concatenate(gradient), slope, self._hessian(found, terms, t)

    def _at(self, point: Point) -> _Slopes:
        """Evaluate, with the modes sought from those of the last evaluation."""
        if self.fit.quadrature == 1 or not self.observations.structures:
            before = self._kept.get("remembered")
            laplace = evaluate_laplace(self.observations, point, before, LEAST_DECREMENT)
            self._kept["remembered"] = laplace.remembered
            return self._slopes(laplace, laplace.gradient, laplace.hessian)
        roots = [_safe_root(lam @ lam.T) for lam in point.lambdas]
        nodes = evaluate_quadrature(
            self.observations,
            self._laplace,
            self.fit.quadrature,
            Point(point.beta, roots, point.phi),
            self._kept.get("remembered", self._laplace.remembered),
            LEAST_DECREMENT,
        )
        self._kept["remembered"] = nodes.remembered
        return self._slopes(nodes, [_by_omega(roots[0], nodes.root_slope)], None)

    def _slopes(
        self,
        found: LaplaceEvaluation | QuadratureEvaluation,
        by_scaled: Blocks,
        hessian: FloatArray | None,
    ) -> _Slopes:
        by_omegas = []
        for random_map, slope in zip(self.observations.units.random_maps, by_scaled, strict=True):
            inverse = np.linalg.inv(random_map)
            by_omegas.append(inverse.T @ slope @ inverse)
        return _Slopes(found.criterion, found.beta_slope, by_omegas, found.phi_slope, hessian)

    @cached_property
    def _laplace(self) -> LaplaceEvaluation:
        return evaluate_laplace(self.observations, self._optimum)

    # --- second derivatives -------------------------------------------------------------------

    def _hessian(
        self,
        found: _Slopes,
        terms: list[TermPoint],
        t: float,
    ) -> FloatArray:
        """Return second derivatives in the free coordinates, (m, m); zero where not known."""
        q, p = self.n_of_effects, self._directions.shape[1]
        size = q + p + self._n_free_phi
        result = np.zeros((size, size))
        if found.hessian is None:
            return result
        change = np.zeros((len(found.hessian), q + p))
        rank = len(self._row)
        change[:rank, q:] = self._directions
        structures = self.observations.structures
        starts = rank + np.cumsum([0, *[len(s.basis) for s in structures]])
        column, bends = 0, []
        for term, part, theta in terms:
            directions = term.structure.directions(theta, term.order)
            structure, R = structures[term.position], self.observations.units.random_maps
            whole = np.zeros((len(theta), structure.size, structure.size))
            whole[:, term.block, term.block] = directions
            inverse = np.linalg.inv(R[term.position])
            along = (inverse @ whole @ inverse.T).reshape(len(theta), -1)
            basis = structure.basis.reshape(len(structure.basis), -1)
            weights = np.linalg.solve(basis @ basis.T, basis @ along.T)  # (d, t)
            own = term.changes(part, t)
            start = starts[term.position]
            change[start : start + len(basis), column : column + term.n_free] = weights @ own
            by_omega = found.by_omegas[term.position][term.block, term.block]
            by_theta = directions.reshape(len(theta), -1) @ by_omega.ravel()
            curved = term.structure.curvature(theta, term.order, by_omega)
            bends.append(own.T @ curved @ own + np.diag(term.bends(t, by_theta)))
            column += term.n_free
        result[: q + p, : q + p] = change.T @ found.hessian @ change
        if bends:
            result[:q, :q] += block_diagonal(bends)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class _Slopes:
    """The criterion at one point, with its derivatives."""

    value: float
    beta_slope: FloatArray  # (p,)
    by_omegas: Blocks  # (k, k) a factor, in the covariance of raw effects
    phi_slope: FloatArray  # (m,)
    hessian: FloatArray | None  # (p + d, p + d) of scaled beta and Omega, None if not known


def _safe_root(omega: FloatArray) -> FloatArray:
    """Return the Cholesky factor of a covariance, (k, k), or of one close to it."""
    least = _LEAST_ROOT**2 * max(1.0, float(np.diag(omega).max(initial=0.0)))
    values = np.linalg.eigvalsh(omega)
    if values[0] < least:
        omega = omega + least * np.eye(len(omega))
    return np.asarray(np.linalg.cholesky(omega))


def _by_omega(root: FloatArray, slope: FloatArray) -> FloatArray:
    """Convert the derivative in the entries of a Cholesky factor to that in L L', (k, k)."""
    inner = np.tril(root.T @ np.tril(slope))
    inner[np.diag_indices(len(inner))] *= 0.5
    inverse = np.linalg.inv(root)
    found = inverse.T @ inner @ inverse
    return np.asarray(0.5 * (found + found.T))
