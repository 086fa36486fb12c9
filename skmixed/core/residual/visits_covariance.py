"""Covariances over V planned visits as functions of parameters phi, with two derivatives.

They are relative to the variance of the first visit, and positive definite for every phi. Beside
the unstructured one, they are D C D, of standard deviations D and correlations C that depend on the
lag between visits alone.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.lag_correlations import CORRELATIONS
from skmixed.core.residual.visits_structure import VisitStructure


@dataclass(frozen=True, slots=True)
class AnyCovariance(VisitStructure):
    """Any covariance: T T', phi being the rows of the triangle T, the diagonal by its logarithm."""

    @property
    def written(self) -> str:
        return "us(...)"

    @property
    def simpler(self) -> str:
        return "toeplitz(...), ar1(...) or cs(...)"

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
        curvature = 2.0 * gradient[rows][:, rows] * np.outer(steps, steps)
        curvature *= columns[:, None] == columns
        through = 2.0 * (gradient @ root)[rows, columns] * steps
        curvature[np.diag_indices(self.n_phi)] += np.where(rows == columns, through, 0.0)
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

    correlation: str  # its name in `CORRELATIONS`
    has_variances: bool  # whether every visit has a variance of its own

    @property
    def written(self) -> str:
        return f"{self.correlation}(...)"

    @property
    def simpler(self) -> str:
        return "ar1(...) or cs(...)" if self.correlation == "toeplitz" else ""

    @property
    def has_ratios(self) -> bool:
        return self.has_variances

    @property
    def free_correlations(self) -> tuple[tuple[str, int, int], ...]:
        n_free = self.n_phi - self.n_ratios
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
        return self.n_ratios + CORRELATIONS[self.correlation].n_parameters(self.n_visits)

    def _parts(self, phi: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return D 1, (V,), and C with derivatives, (1 + c, 1 + c, V, V)."""
        deviations = np.ones(self.n_visits)
        deviations[1:] = np.exp(phi[: self.n_ratios]) if self.has_variances else 1.0
        by_lag = CORRELATIONS[self.correlation].by_lag(phi[self.n_ratios :], self.n_visits)
        lags = np.abs(np.subtract.outer(np.arange(self.n_visits), np.arange(self.n_visits)))
        return deviations, by_lag[..., lags]

    def covariance(self, phi: FloatArray) -> FloatArray:
        deviations, correlations = self._parts(phi)
        return np.asarray(correlations[0, 0] * np.outer(deviations, deviations))

    def slopes(self, phi: FloatArray) -> FloatArray:
        deviations, correlations = self._parts(phi)
        sizes = np.outer(deviations, deviations)
        slopes = np.zeros((self.n_phi, self.n_visits, self.n_visits))
        own, later = np.arange(self.n_ratios), np.arange(1, 1 + self.n_ratios)
        slopes[own, later] = (correlations[0, 0] * sizes)[later]
        slopes[: self.n_ratios] += slopes[: self.n_ratios].transpose(0, 2, 1)
        slopes[self.n_ratios :] = correlations[0, 1:] * sizes
        return slopes

    def curvature(self, phi: FloatArray, gradient: FloatArray) -> FloatArray:
        deviations, correlations = self._parts(phi)
        weighted = correlations * (gradient * np.outer(deviations, deviations))
        ratios = slice(1, 1 + self.n_ratios)
        curvature = np.empty((self.n_phi, self.n_phi))
        own = 2.0 * (weighted[0, 0] + np.diag(weighted[0, 0].sum(axis=1)))
        curvature[: self.n_ratios, : self.n_ratios] = own[ratios, ratios]
        mixed = 2.0 * weighted[0, 1:].sum(axis=2)[:, ratios]
        curvature[self.n_ratios :, : self.n_ratios] = mixed
        curvature[: self.n_ratios, self.n_ratios :] = mixed.T
        curvature[self.n_ratios :, self.n_ratios :] = weighted[1:, 1:].sum(axis=(2, 3))
        return curvature

    def near(
        self, deviations: FloatArray, correlations: FloatArray, counts: FloatArray
    ) -> FloatArray:
        ratios = np.log(deviations[1:] / deviations[0])[: self.n_ratios]
        lags = np.abs(np.subtract.outer(np.arange(self.n_visits), np.arange(self.n_visits)))
        size = np.bincount(lags.ravel(), counts.ravel())
        total = np.bincount(lags.ravel(), (correlations * counts).ravel())
        by_lag = total / np.where(size > 0.0, size, np.inf)
        kind = CORRELATIONS[self.correlation]
        return np.concatenate([ratios, kind.start(by_lag[1:], size[1:])])

    def other_starts(self, phi: FloatArray) -> list[FloatArray]:
        """A correlation of the farthest lag may be of either sign where one variance binds all."""
        if self.correlation != "toeplitz" or self.has_variances or self.n_visits < 3:
            return []
        other = phi.copy()
        other[-1] *= -1.0
        return [other]
