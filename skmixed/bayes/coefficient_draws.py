"""Coefficients, drawn and averaged over weighted values of the variances, in batches.

Given the variances they are normal. The covariance matrices of all values at once would be
thousands of p x p arrays.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from skmixed.bayes.density import PosteriorDensity
from skmixed.bayes.variance_nodes import VARIANCE_NODES, VarianceNodes
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.importance import equal_places
from skmixed.core.posterior.integrated_likelihood import GivenVariances
from skmixed.core.posterior.posterior_sample import PosteriorSample

_LEAST_NODES = 100  # nodes that are enough for means
_NODE_CELLS = 2e7  # numbers in the covariances at nodes, above which nodes are fewer: 160 MB


@dataclass(frozen=True, eq=False)
class CoefficientDraws:
    """Posterior of the p coefficients of the kept columns, in raw units."""

    mean: FloatArray  # (p,)
    covariance: FloatArray  # (p, p)
    drawn: FloatArray  # (n_chains, n_draws, p)
    nodes: VarianceNodes


def n_nodes(p: int, most: int) -> int:
    """Return the number of nodes for p coefficients, at most `most`."""
    return min(most, VARIANCE_NODES, max(_LEAST_NODES, int(_NODE_CELLS / max(1, p * p))))


def coefficient_draws(
    density: PosteriorDensity, found: PosteriorSample, generator: np.random.Generator
) -> CoefficientDraws:
    """Draw coefficients at each state of the chains, and average them over all points."""
    weights, states, p = found.weights, found.chains.ravel(), density.likelihood.problem.rank
    felt = np.flatnonzero(weights)
    deviates = generator.standard_normal((len(states), p))
    chosen = felt[equal_places(weights[felt], n_nodes(p, len(states)), generator)]
    drawn = np.empty((len(states), p))
    nodes = VarianceNodes(
        density.coordinates.phi(found.points[chosen]),
        np.empty((len(chosen), p)),
        np.empty((len(chosen), p, p)),
    )
    origin, first = np.zeros(p), np.zeros(p)
    second = np.zeros((p, p))
    for number, (some, given) in enumerate(_given(density, found, felt)):
        means, covariances, share = given.means, given.covariances, weights[some]
        if number == 0:
            origin = means[0]
        apart = means - origin
        first += share @ apart
        second += (share[:, None] * apart).T @ apart
        second += np.einsum("r,rij->ij", share, covariances)
        for place, at in _among(states, some):
            drawn[place] = given.take(at).moved(deviates[place])
        for place, at in _among(chosen, some):
            nodes.means[place], nodes.covariances[place] = means[at], covariances[at]
    covariance = second - np.outer(first, first)
    return CoefficientDraws(
        origin + first, covariance, drawn.reshape(*found.chains.shape, p), nodes
    )


def _given(
    density: PosteriorDensity, found: PosteriorSample, felt: IntArray
) -> Iterator[tuple[IntArray, GivenVariances]]:
    """Yield the coefficients for batches of points; sums that were not kept are recomputed."""
    phi = density.coordinates.phi(found.points[felt])
    size = density.n_at_once
    for start in range(0, len(felt), size):
        some, own = felt[start : start + size], phi[start : start + size]
        sums = density.sums(own) if found.sums is None else found.sums.take(some)
        yield some, density.likelihood.given(sums, np.exp(own[:, -1]))


def _among(wanted: IntArray, some: IntArray) -> Iterator[tuple[IntArray, IntArray]]:
    """Yield the positions of wanted points, ascending, and their positions within each batch.

    No batch has more of them than it has points.
    """
    places = np.flatnonzero((wanted >= some[0]) & (wanted <= some[-1]))
    for start in range(0, len(places), len(some)):
        part = places[start : start + len(some)]
        yield part, np.searchsorted(some, wanted[part])
