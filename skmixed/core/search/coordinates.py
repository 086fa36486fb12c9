"""Coordinates of the search: the entries of theta under a pivot order of the random columns."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np
from scipy.linalg import block_diag

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray, IntArray, is_positive_definite
from skmixed.core.model.evaluation import Directions, Evaluation, average_information, exact_hessian
from skmixed.core.model.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class Coordinates:
    """theta of all factors, given the pivot orders.

    lambda of a factor is the combination of its patterns with coefficients theta.
    """

    problem: Problem  # what is searched
    orders: list[IntArray]  # (k,), pivot order of every factor
    patterns: Blocks  # (t_f, k, k) of every factor
    places: list[slice]  # of the parameters of every factor in theta

    @classmethod
    def of(cls, problem: Problem, orders: list[IntArray]) -> Coordinates:
        """Set up coordinates for given pivot orders."""
        patterns = [s.patterns(o) for s, o in zip(problem.structures, orders, strict=True)]
        ends = list(accumulate((len(pattern) for pattern in patterns), initial=0))
        return cls(problem, orders, patterns, [slice(*place) for place in pairwise(ends)])

    @classmethod
    def natural(cls, problem: Problem) -> Coordinates:
        """Set up coordinates in which every column stays in its place."""
        return cls.of(problem, [structure.natural_order for structure in problem.structures])

    def are_natural(self, lambdas: Blocks) -> bool:
        """Tell whether lambdas in these coordinates are lower triangular as they stand.

        That is, with no row moved and no negative entry on the diagonal.
        """
        return all(
            bool((lam.diagonal() >= 0.0).all()) and order.tolist() == list(range(len(order)))
            for lam, order in zip(lambdas, self.orders, strict=True)
        )

    def factors(self, theta: FloatArray) -> Blocks:
        """Return lambda of every factor, (k, k)."""
        return [
            (theta[place] @ pattern.reshape(len(pattern), -1)).reshape(pattern.shape[1:])
            for place, pattern in zip(self.places, self.patterns, strict=True)
        ]

    def theta(self, omegas: Blocks) -> FloatArray:
        """Return theta, (t,), of given relative covariances."""
        zipped = zip(self.problem.structures, omegas, self.orders, strict=True)
        return np.concatenate([structure.theta(omega, order) for structure, omega, order in zipped])

    def pivoted(self, omegas: Blocks) -> Coordinates:
        """Return better coordinates for given covariances, these where they are good enough."""
        zipped = zip(self.problem.structures, omegas, self.orders, strict=True)
        orders = [structure.pivot(omega, order) for structure, omega, order in zipped]
        if all(np.array_equal(new, old) for new, old in zip(orders, self.orders, strict=True)):
            return self
        return Coordinates.of(self.problem, orders)


def theta_gradient(evaluation: Evaluation, patterns: Blocks) -> FloatArray:
    """Return the gradient of the criterion in theta, (t,): 2 <G lambda, L_a>."""
    zipped = zip(evaluation.lambdas, patterns, evaluation.gradient, strict=True)
    return np.concatenate(
        [2.0 * (p.reshape(len(p), -1) @ (g @ lam).ravel()) for lam, p, g in zipped]
    )


def local_model(evaluation: Evaluation, patterns: Blocks) -> tuple[FloatArray, FloatArray]:
    """Return the gradient, (t,), and second derivatives, (t, t), of the criterion in theta.

    The second derivatives are exact for one factor where they are positive definite. Otherwise the
    average information stands for the second derivatives in Omega. `patterns` are those of the
    coordinates the search is in.
    """
    directions, curvatures = Directions(), []
    for factor, (lam, pattern, g) in enumerate(
        zip(evaluation.lambdas, patterns, evaluation.gradient, strict=True)
    ):
        flat = pattern.reshape(len(pattern), -1)
        half = pattern @ lam.T
        directions.append((factor, half + half.transpose(0, 2, 1)))
        curvatures.append(2.0 * (flat @ (g @ pattern).reshape(len(pattern), -1).T))
    slope = theta_gradient(evaluation, patterns)
    if len(patterns) == 1:
        hessian = exact_hessian(evaluation, directions) + curvatures[0]
        if is_positive_definite(hessian):
            return slope, hessian
    return slope, average_information(evaluation, directions) + block_diag(*curvatures)
