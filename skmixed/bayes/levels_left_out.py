"""Leave-one-group-out cross-validation: all rows of a level, predicted jointly."""

from __future__ import annotations

from typing import Any

import numpy as np

from skmixed.bayes.generalized_leave_out import REFIT_DRAWS
from skmixed.bayes.left_out_means import LeftOutError, LeftOutMeans, refitted_density
from skmixed.bayes.posterior_draws import PosteriorDraws
from skmixed.bayes.priors import ModelPrior
from skmixed.bayes.sampling import draws_of
from skmixed.core.fit import Fit
from skmixed.core.linalg import BoolArray, FloatArray, IntArray, generator_of
from skmixed.core.posterior.pareto_tail import UNTRUSTED
from skmixed.core.posterior.without_levels import LevelDensities, UndeterminedError
from skmixed.core.sums.layout import Rows
from skmixed.core.sums.summed_rows import SummedRows

_VARIANCES = 1_000  # to average the densities of a few levels, whose weights have long tails
_FEW_LEVELS_OUT = 1_000  # more levels use the few hundred nodes


def levels_left_out(
    draws: PosteriorDraws, rows: Rows, factor: str, random_state: Any
) -> tuple[FloatArray, FloatArray, BoolArray, float]:
    """Leave each level of a factor out of a fit, whose rows have codes of its levels.

    Returns log densities, Pareto k, and whether a level was left out by a refit, (n_levels,) each,
    and the Monte Carlo error of the sum. Raises ValueError for an unknown factor, one with a single
    level, and if the other levels do not determine all coefficients.
    """
    fit, position = draws.fit, draws._position(factor)
    levels, place = np.arange(len(draws.levels(factor))), fit.spec.used_factors[position]
    if len(levels) < 2:
        raise ValueError(f"{factor!r} has a single level, so there is nothing left without it")
    prior = ModelPrior.of(fit, draws.prior)
    summed = SummedRows.among(fit.products, rows)
    densities = LevelDensities(fit, prior.coef, summed, place)
    try:
        means, error = LeftOutMeans.of(_at(densities, draws, levels)), LeftOutError()
        elpd, shapes, is_poor = means.elpd, means.shapes, means.shapes > UNTRUSTED
        error.add_means(means.take(~is_poor), np.ones(int((~is_poor).sum())))
        generator = generator_of(random_state)
        for level in levels[is_poor]:
            other = Fit.of(densities.without(int(level)).products, fit.spec)
            again = draws_of(
                other, prior.beside(other), REFIT_DRAWS, 4, generator, sampler=draws.sampler
            )
            elpd[level], own, shared = refitted_density(
                (draws.log_evidence, draws.log_evidence_error),
                (again.log_evidence, again.log_evidence_error),
                _at(densities, again, levels[level : level + 1]).ravel(),
            )
            error.add_single(own, 1.0, shared)
    except UndeterminedError:
        raise ValueError(
            f"without some level of {factor!r} the other rows do not determine all coefficients: "
            "remove columns that depend on single levels"
        ) from None
    return elpd, shapes, is_poor, error.total


def _at(densities: LevelDensities, draws: PosteriorDraws, levels: IntArray) -> FloatArray:
    """Return log densities of levels at variances of a posterior, (S, len(levels))."""
    phi = draws.phi.reshape(-1, draws.phi.shape[2])
    most = _VARIANCES if len(levels) <= _FEW_LEVELS_OUT else len(draws.nodes)
    phi = phi[:: -(-len(phi) // most)]
    return densities.at(draws._parametrization.lambdas(phi), np.exp(phi[:, -1]), levels)
