"""Random effects of a generalized model of one factor, given draws of all else.

Levels are independent. Of every level some candidates are drawn from a t distribution about its
mode, and one is kept by its weight: the more candidates, the nearer its distribution is to that
given the data.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from scipy.special import logsumexp

from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.posterior.level_integrals import LevelIntegrals
from skmixed.core.posterior.level_rows import LevelModes, ParameterPoints

_CANDIDATES = 16  # of every draw: where weights are 94% efficient, 0.4% of draws are in doubt
_CANDIDATE_DEGREES = 6.0  # of freedom: tails heavier than those of what is drawn
_WIDENED = 1.1  # deviations, against skewness
_LEVELS_OF_STREAM = 16  # levels that share a stream of random numbers; draws depend on it
_DRAWS_OF_STREAM = 250  # draws that do; the same


@dataclass(frozen=True, eq=False)
class LevelDraws:
    """R points, of which the effects of all levels can be drawn at any time, always the same."""

    integrals: LevelIntegrals
    points: ParameterPoints
    seed: int
    efficiencies: dict[int, float] = field(default_factory=dict)  # of candidates, by level drawn

    def of(self, position: int, levels: IntArray) -> FloatArray:
        """Draw the effects of some levels of the only factor, (R, len(levels), k), raw units."""
        n, k = len(self.points.beta), len(self.integrals.rows.random)
        found = np.empty((k, n, len(levels)))
        blocks = levels // _LEVELS_OF_STREAM
        for block in np.unique(blocks):
            places = np.flatnonzero(blocks == block)
            found[:, :, places] = self._of_block(int(block), levels[places])
        random_map = self.integrals.observations.units.random_maps[position]
        return np.asarray(np.einsum("ab,brl->rla", random_map, found))

    def _of_block(self, block: int, levels: IntArray) -> FloatArray:
        """Draw those of levels of one block, (k, R, n_levels), in scaled units."""
        chosen, where = np.unique(levels, return_inverse=True)
        rows, n = self.integrals.rows.take(chosen), len(self.points.beta)
        parts, shares = [], []
        for start in range(0, n, _DRAWS_OF_STREAM):
            points = self.points.take(slice(start, start + _DRAWS_OF_STREAM))
            first = self.integrals.tangent.predicted(points, chosen)
            modes = LevelModes.found(rows, points, first)
            generator = np.random.default_rng([self.seed, block, start])
            effects, share = _kept(modes, chosen - block * _LEVELS_OF_STREAM, generator)
            parts.append(effects)
            shares.append(share)
        for level, share in zip(chosen, np.concatenate(shares).mean(axis=0), strict=True):
            self.efficiencies[int(level)] = float(share)
        return np.concatenate(parts, axis=1)[:, :, where]


def _kept(
    modes: LevelModes, places: IntArray, generator: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return effects, (k, R, n_levels), and the efficiency of their candidates, (R, n_levels).

    `places`, (n_levels,), are those of the levels in their block.
    """
    k, n, n_levels = modes.spherical.shape
    shape = (_CANDIDATES, k, n, _LEVELS_OF_STREAM)
    normal = generator.standard_normal(shape)[..., places]
    squares = generator.chisquare(_CANDIDATE_DEGREES, (_CANDIDATES, n, _LEVELS_OF_STREAM))[
        ..., places
    ]
    gumbel = generator.gumbel(size=(_CANDIDATES, n, _LEVELS_OF_STREAM))[..., places]
    z = _WIDENED * normal / np.sqrt(squares / _CANDIDATE_DEGREES)[:, None]
    candidates = np.empty((_CANDIDATES, k, n, n_levels))
    log_weights = np.empty((_CANDIDATES, n, n_levels))
    power = 0.5 * (_CANDIDATE_DEGREES + k)
    for number, each in enumerate(z):
        u = modes.beside(each)
        candidates[number] = u
        square = np.square(each / _WIDENED).sum(axis=0)
        log_weights[number] = power * np.log1p(square / _CANDIDATE_DEGREES)
        log_weights[number] -= modes.heights(u, modes.losses(u)) - modes.height
    log_weights = np.where(np.isfinite(log_weights), log_weights, -np.inf)
    best = (log_weights + gumbel).argmax(axis=0)
    kept = np.take_along_axis(candidates, best[None, None], axis=0)[0]
    shares = np.exp(log_weights - logsumexp(log_weights, axis=0))
    return modes.effects(kept), 1.0 / (_CANDIDATES * np.square(shares).sum(axis=0))
