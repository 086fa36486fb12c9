"""The rows of a generalized model of one factor, level by level, at many parameters at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks
from skmixed.core.families.family import Family
from skmixed.core.generalized.approximation.arrangement import times
from skmixed.core.generalized.approximation.observations import Observations
from skmixed.core.linalg import FloatArray, IntArray

_MOST_MODE_SEARCH = 60  # of Newton's method; from a prediction it takes three
_MOST_HALVED = 30  # of a step: what is left of it is below the rounding of any effect
_SMALL_DECREMENT = 1e-9  # twice what is left to a mode: a node is off by its root at most
_RISE_OF_LEVELS = 1e-12  # of h, relative: more is not its rounding


class ParameterPoints(NamedTuple):
    """R values of all parameters, in scaled units."""

    beta: FloatArray  # (R, p)
    roots: Blocks  # (R, k, k), of the covariances of the effects of every factor
    phi: FloatArray  # (R, m), dispersions

    def take(self, chosen: slice | IntArray) -> ParameterPoints:
        """Return some of them."""
        roots = [root[chosen] for root in self.roots]
        return ParameterPoints(self.beta[chosen], roots, self.phi[chosen])

    @property
    def root(self) -> FloatArray:
        """The root of one factor with the levels to come last, (k, k, R, 1)."""
        return self.roots[0].transpose(1, 2, 0)[..., None]


@dataclass(frozen=True, slots=True, eq=False)
class LevelRows:
    """Rows sorted by level, in scaled units."""

    family: Family
    fixed: FloatArray  # (n, p), X
    random: FloatArray  # (k, n), Z; a single column of ones takes no memory
    y: FloatArray  # (n,)
    weights: FloatArray | None  # (n,), None for ones
    offset: FloatArray  # (n,)
    codes: IntArray  # (n,), level of every row
    starts: IntArray  # (n_levels,), its first row; every level has one
    places: IntArray  # (n,), where the rows stand among `Observations.rows`

    @classmethod
    def of(cls, observations: Observations) -> LevelRows:
        """Put the blocks of a model of one factor, or of none, together."""
        blocks = observations.blocks
        k = len(observations.spec.factor_columns(observations.spec.used_factors[0]))
        random = np.concatenate([np.asarray(block.random[0]) for block in blocks], axis=1)
        if all(block.random[0].strides[1] == 0 for block in blocks):
            random = np.broadcast_to(1.0, (k, random.shape[1]))
        codes = np.concatenate([block.levels[0][block.codes[0]] for block in blocks])
        weighted = blocks[0].weights is not None
        offsets = [
            np.zeros(len(block.y)) if block.offset is None else block.offset for block in blocks
        ]
        return cls(
            observations.family,
            np.concatenate([block.fixed for block in blocks]),
            random,
            np.concatenate([block.y for block in blocks]),
            np.concatenate([block.weights for block in blocks]) if weighted else None,
            np.concatenate(offsets),
            codes,
            np.searchsorted(codes, np.arange(observations.n_levels[0])),
            np.concatenate([block.places for block in blocks]),
        )

    @property
    def n_levels(self) -> int:
        """Number of levels."""
        return len(self.starts)

    def take(self, levels: IntArray) -> LevelRows:
        """Return the rows of some levels, ascending."""
        counts = np.diff(np.append(self.starts, len(self.codes)))[levels]
        ends = np.cumsum(counts)
        within = np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - counts, counts)
        rows = np.repeat(self.starts[levels], counts) + within
        weights = None if self.weights is None else self.weights[rows]
        codes = np.repeat(np.arange(len(levels)), counts)
        return self.rearranged(rows, codes, self.y[rows], weights, self.places[rows])

    def rearranged(
        self,
        rows: IntArray,
        codes: IntArray,
        y: FloatArray,
        weights: FloatArray | None,
        places: IntArray,
    ) -> LevelRows:
        """Return rows, (m,), in levels of their own, sorted by these, with responses given anew."""
        random = self.random[:, rows]
        if self.random.strides[1] == 0:
            random = np.broadcast_to(1.0, random.shape)
        starts = np.searchsorted(codes, np.arange(int(codes[-1]) + 1))
        fixed, offset = self.fixed[rows], self.offset[rows]
        return LevelRows(self.family, fixed, random, y, weights, offset, codes, starts, places)

    def sums(self, values: FloatArray) -> FloatArray:
        """Sum values of rows, (..., n), over levels, (..., n_levels)."""
        return np.asarray(np.add.reduceat(values, self.starts, axis=-1))

    def base(self, beta: FloatArray) -> FloatArray:
        """Return the predictor without random effects, (R, n), of coefficients, (R, p)."""
        return np.asarray(beta @ self.fixed.T + self.offset)

    def effects(self, effects: FloatArray) -> FloatArray:
        """Return Z b, (R, n), of effects, (k, R, n_levels)."""
        total = times(self.random[0], effects[0][:, self.codes])
        for z, effect in zip(self.random[1:], effects[1:], strict=True):
            total = total + times(z, effect[:, self.codes])
        return total

    def derivatives(self, eta: FloatArray, phi: FloatArray) -> tuple[FloatArray, ...]:
        """Return f, f' and f'', (R, n) each, at dispersions, (R, m)."""
        return self.family.derivatives(eta, self.y, self.weights, phi.T[:, :, None])


