"""Leave-one-out cross-validation of generalized models."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed.bayes.generalized_draws import GeneralizedDraws
from skmixed.bayes.generalized_sampling import generalized_draws_of
from skmixed.bayes.left_out_means import LeftOutError, LeftOutMeans, refitted_density
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import BoolArray, FloatArray, IntArray, generator_of
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_leave_out import counts_of, densities_of_levels, densities_without
from skmixed.core.posterior.pareto_tail import UNTRUSTED
from skmixed.core.sums.layout import Rows

REFIT_DRAWS = 250  # per chain of four after a refit, for one density


def generalized_left_out(
    draws: GeneralizedDraws, observations: Observations, random_state: Any
) -> tuple[FloatArray, FloatArray, BoolArray, FloatArray, float]:
    """Leave out each of the given rows: log densities, Pareto k, refits and counts, (n,) each.

    The Monte Carlo error of the sum is the last. Given the other parameters the random effects are
    integrated out. The densities are averaged with smoothed weights; if these have too heavy a
    tail, the posterior is sampled without the row.
    """
    integrals = _integrals(observations, draws, "rows")
    densities = densities_without(integrals, draws.points(draws.nodes.means, draws.nodes.phi))
    means, counts, error = LeftOutMeans.of(densities), counts_of(observations), LeftOutError()
    elpd, is_poor = means.elpd, means.shapes > UNTRUSTED
    error.add_means(means.take(~is_poor), counts[~is_poor])
    generator = generator_of(random_state)
    for row in np.flatnonzero(is_poor):
        rest = _without(observations, np.array([row]), counts)
        again = generalized_draws_of(draws.model, rest, draws.prior, REFIT_DRAWS, 4, generator)
        points = draws.points(again.nodes.means, again.nodes.phi)
        values = densities_without(integrals, points)[:, row]
        elpd[row], own, shared = refitted_density(
            (draws.log_evidence, draws.log_evidence_error),
            (again.log_evidence, again.log_evidence_error),
            values,
        )
        error.add_single(own, counts[row], shared)
    return elpd, means.shapes, is_poor, counts, error.total


def generalized_levels_left_out(
    draws: GeneralizedDraws, observations: Observations, factor: str, random_state: Any
) -> tuple[FloatArray, FloatArray, BoolArray, float]:
    """Leave out all rows of each level: log densities, Pareto k and refits, (n_levels,) each.

    The Monte Carlo error of the sum is the last. Levels are independent given all parameters.
    """
    place = draws.fit.spec.used_factors[draws._position(factor)]
    integrals = _integrals(observations, draws, "levels")
    points = draws.points(draws.nodes.means, draws.nodes.phi)
    means, error = LeftOutMeans.of(densities_of_levels(integrals, points)), LeftOutError()
    if len(means.elpd) < 2:
        raise ValueError(f"{factor!r} has a single level, so there is nothing left without it")
    elpd, is_poor = means.elpd, means.shapes > UNTRUSTED
    error.add_means(means.take(~is_poor), np.ones(int((~is_poor).sum())))
    generator = generator_of(random_state)
    for level in np.flatnonzero(is_poor):
        own = np.flatnonzero(observations.given.codes[place] == level)
        rest = _without(observations, own, np.ones(len(observations.given.columns)))
        again = generalized_draws_of(draws.model, rest, draws.prior, REFIT_DRAWS, 4, generator)
        points = draws.points(again.nodes.means, again.nodes.phi)
        elpd[level], single, shared = refitted_density(
            (draws.log_evidence, draws.log_evidence_error),
            (again.log_evidence, again.log_evidence_error),
            densities_of_levels(integrals, points)[:, level],
        )
        error.add_single(single, 1.0, shared)
    return elpd, means.shapes, is_poor, error.total


def _integrals(observations: Observations, draws: GeneralizedDraws, what: str) -> LevelIntegrals:
    """Return the integrals over effects; raise ValueError if these are not by quadrature."""
    integrals = LevelIntegrals.of(observations, draws.fit)
    if integrals is None:
        raise ValueError(
            f"leaving out {what} of a generalized model needs a single grouping factor with at "
            "most three random columns, whose effects are integrated by quadrature: compare other "
            "models by their evidence"
        )
    return integrals


def _without(observations: Observations, out: IntArray, counts: FloatArray) -> Observations:
    """Return the rows without some, or without one of those that a weighted row represents.

    Raises ValueError if other fixed columns remain linearly independent.
    """
    given, offset = observations.given, observations.offset
    if len(out) == 1 and counts[out[0]] > 1.0:
        assert given.weights is not None
        weights = given.weights.copy()
        weights[out] -= 1.0
        rest = Rows(given.columns, given.codes, given.indexes, weights)
    else:
        kept = np.delete(np.arange(len(given.columns)), out)
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
            f"without row {out[0]} other fixed columns are linearly independent, which changes the "
            "model: remove columns that depend on single rows"
        )
    return found
