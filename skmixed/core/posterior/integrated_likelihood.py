"""The likelihood of variances, coefficients and random effects being integrated out.

With M = [X y]'V^-1[X y] = [A c; c' s], a normal prior of precision P and mean m of the
coefficients, Q = A/sigma^2 + P = L L', h = c/sigma^2 + P m and u = L^-1 h,

    -2 log p(y) = log|V| + n log sigma^2 + s/sigma^2 + m'P m - u'u + log|Q| - log|P|
                  + (n - p + rank P) log(2 pi),
    beta given y ~ N(Q^-1 h, Q^-1),

log|P| being of the combinations that are not flat (Lindley & Smith 1972, section 2). With w =
(-beta, 1) the derivative of -2 log p(y) in M is W = E[w w'] / sigma^2, and that in log sigma at the
same M is 2 n - 2 tr(W M).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.linalg import FloatArray, IntArray, diagonal, transposed
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import cholesky
from skmixed.core.posterior.coefficient_prior import (
    CoefficientPrior,
    ScaledPrior,
    raw_coefficients,
)
from skmixed.core.posterior.reduced_sums import Progress, ReducedSums, Reduction, WayBack


@dataclass(frozen=True, eq=False)
class IntegratedLikelihood:
    """p(y | phi) in units of the data, phi being relative lambdas and the residual deviation."""

    problem: Problem
    prior: ScaledPrior
    constant: float  # what brings log p(y) from scaled units to those of the data

    @classmethod
    def of(cls, fit: Fit, prior: CoefficientPrior) -> IntegratedLikelihood:
        """Take the sums of a fit, whose own estimates do not matter here."""
        problem, unit = fit.problem, fit.products.unit
        if problem.spec.weighting == "frequency":  # whose weights are numbers of rows
            unit, log_weights = 1.0, 0.0
        else:
            log_weights = fit.products.sum_log_weights
        scale = problem.model.response_scale * math.sqrt(unit)
        constant = problem.n_observations * math.log(scale) + log_weights / 2.0
        return cls(problem, ScaledPrior.of(problem, prior), constant)

    @cached_property
    def reduction(self) -> Reduction:
        """The sums, arranged to be evaluated at many lambdas."""
        return Reduction(self.problem)

    def sums(
        self,
        lambdas: Blocks,
        n: int,
        *,
        n_jobs: int = 1,
        progress: Progress | None = None,
    ) -> ReducedSums:
        """Eliminate the random effects at n lambdas of every factor, (n, k, k), in raw units."""
        if not lambdas:
            gram = self.problem.model.gram
            return ReducedSums(np.broadcast_to(gram, (n, *gram.shape)), np.zeros(n))
        return self.reduction.at(self.problem.scaled_lambdas(lambdas), n_jobs, progress)

    def with_slopes(
        self, lambdas: Blocks, sigma: FloatArray
    ) -> tuple[FloatArray, Blocks, FloatArray]:
        """Return log p(y | phi), (R,), at R lambdas in raw units and sigmas, and its derivatives.

        These are in the lambdas of every factor, (R, k, k), and in log sigma, (R,).
        """
        inverse = np.exp(-2.0 * self._scaled_log(sigma))[:, None, None]
        sums, back = self._with_way_back(lambdas, len(sigma))
        given = self.given(sums, sigma)
        weights = given.residual_squares * inverse
        in_sigma = np.einsum("rij,rij->r", weights, sums.gram) - self.problem.n_observations
        zipped = zip(self.problem.model.random_maps, back(weights), strict=True)
        slopes = [
            np.asarray(-0.5 * np.linalg.solve(change.T, slope), dtype=np.float64)
            for change, slope in zipped
        ]
        return given.log_likelihood, slopes, in_sigma

    def _with_way_back(self, lambdas: Blocks, n: int) -> tuple[ReducedSums, WayBack]:
        if not lambdas:
            return self.sums(lambdas, n), lambda weights: []
        return self.reduction.with_way_back(self.problem.scaled_lambdas(lambdas))

    def _scaled_log(self, sigma: FloatArray) -> FloatArray:
        """Return logs of residual deviations in scaled units, (R,)."""
        return np.asarray(np.log(sigma) + math.log(self.problem.model.response_scale))

    def given(self, sums: ReducedSums, sigma: FloatArray) -> GivenVariances:
        """Return what the data say at residual deviations, (R,), in units of y."""
        scaled = self._scaled_log(sigma)
        inverse = np.exp(-2.0 * scaled)
        prior, n, p = self.prior, self.problem.n_observations, self.problem.rank
        own, right, square = sums.gram[:, :p, :p], sums.gram[:, :p, p], sums.gram[:, p, p]
        lower, lost = cholesky(own * inverse[:, None, None] + prior.precision)
        target = right * inverse[:, None] + prior.product
        whitened = np.asarray(np.linalg.solve(lower, target[:, :, None])[:, :, 0], np.float64)
        with np.errstate(invalid="ignore", divide="ignore"):
            log_det = sums.log_det + 2.0 * np.log(diagonal(lower)).sum(axis=1) - prior.log_det
            square = square * inverse + prior.square - np.square(whitened).sum(axis=1)
            constant = (n - p + prior.rank) * math.log(2.0 * math.pi)
            value = -0.5 * (log_det + 2.0 * n * scaled + square + constant)
            value += self.constant + prior.log_jacobian
        lost = lost | ~np.isfinite(value)
        return GivenVariances(self.problem, np.where(lost, -np.inf, value), lower, whitened)


@dataclass(frozen=True, eq=False)
class GivenVariances:
    """The likelihood and the normal distribution of the coefficients, at R values of phi."""

    problem: Problem
    log_likelihood: FloatArray  # (R,), log p(y | phi); -inf where digits are lost
    lower: FloatArray  # (R, p, p), L, scaled units
    whitened: FloatArray  # (R, p), u, scaled units

    def take(self, chosen: IntArray) -> GivenVariances:
        """Return some of them."""
        return GivenVariances(
            self.problem,
            self.log_likelihood[chosen],
            self.lower[chosen],
            self.whitened[chosen],
        )

    @cached_property
    def _roots(self) -> FloatArray:
        """T L'^-1, (R, p, p): the root of the covariance of beta, raw units."""
        maps, _ = raw_coefficients(self.problem)
        return transposed(np.asarray(np.linalg.solve(self.lower, maps.T[None]), dtype=np.float64))

    @property
    def scaled_means(self) -> FloatArray:
        """Means of the coefficients of the scaled columns, (R, p)."""
        upper = transposed(self.lower)
        return np.asarray(np.linalg.solve(upper, self.whitened[:, :, None])[:, :, 0])

    @property
    def residual_squares(self) -> FloatArray:
        """E[w w'] of w = (-b, 1), b being the coefficients of the scaled columns, (R, q, q)."""
        w = np.concatenate([-self.scaled_means, np.ones((len(self.lower), 1))], axis=1)
        found, p = w[:, :, None] * w[:, None, :], self.problem.rank
        root = np.asarray(np.linalg.inv(self.lower), dtype=np.float64)
        found[:, :p, :p] += transposed(root) @ root
        return np.asarray(found)

    @property
    def means(self) -> FloatArray:
        """Means of beta, (R, p), raw units."""
        _, shift = raw_coefficients(self.problem)
        return np.asarray((self._roots @ self.whitened[:, :, None])[:, :, 0] - shift)

    @property
    def covariances(self) -> FloatArray:
        """Covariances of beta, (R, p, p), raw units."""
        return np.asarray(self._roots @ transposed(self._roots))

    def draw(self, generator: np.random.Generator) -> FloatArray:
        """Draw beta at every phi, (R, p), raw units."""
        return self.moved(generator.standard_normal(self.whitened.shape))

    def moved(self, deviates: FloatArray) -> FloatArray:
        """Return beta, (R, p), raw units, so many deviations from its means, (R, p)."""
        _, shift = raw_coefficients(self.problem)
        moved = self.whitened + deviates
        return np.asarray((self._roots @ moved[:, :, None])[:, :, 0] - shift)
