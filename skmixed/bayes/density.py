"""The posterior density of the variances, and starting points of the search for its modes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.bayes.parametrization import RootCoordinates
from skmixed.bayes.priors import ModelPrior
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, semidefinite_root
from skmixed.core.model.dense import is_small
from skmixed.core.model.evaluation import evaluate
from skmixed.core.posterior.integrated_likelihood import IntegratedLikelihood
from skmixed.core.posterior.reduced_sums import Progress, ReducedSums
from skmixed.core.search.spread import spread
from skmixed.core.search.starts import has_plenty, other_starts
from skmixed.core.search.unbounded import NoMaximumError

_KEPT_SUMS_CELLS = 2e7  # numbers of reduced sums that are kept, 160 MB; more are recomputed
_CELLS_AT_ONCE = 2e6  # numbers of reduced sums at a time: some arrays of 16 MB
_LEAST_AT_ONCE = 16  # points at a time, however many columns: single ones are slow
_MOST_STARTS = 6  # modes to look for; each takes a search
_APART = 0.1  # of some log deviation: ends of searches closer than this are one


@dataclass(frozen=True, eq=False)
class PosteriorDensity:
    """The log of likelihood times prior at points v of the search, with all constants."""

    likelihood: IntegratedLikelihood
    prior: ModelPrior
    coordinates: RootCoordinates
    n_jobs: int = 1
    progress: Progress | None = None

    def __call__(self, v: FloatArray) -> tuple[FloatArray, ReducedSums | None]:
        """Return log densities, (n,), of n points, (n, d), and their reduced sums if not too large.

        Points are evaluated in batches.
        """
        values, inside = np.full(len(v), -np.inf), np.flatnonzero(self.coordinates.is_inside(v))
        q = len(self.likelihood.problem.model.gram)
        n_kept = len(v) if len(v) * q * q <= _KEPT_SUMS_CELLS else 0
        sums = ReducedSums(np.full((n_kept, q, q), np.nan), np.zeros(n_kept))
        for start in range(0, len(inside), self.n_at_once):
            some = inside[start : start + self.n_at_once]
            phi = self.coordinates.phi(v[some])
            found = self.sums(phi)
            given = self.likelihood.given(found, np.exp(phi[:, -1]))
            total = given.log_likelihood + self.prior.log_density(phi)
            total += self.coordinates.log_jacobian(v[some])
            values[some] = np.where(np.isfinite(total), total, -np.inf)
            if n_kept:
                sums.gram[some], sums.log_det[some] = found.gram, found.log_det
        return values, sums if n_kept else None

    def with_slopes(self, v: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return log densities, (n,), and gradients, (n, d), zero where the density is."""
        values, slopes = np.full(len(v), -np.inf), np.zeros(v.shape)
        inside = np.flatnonzero(self.coordinates.is_inside(v))
        if not len(inside):
            return values, slopes
        phi = self.coordinates.phi(v[inside])
        lambdas = self.prior.parametrization.lambdas(phi)
        total, in_lambdas, in_sigma = self.likelihood.with_slopes(lambdas, np.exp(phi[:, -1]))
        total = total + self.prior.log_density(phi) + self.coordinates.log_jacobian(v[inside])
        in_phi = self.prior.slopes(phi)
        in_phi += self.prior.parametrization.slopes(phi, lambdas, in_lambdas)
        in_phi[:, -1] += in_sigma
        found = self.coordinates.slopes(v[inside], in_phi)
        kept = np.isfinite(total) & np.isfinite(found).all(axis=1)
        values[inside[kept]], slopes[inside[kept]] = total[kept], found[kept]
        if self.progress is not None:
            self.progress(len(v))
        return values, slopes

    @property
    def n_at_once(self) -> int:
        """Number of points in a batch."""
        q = len(self.likelihood.problem.model.gram)
        return max(_LEAST_AT_ONCE, int(_CELLS_AT_ONCE / (q * q)))

    def sums(self, phi: FloatArray) -> ReducedSums:
        """Eliminate the random effects at n values of phi, (n, d)."""
        lambdas = self.prior.parametrization.lambdas(phi)
        return self.likelihood.sums(lambdas, len(phi), n_jobs=self.n_jobs, progress=self.progress)


def starting_points(fit: Fit, prior: ModelPrior) -> FloatArray:
    """Return values of phi from which to search for modes, (m, d).

    They are the optimum and, if the criterion may have several minima, the ends of the other
    searches that a fit would try.
    """
    parametrization = prior.parametrization
    first = parametrization.read(fit.covariances, float(np.sqrt(fit.sigma2)))
    if not fit.scaled_lambdas or has_plenty(fit.problem):
        return first[None]
    starts = [first]
    for omegas in _other_covariances(fit):
        phi = _phi_at(fit, prior, omegas)
        if phi is not None and min(np.abs(phi - known).max() for known in starts) > _APART:
            starts.append(phi)
    return np.stack(starts[:_MOST_STARTS])


def _other_covariances(fit: Fit) -> list[Blocks]:
    """Return relative covariances, (k, k) of each factor in scaled units, at other optima."""
    problem = fit.problem
    if not is_small(problem):
        return other_starts(fit.evaluation)
    try:
        return spread(problem, [fit.evaluation.omegas], fit.report.confounded).omegas[1:]
    except NoMaximumError:
        return []


def _phi_at(fit: Fit, prior: ModelPrior, omegas: Blocks) -> FloatArray | None:
    """Return phi, (d,), at relative covariances and the residual deviation that suits them."""
    model = fit.problem.model
    roots = [semidefinite_root(omega) for omega in omegas]
    try:
        evaluation = evaluate(fit.problem, roots)
    except LostPrecisionError:
        return None
    sigma = float(np.sqrt(evaluation.sigma2)) / model.response_scale
    raw = [
        sigma**2 * random_map @ omega @ random_map.T
        for random_map, omega in zip(model.random_maps, omegas, strict=True)
    ]
    return prior.parametrization.read(raw, sigma)
