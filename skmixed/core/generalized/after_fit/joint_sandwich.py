"""A covariance of coefficients by the scores of clusters in beta, theta and phi together.

With s_c the derivative of the log-likelihood of cluster c, approximated as in the fit, and H the
information, both in all parameters,

    robust covariance = H^-1 (sum of s_c s_c') H^-1,

times J / (J - 1) for CR1 and J clusters (White 1982, doi:10.2307/1912526, section 3). The
coefficients' part of it is not that of their own scores: they are correlated with variances.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.generalized.after_fit.same_rows import point_of
from skmixed.core.generalized.approximation.cluster_scores import cluster_slopes
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.generalized.generalized_fit import GeneralizedFit, to_working
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.rows.cluster_sandwich import ALL_ZERO
from skmixed.core.search.coordinates import Coordinates


@dataclass(frozen=True, slots=True, eq=False)
class JointSandwich:
    """A cluster-robust covariance in the scaled units of a generalized fit."""

    scores: FloatArray  # (J, p + t + m), s_c, times the root of what CR1 multiplies by
    bread: FloatArray  # (p + t + m, p + t + m), H^-1
    rank: int  # p

    @classmethod
    def of(
        cls,
        fit: GeneralizedFit,
        observations: Observations,
        clusters: IntArray,
        n_clusters: int,
        factor: float,
    ) -> JointSandwich:
        """Add up the scores of the rows of a fit within clusters, (n,), in the order given.

        Every level of the used factors lies within one cluster.
        """
        observations, of_rows = _by_cluster(observations, clusters)
        point = point_of(observations, fit.beta, fit.lambdas, fit.phi)
        slopes = cluster_slopes(observations, point, fit.quadrature, of_rows, n_clusters)
        coordinates = Coordinates.natural(observations.structures)
        theta = coordinates.theta([lam @ lam.T for lam in point.lambdas])
        change = to_working(observations, fit.problem, theta, len(point.phi))
        scores = -0.5 * np.linalg.solve(change.T, slopes.T).T
        return cls(np.sqrt(factor) * scores, fit.scaled_parameter_covariance, fit.rank)

    @property
    def joint_covariance(self) -> FloatArray:
        """Covariance of scaled beta, theta and phi, (p + t + m, p + t + m)."""
        errors = self.scores @ self.bread
        return np.asarray(errors.T @ errors)

    @property
    def covariance(self) -> FloatArray:
        """Covariance of the coefficients of the scaled columns, (p, p)."""
        return self.joint_covariance[: self.rank, : self.rank]

    def degrees(self, functions: FloatArray) -> FloatArray:
        """Return the degrees of freedom of functions of coefficients, (m, p): without end, (m,).

        NaN where scores are zero whatever the responses, as of a column of one cluster.
        """
        own = self.bread[: self.rank, : self.rank]
        robust, by_model = (
            np.einsum("mi,ij,mj->m", functions, covariance, functions)
            for covariance in (self.covariance, own)
        )
        return np.where(robust > ALL_ZERO * by_model, np.inf, np.nan)

    def scale_and_degrees(self, functions: FloatArray) -> tuple[float, float]:
        """Return what Wald's F of q functions, (q, p), is multiplied by, and its denominator."""
        return 1.0, float("inf")


def _by_cluster(observations: Observations, clusters: IntArray) -> tuple[Observations, IntArray]:
    """Return rows of which none stands for several clusters, and the cluster of each, (n,)."""
    if observations.cells is not None and not observations.spec.used_factors:
        given, own = observations.given, observations
        observations = Observations.of(
            own.layout, given, own.spec, own.family, own.offset, together=False
        )
    if observations.cells is None:
        return observations, clusters
    of_rows = np.zeros(len(observations.rows.columns), dtype=np.intp)
    of_rows[observations.cells] = clusters
    return observations, of_rows
