"""Trials with missing visits, drawn from a seed, and their likelihood written out densely."""

from dataclasses import dataclass

import numpy as np

from skmixed.core.model.spec import ModelSpec
from skmixed.core.residual.fitting import fit_tables, tables_of
from skmixed.core.residual.residual_rows import ResidualRows
from skmixed.core.residual.visits.visits_covariance import AnyCovariance, LagCovariance
from skmixed.core.residual.visits.visits_likelihood import VisitModel
from skmixed.core.residual.visits.visits_tables import VisitTables
from skmixed.core.sums.layout import GroupIndex, Layout, Rows


@dataclass(frozen=True)
class Trial:
    """Rows of subjects at visits, with fixed columns X that begin with the constant."""

    X: np.ndarray  # (n, p)
    y: np.ndarray  # (n,)
    subject: np.ndarray  # (n,)
    visit: np.ndarray  # (n,)
    n_visits: int
    weights: np.ndarray | None = None  # (n,)

    def take(self, chosen):
        weights = None if self.weights is None else self.weights[chosen]
        X, y, subject, visit = (a[chosen] for a in (self.X, self.y, self.subject, self.visit))
        return Trial(X, y, subject, visit, self.n_visits, weights)

    def layout(self):
        names = [f"x{j}" for j in range(1, self.X.shape[1])]
        return Layout(("1", *names, "y"))

    def rows(self):
        return Rows(np.column_stack([self.X, self.y]), weights=self.weights)

    def residual_rows(self):
        labels, codes = np.unique(self.subject, return_inverse=True)
        return ResidualRows(codes, GroupIndex(("subject",), (labels,)), self.visit.astype(float))

    def tables(self, structure=None):
        structure = structure or AnyCovariance(self.labels())
        found = tables_of(self.layout(), self.rows(), self.residual_rows(), structure)
        assert isinstance(found, VisitTables)
        return found

    def spec(self, method="reml"):
        return ModelSpec(tuple(range(self.X.shape[1])), (), method, "precision")

    def model(self, method="reml"):
        tables = self.tables()
        return VisitModel.of(tables.sums, tables.base, self.spec(method))

    def fit(self, structure, method="reml"):
        return fit_tables(self.tables(structure), self.spec(method))

    def dense_covariance(self, sigma):
        """R of all rows, (n, n)."""
        same = self.subject[:, None] == self.subject
        whole = sigma[self.visit[:, None], self.visit] * same
        if self.weights is None:
            return whole
        return whole / np.sqrt(np.outer(self.weights, self.weights))

    def labels(self):
        return tuple(f"week {2 * v}" for v in range(self.n_visits))

    def structures(self):
        """One structure of every kind."""
        laws = [(law, own) for law in ("cs", "ar1", "toeplitz") for own in (False, True)]
        return [
            AnyCovariance(self.labels()),
            *[LagCovariance(self.labels(), law, own) for law, own in laws],
        ]


def draw_trial(seed, n_visits=4, n_subjects=30, missing=0.25, weighted=False):
    """Draw a trial of two arms with a covariate; some visits of some subjects are missing."""
    rng = np.random.default_rng(seed)
    root = rng.standard_normal((n_visits, n_visits + 2))
    sizes = np.exp(0.5 * rng.standard_normal(n_visits))
    noise = rng.standard_normal((n_subjects, n_visits + 2)) @ (sizes[:, None] * root).T
    arm, baseline = rng.integers(0, 2, n_subjects), rng.standard_normal(n_subjects)
    times = np.arange(n_visits)
    y = 30.0 + 2.0 * baseline[:, None] + arm[:, None] * times * 0.5 + noise
    seen = rng.random((n_subjects, n_visits)) >= missing
    seen[np.arange(n_subjects), rng.integers(0, n_visits, n_subjects)] = True
    subject, visit = np.nonzero(seen)
    order = rng.permutation(len(subject))
    subject, visit = subject[order], visit[order]
    of_visit = np.eye(n_visits)[visit][:, 1:]
    X = np.column_stack([np.ones(len(visit)), baseline[subject], of_visit, arm[subject] * visit])
    weights = rng.uniform(0.5, 3.0, len(visit)) if weighted else None
    return Trial(X, y[subject, visit], 100 + subject, visit, n_visits, weights)


def draw_phi(structure, rng):
    """Draw parameters of a structure, at none of which it is near singular."""
    k = structure.n_visits
    deviations = np.exp(0.4 * rng.standard_normal(k))
    lags = np.abs(np.subtract.outer(np.arange(k), np.arange(k)))
    correlations = rng.uniform(-0.1, 0.7) ** lags if k > 1 else np.eye(1)
    phi = structure.near(deviations, correlations, np.full((k, k), 20.0))
    return phi + 0.1 * rng.standard_normal(structure.n_phi)
