"""What a covariance over V planned visits is, and what the tables of any residuals ask of it.

A row is at one of the visits, which a subject has once; its position is the number of the visit.
Subjects are independent, and R of a subject is the block of Sigma of the visits that were seen.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np

from skmixed.core.linalg import FloatArray
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.structure import (
    Combination,
    ResidualParameter,
    ResidualStructure,
    Selection,
    Weighing,
)
from skmixed.core.residual.visits.patterns import Patterns, visits_of

NEARLY_SINGULAR = 1e-6  # least eigenvalue of correlations: the estimates of few subjects go on to 0


@dataclass(frozen=True, slots=True)
class VisitStructure(ResidualStructure):
    """Which covariances the visits may have, relative to the variance of the first."""

    visits: tuple[str, ...]  # labels of the V visits, in their order

    @property
    @abstractmethod
    def written(self) -> str:
        """How a model asks for it, such as "us(...)"."""

    @property
    def simpler(self) -> str:
        """Which structures have fewer parameters, as a model asks for them, or nothing."""
        return ""

    @abstractmethod
    def covariance(self, phi: FloatArray) -> FloatArray:
        """Return Sigma, (V, V), whose first entry is 1."""

    @abstractmethod
    def slopes(self, phi: FloatArray) -> FloatArray:
        """Return the first derivatives of Sigma, (q, V, V)."""

    @abstractmethod
    def curvature(self, phi: FloatArray, gradient: FloatArray) -> FloatArray:
        """Return tr(G Sigma_ab), (..., q, q): second derivatives along symmetric G, (..., V, V)."""

    @abstractmethod
    def near(
        self, deviations: FloatArray, correlations: FloatArray, counts: FloatArray
    ) -> FloatArray:
        """Return phi, (q,), near standard deviations, (V,), and correlations, (V, V).

        The correlations are positive definite; `counts`, (V, V), are subjects behind them.
        """

    @property
    @abstractmethod
    def free_correlations(self) -> tuple[tuple[str, int, int], ...]:
        """Name and visits of every correlation that is a parameter."""

    @property
    @abstractmethod
    def has_ratios(self) -> bool:
        """Whether every visit has a variance of its own."""

    @property
    def least_correlation(self) -> float:
        """What no correlation is below."""
        return -1.0

    def other_starts(self, phi: FloatArray) -> list[FloatArray]:
        """Return where else to search from, (q,) each, given the end of a search."""
        return []

    def units(self, phi: FloatArray) -> FloatArray:
        """Return the size of a step of every parameter, (q,)."""
        return np.ones(self.n_phi)

    @property
    def n_visits(self) -> int:
        """Number V of visits."""
        return len(self.visits)

    @property
    def is_correlated(self) -> bool:
        return True

    @property
    def needed(self) -> tuple[str, ...]:
        return ("series", "position")

    def resolved(self, keys: FloatArray, counts: FloatArray) -> VisitStructure:
        return self

    @property
    def starts(self) -> FloatArray:
        k = self.n_visits
        return self.near(np.ones(k), np.eye(k), np.ones((k, k)))[None]

    def parameters(self, phi: FloatArray) -> tuple[ResidualParameter, ...]:
        sigma, slopes = self.covariance(phi), self.slopes(phi)
        deviations = np.sqrt(sigma.diagonal())
        relative = np.diagonal(slopes, axis1=1, axis2=2) / (2.0 * sigma.diagonal())  # (q, V)
        found = []
        for place in range(1, self.n_visits if self.has_ratios else 1):
            name, value = f"ratio {self.visits[place]}/{self.visits[0]}", deviations[place]
            change = value * relative[:, place]
            found.append(ResidualParameter(name, float(value), 0.0, np.inf, change, 1.0))
        for name, i, j in self.free_correlations:
            size = deviations[i] * deviations[j]
            value = sigma[i, j] / size
            change = slopes[:, i, j] / size - value * (relative[:, i] + relative[:, j])
            limits = self.least_correlation, 1.0
            found.append(ResidualParameter(name, float(value), *limits, change, 0.0))
        return tuple(found)

    def mean_square(self, phi: FloatArray, keys: FloatArray, counts: FloatArray) -> float:
        _, first, second = keys.astype(np.intp).T
        rows = np.where(first == second, counts, 0.0)
        return float(self.covariance(phi).diagonal()[first] @ rows / rows.sum())

    def named_deviations(self, phi: FloatArray) -> list[tuple[str, float]]:
        if not self.has_ratios:
            return [("", 1.0)]
        deviations = np.sqrt(self.covariance(phi).diagonal()).tolist()
        return list(zip(self.visits, deviations, strict=True))

    def visit_correlations(self, phi: FloatArray) -> FloatArray:
        sigma = self.covariance(phi)
        sizes = np.sqrt(sigma.diagonal())
        return np.asarray(sigma / np.outer(sizes, sizes))

    def runaway(self, phi: FloatArray) -> str | None:
        if least_correlation_value(self.covariance(phi)) > NEARLY_SINGULAR:
            return None
        return (
            f"the covariance of {self.written} becomes singular, as too few subjects have all "
            f"visits, or the random effects stand for it. Leave visits out, drop the random terms"
            + (f", or take {self.simpler}" if self.simpler else "")
        )

    def deviations(self, phi: FloatArray, rows: ResidualRows) -> FloatArray:
        visit = visits_of(rows)
        found = np.sqrt(self.covariance(phi).diagonal())[visit]
        return np.where(visit >= 0, found, np.nan)

    def whitened(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        return self._multiplied(_inverted, phi, rows, values)

    def coloured(self, phi: FloatArray, rows: ResidualRows, values: FloatArray) -> FloatArray:
        return self._multiplied(np.asarray, phi, rows, values)

    def _multiplied(
        self,
        function: Callable[[FloatArray], FloatArray],
        phi: FloatArray,
        rows: ResidualRows,
        values: FloatArray,
    ) -> FloatArray:
        """Multiply values, (n, m), with a function of the lower root of R of every subject."""
        patterns = Patterns.of(rows, self.n_visits)
        lower = np.linalg.cholesky(patterns.blocks(self.covariance(phi)))
        roots = function(np.asarray(lower, dtype=np.float64))
        result = np.empty_like(values)
        for root, row, seen in zip(roots, patterns.rows, patterns.seen, strict=True):
            result[row] = root[np.ix_(seen, seen)] @ values[row]
        return result

    def selections(self, rows: ResidualRows) -> list[Selection]:
        patterns = Patterns.of(rows, self.n_visits)
        which, first, second = patterns.pairs()
        columns = [np.cumsum(seen) - 1 for seen in patterns.seen]
        found = []
        for s, u, v in zip(which.tolist(), first.tolist(), second.tolist(), strict=True):
            row = patterns.rows[s]
            later = None if u == v else row[:, columns[s][v]]
            key = float(patterns.numbers[s]), float(u), float(v)
            found.append(Selection(key, float(len(row)), row[:, columns[s][u]], later))
        return found

    def weighing(self, keys: FloatArray, counts: FloatArray) -> Weighing:
        return partial(self.at, keys=keys, counts=counts)

    def at(self, phi: FloatArray, keys: FloatArray, counts: FloatArray) -> Combination:
        numbers, first, second = keys.astype(np.intp).T
        numbers, which = np.unique(numbers, return_inverse=True)
        patterns = Patterns.numbered(numbers, self.n_visits)
        subjects = np.zeros(len(numbers))
        subjects[which] = counts
        blocks = patterns.blocks(self.covariance(phi))
        inverses, slopes = patterns.inverses(blocks), self.slopes(phi)
        log_dets = np.linalg.slogdet(blocks)[1]
        through = inverses @ slopes[:, None]  # (q, s, V, V), R^-1 E
        twice = through[:, None] @ through
        second_slopes = self._second_slopes(phi)[:, :, None]
        changed = inverses @ second_slopes
        bent = (twice + np.swapaxes(twice, 0, 1) - changed) @ inverses
        traces = np.trace(changed - twice, axis1=-2, axis2=-1)
        return Combination(
            inverses[which, first, second],
            -(through @ inverses)[:, which, first, second],
            bent[:, :, which, first, second],
            float(subjects @ log_dets),
            np.trace(through, axis1=-2, axis2=-1) @ subjects,
            traces @ subjects,
        )

    def _second_slopes(self, phi: FloatArray) -> FloatArray:
        """Return the second derivatives of Sigma, (q, q, V, V)."""
        k = self.n_visits
        rows, columns = np.triu_indices(k)
        places, units = np.arange(len(rows)), np.zeros((len(rows), k, k))
        units[places, rows, columns] += 0.5
        units[places, columns, rows] += 0.5
        found = np.empty((self.n_phi, self.n_phi, k, k))
        entries = np.moveaxis(self.curvature(phi, units), 0, -1)
        found[..., rows, columns] = found[..., columns, rows] = entries
        return found


def least_correlation_value(sigma: FloatArray) -> float:
    """Return the least eigenvalue of the correlations of a covariance, (V, V)."""
    sizes = np.sqrt(sigma.diagonal())
    return float(np.linalg.eigvalsh(sigma / np.outer(sizes, sizes))[0])


def _inverted(matrices: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(matrices), dtype=np.float64)
