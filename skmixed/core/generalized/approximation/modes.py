"""The most likely random effects at given parameters, singular covariances included.

With u ~ N(0, I), b = lambda u and h = sum of f + u'u / 2, the mode has u = lambda's for s = -Z'g.
What is carried is s~ with b = Omega s~, so that nothing is divided by lambda. With A = Z'W Z of the
weights w = f'' at s~, Newton's step is (I + A Omega)^-1 (s - s~), whose errors the next step sees
and mends; and the decrement, twice what is left of h, is the sum of lambda'(s~ - s) times
lambda'(s~ - s~_new).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from skmixed.core.elimination.levels import multiply
from skmixed.core.elimination.protocol import (
    Blocks,
    Elimination,
    Factorisation,
    LostPrecisionError,
)
from skmixed.core.families.family import Family
from skmixed.core.generalized.approximation.observations import RowBlock
from skmixed.core.linalg import FloatArray

_MOST_MODE_STEPS = 60  # of Newton's method; it takes ten from nothing
_MOST_HALVINGS = 30  # of a step: what is left of it is below the rounding of any effect
_RISE = 1e-12  # of h, relative: more is not its rounding
_STALLED = 0.5  # of the last decrement, when little is left: the rest is rounding
_NO_MODE = 1e-6  # of h: a decrement of more is no mode, and no criterion either
_LITTLE = 1e-9  # decrement from which rounding may stand in the way
_KEPT_SHARE = 0.1  # of the last decrement: old weights that gain less are not kept
_ONE_STEP_AWAY = 1e-4  # in units of the columns: one step from so near ends at the modes
_LIKE = 0.1  # of dispersions, which weights are multiplied by: with more they are others
_SURELY = 0.5  # of the tolerance: a decrement under old weights is not exact


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
class Tangent:
    """V under the weights of some effects: the steps that are taken from any."""

    lambdas: Blocks  # (k, k) a factor
    elimination: Elimination
    factorisation: Factorisation

    @classmethod
    def at(cls, elimination: Elimination, lambdas: Blocks) -> Tangent:
        """Factor V at lambdas."""
        return cls(lambdas, elimination, elimination.factorise(lambdas))

    def moved(self, lambdas: Blocks) -> Tangent:
        """Return the same weights at other lambdas."""
        if all(map(np.array_equal, self.lambdas, lambdas)):
            return self
        return Tangent.at(self.elimination, lambdas)

    def ahead(self, effects: Blocks, scores: Blocks) -> Blocks:
        """Return s~ one step from effects and their s, all (k, 1, n_levels) a factor."""
        products = self.elimination.multiply(effects)
        right = [own + s for own, s in zip(products, scores, strict=True)]
        return self.factorisation.reduce(right).cross()

    def stepped(self, carried: Blocks, scores: Blocks) -> Blocks:
        """Return the same from s~, at these lambdas, by what it is short of: it mends rounding."""
        short = [s - old for s, old in zip(scores, carried, strict=True)]
        moved = self.factorisation.reduce(short).cross()
        return [old + move for old, move in zip(carried, moved, strict=True)]


@dataclass(frozen=True, slots=True, eq=False)
class Modes:
    """A block at its modes, to a decrement."""

    visit: Visit
    scores: Blocks  # (k, 1, n_levels) a factor, s
    tangent: Tangent  # under the weights there
    ahead: Blocks  # (k, 1, n_levels), s~ after one more step
    decrement: float
    n_steps: int

    @property
    def factorisation(self) -> Factorisation:
        """V under the weights of the modes."""
        return self.tangent.factorisation


@dataclass(frozen=True, slots=True, eq=False)
class Remembered:
    """What is kept of a block from one evaluation to the next: nothing of the size of rows."""

    point: Point  # where it was evaluated
    effects: Blocks  # (k, 1, n_levels) a factor
    scores: Blocks  # (k, 1, n_levels)
    cross: Blocks  # (k, p, n_levels), Z'W X
    shifts: list[Blocks]  # (k, 1, n_levels) a factor and entry of phi, the derivative of Z'g
    tangent: Tangent

    def predicted(self, point: Point) -> tuple[Blocks, Tangent | None]:
        """Return s~ at other parameters by one step under the old weights.

        With these, if more steps may have to follow.
        """
        moved, tangent = self.point.beta - point.beta, self.tangent.moved(point.lambdas)
        wanted = [
            s + np.matmul(moved, cross)[:, None]
            for s, cross in zip(self.scores, self.cross, strict=True)
        ]
        for change, shift in zip(self.point.phi - point.phi, self.shifts, strict=True):
            if abs(change) < _ONE_STEP_AWAY:  # f is not nearly linear in a dispersion
                wanted = [s + change * own for s, own in zip(wanted, shift, strict=True)]
        pairs = [
            (self.point.beta, point.beta),
            (self.point.phi, point.phi),
            *zip(self.tangent.lambdas, point.lambdas, strict=True),
        ]
        is_near = all(np.abs(old - new).max(initial=0.0) < _ONE_STEP_AWAY for old, new in pairs)
        is_like = np.abs(self.point.phi - point.phi).max(initial=0.0) < _LIKE
        return tangent.ahead(self.effects, wanted), tangent if is_like and not is_near else None

    def advanced(self, point: Point) -> Remembered:
        """Return what is expected at parameters so near that the prediction is exact."""
        carried = self.predicted(point)[0]
        effects = [
            multiply(lam, multiply(lam.T, s)) for lam, s in zip(point.lambdas, carried, strict=True)
        ]
        tangent = self.tangent
        return Remembered(point, effects, carried, self.cross, self.shifts, tangent)


def first_carried(rows: RowBlock, family: Family, point: Point) -> Blocks:
    """Return s~ of one step from where every row is likely by itself."""
    eta = family.start(rows.y, rows.weights)
    _, g, w = family.derivatives(eta, rows.y, rows.weights, point.phi)
    right = rows.sums(w * (eta - rows.predictor(point.beta)) - g)
    return rows.elimination(w).factorise(point.lambdas).reduce(right).cross()


def find_modes(
    rows: RowBlock,
    family: Family,
    point: Point,
    carried: Blocks,
    tolerance: float,
    tangent: Tangent | None = None,
) -> Modes:
    """Go from some s~ to the modes, until the decrement is below a tolerance.

    Where V takes longer than a visit of the rows, the steps are those of a tangent from elsewhere
    as long as they get ahead. Raises LostPrecisionError if that leads nowhere.
    """
    base = rows.predictor(point.beta)
    visit = Visit.of(rows, family, point, base, carried)
    if not np.isfinite(visit.objective):
        visit = Visit.of(rows, family, point, base, [np.zeros_like(s) for s in carried])
        tangent = None
    last, kept = np.inf, tangent if rows.arrangement.is_costly else None
    for n_steps in range(1, _MOST_MODE_STEPS + 1):
        scores = [-s for s in rows.sums(visit.g)]
        here = kept or Tangent.at(rows.elimination(visit.w), point.lambdas)
        ahead = here.stepped(visit.carried, scores)
        decrement = _decrement(point, visit.carried, scores, ahead)
        little = max(_LITTLE, _RISE * abs(visit.objective))
        stalled = decrement < little and decrement > _STALLED * last
        wanted = tolerance if kept is None else _SURELY * tolerance
        has_arrived = decrement < wanted or stalled or n_steps == _MOST_MODE_STEPS
        if kept is not None and (has_arrived or not decrement < _KEPT_SHARE * last):
            kept = None  # what follows is exact
            if has_arrived or not np.isfinite(decrement):
                continue
        elif has_arrived:
            break
        last = decrement
        visit = _stepped(rows, family, point, base, visit, ahead)
    if not decrement <= _NO_MODE * max(1.0, abs(visit.objective)):
        raise LostPrecisionError(
            "the most likely random effects were not found: numbers are too large for them"
        )
    return Modes(visit, scores, here, ahead, decrement, n_steps)


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
