"""Traces and the log-determinant of crossed factors by random vectors.

Of Z_f'V^-1 Z_f only a part of second order is random.
Let D be the blocks on the diagonal of A' of a factor that is not eliminated, E what is left of A',
and S = (I + D Omega)^-1. Then, exactly,

    Z_f'V^-1 Z_f = S D + S E S' - S E N E S',     N = Lambda_2 C^-1 Lambda_2'

The first is known, the second has nothing on the diagonal, and the last is z'S E N E S'z on average
over vectors z of random signs (Hutchinson 1990, doi:10.1080/03610919008812866). So what random
vectors estimate is small where levels meet little, and vanishes with the variance. For the
eliminated factor Z_1'V^-1 Z_1 = B A - B A_12 N A_21 B' in the same way, of which the part with the
blocks of the diagonal of C in its place is computed and not estimated. The part of N in the
directions that factors share is computed, too.

log|C| comes by stochastic Lanczos quadrature (Ubaru, Chen & Saad 2017, doi:10.1137/16M1104974).
With C = R C~ R' and R R' the preconditioner, log|C| = log|R R'| + tr log C~. Random vectors of
signs z give the trace as the mean of z'log(C~)z, by the Lanczos process that conjugate gradients go
through. Two things are known of C~ and taken out of what is random: its diagonal is one, so that
z'(C~ - I)z is zero on average; and its few eigenvalues near zero belong nearly to the directions
that the factors share.

What factors share are the few directions along which C, preconditioned, is nearly singular. A
constant for all levels of a factor can hardly be told from one of another factor, nor the effect of
a level of a small factor from a constant for those levels of others that meet it only. In them lie
the lowest eigenvalues of C~ = R^-1 C R'^-1, R R' being the preconditioner, and most of what is
random in traces and log-determinants. With Q an orthonormal basis of them and of what one step of
the preconditioned iteration makes of them, C~^-1 is about I + Q M Q' with M = (Q'C~Q)^-1 - I.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.elimination.iterative.complement import Complement, times_levels
from skmixed.core.elimination.iterative.conjugate_gradients import Solutions, quadrature, solve
from skmixed.core.elimination.iterative.settings import Krylov
from skmixed.core.elimination.levels import multiply_levels, multiply_transposed
from skmixed.core.linalg import FloatArray

BATCH = 32  # columns solved for together: they share passes over the pairs, at the cost of memory
_AFFORDABLE_WORK = 2_000_000_000  # levels times pairs of levels: a minute or so of unit vectors
_LEAST_LEVEL_VECTORS = 128  # nothing is averaged over levels, so that few vectors err too much

Solver = Callable[[FloatArray, float], Solutions]


@dataclass(frozen=True, slots=True, eq=False)
class TraceEstimate:
    """Estimate of Z_f'V^-1 Z_f summed over levels."""

    known: FloatArray  # (k, k), the part that is computed
    samples: FloatArray  # (n, k, k), what each random vector takes off; their mean counts

    @property
    def total(self) -> FloatArray:
        """The estimate, (k, k)."""
        return np.asarray(self.known - self.samples.mean(axis=0))


class _Split(ABC):
    """What the other factors take from Z_f'V^-1 Z_f: a part that is computed, one estimated."""

    def __init__(self, c: Complement, shared: SharedDirections) -> None:
        self.c = c
        self.shared = shared
        met = self.to_effects(shared.unwhitened)
        taken = np.einsum("als,st,blt->abl", met, shared.middle, met, optimize=True)
        self.taken = taken + self.computed()  # (k, k, n_levels), what is computed of it

    def computed(self) -> FloatArray | float:
        """Return what is computed outside the shared directions, (k, k, n_levels)."""
        return 0.0

    @abstractmethod
    def to_columns(self, effects: FloatArray) -> FloatArray:
        """Return Lambda_2'E S' or Lambda_2'A_21 B' times effects (k, n_levels, m), (width, m)."""

    @abstractmethod
    def to_effects(self, columns: FloatArray) -> FloatArray:
        """Return the transpose of that times columns of shape (width, m), (k, n_levels, m)."""

    def estimated(self, right: FloatArray, solution: FloatArray) -> FloatArray:
        """Return the part of a solution that is left to random vectors, (width, m)."""
        shared = self.shared
        return solution - shared.unwhitened @ (shared.middle @ (shared.unwhitened.T @ right))


