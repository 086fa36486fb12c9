"""Covariances over V planned visits as functions of parameters phi, with two derivatives.

They are relative to the variance of the first visit, and positive definite for every phi. Beside
the unstructured one, they are D C D, of standard deviations D and correlations C that depend on the
lag between visits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.structures.correlated import Correlated
from skmixed.core.model.structures.correlations import (
    Autoregressive,
    CompoundSymmetric,
    Toeplitz,
)
from skmixed.core.residual.products import ResidualProduct
from skmixed.core.residual.series_correlations import CompoundSymmetry
from skmixed.core.residual.structure import ResidualStructure
from skmixed.core.residual.visits.visits_structure import VisitStructure

LAWS: dict[str, type[Correlated]] = {
    "cs": CompoundSymmetric,
    "ar1": Autoregressive,
    "toeplitz": Toeplitz,
}


@dataclass(frozen=True, slots=True)
class AnyCovariance(VisitStructure):
    """Any covariance: T T', phi being the rows of the triangle T, the diagonal by its logarithm."""

    @property
    def written(self) -> str:
        return "us(...)"

    @property
    def simpler(self) -> str:
        return "toeplitz(...), ar1(...) or cs(...)"

    def contains(self, other: ResidualStructure) -> bool:
        if isinstance(other, ResidualProduct):
            return other.is_correlated and other.has_one_variance
        return isinstance(other, VisitStructure) and other.visits == self.visits

    @property
    def holds_intercept(self) -> bool:
        return True

    @property
    def has_ratios(self) -> bool:
        return True

    @property
    def free_correlations(self) -> tuple[tuple[str, int, int], ...]:
        return tuple(
            (f"correlation {self.visits[i]}:{self.visits[j]}", i, j)
            for i in range(self.n_visits)
            for j in range(i + 1, self.n_visits)
        )

    @property
    def n_phi(self) -> int:
        return self.n_visits * (self.n_visits + 1) // 2 - 1

    def _places(self) -> tuple[IntArray, IntArray]:
        rows, columns = np.tril_indices(self.n_visits)
        return rows[1:], columns[1:]

    def _root(self, phi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return T, (V, V), and its derivative in every phi, where that stands, (q,)."""
        rows, columns = self._places()
        on_diagonal = rows == columns
        root = np.zeros((self.n_visits, self.n_visits))
        root[0, 0] = 1.0
        root[rows, columns] = np.where(on_diagonal, np.exp(np.where(on_diagonal, phi, 0.0)), phi)
        return root, np.where(on_diagonal, root[rows, columns], 1.0)

    def covariance(self, phi: FloatArray) -> FloatArray:
        root, _ = self._root(phi)
        return np.asarray(root @ root.T)

    def slopes(self, phi: FloatArray) -> FloatArray:
        rows, columns = self._places()
        root, steps = self._root(phi)
        half = np.zeros((self.n_phi, self.n_visits, self.n_visits))
        half[np.arange(self.n_phi), rows] = steps[:, None] * root[:, columns].T
        return half + half.transpose(0, 2, 1)

    def curvature(self, phi: FloatArray, gradient: FloatArray) -> FloatArray:
        rows, columns = self._places()
        root, steps = self._root(phi)
        curvature = 2.0 * gradient[..., rows[:, None], rows] * np.outer(steps, steps)
        curvature *= columns[:, None] == columns
        through = 2.0 * (gradient @ root)[..., rows, columns] * steps
        own = np.arange(self.n_phi)
        curvature[..., own, own] += np.where(rows == columns, through, 0.0)
        return np.asarray(curvature)

    def near(
        self, deviations: FloatArray, correlations: FloatArray, counts: FloatArray
    ) -> FloatArray:
        sizes = deviations / deviations[0]
        root = np.linalg.cholesky(correlations * np.outer(sizes, sizes))
        rows, columns = self._places()
        entries = root[rows, columns] / root[0, 0]
        return np.where(rows == columns, np.log(np.where(rows == columns, entries, 1.0)), entries)

    def units(self, phi: FloatArray) -> FloatArray:
        rows, columns = self._places()
        left = self._root(phi)[0].diagonal()  # deviations, given the visits before
        return np.where(rows == columns, 1.0, left[rows])


@dataclass(frozen=True, slots=True)
class LagCovariance(VisitStructure):
    """Correlations by lag, and one variance or one a visit.

    phi has the logarithms of the ratios of the later standard deviations to the first, if they may
    differ, and the parameters of the correlations.
    """

    correlation: str  # its name in `LAWS`
    has_variances: bool  # whether every visit has a variance of its own

    def contains(self, other: ResidualStructure) -> bool:
        if isinstance(other, ResidualProduct):
            is_of_any_lag = isinstance(other.correlation, CompoundSymmetry)
            return is_of_any_lag and other.has_one_variance and self.correlation != "ar1"
        return (
            isinstance(other, LagCovariance)
            and other.visits == self.visits
            and self.has_variances >= other.has_variances
            and self.correlation in ("toeplitz", other.correlation)
        )

    @property
    def law(self) -> Correlated:
        """The law of the correlations."""
        return LAWS[self.correlation](self.n_visits, is_homogeneous=True)

    @property
    def written(self) -> str:
        return f"{self.correlation}(...)"

    @property
    def simpler(self) -> str:
        return "ar1(...) or cs(...)" if self.correlation == "toeplitz" else ""

    @property
    def holds_intercept(self) -> bool:
        return self.correlation != "ar1" and not self.has_variances

    @property
    def has_ratios(self) -> bool:
        return self.has_variances

    @property
    def free_correlations(self) -> tuple[tuple[str, int, int], ...]:
        n_free = self.law.n_angles
        if self.correlation != "toeplitz":
            return ((self.correlation, 0, 1),)[:n_free]
        return tuple((f"toeplitz {lag}", 0, lag) for lag in range(1, 1 + n_free))

    @property
    def least_correlation(self) -> float:
        return -1.0 / max(self.n_visits - 1, 1) if self.correlation == "cs" else -1.0

    @property
    def n_ratios(self) -> int:
        """Number of ratios of standard deviations."""
        return self.n_visits - 1 if self.has_variances else 0

    @property
    def n_phi(self) -> int:
        return self.n_ratios + self.law.n_angles

    def _parts(self, phi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the products of two deviations, (V, V), and the correlations."""
        deviations = np.ones(self.n_visits)
        deviations[1:] = np.exp(phi[: self.n_ratios]) if self.has_variances else 1.0
        correlations = self.law.correlation(phi[self.n_ratios :])
        return np.outer(deviations, deviations), correlations

    def covariance(self, phi: FloatArray) -> FloatArray:
        sizes, correlations = self._parts(phi)
        return sizes * correlations

    def slopes(self, phi: FloatArray) -> FloatArray:
        sizes, correlations = self._parts(phi)
        slopes = np.zeros((self.n_phi, self.n_visits, self.n_visits))
        own, later = np.arange(self.n_ratios), np.arange(1, 1 + self.n_ratios)
        slopes[own, later] = (correlations * sizes)[later]
        slopes[: self.n_ratios] += slopes[: self.n_ratios].transpose(0, 2, 1)
        slopes[self.n_ratios :] = self.law.changes(phi[self.n_ratios :]) * sizes
        return slopes

    def curvature(self, phi: FloatArray, gradient: FloatArray) -> FloatArray:
        sizes, correlations = self._parts(phi)
        angles = phi[self.n_ratios :]
        first = self.law.changes(angles)
        weighted = gradient * sizes
        n, own = self.n_ratios, np.arange(self.n_ratios)
        later = slice(1, 1 + n)
        curvature = np.empty((*gradient.shape[:-2], self.n_phi, self.n_phi))
        shared = 2.0 * correlations * weighted
        curvature[..., :n, :n] = shared[..., later, later]
        curvature[..., own, own] += shared.sum(axis=-1)[..., later]
        mixed = 2.0 * np.einsum("aij,...ij->...ai", first, weighted)[..., later]
        curvature[..., n:, :n], curvature[..., :n, n:] = mixed, np.swapaxes(mixed, -1, -2)
        curvature[..., n:, n:] = self.law.bends(angles, weighted)
        return curvature

    def near(
        self, deviations: FloatArray, correlations: FloatArray, counts: FloatArray
    ) -> FloatArray:
        ratios = np.log(deviations[1:] / deviations[0])[: self.n_ratios]
        is_seen = counts > 0.0
        if self.correlation == "toeplitz":  # those of far lags are few, and may lead elsewhere
            is_seen &= np.abs(np.subtract.outer(*2 * (np.arange(self.n_visits),))) < 2
        angles = self.law.inside(self.law.read_angles(correlations, is_seen))
        return np.concatenate([ratios, angles])

    def other_starts(self, phi: FloatArray) -> list[FloatArray]:
        """Turn the sign of the farthest lag, which may be either where one variance binds all."""
        if self.correlation != "toeplitz" or self.has_variances or self.n_visits < 3:
            return []
        other = phi.copy()
        other[-1] *= -1.0
        return [other]


def visit_structure(name: str, visits: tuple[str, ...], *, is_homogeneous: bool) -> VisitStructure:
    """Return the structure of a name, "us" or one of `LAWS`, of visits with these labels."""
    if name == "us":
        return AnyCovariance(visits)
    return LagCovariance(visits, name, not is_homogeneous)
