"""Rows of a generalized model, each predicted by the others."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.special import logsumexp

from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.generalized_sampling import generalized_draws_of
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import BoolArray, FloatArray, generator_of
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_leave_out import counts_of, densities_without
from skmixed.core.posterior.pareto_tail import UNTRUSTED, smoothed_weights
from skmixed.core.sums.layout import Rows

REFIT_DRAWS = 250  # of each of four chains after a refit, for one density


def generalized_left_out(
    draws: GeneralizedDraws, observations: Observations, random_state: Any
) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray]:
    """Leave every given row out: log densities, shapes of weights, refits, and counts, (n,) each.

    Given all other parameters the effects are integrated; over these densities are averaged by
    smoothed weights, and where the weights have too heavy a tail, the posterior is sampled without
    the row.
    """
    integrals = LevelIntegrals.of(observations, draws.fit)
    if integrals is None:
        raise ValueError(
            "rows are left out of generalized models of one factor with at most three random "
            "columns, whose effects are integrated by quadrature: compare models by their evidence"
        )
    densities = densities_without(integrals, draws.points(draws.nodes.means, draws.nodes.phi))
    n = densities.shape[1]
    elpd, shapes = np.empty(n), np.empty(n)
    for place, values in enumerate(densities.T):
        log_weights, shapes[place] = smoothed_weights(-values)
        elpd[place] = logsumexp(log_weights + values)
    is_poor, counts = shapes > UNTRUSTED, counts_of(observations)
    generator = generator_of(random_state)
    for row in np.flatnonzero(is_poor):
        rest = _without(observations, int(row), counts)
        again = generalized_draws_of(draws.model, rest, draws.prior, REFIT_DRAWS, 4, generator)
        points = draws.points(again.nodes.means, again.nodes.phi)
        values = densities_without(integrals, points)[:, row]
        elpd[row] = logsumexp(values) - np.log(len(values))
    return elpd, shapes, is_poor, counts


def _without(observations: Observations, row: int, counts: FloatArray) -> Observations:
    """Return the rows without one, or without one of those that it stands for.

    Raises ValueError where these leave other fixed columns independent.
    """
    given, offset = observations.given, observations.offset
    if counts[row] > 1.0:
        assert given.weights is not None
        weights = given.weights.copy()
        weights[row] -= 1.0
        rest = Rows(given.columns, given.codes, given.indexes, weights)
    else:
        kept = np.delete(np.arange(len(given.columns)), row)
        rest, offset = given.take(kept), None if offset is None else offset[kept]
        codes, indexes = list(rest.codes), list(rest.indexes)
        for factor in observations.spec.used_factors:
            levels, codes[factor] = np.unique(rest.codes[factor], return_inverse=True)
            indexes[factor] = rest.indexes[factor].take(levels)
        rest = Rows(rest.columns, tuple(codes), tuple(indexes), rest.weights)
    found = Observations.of(
        observations.layout, rest, observations.spec, observations.family, offset
    )
    if found.units.kept != observations.units.kept:
        raise ValueError(
            f"without row {row} other fixed columns are independent of each other, so that the "
            "model is another one: leave columns out that hang on single rows"
        )
    return found
