"""The posterior density of a generalized model in coefficients, variances and dispersion."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.bayes.parametrization import RootCoordinates
from skmixed.bayes.priors import ModelPrior
from skmixed.core.families.family import Family
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit
from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.joint_integrals import JointIntegrals
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_rows import ParameterPoints
from skmixed.core.posterior.reduced_sums import Progress

_FIRST_VARIATION = 0.05  # of a start: less is hardly different from none


@dataclass(frozen=True, slots=True, eq=False)
class JointCoordinates:
    """Points x of the search: whitened coefficients, followed by those of the variances."""

    roots: RootCoordinates
    center: FloatArray  # (p,), coefficients of the kept columns, raw units
    spread: FloatArray  # (p, p), beta = center + spread z

    @property
    def rank(self) -> int:
        """Number p of coefficients."""
        return len(self.center)

    def beta(self, x: FloatArray) -> FloatArray:
        """Return coefficients of the kept columns, (n, p), of points, (n, p + d)."""
        return np.asarray(self.center + x[:, : self.rank] @ self.spread.T)

    def phi(self, x: FloatArray) -> FloatArray:
        """Return phi, (n, d)."""
        return self.roots.phi(x[:, self.rank :])

    def log_jacobian(self, x: FloatArray) -> FloatArray:
        """Return log|d (beta, phi) / dx|, (n,)."""
        of_beta = float(np.linalg.slogdet(self.spread)[1]) if self.rank else 0.0
        return of_beta + self.roots.log_jacobian(x[:, self.rank :])


@dataclass(frozen=True, slots=True, eq=False)
class ScaledPoints:
    """Map from parameters in raw units to points in the units of the observations."""

    observations: Observations
    prior: ModelPrior
    to_scaled: FloatArray  # (p, p), of coefficients of the kept columns

    @classmethod
    def of(cls, observations: Observations, prior: ModelPrior) -> ScaledPoints:
        """Take the units of observations."""
        units = observations.units
        to_raw = units.to_raw[list(observations.spec.fixed), :-1][list(units.kept)]
        return cls(observations, prior, np.asarray(np.linalg.inv(to_raw), dtype=np.float64))

    def at(self, beta: FloatArray, phi: FloatArray) -> ParameterPoints:
        """Return points of coefficients, (R, p), and phi, (R, d)."""
        parametrization = self.prior.parametrization
        roots = [
            np.asarray(np.linalg.solve(random_map, root), dtype=np.float64)
            for random_map, root in zip(
                self.observations.units.random_maps, parametrization.roots(phi), strict=True
            )
        ]
        dispersions = np.empty((len(phi), 0))
        if parametrization.has_noise:
            dispersions = dispersions_of(self.observations.family, phi)
        return ParameterPoints(beta @ self.to_scaled.T, roots, dispersions)


def dispersions_of(family: Family, phi: FloatArray) -> FloatArray:
    """Return dispersions of the family, (R, 1), from phi, (R, d), which ends in log 1 / root."""
    limit = family.limit_phi
    return np.minimum(-2.0 * phi[:, -1:], np.inf if limit is None else limit)


@dataclass(frozen=True, eq=False)
class GeneralizedDensity:
    """The log density of points x of the search, including constants, as the evidence requires."""

    integrals: LevelIntegrals | JointIntegrals
    prior: ModelPrior
    coordinates: JointCoordinates
    scaled: ScaledPoints
    progress: Progress | None = None

    def __call__(self, x: FloatArray) -> tuple[FloatArray, None]:
        """Return log densities, (n,), of points, (n, p + d)."""
        inside = np.flatnonzero(self.coordinates.roots.is_inside(x[:, self.coordinates.rank :]))
        values = np.full(len(x), -np.inf)
        if len(inside):
            found = x[inside]
            beta, phi = self.coordinates.beta(found), self.coordinates.phi(found)
            total = self.integrals.log_likelihood(self.scaled.at(beta, phi), self.progress)
            total += self.prior.log_density(phi) + self.prior.coef.log_density(beta)
            total += self.coordinates.log_jacobian(found)
            values[inside] = np.where(np.isfinite(total), total, -np.inf)
        return values, None


def joint_start(
    fit: GeneralizedFit, prior: ModelPrior, information: FloatArray
) -> tuple[JointCoordinates, FloatArray]:
    """Return coordinates about the estimates of a fit, and the point there, (1, p + d).

    `information`, (p, p), is that on the coefficients of the kept columns there, in raw units. If
    responses separate, the start is where the priors are likely.
    """
    parametrization, coef = prior.parametrization, prior.coef
    variation = None
    if parametrization.has_noise:
        variation = max(float(np.exp(-0.5 * fit.phi[0])), _FIRST_VARIATION)
    origin = parametrization.read(fit.covariances, 1.0, variation)
    center = fit.beta[list(fit.kept)]
    if fit.separated:
        center[:] = np.linalg.solve(coef.combinations, coef.mean)
    weighted = coef.combinations.T * coef.precision
    total = information + weighted @ coef.combinations
    spread = np.linalg.cholesky(np.linalg.inv(total))
    roots = RootCoordinates(parametrization, origin, prior.root_degrees)
    first = np.concatenate([np.zeros(len(center)), roots.points(origin[None])[0]])
    return JointCoordinates(roots, center, spread), first[None]
