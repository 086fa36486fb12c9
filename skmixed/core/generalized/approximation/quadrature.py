"""Adaptive Gauss-Hermite quadrature of the likelihood of one factor, with its exact gradient.

With D = lambda'A lambda + I = L L' of every level at its mode u, the nodes are u_j = u + L^-T z_j
for a product grid z_j with weights w_j of independent normal variables, and

    l = sum over levels of 2 h(u) - 2 log sum_j exp(log w_j + z_j'z_j / 2 - h(u_j) + h(u)) + log|D|,

-2 log-likelihood with all constants; one node is Laplace's approximation. With pi_j the terms,
normalised, and d_j the gradient of h at a node, what the criterion owes to u and to D is

    v = 2 sum pi_j d_j + lambda'Z'c,    P = D^-1 - 2 L^-T sym(Phi) L^-1,
    c = w1 z'lambda P lambda'z,

Phi being the lower triangle, its diagonal halved, of L'(sum pi_j L^-T z_j d_j'L^-T). The value
depends on which root of Omega is taken, so that lambda is always the lower triangular one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply,
    multiply_levels,
    multiply_right,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.generalized.approximation.arrangement import times
from skmixed.core.generalized.approximation.laplace import LaplaceEvaluation
from skmixed.core.generalized.approximation.modes import Modes, Point, Remembered, find_modes
from skmixed.core.generalized.approximation.observations import Observations, RowBlock
from skmixed.core.linalg import FloatArray
from skmixed.core.search.coordinates import Coordinates

MOST_NODES = 1_000  # of the product grid: each is a pass over the rows in every evaluation
_SHIFT_NODES = (5, 3, 3)  # nodes by number of columns that tell how far Laplace's estimates are off


@dataclass(frozen=True, eq=False)
class QuadratureEvaluation:
    """The criterion at one point, in scaled units."""

    laplace: LaplaceEvaluation  # at the optimum of Laplace's approximation
    point: Point
    criterion: float  # -2 log-likelihood, and the penalty
    beta_slope: FloatArray  # (p,)
    root_slope: FloatArray  # (k, k), derivative in the entries of lambda
    phi_slope: FloatArray  # (m,)
    remembered: list[Remembered]  # of every block
    decrement: float

    @property
    def fixed_information(self) -> FloatArray:
        """The information on beta, (p, p), at the optimum of Laplace's approximation."""
        return self.laplace.fixed_information

    @property
    def phi_curvature(self) -> FloatArray | None:
        """The second derivatives in phi that are known, at the optimum of the approximation."""
        return self.laplace.phi_curvature

    @property
    def gradient(self) -> Blocks:
        """Derivative in Omega, (k, k), there: at a variance of zero it is the same."""
        return self.laplace.gradient

    @property
    def is_finite(self) -> bool:
        """Whether the criterion and its slopes are numbers."""
        parts = [self.beta_slope, self.root_slope, self.phi_slope]
        return np.isfinite(self.criterion) and all(np.isfinite(part).all() for part in parts)

    def with_lambdas(self, lambdas: Blocks) -> QuadratureEvaluation:
        """Return the same: lambdas stand in their natural order."""
        return self

    def advanced(self, point: Point, gain: float) -> QuadratureEvaluation:
        """Return what is expected at parameters so near that second derivatives stay the same."""
        remembered = [kept.advanced(point) for kept in self.remembered]
        criterion = self.criterion - gain
        return replace(self, point=point, criterion=criterion, remembered=remembered)

    def slopes(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return the gradient in beta, theta and phi, (p + t + m,)."""
        (structure,), (order,) = coordinates.structures, coordinates.orders
        roots = structure.root_slopes(theta, order)
        in_theta = roots.reshape(len(roots), -1) @ self.root_slope.ravel()
        return np.concatenate([self.beta_slope, in_theta, self.phi_slope])

    def curvature(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return second derivatives of Laplace's approximation at its optimum, (p + t, p + t)."""
        natural = coordinates.theta([lam @ lam.T for lam in self.laplace.lambdas])
        return self.laplace.curvature(coordinates, natural)


def shift_nodes(k: int) -> int | None:
    """Return how many nodes a column are to tell the error of Laplace's approximation."""
    return _SHIFT_NODES[k - 1] if k <= len(_SHIFT_NODES) else None


def evaluate_quadrature(
    observations: Observations,
    laplace: LaplaceEvaluation,
    n_nodes: int,
    point: Point,
    before: list[Remembered],
    tolerance: float,
) -> QuadratureEvaluation:
    """Evaluate with a number of nodes a column; the modes are sought from those `before`."""
    family, parts, remembered, decrement = observations.family, [], [], 0.0
    share = tolerance / max(1, len(observations.blocks))
    for rows, kept in zip(observations.blocks, before, strict=True):
        carried, tangent = kept.predicted(point)
        modes = find_modes(rows, family, point, carried, share, tangent)
        parts.append(Nodes(observations, rows, point, modes, n_nodes).sums())
        visit = modes.visit
        decrement += modes.decrement
        *_, cross, shifts = parts[-1]
        remembered.append(
            Remembered(point, visit.effects, modes.scores, cross, shifts, modes.tangent)
        )
    value = sum(part[0] for part in parts)
    if observations.constant is not None:
        value += 2.0 * observations.constant
    root_slope = np.sum([part[2] for part in parts], axis=0)
    for penalty, lam in zip(observations.penalties, point.lambdas, strict=False):
        value += float(penalty.value(lam))
        root_slope = root_slope + 2.0 * penalty.slope(lam) @ lam
    return QuadratureEvaluation(
        laplace,
        point,
        value,
        np.sum([part[1] for part in parts], axis=0),
        root_slope,
        np.sum([part[3] for part in parts], axis=0),
        remembered,
        decrement,
    )


class Nodes:
    """The nodes of a block."""

    def __init__(
        self,
        observations: Observations,
        rows: RowBlock,
        point: Point,
        modes: Modes,
        n_nodes: int,
    ) -> None:
        self.observations, self.rows, self.point, self.modes = observations, rows, point, modes
        (self.lam,) = point.lambdas
        (own,) = rows.own(modes.visit.w)
        self.own = own  # (k, k, n_levels), A
        inner = multiply_right(multiply(self.lam.T, own), self.lam)
        self.lower, self.inverse, self.log_det = cholesky_plus_identity(inner)
        k, _, n_levels = own.shape
        self.total = np.zeros(n_levels)
        self.in_eta = np.zeros(len(rows.y))  # expected g of every row
        self.in_root = np.zeros((k, k, n_levels))  # expected -Z'g u'
        self.in_mode = np.zeros((k, n_levels))  # expected d
        self.in_spread = np.zeros((k, k, n_levels))  # expected z d'
        self.in_phi = np.zeros((len(point.phi), len(rows.y)))  # expected f_phi
        self._visit_all(n_nodes)
        self._follow_modes()

    def _visit_all(self, n_nodes: int) -> None:
        nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
        logs = np.log(weights) - 0.5 * np.log(2.0 * np.pi)
        base = self.rows.predictor(self.point.beta)
        visit = self.modes.visit
        level = self._by_level(visit.f, visit.spherical[0][:, 0])
        for places in product(range(n_nodes), repeat=len(self.lam)):
            chosen = list(places)
            self._visit(nodes[chosen], float(logs[chosen].sum()), base, level)
        (codes,) = self.rows.codes
        self.in_eta /= self.total[codes]
        self.in_phi /= self.total[codes]
        for sums in (self.in_root, self.in_mode, self.in_spread):
            sums /= self.total

    def _visit(self, z: FloatArray, log_weight: float, base: FloatArray, least: FloatArray) -> None:
        """Add a node; no exponent is large, since h is least at the modes."""
        family, rows, phi = self.observations.family, self.rows, self.point.phi
        (codes,) = rows.codes
        u = self.modes.visit.spherical[0][:, 0] + np.tensordot(z, self.inverse, axes=(0, 0))
        if z.any():
            eta = base + rows.effects([(self.lam @ u)[:, None]])
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                f, g, _ = family.derivatives(eta, rows.y, rows.weights, phi)
                term = np.exp(log_weight + 0.5 * float(z @ z) - (self._by_level(f, u) - least))
            term = np.where(np.isfinite(term), term, 0.0)
            score = -rows.sums(np.where(np.isfinite(g), g, 0.0))[0][:, 0]
        else:  # the modes
            eta, g, score = self.modes.visit.eta, self.modes.visit.g, self.modes.scores[0][:, 0]
            term = np.full(len(least), np.exp(log_weight))
        slope = u - self.lam.T @ score
        self.total += term
        self.in_eta += term[codes] * g
        self.in_root += term * score[:, None] * u[None]
        self.in_mode += term * slope
        self.in_spread += term * z[:, None, None] * slope[None]
        if len(phi):
            self.in_phi += term[codes] * family.by_phi(eta, rows.y, rows.weights, phi)[0]

    def _by_level(self, f: FloatArray, u: FloatArray) -> FloatArray:
        (codes,), size = self.rows.codes, self.own.shape[2]
        sums = np.bincount(codes, f, minlength=size)
        return np.asarray(sums + 0.5 * np.square(u).sum(axis=0))

    def sums(self) -> tuple[float, FloatArray, FloatArray, FloatArray, Blocks, list[Blocks]]:
        """Return the criterion, its derivatives in beta, lambda and phi, Z'W X and Z'g_phi."""
        rows, moved, phi = self.rows, self.moved, self.point.phi
        value = 2.0 * self.modes.visit.objective + self.log_det
        value -= 2.0 * float(np.log(self.total).sum())
        if self.observations.constant is None:
            value += 2.0 * self.observations.family.constant(rows.y, rows.weights, phi)
        in_beta = rows.fixed.T @ self.row_slopes
        in_beta -= np.tensordot(self.cross, moved, axes=([0, 2], [0, 1]))
        in_phi = self.row_phi_slopes.sum(axis=1)
        for place, (shift,) in enumerate(self.shifts):
            in_phi[place] -= float(np.vdot(shift[:, 0], moved))
        in_root = self.root_slopes().sum(axis=2)
        return value, in_beta, in_root, in_phi, [self.cross], self.shifts

    def root_slopes(self) -> FloatArray:
        """Return the derivative in lambda of every level, (k, k, n_levels)."""
        u, s = self.modes.visit.spherical[0][:, 0], self.modes.scores[0][:, 0]
        felt = self.by_level - multiply_levels(self.own, self.moved[:, None])[:, 0]
        found = 2.0 * multiply_levels(self.own, multiply(self.lam, self.spread))
        found -= 2.0 * self.in_root
        found += felt[:, None] * u[None]
        found += s[:, None] * self.through[None]
        return found

    def _follow_modes(self) -> None:
        """Find what the criterion owes to the modes and their curvature."""
        rows, visit, lam = self.rows, self.modes.visit, self.lam
        family, phi = self.observations.family, self.point.phi
        self.spread = self._spread()  # (k, k, n_levels), P
        variances = _quadratic(multiply_right(multiply(lam, self.spread), lam.T), rows)
        w1 = family.derivatives(visit.eta, rows.y, rows.weights, phi, 3)[3]
        c = w1 * variances
        (r,), (self.cross,) = rows.sums(c), rows.cross(visit.w)  # (k, p, n_levels)
        self.by_level = r[:, 0]  # (k, n_levels), Z'c
        v = 2.0 * self.in_mode + lam.T @ self.by_level
        inverse = multiply_transposed(self.inverse, self.inverse)
        self.through = multiply_levels(inverse, v[:, None])[:, 0]  # (k, n_levels)
        self.moved = lam @ self.through  # (k, n_levels)
        _, g_phi, w_phi = family.by_phi(visit.eta, rows.y, rows.weights, phi)
        self.row_slopes = 2.0 * self.in_eta + c  # (n,)
        self.row_phi_slopes = 2.0 * self.in_phi + w_phi * variances  # (m, n)
        self.shifts = [rows.sums(g) for g in g_phi]  # (k, 1, n_levels) each, Z'g_phi

    def _spread(self) -> FloatArray:
        """Return P, (k, k, n_levels)."""
        back = transposed_levels(self.inverse)
        turned = multiply_levels(multiply_levels(back, self.in_spread), back)
        inner = multiply_levels(transposed_levels(turned), self.lower)
        triangle = np.zeros_like(inner)
        for a in range(len(inner)):
            triangle[a, a] = 0.5 * inner[a, a]
            for b in range(a):
                triangle[a, b] = inner[b, a]
        symmetric = 0.5 * (triangle + transposed_levels(triangle))
        middle = multiply_levels(multiply_levels(back, symmetric), self.inverse)
        return multiply_levels(back, self.inverse) - 2.0 * middle


def transposed_levels(blocks: FloatArray) -> FloatArray:
    """Return the transposed matrices of blocks, (b, a, n_levels) from (a, b, n_levels)."""
    return blocks.swapaxes(0, 1)


def _quadratic(inner: FloatArray, rows: RowBlock) -> FloatArray:
    """Return z'M z of the rows, (n,), for symmetric M of their levels, (k, k, n_levels)."""
    (random,), (codes,) = rows.random, rows.codes
    result = np.zeros(len(rows.y))
    for a, first in enumerate(random):
        for b, second in enumerate(random[: a + 1]):
            both = times(first, times(second, inner[a, b][codes]))
            result += both if a == b else 2.0 * both
    return result
