"""Mixtures of multivariate t distributions, and one fitted to weighted points."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.special import gammaln

from skmixed.core.linalg import FloatArray, diagonal

_DEGREES = 6.0  # of freedom of fitted components: heavier tails than those of most posteriors
_STEPS = 8  # of the EM algorithm: a proposal need not be the best one
_LEAST_SHARE_KEPT = 5e-3  # of the weight: components of less are dropped
_LEAST_MOVED = 1e-3  # of the weight: components of less have no moments of their own
_SHRINKAGE = 0.02  # of covariances to half the joint one, beside what few points ask for
_SCALE_RIDGE = 1e-12  # of covariances, so that points in a plane have one


@dataclass(frozen=True, eq=False)
class TMixture:
    """A mixture of m t distributions in d dimensions."""

    shares: FloatArray  # (m,)
    centres: FloatArray  # (m, d)
    scales: FloatArray  # (m, d, d), covariances but for (df - 2) / df
    degrees: FloatArray  # (m,)

    @cached_property
    def _lower(self) -> FloatArray:
        return np.asarray(np.linalg.cholesky(self.scales), dtype=np.float64)

    @cached_property
    def _inverse(self) -> FloatArray:
        return np.asarray(np.linalg.inv(self._lower), dtype=np.float64)

    def squares(self, points: FloatArray) -> FloatArray:
        """Return squared distances from every centre, in units of its scale, (n, m)."""
        found = np.empty((len(points), len(self.centres)))
        for m, (centre, inverse) in enumerate(zip(self.centres, self._inverse, strict=True)):
            white = (points - centre) @ inverse.T
            found[:, m] = np.einsum("ni,ni->n", white, white)
        return found

    def components(self, points: FloatArray, squares: FloatArray | None = None) -> FloatArray:
        """Return log shares times densities at points, (n, m), whose `squares` may be known."""
        d, v = points.shape[1], self.degrees
        if squares is None:
            squares = self.squares(points)
        constant = gammaln((v + d) / 2.0) - gammaln(v / 2.0) - d / 2.0 * np.log(v * np.pi)
        constant = constant + np.log(self.shares) - np.log(diagonal(self._lower)).sum(axis=1)
        return np.asarray(constant - (v + d) / 2.0 * np.log1p(squares / v))

    def log_density(self, points: FloatArray) -> FloatArray:
        """Return the log density at points, (n,)."""
        logs = self.components(points)
        top = logs.max(axis=1)
        return np.asarray(top + np.log(np.exp(logs - top[:, None]).sum(axis=1)))

    def draw(self, n: int, generator: np.random.Generator) -> FloatArray:
        """Draw n points, (n, d), stratified over the components."""
        places = (np.arange(n) + generator.random(n)) / n
        which = np.searchsorted(np.cumsum(self.shares), generator.permutation(places))
        which = np.minimum(which, len(self.shares) - 1)
        deviates = generator.standard_normal((n, self.centres.shape[1]))
        deviates /= np.sqrt(generator.chisquare(self.degrees[which]) / self.degrees[which])[:, None]
        moved = np.einsum("nij,nj->ni", self._lower[which], deviates)
        return np.asarray(self.centres[which] + moved)

    def with_wide(self, share: float, mean: FloatArray, covariance: FloatArray) -> TMixture:
        """Return the same beside a wide component of 3 degrees, which bounds importance weights."""
        return TMixture(
            np.append(self.shares * (1.0 - share), share),
            np.vstack([self.centres, mean]),
            np.concatenate([self.scales, 3.0 * covariance[None]]),
            np.append(self.degrees, 3.0),
        )


def weighted_moments(points: FloatArray, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return mean, (d,), and covariance, (d, d), of points of weights that sum to one."""
    mean = weights @ points
    apart = points - mean
    ridge = _SCALE_RIDGE * np.eye(points.shape[1])
    return mean, np.asarray((weights[:, None] * apart).T @ apart + ridge)


def fitted_mixture(
    points: FloatArray, weights: FloatArray, n_components: int, generator: np.random.Generator
) -> TMixture:
    """Fit a mixture to weighted points by EM (Cappe et al. 2008, doi:10.1007/s11222-008-9059-x)."""
    mean, covariance = weighted_moments(points, weights)
    centres = points[generator.choice(len(points), n_components, p=weights)]
    mixture = TMixture(
        np.full(n_components, 1.0 / n_components),
        (centres + mean) / 2.0,
        np.repeat(covariance[None], n_components, axis=0),
        np.full(n_components, _DEGREES),
    )
    for _ in range(_STEPS):
        mixture = _updated(mixture, points, weights, covariance)
    return mixture


def _updated(
    mixture: TMixture, points: FloatArray, weights: FloatArray, covariance: FloatArray
) -> TMixture:
    d = points.shape[1]
    squares = mixture.squares(points)
    logs = mixture.components(points, squares)
    shares = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares *= (weights / shares.sum(axis=1))[:, None]
    totals = shares.sum(axis=0)
    pulled = shares * ((mixture.degrees + d) / (mixture.degrees + squares))
    centres, scales = mixture.centres.copy(), mixture.scales.copy()
    for m in np.flatnonzero(totals >= _LEAST_MOVED):
        centres[m] = pulled[:, m] @ points / pulled[:, m].sum()
        apart = points - centres[m]
        own = (pulled[:, m, None] * apart).T @ apart / totals[m]
        effective = totals[m] ** 2 / np.square(shares[:, m]).sum()
        shrunk = min(1.0, _SHRINKAGE + (d + 1.0) / effective)
        scales[m] = (1.0 - shrunk) * own + shrunk / 2.0 * covariance
        scales[m] += _SCALE_RIDGE * np.eye(d)
    kept = totals > _LEAST_SHARE_KEPT
    return TMixture(
        totals[kept] / totals[kept].sum(), centres[kept], scales[kept], mixture.degrees[kept]
    )
