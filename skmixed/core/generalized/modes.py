"""The most likely random effects at given parameters, singular covariances included.

With u ~ N(0, I), b = lambda u and h = sum of f + u'u / 2, the mode has u = lambda's for s = -Z'g.
What is carried is s~ with b = Omega s~, so that nothing is divided by lambda. With V of the weights
w = f'' at s~, Newton's step is s~ = Z'V^-1 (working response), the right-hand side of which is
Z'W Z b + s; and the decrement, twice what is left of h, is the sum of lambda'(s~ - s) times
lambda'(s~ - s~_new).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skmixed.core.elimination.levels import multiply
from skmixed.core.elimination.protocol import Blocks, Elimination, Factorisation
from skmixed.core.families.family import Family
from skmixed.core.generalized.observations import RowBlock
from skmixed.core.linalg import FloatArray

_MOST_MODE_STEPS = 60  # of Newton's method; it takes ten from nothing
_MOST_HALVINGS = 30  # of a step: what is left of it is below the rounding of any effect
_RISE = 1e-12  # of h, relative: more is not its rounding
_STALLED = 0.5  # of the last decrement, when little is left: the rest is rounding
_LITTLE = 1e-9  # decrement from which rounding may stand in the way


class Point(NamedTuple):
    """Parameters in scaled units."""

    beta: FloatArray  # (p,)
    lambdas: Blocks  # (k, k) of every factor
    phi: FloatArray  # (m,)


@dataclass(frozen=True, slots=True, eq=False)
class Visit:
    """Rows of a block at some random effects."""

    carried: Blocks  # (k, 1, n_levels) a factor, s~
    spherical: Blocks  # (k, 1, n_levels), u
    effects: Blocks  # (k, 1, n_levels), b
    eta: FloatArray  # (n,)
    f: FloatArray  # (n,)
    g: FloatArray  # (n,), f'
    w: FloatArray  # (n,), f''

    @classmethod
    def of(
        cls, rows: RowBlock, family: Family, point: Point, base: FloatArray, carried: Blocks
    ) -> Visit:
        """Go through the rows; `base`, (n,), is eta without random effects."""
        spherical = [multiply(lam.T, s) for lam, s in zip(point.lambdas, carried, strict=True)]
        effects = [multiply(lam, u) for lam, u in zip(point.lambdas, spherical, strict=True)]
        eta = base + rows.effects(effects)
        with np.errstate(over="ignore", invalid="ignore"):
            f, g, w = family.derivatives(eta, rows.y, rows.weights, point.phi)
        return cls(carried, spherical, effects, eta, f, g, w)

    @property
    def objective(self) -> float:
        """The sum h over all rows."""
        return float(self.f.sum() + 0.5 * sum(np.vdot(u, u) for u in self.spherical))

    def by_part(self, rows: RowBlock) -> FloatArray:
        """Return h of every independent part, (n_parts,), infinite where it has no number."""
        squares = [0.5 * np.square(u).sum(axis=(0, 1)) for u in self.spherical]
        sums = rows.part_sums(self.f, squares)
        return np.where(np.isnan(sums), np.inf, sums)


@dataclass(frozen=True, slots=True, eq=False)
class Modes:
    """A block at its modes, to a decrement."""

    visit: Visit
    scores: Blocks  # (k, 1, n_levels) a factor, s
    elimination: Elimination  # under the weights there
    factorisation: Factorisation
    ahead: Blocks  # (k, 1, n_levels), s~ after one more step
    decrement: float
    n_steps: int


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What is kept of a block from one evaluation to the next: nothing of the size of rows."""

    beta: FloatArray  # (p,), where it was evaluated
    effects: Blocks  # (k, 1, n_levels) a factor
    scores: Blocks  # (k, 1, n_levels)
    cross: Blocks  # (k, p, n_levels), Z'W X
    elimination: Elimination

    def predicted(self, point: Point) -> Blocks:
        """Return s~ at other parameters by one step under the old weights."""
        moved = self.beta - point.beta
        right = [
            own + s + np.matmul(moved, cross)[:, None]
            for own, s, cross in zip(
                self.elimination.multiply(self.effects), self.scores, self.cross, strict=True
            )
        ]
        return self.elimination.factorise(point.lambdas).reduce(right).cross()


def first_carried(rows: RowBlock, family: Family, point: Point) -> Blocks:
    """Return s~ of one step from where every row is likely by itself."""
    eta = family.start(rows.y, rows.weights)
    _, g, w = family.derivatives(eta, rows.y, rows.weights, point.phi)
    right = rows.sums(w * (eta - rows.predictor(point.beta)) - g)
    return rows.elimination(w).factorise(point.lambdas).reduce(right).cross()


def find_modes(
    rows: RowBlock, family: Family, point: Point, carried: Blocks, tolerance: float
) -> Modes:
    """Go from some s~ to the modes, until the decrement is below a tolerance."""
    base = rows.predictor(point.beta)
    visit = Visit.of(rows, family, point, base, carried)
    if not np.isfinite(visit.objective):
        visit = Visit.of(rows, family, point, base, [np.zeros_like(s) for s in carried])
    last = np.inf
    for n_steps in range(1, _MOST_MODE_STEPS + 1):
        scores = [-s for s in rows.sums(visit.g)]
        elimination = rows.elimination(visit.w)
        factorisation = elimination.factorise(point.lambdas)
        right = [
            own + s for own, s in zip(elimination.multiply(visit.effects), scores, strict=True)
        ]
        ahead = factorisation.reduce(right).cross()
        decrement = _decrement(point, visit.carried, scores, ahead)
        stalled = decrement < _LITTLE and decrement > _STALLED * last
        if decrement < tolerance or stalled or n_steps == _MOST_MODE_STEPS:
            break
        last = decrement
        visit = _stepped(rows, family, point, base, visit, ahead)
    return Modes(visit, scores, elimination, factorisation, ahead, decrement, n_steps)


def _decrement(point: Point, carried: Blocks, scores: Blocks, ahead: Blocks) -> float:
    total = 0.0
    for lam, old, s, new in zip(point.lambdas, carried, scores, ahead, strict=True):
        total += float(np.vdot(lam.T @ (old - s)[:, 0], lam.T @ (old - new)[:, 0]))
    return total


def _stepped(
    rows: RowBlock, family: Family, point: Point, base: FloatArray, old: Visit, carried: Blocks
) -> Visit:
    """Take a step, half of it and so on in the parts whose h would rise."""
    visit = Visit.of(rows, family, point, base, carried)
    before = old.objective
    if visit.objective <= before + _RISE * abs(before):
        return visit
    limits = old.by_part(rows)
    limits += _RISE * np.abs(limits)
    for _ in range(_MOST_HALVINGS):
        rises = visit.by_part(rows) > limits
        if not rises.any():
            break
        carried = [
            np.where(rises[parts], 0.5 * (new + s), new)
            for parts, new, s in zip(rows.parts_of, visit.carried, old.carried, strict=True)
        ]
        visit = Visit.of(rows, family, point, base, carried)
    return visit
