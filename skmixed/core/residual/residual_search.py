"""Newton's method in theta and phi together."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import FloatArray
from skmixed.core.model.evaluation import Evaluation, evaluate
from skmixed.core.residual.joint_derivatives import joint_derivatives
from skmixed.core.residual.residual_problem import ResidualProblem, check_determined
from skmixed.core.search.coordinates import Coordinates
from skmixed.core.search.newton import Newton, ThetaSearch
from skmixed.core.search.report import SolverReport
from skmixed.core.search.starts import minque_start
from skmixed.core.search.unbounded import evaluate_bounded


def search_jointly(
    problem: ResidualProblem, settings: Newton, held: Mapping[int, float]
) -> tuple[Evaluation, SolverReport, FloatArray]:
    """Minimise the criterion in theta and phi, entries of phi being held where given.

    Returns phi, (q,), last. Raises ValueError where the likelihood has no maximum.
    """
    check_determined(problem.independent)
    phi = problem.structure.starts[0].copy()
    for place, value in held.items():
        phi[place] = value
    search = ResidualSearch(problem, settings, phi, tuple(held))
    search.start(minque_start(problem.at(phi)) if problem.independent.spec.terms else [])
    while search.n_evaluations < settings.max_iter:
        if search.descend() and search.has_ended():
            break
    evaluation, report = search.finish()
    return evaluation, report, search.phi.copy()


class ResidualSearch(ThetaSearch):
    """A search in (theta, phi), phi after theta, from one start."""

    def __init__(
        self,
        tabled: ResidualProblem,
        settings: Newton,
        phi: FloatArray,
        held: tuple[int, ...] = (),
    ) -> None:
        super().__init__(tabled.independent, settings)
        self.tabled = tabled
        self.derivatives = self._joint_model
        self.is_exact = len(tabled.independent.structures) < 2
        self.n_theta = sum(structure.n_theta for structure in tabled.independent.structures)
        self.theta = np.concatenate([np.zeros(self.n_theta), phi])
        self.held = [self.n_theta + place for place in held]

    @property
    def phi(self) -> FloatArray:
        """Parameters of the residual structure where the search stands, (q,)."""
        return self.theta[self.n_theta :]

    def theta_of(self, omegas: Blocks) -> FloatArray:
        theta = super().theta_of(omegas) if omegas else np.empty(0)
        return np.concatenate([theta, self.phi])

    def evaluate(self, theta: FloatArray) -> Evaluation:
        self.n_evaluations += 1
        problem = self.tabled.at(theta[self.n_theta :])
        if not self.n_theta:
            return evaluate(problem, [])
        return evaluate_bounded(problem, self.coordinates.lambdas(theta))

    def _joint_model(
        self, evaluation: Evaluation, coordinates: Coordinates, theta: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return gradient, (t + q,), and Hessian in theta and phi; none in what is held."""
        of_theta = theta[: self.n_theta]
        gradient, hessian = joint_derivatives(self.tabled, evaluation, coordinates, of_theta)
        for place in self.held:
            gradient[place] = hessian[place] = hessian[:, place] = 0.0
        return gradient, hessian

    def descend(self) -> bool:
        has_arrived = super().descend()
        advice = self.tabled.structure.runaway(self.phi)
        if advice is not None:
            raise ValueError(f"the likelihood has no maximum that can be reached: {advice}")
        return has_arrived

    def goes_on_straight(self, lambdas: Blocks, gained: float) -> bool:
        return bool(lambdas) and super().goes_on_straight(lambdas, gained)
