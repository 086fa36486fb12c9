"""Likelihoods of a generalized model of one factor, its effects integrated by quadrature.

With D = L L' the curvature of a level at its mode u, the nodes are u_j = u + L'^-1 z_j of a product
grid, and the integral over the effects of a level is

    |D|^-1/2 sum_j exp(log w_j + z_j'z_j / 2 - h(u_j)),

w_j being weights for independent normal variables. All R parameters go together, some at a time.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import product

import numpy as np

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.laplace import evaluate_laplace
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.level_rows import LevelModes, LevelRows, ParameterPoints
from skmixed.core.posterior.reduced_sums import Progress

_NODES_A_COLUMN = (11, 7, 5)  # a column, by number of columns: errors far below those of draws
_CELLS_OF_ROWS = 2**17  # rows times points at a time: some arrays of 1 MB, which stay in the cache


def n_nodes(k: int) -> int | None:
    """Return the number of nodes a column for k random columns, None if that makes too many."""
    return _NODES_A_COLUMN[k - 1] if k <= len(_NODES_A_COLUMN) else None


@dataclass(frozen=True, slots=True, eq=False)
class WorkingLevels:
    """The rows at the estimates as those of a linear model, from which modes are predicted."""

    beta: FloatArray  # (p,)
    own: FloatArray  # (k, k, n_levels), Z'W Z
    cross: FloatArray  # (k, p, n_levels), Z'W X
    target: FloatArray  # (k, n_levels), Z'W Z b - Z'g at the modes b
    information: FloatArray  # (p, p), X'V^-1 X

    @classmethod
    def at(cls, observations: Observations, fit: GeneralizedFit) -> WorkingLevels:
        """Evaluate the rows at the estimates of a fit of one factor."""
        point = point_of(observations, fit.beta, fit.lambdas, fit.phi)
        found = evaluate_laplace(observations, point, is_curved=False)
        k, p, n = len(point.lambdas[0]), len(point.beta), observations.n_levels[0]
        own, cross, target = np.empty((k, k, n)), np.empty((k, p, n)), np.empty((k, n))
        for rows, kept in zip(observations.blocks, found.remembered, strict=True):
            (levels,), (effects,), (scores,) = rows.levels, kept.effects, kept.scores
            eta = rows.predictor(point.beta) + rows.effects([effects])
            w = observations.family.derivatives(eta, rows.y, rows.weights, point.phi)[2]
            (own[:, :, levels],), (cross[:, :, levels],) = rows.own(w), kept.cross
            product_ = multiply_levels(own[:, :, levels], effects)[:, 0]
            target[:, levels] = product_ + scores[:, 0]
        return cls(point.beta, own, cross, target, found.fixed_information)

    def predicted(
        self, points: ParameterPoints, levels: IntArray | slice = slice(None)
    ) -> FloatArray:
        """Return u of some levels at R points, (k, R, n_levels), as the linear model has them."""
        root = points.root
        moved = np.einsum("apl,rp->arl", self.cross[:, :, levels], points.beta - self.beta)
        right = multiply_transposed(root, (self.target[:, None, levels] - moved)[:, None])
        own = self.own[:, :, None, levels]
        inner = multiply_levels(multiply_transposed(root, own), root)
        half = cholesky_plus_identity(inner)[1]
        return multiply_transposed(half, multiply_levels(half, right))[:, 0]


class LevelNodes:
    """Effects of levels about their modes, with their shares of the integrals.

    Predictors, effects and squares of u are polynomials in z, whose coefficients are found once.
    """

    def __init__(self, modes: LevelModes, n_nodes: int) -> None:
        self.modes = modes
        nodes, weights = np.polynomial.hermite_e.hermegauss(n_nodes)
        logs = np.log(weights) + 0.5 * (nodes**2 - np.log(2.0 * np.pi))
        places = np.array(list(product(range(n_nodes), repeat=len(modes.spherical))))
        self._nodes, self._logs = nodes[places], logs[places].sum(axis=1)  # (J, k), (J,)
        self._mode = modes.effects(modes.spherical)  # (k, R, n_levels), b
        turned = modes.inverse.swapaxes(0, 1)  # L'^-1
        self._moves = multiply_levels(modes.points.root, turned)  # (k, k, R, n_levels), of b in z

    def __iter__(self) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
        """Yield terms of the sums, (R, n_levels), with b, (k, R, n_levels), and losses, (R, n)."""
        modes, rows, family = self.modes, self.modes.rows, self.modes.rows.family
        eta, phi = modes.base + rows.effects(self._mode), modes.points.phi.T[:, :, None]
        slopes = [rows.effects(move) for move in self._moves.swapaxes(0, 1)]
        square = 0.5 * np.square(modes.spherical).sum(axis=0) - modes.height
        linear = multiply_levels(modes.inverse, modes.spherical[:, None])[:, 0]
        quadratic = multiply_levels(modes.inverse, modes.inverse.swapaxes(0, 1))
        for z, log_weight in zip(self._nodes, self._logs, strict=True):
            moved, b, rest = eta.copy(), self._mode.copy(), square - log_weight
            for place, own in enumerate(z):
                moved += own * slopes[place]
                b += own * self._moves[:, place]
                rest = rest + own * linear[place]
                for other, its in enumerate(z):
                    rest += (0.5 * own * its) * quadratic[place, other]
            with np.errstate(over="ignore", invalid="ignore", under="ignore"):
                losses = family.losses(moved, rows.y, rows.weights, phi)
                term = np.exp(-rest - rows.sums(losses))
            yield np.where(np.isfinite(term), term, 0.0), b, losses

    def log_integrals(self) -> FloatArray:
        """Return the logs of the integrals, (R, n_levels); not numbers where h has none."""
        modes = self.modes
        total = sum(term for term, _, _ in self)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray(np.log(total) - modes.height - 0.5 * modes.log_det)


@dataclass(frozen=True, slots=True, eq=False)
class LevelIntegrals:
    """Rows of one factor, or of none, whose likelihood can be evaluated at many parameters."""

    observations: Observations
    rows: LevelRows
    tangent: WorkingLevels
    n_nodes: int  # a column

    @classmethod
    def of(cls, observations: Observations, fit: GeneralizedFit) -> LevelIntegrals | None:
        """Arrange the rows of a fit; None without a factor, for several or many columns of one."""
        nodes = n_nodes(len(fit.lambdas[0])) if len(fit.lambdas) == 1 else None
        if nodes is None:
            return None
        rows, tangent = LevelRows.of(observations), WorkingLevels.at(observations, fit)
        return cls(observations, rows, tangent, nodes)

    @property
    def information(self) -> FloatArray:
        """The information on the coefficients of the scaled columns, (p, p)."""
        return self.tangent.information

    def nodes(self, points: ParameterPoints) -> LevelNodes:
        """Return the nodes of all levels at R points."""
        modes = LevelModes.found(self.rows, points, self.tangent.predicted(points))
        return LevelNodes(modes, self.n_nodes)

    def chunks(self, n: int, n_rows: int | None = None) -> Iterator[slice]:
        """Yield ranges of n points of which so many are evaluated together, given more rows."""
        size = max(1, _CELLS_OF_ROWS // (n_rows or len(self.rows.y)))
        for start in range(0, n, size):
            yield slice(start, min(start + size, n))

    def effect_moments(self, points: ParameterPoints) -> tuple[FloatArray, FloatArray]:
        """Return means, (n_levels, k), and covariances, (n_levels, k, k), of effects, raw units.

        They are those of the equal mixture of R points.
        """
        k, n = len(self.rows.random), len(points.beta)
        first, second = np.zeros((k, self.rows.n_levels)), np.zeros((k, k, self.rows.n_levels))
        for chosen in self.chunks(n):
            nodes = self.nodes(points.take(chosen))
            shape = nodes.modes.height.shape
            total, mean, square = np.zeros(shape), np.zeros((k, *shape)), np.zeros((k, k, *shape))
            for term, b, _ in nodes:
                total += term
                mean += term * b
                square += term * (b[:, None] * b[None])
            first += (mean / total).sum(axis=1)
            second += (square / total).sum(axis=2)
        first, second = first / n, second / n
        random_map = self.observations.units.random_maps[0]
        covariance = second - first[:, None] * first[None]
        return (random_map @ first).T, np.einsum(
            "ab,bcl,dc->lad", random_map, covariance, random_map
        )

    def log_likelihood(
        self, points: ParameterPoints, progress: Progress | None = None
    ) -> FloatArray:
        """Return log p(y) at R points, (R,), minus infinity where it has no number."""
        n = len(points.beta)
        found = np.empty(n)
        for chosen in self.chunks(n):
            some = points.take(chosen)
            found[chosen] = self.nodes(some).log_integrals().sum(axis=1)
            found[chosen] -= _constant(self.observations, self.rows, some.phi)
            if progress is not None:
                progress(chosen.stop - chosen.start)
        return np.where(np.isfinite(found), found, -np.inf)


def _constant(observations: Observations, rows: LevelRows, phi: FloatArray) -> FloatArray | float:
    """Return the part of -log density that does not depend on eta, at dispersions, (R, m)."""
    if observations.constant is not None:
        return observations.constant
    each = observations.family.constants(rows.y, rows.weights, phi.T[:, :, None])
    return np.asarray(each.sum(axis=1))
