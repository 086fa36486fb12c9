"""Derivatives of the likelihood of every cluster of rows, the terms of the gradient by cluster.

Random effects of different clusters are independent, so that -2 log-likelihood is a sum over them.
What Laplace's approximation and quadrature add up over rows and levels to their gradients is added
up within clusters here: there is no second formula, and no pass over the rows for every cluster.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skmixed.core.elimination.levels import multiply, multiply_transposed
from skmixed.core.generalized.approximation.laplace import (
    LEAST_DECREMENT,
    EliminatedColumns,
    RowDerivatives,
)
from skmixed.core.generalized.approximation.modes import Modes, Point, find_modes, first_carried
from skmixed.core.generalized.approximation.observations import Observations, RowBlock
from skmixed.core.generalized.approximation.quadrature import Nodes
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.sums.summation import level_sums


def cluster_slopes(
    observations: Observations,
    point: Point,
    n_nodes: int,
    clusters: IntArray,
    n_clusters: int,
) -> FloatArray:
    """Return the derivatives of -2 log-likelihood in beta, theta and phi, (J, p + t + m).

    Theta is in natural coordinates; penalties are of no cluster. `clusters`, (n,), are those of
    `Observations.rows`, and every level lies within one.
    """
    coordinates = Coordinates.natural(observations.structures)
    theta = coordinates.theta([lam @ lam.T for lam in point.lambdas])
    size = len(point.beta) + len(theta) + len(point.phi)
    total = np.zeros((n_clusters, size))
    share = LEAST_DECREMENT / max(1, len(observations.blocks))
    for rows in observations.blocks:
        own = _Within.of(rows, clusters)
        carried = first_carried(rows, observations.family, point)
        modes = find_modes(rows, observations.family, point, carried, share, None)
        if n_nodes == 1 or not point.lambdas:
            parts = _of_laplace(observations, rows, point, modes, own, coordinates, theta)
        else:
            nodes = Nodes(observations, rows, point, modes, n_nodes)
            parts = _of_quadrature(nodes, own, coordinates, theta)
        total[own.present] += np.concatenate(list(parts), axis=1)
    return total


@dataclass(frozen=True, slots=True, eq=False)
class _Within:
    """The clusters of a block."""

    present: IntArray  # (J,), those of its rows among all
    of_rows: IntArray  # (n,), among those present
    of_levels: list[IntArray]  # (n_levels,) a factor, likewise

    @classmethod
    def of(cls, rows: RowBlock, clusters: IntArray) -> _Within:
        present, of_rows = np.unique(clusters[rows.places], return_inverse=True)
        of_levels = []
        for codes, levels in zip(rows.codes, rows.levels, strict=True):
            of_factor = np.zeros(len(levels), dtype=np.intp)
            of_factor[codes] = of_rows
            of_levels.append(of_factor)
        return cls(present, of_rows, of_levels)

    def rows(self, values: FloatArray, factor: FloatArray) -> FloatArray:
        """Sum the rows of a matrix, (n, m), times a factor each, (n,), to (J, m)."""
        return np.asarray(level_sums(self.of_rows, len(self.present), [factor], values)[0].T)

    def levels(self, factor: int, values: FloatArray) -> FloatArray:
        """Sum what levels of a factor have, (m, n_levels), to (J, m)."""
        codes = self.of_levels[factor]
        ones = np.ones(len(codes))
        return np.asarray(level_sums(codes, len(self.present), [ones], values.T)[0].T)


def _of_laplace(
    observations: Observations,
    rows: RowBlock,
    point: Point,
    modes: Modes,
    own: _Within,
    coordinates: Coordinates,
    theta: FloatArray,
) -> Iterator[FloatArray]:
    """Yield the derivatives in beta, (J, p), theta of every factor, (J, t_f), and phi, (J, m)."""
    p, family = rows.fixed.shape[1], observations.family
    derivatives = RowDerivatives.of(family, rows, point, modes)
    found = EliminatedColumns.of(family, rows, point, modes, derivatives)
    in_beta = own.rows(rows.fixed, 2.0 * modes.visit.g + derivatives.c)
    in_phi = 2.0 * derivatives.f_phi + derivatives.w_phi * derivatives.variances
    in_phi = own.rows(in_phi.T, np.ones(len(rows.y)))
    in_theta = []
    for factor, directions in enumerate(coordinates.directions(theta)):
        lam, solved = point.lambdas[factor], found.solved[factor]
        s, t = modes.scores[factor][:, 0], solved[:, p]
        moved = multiply(lam @ lam.T, t[:, None])
        in_beta -= own.levels(factor, multiply_transposed(found.cross[factor], moved)[:, 0])
        mixed = s[:, None] * (t - s)[None]
        gradient = modes.factorisation.information(factor) + 0.5 * (mixed + mixed.swapaxes(0, 1))
        in_theta.append(own.levels(factor, _along(directions, gradient)))
        effects = multiply(lam @ lam.T, found.by_level[factor])
        through = multiply_transposed(solved[:, p + 1 :], effects)[:, 0]
        in_phi -= own.levels(factor, through)
    yield in_beta
    yield from in_theta
    yield in_phi


def _of_quadrature(
    nodes: Nodes, own: _Within, coordinates: Coordinates, theta: FloatArray
) -> Iterator[FloatArray]:
    """Yield the same by quadrature, which knows one factor."""
    rows, moved = nodes.rows, nodes.moved[:, None]
    in_beta = own.rows(rows.fixed, nodes.row_slopes)
    yield in_beta - own.levels(0, multiply_transposed(nodes.cross, moved)[:, 0])
    (structure,), (order,) = coordinates.structures, coordinates.orders
    yield own.levels(0, _along(structure.root_slopes(theta, order), nodes.root_slopes()))
    in_phi = own.rows(nodes.row_phi_slopes.T, np.ones(len(rows.y)))
    for place, (shift,) in enumerate(nodes.shifts):
        in_phi[:, place] -= own.levels(0, multiply_transposed(shift, moved)[:, 0])[:, 0]
    yield in_phi


def _along(directions: FloatArray, gradient: FloatArray) -> FloatArray:
    """Return tr(G'D) of directions, (t, k, k), and levels, (k, k, n_levels), as (t, n_levels)."""
    return np.tensordot(directions, gradient, axes=([1, 2], [0, 1]))
