"""Newton's method on many data sets of one design at once, in lock-step.

Each data set has its own theta, pivot order and trust region; those that have arrived drop out.
What only few of them need (leaving the boundary, a search that does not settle) is left to
`Newton`, which the caller is told of.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from skmixed.core.linalg import (
    BoolArray,
    FloatArray,
    IntArray,
    diagonal,
    transposed,
    trust_region_step,
)
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.stack import LockstepData, LockstepPoint
from skmixed.core.search.coordinates import DESCENDS
from skmixed.core.search.starts import starts_beside, without_weak_terms
from skmixed.core.search.state import ESCAPE_GAIN, NO_GAIN, SMALLEST_RADIUS, SNAP_RISE
from skmixed.core.search.trust_region import (
    ACCEPTED_RATIO,
    is_interior,
    judged,
    new_radius,
)

_MOST_ITERATIONS = 60  # a search that takes more is left to `Newton`
_ARRIVED = 1e-7  # predicted decrease of a last step: after it, next to nothing is left
_CHUNK_NUMBERS = 2**16  # in the largest array of a chunk: half a megabyte stays in the cache
_LEAST_CHUNK = 16  # data sets at once: with fewer, calls of numpy cost more than the arithmetic
_NEAR = 0.1  # of deviations and correlations: nearer searches end at the same place
LITTLE_HIGHER = 0.1  # of the criterion: the same
_NOTHING = 0.01  # relative to the residual's: of less there is nothing to be told apart
HOPELESS = 30.0  # times the last gain expected: from so far above, no search gets below


@dataclass(frozen=True, slots=True, eq=False)
class Optima:
    """Where the searches of R data sets ended."""

    lambdas: FloatArray  # (R, k, k), in scaled units, lower triangular
    criterion: FloatArray  # (R,), but for a constant; infinite where no point could be evaluated
    beta: FloatArray  # (R, p), coefficients of the scaled columns
    sigma2: FloatArray  # (R,), in scaled units
    settled: BoolArray  # (R,), whether nothing leads down from where the search arrived


def solve_stack(stack: LockstepData, start: FloatArray) -> Optima:
    """Minimise the criterion of every data set from one relative covariance, (k, k).

    The search is repeated from other starts where `Newton` does it, and the best end is kept.
    """
    n_elements = stack.response.shape[0] * (stack.fixed.shape[1] + 1) * stack.response.shape[2]
    chunk = max(_LEAST_CHUNK, _CHUNK_NUMBERS // n_elements)
    parts = [
        _solve_chunk(stack.take(slice(first, first + chunk)), start)
        for first in range(0, len(stack), chunk)
    ]
    return Optima(*(np.concatenate([getattr(p, n) for p in parts]) for n in Optima.__slots__))


def _solve_chunk(stack: LockstepData, start: FloatArray) -> Optima:
    """Minimise the criterion of as many data sets as are worked on at once."""
    best = _search(stack, np.broadcast_to(start, (len(stack), *start.shape)))
    structures, n_levels = (stack.structure,), [stack.n_levels]
    beside = starts_beside(structures, [best.lambdas], stack.total, stack.n_observations, n_levels)
    for (omegas,), is_wanted in beside:
        _improve(best, stack, omegas, is_wanted)
    for (omegas,), is_weak in without_weak_terms(structures, [best.lambdas]):
        which = np.flatnonzero(is_weak)
        found = StackSearch(stack.take(which), omegas[which]).point.criterion
        is_weak[which] = found < best.criterion[which] - ESCAPE_GAIN
        _improve(best, stack, omegas, is_weak)
    return best


def _improve(best: Optima, stack: LockstepData, omegas: FloatArray, is_wanted: BoolArray) -> None:
    """Search some data sets again, from (k, k) or (R, k, k), and keep, in place, what is lower."""
    again = np.flatnonzero(is_wanted & np.isfinite(best.criterion))
    if not len(again):
        return
    lambdas = best.lambdas[again]
    known = best.criterion[again], lambdas @ transposed(lambdas)
    start = np.broadcast_to(omegas, best.lambdas.shape)[again]
    search = StackSearch(stack.take(again), start, known)
    search.run()
    found, before = search.finish(), best.criterion[again]
    better = found.criterion < before - ESCAPE_GAIN - stack.rounding(before, best.sigma2[again])
    for name in Optima.__slots__:
        getattr(best, name)[again[better]] = getattr(found, name)[better]


def are_near(first: FloatArray, second: FloatArray) -> BoolArray:
    """Tell which covariances, (..., k, k), are so near each other that searches there are one."""
    deviations = [np.sqrt(diagonal(omega) + _NOTHING) for omega in (first, second)]
    ratio = np.abs(np.log(deviations[0] / deviations[1])).max(axis=-1)
    a, b = (
        omega / (units[..., :, None] * units[..., None, :])
        for omega, units in zip((first, second), deviations, strict=True)
    )
    return np.asarray((ratio < _NEAR) & (np.abs(a - b).max(axis=(-1, -2)) < _NEAR))


def _search(stack: LockstepData, start: FloatArray) -> Optima:
    search = StackSearch(stack, start)
    search.run()
    return search.finish()


Known = tuple[FloatArray, FloatArray]
"""Criteria, (R,), that are to be undercut, and the covariances, (R, k, k), at which they are."""


class StackSearch:
    """Where R searches stand, each with its theta, (t,), radius and pivot order."""

    def __init__(
        self, stack: LockstepData | DenseStack, start: FloatArray, known: Known | None = None
    ) -> None:
        self.known = known
        self.stack, self.structure = stack, stack.structure
        everyone = np.arange(len(stack))
        self.orders = np.tile(self.structure.natural_order, (len(stack), 1))
        self.theta = np.zeros((len(stack), self.structure.n_theta))
        self.settled = np.zeros(len(stack), dtype=bool)
        self.predicted = np.full(len(stack), np.inf)  # decrease promised last, if uncut
        self.move_to(start, everyone)
        self.point = self.evaluate(everyone)
        self.radius = np.maximum(1.0, np.linalg.norm(self.theta / self.units(everyone), axis=1) / 2)

    def units(self, which: IntArray) -> FloatArray:
        """Return the units of theta, (len(which), t): 1, or the largest of its term."""
        theta = np.abs(self.theta[which])
        units = np.ones_like(theta)
        for block, _, place in self.structure.slices():
            sizes = np.where(block.angles, 1.0, theta[:, place])
            largest = np.maximum(1.0, sizes.max(axis=1, keepdims=True))
            units[:, place] = np.where(block.angles, 1.0, largest)
        return units

    def omegas(self, which: IntArray) -> FloatArray:
        """Return the covariances of the chosen data sets, (len(which), k, k)."""
        return self.structure.omega(self.theta[which], self.orders[which])

    def evaluate(self, which: IntArray) -> LockstepPoint:
        """Evaluate the chosen data sets where they stand."""
        return self.stack.take(which).evaluate(self.theta[which], self.orders[which])

    def move_to(self, omegas: FloatArray, which: IntArray) -> None:
        """Put some data sets at given covariances, in the best order of their columns."""
        self.orders[which] = self.structure.pivot(omegas, self.orders[which])
        self.theta[which] = self.structure.theta(omegas, self.orders[which])

    def run(self) -> None:
        """Take steps until every search has arrived, fails, or is dropped."""
        active = np.flatnonzero(np.isfinite(self.point.criterion))
        for _ in range(_MOST_ITERATIONS):
            if not len(active):
                return
            arrived = self.descend(active)
            self.settled[active[arrived]] = True
            going = ~arrived & (self.radius[active] > SMALLEST_RADIUS)
            active = self.kept(active[going])

    def kept(self, active: IntArray) -> IntArray:
        """Return the searches that are worth going on with: not if far above what is known."""
        if self.known is None:
            return active
        criterion, omegas = self.known
        excess = self.point.criterion[active] - criterion[active]
        is_near = are_near(self.omegas(active), omegas[active]) & (excess < LITTLE_HIGHER)
        return active[~is_near & (excess < HOPELESS * self.predicted[active])]

    def descend(self, active: IntArray) -> BoolArray:
        """Try one step of every active data set; return which of them have arrived."""
        units = self.units(active)
        slope = self.point.slope[active] * units
        hessian = self.point.hessian[active] * units[:, :, None] * units[:, None, :]
        radius, before = self.radius[active], self.point.criterion[active]
        step, predicted = trust_region_step(slope, hessian, radius)
        nothing = predicted < NO_GAIN
        predicted = np.maximum(predicted, NO_GAIN)
        old = self.theta[active].copy()
        self.theta[active] += units * step
        trial = self.evaluate(active)
        ratio = judged(
            before - trial.criterion,
            predicted,
            self.stack.rounding(before, self.point.sigma2[active]),
        )
        length = np.linalg.norm(step, axis=1)
        self.radius[active] = new_radius(ratio, length, radius)
        accepted = ratio > ACCEPTED_RATIO
        self.theta[active[~accepted]] = old[~accepted]
        self.point.put(active[accepted], trial, np.flatnonzero(accepted))
        self.pivot(active[accepted])
        interior = is_interior(length, radius)
        self.predicted[active] = np.where(interior, predicted, np.inf)
        return np.asarray(nothing | (accepted & interior & (predicted < _ARRIVED)))

    def pivot(self, which: IntArray) -> None:
        """Put the columns of data sets that need it into a better order."""
        if not self.structure.has_pivots:
            return
        omegas = self.omegas(which)
        better = self.structure.pivot(omegas, self.orders[which])
        changed = (better != self.orders[which]).any(axis=1)
        if changed.any():
            moved = which[changed]
            self.move_to(omegas[changed], moved)
            self.point.put(moved, self.evaluate(moved), np.arange(len(moved)))

    def finish(self) -> Optima:
        """Put exact zeros where they cost nothing and rows back in their natural order."""
        omegas = self.omegas(np.arange(len(self.stack)))
        zeroed = self.structure.snapped(omegas)
        small = (zeroed != omegas).any(axis=(1, 2))
        which = np.flatnonzero(small & np.isfinite(self.point.criterion))
        if len(which):
            self.move_to(zeroed[which], which)
            trial, before = self.evaluate(which), self.point.criterion[which]
            kept = trial.criterion < before + SNAP_RISE + self.stack.rounding(
                before, self.point.sigma2[which]
            )
            self.point.put(which[kept], trial, np.flatnonzero(kept))
            omegas[which[kept]] = zeroed[which[kept]]
        slope, _ = self.structure.way_off(omegas, self.point.gradient)
        natural = self.structure.natural_order
        lambdas = self.structure.lam(self.structure.theta(omegas, natural), natural)
        point, settled = self.point, self.settled & (slope >= DESCENDS)
        return Optima(lambdas, point.criterion, -point.to_residual[:, :-1], point.sigma2, settled)
