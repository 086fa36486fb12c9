"""Coordinates of the search: the entries of theta under a pivot order of the random columns."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray, block_diagonal, is_positive_definite
from skmixed.core.model.covariance import Structure
from skmixed.core.model.dense import DenseStack, is_small
from skmixed.core.model.evaluation import Evaluation, average_information, exact_hessian

_LONG_THETA = 150  # of one factor: the average information of more takes longest of all
DESCENDS = -1e-4  # a flatter slope is not told from the gradient that a search to 1e-8 leaves


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """theta of all factors, given the pivot orders."""

    structures: tuple[Structure, ...]  # of every factor
    orders: list[IntArray]  # (k,), pivot order of every factor
    places: list[slice]  # of the parameters of every factor in theta

    @classmethod
    def natural(cls, structures: tuple[Structure, ...]) -> Coordinates:
        """Set up coordinates in which every column stays in its place."""
        ends = list(accumulate((s.n_theta for s in structures), initial=0))
        places = [slice(*place) for place in pairwise(ends)]
        return cls(structures, [s.natural_order for s in structures], places)

    def are_natural(self, lambdas: Blocks) -> bool:
        """Tell whether lambdas in these coordinates are lower triangular as they stand.

        That is, with no row moved and no negative entry on the diagonal.
        """
        return all(
            bool((lam.diagonal() >= 0.0).all()) and order.tolist() == list(range(len(order)))
            for lam, order in zip(lambdas, self.orders, strict=True)
        )

    def lambdas(self, theta: FloatArray) -> Blocks:
        """Return lambda of every factor, (k, k)."""
        return [s.lam(theta[place], order) for s, order, place in self._factors()]

    def theta(self, omegas: Blocks) -> FloatArray:
        """Return theta, (t,), of given relative covariances."""
        zipped = zip(self.structures, omegas, self.orders, strict=True)
        return np.concatenate([np.empty(0), *[s.theta(omega, order) for s, omega, order in zipped]])

    def read(self, lambdas: Blocks) -> FloatArray:
        """Return theta, (t,), in the natural order of roots of covariances."""
        zipped = zip(self.structures, lambdas, strict=True)
        return np.concatenate([np.empty(0), *[s.read(lam) for s, lam in zipped]])

    def directions(self, theta: FloatArray) -> Blocks:
        """Return the derivatives of Omega of every factor in its theta, (t_f, k, k)."""
        return [s.directions(theta[place], order) for s, order, place in self._factors()]

    def curvature(self, theta: FloatArray, gradients: Blocks) -> FloatArray:
        """Return tr(G Omega_ab), (t, t), G being the derivative in Omega of every factor."""
        zipped = zip(self._factors(), gradients, strict=True)
        return block_diagonal(
            [s.curvature(theta[place], order, gradient) for (s, order, place), gradient in zipped]
        )

    def both(self, theta: FloatArray, gradients: Blocks) -> tuple[Blocks, FloatArray]:
        """Return `directions` and `curvature` together."""
        zipped = zip(self._factors(), gradients, strict=True)
        parts = [s.both(theta[place], order, gradient) for (s, order, place), gradient in zipped]
        return [part[0] for part in parts], block_diagonal([part[1] for part in parts])

    def pivoted(self, omegas: Blocks) -> Coordinates:
        """Return better coordinates for given covariances, these where they are good enough."""
        zipped = zip(self.structures, omegas, self.orders, strict=True)
        orders = [structure.pivot(omega, order) for structure, omega, order in zipped]
        if all(
            new is old or np.array_equal(new, old)
            for new, old in zip(orders, self.orders, strict=True)
        ):
            return self
        return Coordinates(self.structures, orders, self.places)

    def units(self, theta: FloatArray) -> FloatArray:
        """Return the unit of each entry of theta, (t,): 1, or the largest one of its factor.

        The unit of an angle is 1.
        """
        units = np.ones(len(theta))
        for structure, place in zip(self.structures, self.places, strict=True):
            entries = theta[place]
            if structure.n_angles:
                entries = entries[~structure.angles]
            units[place] = max(1.0, *map(abs, entries.tolist()))
            if structure.n_angles:
                units[place][structure.angles] = 1.0
        return units

    def way_off(
        self, omegas: Blocks, gradients: Sequence[FloatArray | None]
    ) -> tuple[int, FloatArray] | None:
        """Find the steepest direction that leaves the boundary and lowers the criterion.

        It comes as the factor to change and the direction, (k, k); None where there is none. The
        gradients are those in Omega, None for factors that stay.
        """
        best, found = DESCENDS, None
        zipped = zip(self.structures, omegas, gradients, strict=True)
        for factor, (structure, omega, gradient) in enumerate(zipped):
            if gradient is None:
                continue
            slope, direction = structure.way_off(omega, gradient)
            if slope < best:
                best, found = float(slope), (factor, direction)
        return found

    def joint_orders(self) -> list[IntArray]:
        """Return the pivot orders of the columns of all factors side by side."""
        starts = accumulate((s.size for s in self.structures), initial=0)
        return [order + start for order, start in zip(self.orders, starts, strict=False)]

    def _factors(self) -> list[tuple[Structure, IntArray, slice]]:
        return list(zip(self.structures, self.orders, self.places, strict=True))


def theta_gradient(
    evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
) -> FloatArray:
    """Return the gradient of the criterion in theta, (t,): tr(G Omega_a)."""
    return _slopes(coordinates.directions(theta), evaluation.gradient)


def _slopes(directions: Blocks, gradients: Blocks) -> FloatArray:
    zipped = zip(directions, gradients, strict=True)
    return np.concatenate([d.reshape(len(d), -1) @ gradient.ravel() for d, gradient in zipped])


def local_model(
    evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the gradient, (t,), and second derivatives, (t, t), of the criterion in theta.

    The second derivatives are exact for one factor where they are positive definite or many, and
    for several of few effects. Otherwise the average information stands for those in Omega.
    """
    if len(coordinates.structures) > 1 and is_small(evaluation.problem):
        order = np.concatenate(coordinates.joint_orders())
        point = DenseStack.of(evaluation.problem, 1).evaluate(theta[None], order[None])
        if np.isfinite(point.criterion[0]):
            return point.slope[0], point.hessian[0]
    directions, curvature = coordinates.both(theta, evaluation.gradient)
    slope = _slopes(directions, evaluation.gradient)
    numbered = list(enumerate(directions))
    if len(directions) == 1:
        hessian = exact_hessian(evaluation, numbered) + curvature
        if is_positive_definite(hessian) or len(slope) > _LONG_THETA:
            return slope, hessian
    return slope, average_information(evaluation, numbered) + curvature
