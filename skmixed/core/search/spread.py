"""Many searches side by side, for models so small that they cost about as much as a few.

The criterion of few observations, of factors that resemble each other, or of one variance shared by
columns of different size can have more than one minimum. Starts are designed (each term large,
each left out) and drawn from a fixed seed, so that a fit is the same every time.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import (
    FloatArray,
    IntArray,
    block_diagonal,
    diagonal,
    semidefinite_root,
    transposed,
)
from skmixed.core.model.covariance import Structure
from skmixed.core.model.dense import DenseStack
from skmixed.core.model.problem import Problem
from skmixed.core.model.stack import LockstepData
from skmixed.core.search.lockstep import HOPELESS, LITTLE_HIGHER, StackSearch, are_near
from skmixed.core.search.report import Iteration
from skmixed.core.search.starts import is_like_residual
from skmixed.core.search.unbounded import NoMaximumError, has_vanished, is_unbounded

_LARGE, _MEDIUM = 10.0, 0.1  # relative variances of the term that explains most, and of others
_SLIGHT = 0.01  # relative variance of a term that is to explain next to nothing
_LEAST_SUM = 1e-300  # divisor for a column of zeros
_N_DRAWN = 16  # starts that are drawn: of those there are, one in forty was needed
_LEAST_DRAWN = 4  # the same where an evaluation takes long
_BUDGET = 4e7  # cubes of the number of effects, over all starts: half a second or so
_MANY_ROUNDS = 12  # rounds after which a search that stands high and gains little is given up
_SMALLEST, _LARGEST = -1.5, 2.5  # powers of ten between which drawn deviations lie
_ROUNDS = 3  # between looks at which searches have come together
_SEED = 15  # of the draws: any number would do


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """What many searches found, the lowest first."""

    omegas: list[Blocks]  # (k, k) of every factor, of the searches that ended apart
    criterion: FloatArray  # (n,), with the constant of the problem
    trace: tuple[Iteration, ...]  # the lowest after every round of all searches at a time


def spread(problem: Problem, begin: list[Blocks]) -> Spread:
    """Search a small problem from given covariances, from designed ones and from random ones.

    Raises `NoMaximumError` where one of the searches meets a direction in which the criterion falls
    without end.
    """
    starts = _starts(problem, begin)
    search = _SpreadSearch(problem, starts)
    search.run()
    criterion = search.point.criterion + problem.constant
    order = np.flatnonzero(np.isfinite(criterion) & ~search.is_dropped)
    order = order[np.argsort(criterion[order])]
    columns = search.places
    found = [[omega[place, place] for place in columns] for omega in search.omegas(order)]
    for omegas, square in zip(found, search.squares(order), strict=True):
        if has_vanished(problem, square):
            roots = [semidefinite_root(omega) for omega in omegas]
            if is_unbounded(problem, roots):
                raise NoMaximumError
    return Spread(found, criterion[order], tuple(search.trace))


class _SpreadSearch(StackSearch):
    """Searches of one data set, of which those that come together are one from then on."""

    def __init__(self, problem: Problem, starts: FloatArray) -> None:
        kind = LockstepData if len(problem.structures) == 1 else DenseStack
        super().__init__(kind.of(problem, len(starts)), starts)
        self.problem = problem
        self.is_dropped = np.zeros(len(starts), dtype=bool)
        ends = accumulate((structure.size for structure in problem.structures), initial=0)
        self.places = [slice(*place) for place in pairwise(ends)]
        self.trace: list[Iteration] = []
        self.began = time.perf_counter()

    def squares(self, which: IntArray) -> FloatArray:
        """Return the residual sums of squares, (len(which),)."""
        return np.asarray(self.point.sigma2[which] * self.problem.degrees)

    def record(self) -> int:
        """Write where the lowest search stands; return how many lines there are."""
        lowest = int(np.nanargmin(self.point.criterion))
        criterion = float(self.point.criterion[lowest]) + self.problem.constant
        slope = float(np.linalg.norm(self.point.slope[lowest]))
        seconds = time.perf_counter() - self.began
        self.trace.append(Iteration(criterion, slope, float(self.radius[lowest]), True, seconds))
        return len(self.trace)

    def kept(self, active: IntArray) -> IntArray:
        """Return the searches that are worth going on with.

        Not those near a lower one, nor those that leave next to nothing for the residual.
        """
        n_rounds = self.record()
        gone = [has_vanished(self.problem, square) for square in self.squares(active)]
        active = active[~np.array(gone, dtype=bool)]
        if n_rounds > _MANY_ROUNDS:
            excess = self.point.criterion[active] - np.nanmin(self.point.criterion)
            is_hopeless = excess > HOPELESS * self.predicted[active]
            self.is_dropped[active[is_hopeless]] = True
            active = active[~is_hopeless]
        if n_rounds % _ROUNDS:
            return active
        others = np.flatnonzero(np.isfinite(self.point.criterion) & ~self.is_dropped)
        others = others[np.argsort(self.point.criterion[others])]
        omegas = self.omegas(others)
        criterion = self.point.criterion[others]
        is_level = np.abs(criterion[:, None] - criterion) < LITTLE_HIGHER
        near = are_near(omegas[:, None], omegas) & is_level
        is_first = ~np.tril(near, -1).any(axis=1)
        self.is_dropped[others[~is_first & ~self.settled[others]]] = True
        return active[~self.is_dropped[active]]


def _starts(problem: Problem, begin: list[Blocks]) -> FloatArray:
    """Return covariances of the columns of all factors side by side, (n, K, K).

    What is the residual under another name has none.
    """
    ends = list(accumulate((structure.size for structure in problem.structures), initial=0))
    starts = np.zeros((len(begin), ends[-1], ends[-1]))
    for number, omegas in enumerate(begin):
        starts[number] = block_diagonal(omegas)
    starts = np.concatenate([starts, _designed(problem)])
    n_drawn = int(np.clip(_BUDGET / problem.n_effects**3 - len(starts), _LEAST_DRAWN, _N_DRAWN))
    starts = np.concatenate([starts, _drawn(problem, n_drawn)])
    for factor, place in enumerate(pairwise(ends)):
        if is_like_residual(problem, factor):
            starts[:, slice(*place)] = 0.0
    return starts


Term = tuple[Structure, slice, FloatArray]
"""A term, the place of its columns among those of all factors, and natural variances for it."""


def _terms(problem: Problem) -> list[Term]:
    """List the terms of all factors.

    A natural variance is 1, but for a variance shared by columns of different size, which has one
    for each: with it a column matters as much as the residual.
    """
    terms, start = [], 0
    for factor, structure in enumerate(problem.structures):
        sums = diagonal(problem.model.total(factor))
        for block, columns, _ in structure.slices():
            natural = np.ones(1)
            if block.one_unit and block.size > 1:
                natural = problem.n_observations / np.maximum(sums[columns], _LEAST_SUM)
                natural = np.exp2(np.unique(np.round(np.log2(natural))))
            terms.append((block, slice(start + columns.start, start + columns.stop), natural))
        start += structure.size
    return terms


def _designed(problem: Problem) -> FloatArray:
    """Return starts with every term large, left out, or of every natural size, (n, K, K)."""
    terms = _terms(problem)
    rows = [np.full(len(terms), _SLIGHT), np.ones(len(terms))]
    for number, (_, _, natural) in enumerate(terms):
        for others, size in [(_MEDIUM, _LARGE), (1.0, _SLIGHT), *((1.0, size) for size in natural)]:
            rows.append(np.where(np.arange(len(terms)) == number, size, others))
    variances = np.unique(rows, axis=0)
    size = terms[-1][1].stop
    starts = np.zeros((len(variances), size, size))
    for number, (block, place, _) in enumerate(terms):
        starts[:, place, place] = variances[:, number, None, None] * np.eye(block.size)
    return starts


def _drawn(problem: Problem, n: int) -> FloatArray:
    """Return starts with random roots of random size, (n, K, K)."""
    rng, terms = np.random.default_rng(_SEED), _terms(problem)
    size = terms[-1][1].stop
    starts = np.zeros((n, size, size))
    for block, place, natural in terms:
        theta = rng.standard_normal((n, block.n_theta))
        theta *= 10.0 ** rng.uniform(_SMALLEST, _LARGEST, (n, 1))
        lam = block.lam(theta, np.tile(block.natural_order, (n, 1)))
        starts[:, place, place] = lam @ transposed(lam) * rng.choice(natural, (n, 1, 1))
    return starts
