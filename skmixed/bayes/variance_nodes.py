"""A few hundred values of the variances that represent a posterior in passes over levels or rows.

At each of them everything else is normal, so averages are taken of means and covariances.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skmixed.bayes.parametrization import Parametrization
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.fit import Fit
from skmixed.core.given_parameters import Posterior
from skmixed.core.linalg import FloatArray
from skmixed.core.posterior.conditional import Average, AverageSoFar, effect_moments, posterior_at
from skmixed.core.sums.crossproducts import CrossProducts
from skmixed.design.records import stored

VARIANCE_NODES = 400  # at most: an error of one percent in variances
_FEW_NODES = 100  # values of phi for means of effects, and for moments of many of them
_FEW_EFFECTS_AVERAGED = 2_000  # with all nodes, four times as many, which halves the error


@stored
@dataclass(frozen=True, eq=False)
class VarianceNodes:
    """Equally weighted values of phi, with mean and covariance of the coefficients at each.

    Every fourth of them also represents the posterior.
    """

    phi: FloatArray  # (S, d)
    means: FloatArray  # (S, p), of the kept columns
    covariances: FloatArray  # (S, p, p)

    def __len__(self) -> int:
        """Return the number of nodes."""
        return len(self.phi)

    def thinned(self, most: int) -> VarianceNodes:
        """Return at most this many of them, evenly spread."""
        step = max(1, -(-len(self) // most))
        return VarianceNodes(self.phi[::step], self.means[::step], self.covariances[::step])

    def for_moments(self, fit: Fit) -> VarianceNodes:
        """Return as many as second moments need, which depend most on the variances."""
        return self.thinned(_FEW_NODES) if fit.problem.n_effects > _FEW_EFFECTS_AVERAGED else self

    def posteriors(self, fit: Fit, products: CrossProducts | None = None) -> Iterator[Posterior]:
        """Yield the conditional posterior of the effects at each node, given some sums."""
        lambdas = Parametrization.of(fit).lambdas(self.phi)
        data = None if products is None else fit.at(products)
        for n, sigma in enumerate(np.exp(self.phi[:, -1])):
            own = [lam[n] for lam in lambdas]
            yield posterior_at(fit, own, self.means[n], self.covariances[n], float(sigma), data)

    def effect_means(self, fit: Fit, products: CrossProducts | None = None) -> Blocks:
        """Return posterior means of the random effects of each factor, (n_levels, k)."""
        total: Blocks = []
        nodes = self.thinned(_FEW_NODES)
        for posterior in nodes.posteriors(fit, products):
            modes = posterior.modes
            total = [a + b for a, b in zip(total, modes, strict=True)] if total else modes
        return [each / len(nodes) for each in total]

    def effect_averages(self, fit: Fit, products: CrossProducts | None = None) -> list[Average]:
        """Return moments of the random effects of each factor."""
        nodes = self.for_moments(fit)
        averages = [AverageSoFar() for _ in fit.spec.used_factors]
        for posterior in nodes.posteriors(fit, products):
            for average, moments in zip(averages, effect_moments(posterior), strict=True):
                average.add(1.0 / len(nodes), *moments)
        return [each.average() for each in averages]
