"""A normal distribution of the fixed coefficients, flat in some directions, before the data."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.model.problem import Problem


@dataclass(frozen=True, slots=True, eq=False)
class CoefficientPrior:
    """Independent normal combinations C beta of the p independent fixed columns, in raw units.

    A precision of zero is a combination with density one everywhere.
    """

    combinations: FloatArray  # (p, p), C, of determinant one
    mean: FloatArray  # (p,)
    precision: FloatArray  # (p,)

    @classmethod
    def flat(cls, p: int) -> CoefficientPrior:
        """Return density one everywhere."""
        return cls(np.eye(p), np.zeros(p), np.zeros(p))

    @property
    def is_proper(self) -> bool:
        """Whether it integrates to one."""
        return bool((self.precision > 0.0).all())

    def log_density(self, beta: FloatArray) -> FloatArray:
        """Return log densities, (R,), of coefficients, (R, p)."""
        felt = self.precision > 0.0
        apart = beta @ self.combinations[felt].T - self.mean[felt]
        constant = np.log(self.precision[felt] / (2.0 * np.pi)).sum()
        return np.asarray(0.5 * (constant - np.square(apart) @ self.precision[felt]))

    def draw(self, n: int, generator: np.random.Generator) -> FloatArray:
        """Draw coefficients, (n, p), from a proper distribution."""
        deviates = generator.standard_normal((n, len(self.mean)))
        drawn = self.mean + deviates / np.sqrt(self.precision)
        return np.asarray(np.linalg.solve(self.combinations, drawn.T).T)


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPrior:
    """The same for coefficients of the scaled columns, as what is added to their information."""

    precision: FloatArray  # (p, p), P
    product: FloatArray  # (p,), P times the mean
    square: float  # mean' P mean
    rank: int  # number of combinations that are not flat
    log_det: float  # of their precisions
    log_jacobian: float  # log|d beta / d scaled beta|

    @classmethod
    def of(cls, problem: Problem, prior: CoefficientPrior) -> ScaledPrior:
        """Bring a distribution to the units of a problem."""
        maps, shift = raw_coefficients(problem)
        along, offset = prior.combinations @ maps, prior.combinations @ shift
        weighted, target = along.T * prior.precision, prior.mean + offset
        felt = prior.precision[prior.precision > 0.0]
        return cls(
            precision=weighted @ along,
            product=weighted @ target,
            square=float(np.square(target) @ prior.precision),
            rank=len(felt),
            log_det=float(np.log(felt).sum()),
            log_jacobian=float(np.linalg.slogdet(maps)[1]),
        )


def raw_coefficients(problem: Problem) -> tuple[FloatArray, FloatArray]:
    """Return T, (p, p), and t, (p,), with beta = T b - t for b the coefficients in scaled units."""
    model = problem.model
    rows = [problem.spec.fixed[place] for place in model.kept]
    raw = model.to_raw[rows] / model.response_scale
    return raw[:, :-1], raw[:, -1]