@dataclass(frozen=True, slots=True, eq=False)
class LevelModes:
    """The most likely effects of every level at R points, b = lambda u, with their curvature.

    h = sum of f + u'u / 2 is least there; D = L L' are its second derivatives in u.
    """

    rows: LevelRows
    points: ParameterPoints
    base: FloatArray  # (R, n), the predictor without effects
    spherical: FloatArray  # (k, R, n_levels), u
    height: FloatArray  # (R, n_levels), h
    inverse: FloatArray  # (k, k, R, n_levels), L^-1

    @classmethod
    def found(cls, rows: LevelRows, points: ParameterPoints, spherical: FloatArray) -> LevelModes:
        """Search from some u, (k, R, n_levels), by Newton's method, halving steps that rise."""
        base, root, u = rows.base(points.beta), points.root, spherical
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            h, g, w = _visited(rows, points, base, u)
            if not np.isfinite(h).all():
                u = np.where(np.isfinite(h), u, 0.0)
                h, g, w = _visited(rows, points, base, u)
            is_number = np.isfinite(h)
            for _ in range(_MOST_MODE_SEARCH):
                scores = rows.sums(np.stack([times(z, g) for z in rows.random]))
                slope = u + multiply_transposed(root, scores[:, None])[:, 0]
                inner = multiply_levels(multiply_transposed(root, _information(rows, w)), root)
                inverse = cholesky_plus_identity(inner)[1]
                white = multiply_levels(inverse, slope[:, None])
                decrement = np.square(white).sum(axis=(0, 1))
                if not (decrement[is_number] > _SMALL_DECREMENT).any():
                    break
                limit, step = (
                    h + _RISE_OF_LEVELS * np.abs(h),
                    multiply_transposed(inverse, white)[:, 0],
                )
                step = np.where(is_number, multiply_transposed(inverse, white)[:, 0], 0.0)
                for _ in range(_MOST_HALVED):
                    h, g, w = _visited(rows, points, base, u - step)
                    rises = is_number & ~(h <= limit)
                    if not rises.any():
                        break
                    step = np.where(rises, 0.5 * step, step)
                u = u - step
        return cls(rows, points, base, u, h, inverse)

    @property
    def log_det(self) -> FloatArray:
        """log|D|, (R, n_levels)."""
        pivots = [each[place] for place, each in enumerate(self.inverse)]
        return np.asarray(-2.0 * np.log(pivots).sum(axis=0))

    def beside(self, deviates: FloatArray) -> FloatArray:
        """Return u + L'^-1 z, (k, R, n_levels), of z, (k, R, n_levels) or (k, 1, 1)."""
        return self.spherical + multiply_transposed(self.inverse, deviates[:, None])[:, 0]

    def effects(self, spherical: FloatArray) -> FloatArray:
        """Return b, (k, R, n_levels), of u."""
        return np.asarray(multiply_levels(self.points.root, spherical[:, None])[:, 0])

    def losses(self, spherical: FloatArray) -> FloatArray:
        """Return f of every row, (R, n), at u."""
        eta = self.base + self.rows.effects(self.effects(spherical))
        rows, phi = self.rows, self.points.phi.T[:, :, None]
        with np.errstate(over="ignore", invalid="ignore", under="ignore"):
            return rows.family.losses(eta, rows.y, rows.weights, phi)

    def heights(self, spherical: FloatArray, losses: FloatArray) -> FloatArray:
        """Return h, (R, n_levels), at u with losses, (R, n)."""
        return np.asarray(self.rows.sums(losses) + 0.5 * np.square(spherical).sum(axis=0))


def _visited(
    rows: LevelRows, points: ParameterPoints, base: FloatArray, u: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return h, (R, n_levels), and f' and f'', (R, n), at u, (k, R, n_levels)."""
    eta = base + rows.effects(multiply_levels(points.root, u[:, None])[:, 0])
    f, g, w = rows.derivatives(eta, points.phi)
    return rows.sums(f) + 0.5 * np.square(u).sum(axis=0), g, w


def _information(rows: LevelRows, weights: FloatArray) -> FloatArray:
    """Return Z'W Z of every level, (k, k, R, n_levels), under weights, (R, n)."""
    k = len(rows.random)
    found = np.empty((k, k, len(weights), rows.n_levels))
    for a, first in enumerate(rows.random):
        half = times(first, weights)
        for b in range(a + 1):
            found[a, b] = found[b, a] = rows.sums(times(rows.random[b], half))
    return found
