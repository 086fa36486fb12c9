"""Many searches side by side, for models so small that they cost about as much as a few.

The criterion of few observations, of factors that resemble each other, or of one variance shared by
columns of different size can have more than one minimum. Starts are designed (each term large,
each left out) and drawn from a fixed seed, so that a fit is the same every time.
"""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass
from itertools import accumulate, pairwise, product

import numpy as np

from skmixed.core.elimination.protocol import Blocks
from skmixed.core.linalg import (
    BoolArray,
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
from skmixed.core.search.unbounded import NoMaximumError, criterion_far_out, has_vanished

_LARGE, _MEDIUM = 10.0, 0.1  # relative variances of the term that explains most, and of others
_SLIGHT = 0.01  # relative variance of a term that is to explain next to nothing
_LEAST_SUM = 1e-300  # divisor for a column of zeros
_FAR = 1e4  # relative variance beyond most of the first starts: a second round goes out there
_MOST_TERMS = 4  # of which every subset is tried far out, fifteen; of more, each and all but each
_N_DRAWN = 16  # starts that are drawn: of those there are, one in forty was needed
_LEAST_DRAWN = 4  # the same where an evaluation takes long
_BUDGET = 4e7  # cubes of the number of effects, over all starts: half a second or so
_MANY_ROUNDS = 12  # rounds after which a search that stands high and gains little is given up
_SOME_ROUNDS = 8  # the same where few of many searches are left, for which a round takes as long
_FEW_LEFT = 0.2  # of the searches: of 116 drawn designs none of so few ended below all others
_FAR_ABOVE = 5.0  # of the criterion above the lowest, where these few are given up
_SMALLEST, _LARGEST = -1.5, 2.5  # powers of ten between which drawn deviations lie
_FAR_SMALLEST, _FAR_LARGEST = -2.5, 0.5  # the same, in deviations as large as were found far out
_ROUNDS = 3  # between looks at which searches have come together
_SEED = 15  # of the draws: any number would do


@dataclass(frozen=True, slots=True, eq=False)
class Spread:
    """What many searches found, the lowest first."""

    omegas: list[Blocks]  # (k, k) of every factor, of the searches that ended apart
    criterion: FloatArray  # (n,), with the constant of the problem
    settled: BoolArray  # (n,), whether nothing leads down from where a search ended
    trace: tuple[Iteration, ...]  # the lowest after every round of all searches at a time

    def merged(self, other: Spread) -> Spread:
        """Return what two rounds of searches found."""
        criterion = np.concatenate([self.criterion, other.criterion])
        omegas, order = [*self.omegas, *other.omegas], np.argsort(criterion, kind="stable")
        settled = np.concatenate([self.settled, other.settled])[order]
        trace = self.trace + other.trace
        return Spread([omegas[i] for i in order], criterion[order], settled, trace)


def spread(problem: Problem, begin: list[Blocks], confounded: Collection[int] = ()) -> Spread:
    """Search a small problem from given covariances, from designed ones and from random ones.

    The criterion does not depend on confounded factors, whose variances are zero. Raises
    `NoMaximumError` where one of the searches meets a direction in which the criterion falls
    without end, and below the lowest end of all as long as there are digits.
    """
    factors = range(len(problem.structures))
    left_out = [f for f in factors if f in confounded or is_like_residual(problem, f)]
    found = _ends(problem, _without(left_out, problem, _starts(problem, begin)))
    lowest = found.omegas[0] if found.omegas else []
    largest = max((float(diagonal(omega).max()) for omega in lowest), default=0.0)
    if largest > _FAR:
        far = _without(left_out, problem, _far_starts(problem, largest))
        found = found.merged(_ends(problem, far))
    return found


def _ends(problem: Problem, starts: FloatArray) -> Spread:
    """Search from covariances of all columns, (n, K, K), side by side."""
    search = _SpreadSearch(problem, starts)
    search.run()
    criterion = search.point.criterion + problem.constant
    order = np.flatnonzero(np.isfinite(criterion) & ~search.is_dropped)
    order = order[np.argsort(criterion[order])]
    columns = search.places
    found = [[omega[place, place] for place in columns] for omega in search.omegas(order)]
    zipped = zip(found, search.squares(order), strict=True)
    far_out = np.array([_far_out(problem, omegas, square) for omegas, square in zipped])
    is_end = far_out == np.inf
    lowest = np.min(criterion[order[is_end]], initial=np.inf)
    if np.min(far_out, initial=np.inf) < lowest:
        raise NoMaximumError
    return Spread(
        [omegas for omegas, is_kept in zip(found, is_end, strict=True) if is_kept],
        criterion[order[is_end]],
        search.settled[order[is_end]],
        tuple(search.trace),
    )


def _far_out(problem: Problem, omegas: Blocks, square: float) -> float:
    """Return how low the criterion falls without end from where next to nothing is left.

    Infinite where it does not, or more than that is left.
    """
    if not has_vanished(problem, square):
        return np.inf
    roots = [semidefinite_root(omega) for omega in omegas]
    return min(criterion_far_out(problem), criterion_far_out(problem, roots))


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
        lowest = int(np.fmin(self.point.criterion, np.inf).argmin())
        criterion = float(self.point.criterion[lowest]) + self.problem.constant
        slope = float(np.linalg.norm(self.point.slope[lowest]))
        seconds = time.perf_counter() - self.began
        step, of = float(self.radius[lowest]), len(self.radius)
        self.trace.append(Iteration(criterion, slope, step, True, seconds, (0, of)))
        return len(self.trace)

    def kept(self, active: IntArray) -> IntArray:
        """Return the searches that are worth going on with.

        Not those near a lower one, nor those that leave next to nothing for the residual.
        """
        n_rounds = self.record()
        active = active[~has_vanished(self.problem, self.squares(active))]
        if n_rounds > _SOME_ROUNDS:
            excess = self.point.criterion[active] - np.fmin.reduce(self.point.criterion)
            is_hopeless = (excess > HOPELESS * self.predicted[active]) & (n_rounds > _MANY_ROUNDS)
            if len(active) <= _FEW_LEFT * len(self.is_dropped):
                is_hopeless |= excess > _FAR_ABOVE
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
    """Return covariances of the columns of all factors side by side, (n, K, K)."""
    ends = list(accumulate((structure.size for structure in problem.structures), initial=0))
    starts = np.zeros((len(begin), ends[-1], ends[-1]))
    for number, omegas in enumerate(begin):
        starts[number] = block_diagonal(omegas)
    starts = np.concatenate([starts, _designed(problem)])
    return np.concatenate([starts, _drawn(problem, _n_drawn(problem, len(starts)))])


def _far_starts(problem: Problem, size: float) -> FloatArray:
    """Return covariances drawn about a size far out, (n, K, K)."""
    return size * _drawn(problem, _n_drawn(problem, 0), _FAR_SMALLEST, _FAR_LARGEST)


def _n_drawn(problem: Problem, n_designed: int) -> int:
    """Return how many starts to draw beside those that are designed."""
    return int(np.clip(_BUDGET / problem.n_effects**3 - n_designed, _LEAST_DRAWN, _N_DRAWN))


def _without(factors: Collection[int], problem: Problem, starts: FloatArray) -> FloatArray:
    """Zero, in place, the variances of some factors."""
    ends = accumulate((structure.size for structure in problem.structures), initial=0)
    for factor, place in enumerate(pairwise(ends)):
        if factor in factors:
            starts[:, slice(*place)] = 0.0
    return starts


Term = tuple[Structure, slice, FloatArray]
"""A term, the place of its columns among those of all factors, and natural variances for it."""


def _terms(problem: Problem) -> list[Term]:
    """List the terms of all factors."""
    terms, start = [], 0
    for factor, structure in enumerate(problem.structures):
        for block, columns, _ in structure.slices():
            place = slice(start + columns.start, start + columns.stop)
            terms.append((block, place, natural_sizes(problem, factor, block, columns)))
        start += structure.size
    return terms


def natural_sizes(problem: Problem, factor: int, block: Structure, columns: slice) -> FloatArray:
    """Return natural variances, (n,), of a term.

    That is 1, but for a variance shared by columns of different size, which has one for each: with
    it a column matters as much as the residual.
    """
    if not block.one_unit or block.size == 1 or block.is_curve(problem.n_levels[factor]):
        return np.ones(1)
    sums = diagonal(problem.model.total(factor))[columns]
    natural = problem.n_observations / np.maximum(sums, _LEAST_SUM)
    return np.exp2(np.unique(np.round(np.log2(natural))))


def _designed(problem: Problem) -> FloatArray:
    """Return starts with every term large, left out, or of every natural size, (n, K, K)."""
    terms = _terms(problem)
    rows = [np.full(len(terms), _SLIGHT), np.ones(len(terms))]
    for number, (_, _, natural) in enumerate(terms):
        for others, size in [(_MEDIUM, _LARGE), (1.0, _SLIGHT), *((1.0, size) for size in natural)]:
            rows.append(np.where(np.arange(len(terms)) == number, size, others))
    few = problem.n_effects**3 * len(rows) < _BUDGET
    if few and problem.n_effects + problem.rank >= problem.n_observations:
        rows.extend(np.where(subset, _FAR, _SLIGHT) for subset in _subsets(len(terms)))
    return _diagonal_starts(terms, np.unique(rows, axis=0))


def _subsets(n: int) -> BoolArray:
    """Return subsets of n terms, (m, n): all of a few, else each and all but each."""
    if n <= _MOST_TERMS:
        return np.array(list(product([False, True], repeat=n))[1:])
    alone = np.eye(n, dtype=bool)
    return np.concatenate([alone, ~alone, [alone.any(axis=0)]])


def _diagonal_starts(terms: list[Term], variances: FloatArray) -> FloatArray:
    """Return covariances without correlations, (n, K, K), of the variances of terms, (n, m)."""
    size = terms[-1][1].stop
    starts = np.zeros((len(variances), size, size))
    for number, (block, place, _) in enumerate(terms):
        starts[:, place, place] = variances[:, number, None, None] * np.eye(block.size)
    return starts


def _drawn(
    problem: Problem, n: int, smallest: float = _SMALLEST, largest: float = _LARGEST
) -> FloatArray:
    """Return starts with random roots, (n, K, K), of random size between two powers of ten."""
    rng, terms = np.random.default_rng(_SEED), _terms(problem)
    size = terms[-1][1].stop
    starts = np.zeros((n, size, size))
    for block, place, natural in terms:
        theta = rng.standard_normal((n, block.n_theta))
        sizes = 10.0 ** rng.uniform(smallest, largest, (n, 1))
        lam = sizes[..., None] * block.lam(theta, np.tile(block.natural_order, (n, 1)))
        starts[:, place, place] = lam @ transposed(lam) * rng.choice(natural, (n, 1, 1))
    return starts
