"""Densities of rows given the others of their level, effects integrated, at many parameters.

That of a row is the integral of its level over the one without the row. Of a small level every row
has a level of the others, integrated about its own mode. Of a large one, where a row moves little,
the nodes of the level are weighted by one over the density of the row. Of a row that stands for
several, one is left out.
"""

from __future__ import annotations

import numpy as np

from skmixed.core.generalized.approximation.observations import Observations, sorted_order
from skmixed.core.linalg import BoolArray, FloatArray, IntArray
from skmixed.core.posterior.level_integrals import LevelIntegrals, LevelNodes
from skmixed.core.posterior.level_rows import LevelModes, LevelRows, ParameterPoints

_FEW_ROWS_OF_LEVEL = 20  # of a level: of more, one says a twentieth of what is known at most


def densities_without(integrals: LevelIntegrals, points: ParameterPoints) -> FloatArray:
    """Return log densities of the given rows, each given the others, at R points, (R, n)."""
    rows = _given_rows(integrals.observations)
    copies = counts_of(integrals.observations)[rows.places]
    counts = np.bincount(rows.codes)
    others, own = _others(rows, counts <= _FEW_ROWS_OF_LEVEL, copies)
    large = np.flatnonzero(counts[rows.codes] > _FEW_ROWS_OF_LEVEL)
    found = np.empty((len(points.beta), len(rows.y)))
    n_cells = len(rows.y) + (len(others.y) if others else 0)
    for chosen in integrals.chunks(len(points.beta), n_cells):
        some = points.take(chosen)
        modes = LevelModes.found(rows, some, integrals.tangent.predicted(some))
        nodes = LevelNodes(modes, integrals.n_nodes)
        total, weighted = np.zeros(modes.height.shape), np.zeros((len(some.beta), len(large)))
        for term, _, losses in nodes:
            total += term
            with np.errstate(over="ignore"):
                weighted += term[:, rows.codes[large]] * np.exp(losses[:, large] / copies[large])
        log_total = np.log(total)
        whole = log_total - modes.height - 0.5 * modes.log_det
        density = whole[:, rows.codes]  # of a row that is alone
        if others is not None:
            first = modes.spherical[:, :, rows.codes[own]]
            rest = LevelNodes(LevelModes.found(others, some, first), integrals.n_nodes)
            density[:, own] -= rest.log_integrals()
        density[:, large] = log_total[:, rows.codes[large]] - np.log(weighted)
        density -= rows.family.constants(rows.y, rows.weights, some.phi.T[:, :, None]) / copies
        found[chosen, rows.places] = density
    return found


def densities_of_levels(integrals: LevelIntegrals, points: ParameterPoints) -> FloatArray:
    """Return log densities of all rows of every level together at R points, (R, n_levels)."""
    rows = _given_rows(integrals.observations)
    found = np.empty((len(points.beta), rows.n_levels))
    for chosen in integrals.chunks(len(points.beta)):
        some = points.take(chosen)
        modes = LevelModes.found(rows, some, integrals.tangent.predicted(some))
        constants = rows.family.constants(rows.y, rows.weights, some.phi.T[:, :, None])
        constants = np.broadcast_to(constants, (len(some.beta), len(rows.y)))
        integrated = LevelNodes(modes, integrals.n_nodes).log_integrals()
        found[chosen] = integrated - rows.sums(constants)
    return found


def counts_of(observations: Observations) -> FloatArray:
    """Return for how many rows the given ones stand, (n,), at least one."""
    given = observations.given
    y = given.columns[:, observations.layout.response]
    if given.weights is None or observations.family.sizes(y, given.weights) is not None:
        return np.ones(len(y))
    return np.maximum(given.weights, 1.0)


def _given_rows(observations: Observations) -> LevelRows:
    """Return the rows as they were given, none put together, sorted by level."""
    together = LevelRows.of(observations)
    where = np.empty(len(together.places), dtype=np.intp)
    where[together.places] = np.arange(len(where))
    if observations.cells is not None:
        where = where[observations.cells]
    order = sorted_order(together.codes[where], together.n_levels)
    given = observations.given
    y = given.columns[order, observations.layout.response]
    weights = None if given.weights is None else given.weights[order]
    return together.rearranged(where[order], together.codes[where[order]], y, weights, order)


def _others(
    rows: LevelRows, few: BoolArray, copies: FloatArray
) -> tuple[LevelRows | None, IntArray]:
    """Return a level of what is left without it for rows of some levels, and these rows, (m,).

    `few`, (n_levels,), tells which levels these are; rows of which nothing is left are not there.
    """
    sizes = np.bincount(rows.codes)
    own = np.flatnonzero(few[rows.codes] & ((sizes[rows.codes] > 1) | (copies > 1.0)))
    if not len(own):
        return None, own
    starts, counts = rows.starts[rows.codes[own]], sizes[rows.codes[own]]
    ends = np.cumsum(counts)
    within = np.arange(ends[-1]) - np.repeat(ends - counts, counts)
    every, of = np.repeat(starts, counts) + within, np.repeat(np.arange(len(own)), counts)
    is_own = every == own[of]
    weights = np.ones(len(every)) if rows.weights is None else rows.weights[every]
    weights = np.where(is_own, np.where(copies[every] > 1.0, weights - 1.0, 0.0), weights)
    is_left = weights > 0.0
    every, of, weights = every[is_left], of[is_left], weights[is_left]
    return rows.rearranged(every, of, rows.y[every], weights, rows.places[every]), own