class _EliminatedSplit(_Split):
    """The split for the factor that is eliminated."""

    def computed(self) -> FloatArray:
        c, shrinker = self.c, self.c.level.shrinker
        forms = np.zeros_like(shrinker)
        for f, level in c.levels.items():
            covariance = multiply_transposed(level.whitener, level.whitener)
            forms += c.products.paired_forms(c.eliminated, f, covariance)
        return multiply_levels(multiply_levels(shrinker, forms), shrinker.transpose(1, 0, 2))

    def to_columns(self, effects: FloatArray) -> FloatArray:
        c = self.c
        return c.scale_transposed(
            c.from_eliminated(times_levels(c.level.shrinker.transpose(1, 0, 2), effects))
        )

    def to_effects(self, columns: FloatArray) -> FloatArray:
        c = self.c
        return times_levels(c.level.shrinker, c.to_eliminated(c.scale(columns)))

    def estimated(self, right: FloatArray, solution: FloatArray) -> FloatArray:
        return super().estimated(right, solution) - self.c.precondition(right)


class _OtherSplit(_Split):
    """The split for a factor that is not eliminated."""

    def __init__(self, c: Complement, shared: SharedDirections, factor: int) -> None:
        self.factor = factor
        self.shrinker = c.levels[factor].shrinker
        super().__init__(c, shared)

    def to_columns(self, effects: FloatArray) -> FloatArray:
        c = self.c
        spread = np.zeros((c.layout.width, effects.shape[2]))
        shrunk = times_levels(self.shrinker.transpose(1, 0, 2), effects)
        c.layout.part(spread, self.factor)[:] = shrunk
        return c.scale_transposed(c.times_off_diagonal(spread))

    def to_effects(self, columns: FloatArray) -> FloatArray:
        c = self.c
        met = c.times_off_diagonal(c.scale(columns))
        return times_levels(self.shrinker, c.layout.part(met, self.factor))


def estimate_total(
    c: Complement, shared: SharedDirections, factor: int, settings: Krylov, solver: Solver
) -> TraceEstimate:
    """Estimate Z_f'V^-1 Z_f summed over the levels of one factor.

    A factor with few levels (`Krylov.is_exact`) is computed with unit vectors.
    """
    split = _split(c, shared, factor)
    k, _, n_levels = split.taken.shape
    samples = []
    for vectors in _vectors(settings, factor, n_levels, k):
        m = vectors.shape[1]
        right = split.to_columns(_in_every_column(vectors, k))
        solution = solver(right, _tol(settings, factor, n_levels)).solution
        left = right.reshape(-1, k, m)
        estimated = split.estimated(right, solution).reshape(-1, k, m)
        samples.append(np.einsum("iam,ibm->mab", left, estimated, optimize=True))
    found = np.concatenate(samples)
    found = (found + found.transpose(0, 2, 1)) / 2.0
    if settings.is_exact(factor, n_levels):
        found = found.sum(axis=0, keepdims=True)
    return TraceEstimate((c.alone(factor) - split.taken).sum(axis=2), found)


def estimate_taken(
    c: Complement, shared: SharedDirections, factor: int, settings: Krylov, solver: Solver
) -> FloatArray:
    """Estimate what the other factors take from Z_f'V^-1 Z_f of every level, (k, k, n_levels).

    It is computed with a unit vector for every level where that takes a minute or so, otherwise
    estimated with 128 random vectors or more.
    """
    split = _split(c, shared, factor)
    k, _, n_levels = split.taken.shape
    lost = np.zeros((k, k, n_levels))
    settings = replace(settings, by_factor=(), n_probes=_number_for_levels(c, settings, n_levels))
    n_vectors = 0
    for vectors in _vectors(settings, factor, n_levels, k):
        m = vectors.shape[1]
        right = split.to_columns(_in_every_column(vectors, k))
        solution = solver(right, _tol(settings, factor, n_levels)).solution
        seen = split.to_effects(split.estimated(right, solution)).reshape(k, n_levels, k, m)
        lost += np.einsum("albm,lm->abl", seen, vectors, optimize=True)
        n_vectors += m
    if not settings.is_exact(factor, n_levels):
        lost /= n_vectors
    return np.asarray(split.taken + (lost + lost.transpose(1, 0, 2)) / 2.0)


def _number_for_levels(c: Complement, settings: Krylov, n_levels: int) -> int:
    """Return a number of vectors: one for each level where that is affordable."""
    if n_levels * c.products.n_pairs <= _AFFORDABLE_WORK:
        return n_levels
    return max(settings.n_probes, _LEAST_LEVEL_VECTORS)


def _split(c: Complement, shared: SharedDirections, factor: int) -> _Split:
    return _EliminatedSplit(c, shared) if factor == c.eliminated else _OtherSplit(c, shared, factor)


def _tol(settings: Krylov, factor: int, n_levels: int) -> float:
    return settings.tol if settings.is_exact(factor, n_levels) else settings.probe_tol


