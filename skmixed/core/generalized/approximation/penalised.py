"""A likelihood with a quadratic penalty on its coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.generalized.approximation.laplace import LaplaceEvaluation
from skmixed.core.generalized.approximation.modes import Point, Remembered
from skmixed.core.linalg import FloatArray
from skmixed.core.search.coordinates import Coordinates


@dataclass(frozen=True, eq=False)
class PenalisedEvaluation:
    """An evaluation to whose -2 log-likelihood beta'M beta is added."""

    evaluation: LaplaceEvaluation
    penalty: FloatArray  # (p, p), M, in scaled units

    @property
    def point(self) -> Point:
        """Where it is."""
        return self.evaluation.point

    @property
    def remembered(self) -> list[Remembered]:
        """What the next evaluation starts from, of every block."""
        return self.evaluation.remembered

    @property
    def criterion(self) -> float:
        """-2 log-likelihood and the penalty."""
        beta = self.point.beta
        return self.evaluation.criterion + float(beta @ self.penalty @ beta)

    @property
    def fixed_information(self) -> FloatArray:
        """The information on beta with that of the penalty, (p, p)."""
        return self.evaluation.fixed_information + self.penalty

    @property
    def gradient(self) -> Blocks:
        """Derivative in Omega of every factor, (k, k)."""
        return self.evaluation.gradient

    @property
    def decrement(self) -> float:
        """Twice what is left to the modes."""
        return self.evaluation.decrement

    @property
    def phi_curvature(self) -> FloatArray | None:
        """Second derivatives in phi and in beta and phi, (m, p + m), or what is known of them."""
        return self.evaluation.phi_curvature

    @property
    def is_finite(self) -> bool:
        """Whether the criterion and its derivatives are numbers."""
        return self.evaluation.is_finite

    def advanced(self, point: Point, gain: float) -> PenalisedEvaluation:
        """Return what is expected at parameters so near that second derivatives stay the same."""
        before, after = (beta @ self.penalty @ beta for beta in (self.point.beta, point.beta))
        moved = self.evaluation.advanced(point, gain + float(after - before))
        return replace(self, evaluation=moved)

    def with_lambdas(self, lambdas: Blocks) -> PenalisedEvaluation:
        """Return the same evaluation under other square roots of the same covariances."""
        return replace(self, evaluation=self.evaluation.with_lambdas(lambdas))

    def slopes(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return the gradient in beta, theta and phi, (p + t + m,)."""
        found = self.evaluation.slopes(coordinates, theta)
        found[: len(self.penalty)] += 2.0 * self.penalty @ self.point.beta
        return found

    def curvature(self, coordinates: Coordinates, theta: FloatArray) -> FloatArray:
        """Return second derivatives in beta and theta, (p + t, p + t)."""
        p = len(self.penalty)
        found = self.evaluation.curvature(coordinates, theta).copy()
        found[:p, :p] += 2.0 * self.penalty
        return found
