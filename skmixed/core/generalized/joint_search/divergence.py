"""Responses for which some estimate is infinite, found out before the search runs after it.

A direction d of the coefficients separates where no row is against it: eta of every row moves by
x'd towards the infinity that makes its response the most likely, or not at all. Then every step of
Newton's method is as long as the last, while the criterion gains less and less.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg import null_space

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.ordinal import Cumulative
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import FloatArray

_AGAINST = 1e-3  # of the largest move of eta: what other coefficients still move is less
_TAKES_PART = 1e-3  # of the largest coefficient in units of the columns: less is no part of it
PURE_DEVIATION = 10.0  # of random effects that explain every level: the largest worth a name


def largest_move(observations: Observations, direction: FloatArray) -> float:
    """Return the largest change of X beta over the rows, in absolute value."""
    moves = [np.abs(rows.fixed @ direction).max(initial=0.0) for rows in observations.blocks]
    return float(max(moves, default=0.0))


def separates(
    observations: Observations,
    direction: FloatArray,
    phi: FloatArray,
    phi_move: FloatArray,
    tolerated: float = _AGAINST,  # of the largest move
) -> bool:
    """Tell whether a direction of beta, (p,), and phi, (m,), can be followed for ever."""
    largest = largest_move(observations, direction)
    least = tolerated * largest
    for rows in observations.blocks:
        move = rows.fixed @ direction
        if (observations.family.opposition(rows.y, move, phi, phi_move) > least).any():
            return False
    return largest > 0.0


def separated_columns(observations: Observations, direction: FloatArray) -> tuple[int, ...]:
    """Return the positions in `ModelSpec.fixed` of the columns that a direction is made of."""
    units, spec = observations.units, observations.spec
    raw = _raw(observations, direction)
    sizes = np.zeros(len(raw))
    sizes[list(units.kept)] = 1.0 / np.abs(units.to_raw[list(spec.fixed), :-1]).max(
        axis=0, initial=0.0
    )
    felt = np.abs(raw) * sizes
    return tuple(np.flatnonzero(felt > _TAKES_PART * felt.max(initial=0.0)).tolist())


def separated_thresholds(
    observations: Observations, direction: FloatArray, phi: FloatArray, phi_move: FloatArray
) -> tuple[int, ...]:
    """Return the thresholds between ordered categories that a direction moves."""
    if not isinstance(observations.family, Cumulative):
        return ()
    moves = observations.family.threshold_moves(phi, phi_move) - _raw(observations, direction)[0]
    felt = _TAKES_PART * largest_move(observations, direction)
    return tuple(np.flatnonzero(np.abs(moves) > felt).tolist())


def _raw(observations: Observations, direction: FloatArray) -> FloatArray:
    """Return a direction in units of the data, (n_fixed,)."""
    raw = observations.units.to_raw[:, :-1] @ direction
    return np.asarray(raw[list(observations.spec.fixed)])


def pure_factors(observations: Observations) -> tuple[int, ...]:
    """Return the factors with a random intercept of which every level has but one extreme response.

    Their variance is infinite. Only a family whose every response is at an extreme can have one.
    """
    found = []
    for factor, structure in enumerate(observations.structures):
        if observations.is_penalised(factor):
            continue
        if _has_constant(observations, factor) and structure.size >= 1:
            n_levels = observations.n_levels[factor]
            hits, misses = np.zeros(n_levels, bool), np.zeros(n_levels, bool)
            inside = False
            for rows in observations.blocks:
                ways = observations.family.ways_out(rows.y)
                inside |= bool((ways == 0.0).any())
                levels = rows.levels[factor][rows.codes[factor]]
                hits[levels[ways > 0.0]] = True
                misses[levels[ways < 0.0]] = True
            if not inside and hits.any() and misses.any() and not (hits & misses).any():
                found.append(factor)
    return tuple(found)


def untold_factors(observations: Observations, lambdas: Blocks) -> tuple[int, ...]:
    """Return the factors whose deviations are larger than responses at their extremes can tell.

    Such responses, counts of zero for instance, are certain then. The likelihood hardly changes
    with such deviations, and approximations of it have maxima where it has none.
    """
    large = tuple(f for f, lam in enumerate(lambdas) if np.linalg.norm(lam, 2) > PURE_DEVIATION)
    family = observations.family
    if large and any((family.ways_out(rows.y) != 0.0).any() for rows in observations.blocks):
        return large
    return ()


def like_rows(observations: Observations) -> tuple[int, ...]:
    """Return the factors with a level for every row that do what the family does by itself.

    Binary responses do not tell their variance from the link, nor other ones from a dispersion.
    """
    blocks, family = observations.blocks, observations.family
    if any(b.weights is not None and (b.weights != 1.0).any() for b in blocks):
        return ()
    if not family.n_dispersions and not all(family.tells_only_side(b.y) for b in blocks):
        return ()
    return tuple(
        factor
        for factor, structure in enumerate(observations.structures)
        if structure.size == 1
        and observations.n_levels[factor] == observations.n_rows
        and not observations.is_penalised(factor)
        and (not family.n_dispersions or _has_constant(observations, factor))
    )


def _has_constant(observations: Observations, factor: int) -> bool:
    used = observations.spec.used_factors[factor]
    return 0 in observations.spec.factor_columns(used)


def covariance_beside(hessian: FloatArray, direction: FloatArray) -> FloatArray:
    """Return 2 H^-1 of parameters, (m, m), that do not move along a direction, (m,)."""
    beside = null_space(direction[None])
    return np.asarray(2.0 * beside @ np.linalg.pinv(beside.T @ hessian @ beside) @ beside.T)