def _vectors(settings: Krylov, factor: int, n_levels: int, k: int) -> Iterator[FloatArray]:
    """Yield vectors of random signs, (n_levels, m), or unit vectors where they are exact."""
    is_exact = settings.is_exact(factor, n_levels)
    n_vectors = n_levels if is_exact else settings.number(factor)
    step = max(1, BATCH // k)
    for start in range(0, n_vectors, step):
        chosen = range(start, min(start + step, n_vectors))
        if is_exact:
            yield np.eye(n_levels, len(chosen), -start)
        else:
            yield settings.signs(factor, n_levels, chosen)


def _in_every_column(vectors: FloatArray, k: int) -> FloatArray:
    """Return effects with each vector in one of the k columns, (k, n_levels, k m)."""
    n_levels, m = vectors.shape
    effects = np.zeros((k, n_levels, k, m))
    for a in range(k):
        effects[a, :, a] = vectors
    return effects.reshape(k, n_levels, k * m)


_STREAM = 2**31 - 1  # of the random vectors; the streams of traces are numbered by factor
_LANCZOS_TOL = 1e-5  # of the residual; quadrature errs by its square, far below Monte Carlo error
_MOST_VECTORS = 128  # in a small design; the error of 16 is nearly three times as large
_CHEAP_WORK = 200_000_000  # vectors times pairs of levels that a small design can afford


@dataclass(frozen=True, slots=True)
class LogDeterminant:
    """An estimate of log|C| and its Monte Carlo standard error."""

    value: float
    error: float


def log_determinant(c: Complement, shared: SharedDirections, settings: Krylov) -> LogDeterminant:
    """Estimate log|C|, with the standard error of the mean over random vectors.

    Small designs take more vectors than the settings say, up to 128.
    """
    width = c.layout.width
    values, vectors = np.linalg.eigh(shared.inner)
    directions, known = shared.basis @ vectors, np.log(values) - (values - 1.0)
    samples = []
    n_vectors = max(settings.n_probes, min(_MOST_VECTORS, _CHEAP_WORK // c.products.n_pairs))
    for start in range(0, n_vectors, BATCH):
        chosen = range(start, min(start + BATCH, n_vectors))
        signs = settings.signs(_STREAM, width, chosen)
        solved = solve(
            c, c.precondition, c.root(signs), _LANCZOS_TOL, settings.max_iter, keep_all=True
        )
        logs, first = quadrature(solved.lengths, solved.ratios, np.log)
        found = width * (logs - (first - 1.0))
        samples.append(found - known @ (np.square(directions.T @ signs) - 1.0))
    sample = np.concatenate(samples)
    error = float(sample.std(ddof=1) / np.sqrt(len(sample))) if len(sample) > 1 else np.inf
    return LogDeterminant(c.log_det_diagonal + float(sample.mean()), error)


_UNIT_VECTOR_EFFECTS = 64  # a factor with no more gets unit vectors, each a column of the basis
_NO_DIRECTION = 1e-6  # singular value, relative to the largest, below which a direction is rounding


@dataclass(frozen=True, slots=True, eq=False)
class SharedDirections:
    """The directions that factors share, and C~ on them."""

    basis: FloatArray  # Q, (width, s), orthonormal
    inner: FloatArray  # Q'C~Q, (s, s)
    unwhitened: FloatArray  # R'^-1 Q, (width, s)

    @classmethod
    def of(cls, c: Complement) -> SharedDirections:
        """Find the directions of one complement."""
        columns = _columns(c)
        columns = np.concatenate([columns, columns - c.precondition(c(columns))], axis=1)
        spread = c.root_transposed(columns)
        lengths = np.linalg.norm(spread, axis=0)
        spread = spread[:, lengths > 0.0] / lengths[lengths > 0.0]
        left, sizes, _ = np.linalg.svd(spread, full_matrices=False)
        basis = np.ascontiguousarray(left[:, sizes > _NO_DIRECTION * sizes[0]])
        unwhitened = c.precondition(c.root(basis))
        inner = unwhitened.T @ c(unwhitened)
        return cls(basis, (inner + inner.T) / 2.0, unwhitened)

    @property
    def middle(self) -> FloatArray:
        """M, (s, s)."""
        return np.linalg.inv(self.inner) - np.eye(len(self.inner))


def _columns(c: Complement) -> FloatArray:
    """Return constants for all levels and unit vectors of small factors, (width, n)."""
    columns = []
    for f, (k, n_levels) in zip(c.layout.factors, c.layout.shapes, strict=True):
        few = k * n_levels <= _UNIT_VECTOR_EFFECTS
        place = np.zeros((c.layout.width, k * n_levels if few else k))
        if few:
            place[c.layout.place(f)] = np.eye(k * n_levels)
        else:
            for a, part in enumerate(c.layout.part(place, f)):
                part[:, a] = 1.0
        columns.append(place)
    return np.concatenate(columns, axis=1)
