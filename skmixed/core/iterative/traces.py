"""Z_f'V^-1 Z_f by random vectors, of which only a part of second order is random.

Let D be the blocks on the diagonal of A' of a factor that is not eliminated, E what is left of A',
and S = (I + D Omega)^-1. Then, exactly,

    Z_f'V^-1 Z_f = S D + S E S' - S E N E S',     N = Lambda_2 C^-1 Lambda_2'

The first is known, the second has nothing on the diagonal, and the last is z'S E N E S'z on average
over vectors z of random signs (Hutchinson 1990, doi:10.1080/03610919008812866). So what random
vectors estimate is small where levels meet little, and vanishes with the variance. For the
eliminated factor Z_1'V^-1 Z_1 = B A - B A_12 N A_21 B' in the same way, of which the part with the
blocks of the diagonal of C in its place is computed and not estimated. The part of N in the
directions that factors share (`skmixed.core.iterative.shared`) is computed, too.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from skmixed.core.iterative.complement import Complement
from skmixed.core.iterative.conjugate_gradients import Solved
from skmixed.core.iterative.products import times_levels
from skmixed.core.iterative.settings import Krylov
from skmixed.core.iterative.shared import Shared
from skmixed.core.layout import FloatArray
from skmixed.core.levels import multiply_levels, multiply_transposed

BATCH = 32
_AFFORDABLE, _MANY = 2_000_000_000, 128

Solver = Callable[[FloatArray, float], Solved]


@dataclass(frozen=True, slots=True, eq=False)
class Information:
    """Estimate of the sum of Z_f'V^-1 Z_f over levels.

    Parameters
    ----------
    known : ndarray of shape (k, k)
        The part that is computed.
    samples : ndarray of shape (n, k, k)
        What every random vector takes from it; the estimate takes their mean.
    """

    known: FloatArray
    samples: FloatArray

    @property
    def total(self) -> FloatArray:
        """The estimate, of shape (k, k)."""
        return np.asarray(self.known - self.samples.mean(axis=0))


class _Part(ABC):
    """Z_f'V^-1 Z_f of one factor as a part that is computed less one that is estimated."""

    known: FloatArray

    def __init__(self, c: Complement, shared: Shared) -> None:
        self.c = c
        self.shared = shared
        met = self.inward(shared.unwhitened)
        self.known = self.computed() - np.einsum(
            "als,st,blt->abl", met, shared.middle, met, optimize=True
        )

    @abstractmethod
    def computed(self) -> FloatArray:
        """Return what is computed but for the directions that are shared."""

    @abstractmethod
    def outward(self, effects: FloatArray) -> FloatArray:
        """Return Lambda_2'E S' or Lambda_2'A_21 B' times effects of shape (k, n_levels, m)."""

    @abstractmethod
    def inward(self, columns: FloatArray) -> FloatArray:
        """Return the transpose of that times columns."""

    def beyond(self, right: FloatArray, solution: FloatArray) -> FloatArray:
        """Return the part of a solution that is not computed beforehand."""
        shared = self.shared
        return solution - shared.unwhitened @ (shared.middle @ (shared.unwhitened.T @ right))


class _Eliminated(_Part):
    """Of the factor that is eliminated."""

    def computed(self) -> FloatArray:
        c = self.c
        own, shrinker = c.products.own[c.eliminated], c.level.shrinker
        forms = np.zeros_like(own)
        for f, level in c.levels.items():
            taken = multiply_transposed(level.whitener, level.whitener)
            forms += c.products.paired_forms(c.eliminated, f, taken)
        loss = multiply_levels(multiply_levels(shrinker, forms), shrinker.transpose(1, 0, 2))
        return multiply_levels(shrinker, own) - loss

    def outward(self, effects: FloatArray) -> FloatArray:
        c = self.c
        return c.scaled_back(c.back(times_levels(c.level.shrinker.transpose(1, 0, 2), effects)))

    def inward(self, columns: FloatArray) -> FloatArray:
        c = self.c
        return times_levels(c.level.shrinker, c.seen(c.scaled(columns)))

    def beyond(self, right: FloatArray, solution: FloatArray) -> FloatArray:
        return super().beyond(right, solution) - self.c.precondition(right)


class _Other(_Part):
    """Of a factor that is not eliminated."""

    def __init__(self, c: Complement, shared: Shared, factor: int) -> None:
        self.factor = factor
        self.shrinker = c.levels[factor].shrinker
        super().__init__(c, shared)

    def computed(self) -> FloatArray:
        return multiply_levels(self.shrinker, self.c.diagonal[self.factor])

    def outward(self, effects: FloatArray) -> FloatArray:
        c = self.c
        spread = np.zeros((c.stacking.width, effects.shape[2]))
        shrunk = times_levels(self.shrinker.transpose(1, 0, 2), effects)
        c.stacking.part(spread, self.factor)[:] = shrunk
        return c.scaled_back(c.beside(spread))

    def inward(self, columns: FloatArray) -> FloatArray:
        c = self.c
        met = c.beside(c.scaled(columns))
        return times_levels(self.shrinker, c.stacking.part(met, self.factor))


def estimate_total(
    c: Complement, shared: Shared, factor: int, settings: Krylov, solver: Solver
) -> Information:
    """Estimate the sum of Z_f'V^-1 Z_f of one factor over its levels.

    Parameters
    ----------
    c : Complement
        V, the largest factor eliminated.
    shared : Shared
        Directions that are computed.
    factor : int
        Which factor.
    settings : Krylov
        Number of random vectors. A factor of no more levels is computed with unit vectors.
    solver : callable
        Solves with C.

    Returns
    -------
    Information
        The estimate and its parts.
    """
    part = _part(c, shared, factor)
    k, _, n_levels = part.known.shape
    samples = []
    for vectors in _vectors(settings, factor, n_levels, k):
        m = vectors.shape[1]
        right = part.outward(_in_every_column(vectors, k))
        solution = solver(right, _tol(settings, factor, n_levels)).solution
        left = right.reshape(-1, k, m)
        beyond = part.beyond(right, solution).reshape(-1, k, m)
        samples.append(np.einsum("iam,ibm->mab", left, beyond, optimize=True))
    found = np.concatenate(samples)
    found = (found + found.transpose(0, 2, 1)) / 2.0
    if settings.is_exact(factor, n_levels):
        found = found.sum(axis=0, keepdims=True)
    return Information(part.known.sum(axis=2), found)


def estimate_levels(
    c: Complement, shared: Shared, factor: int, settings: Krylov, solver: Solver
) -> FloatArray:
    """Estimate Z_f'V^-1 Z_f of every level of one factor.

    Parameters
    ----------
    c : Complement
        V, the largest factor eliminated.
    shared : Shared
        Directions that are computed.
    factor : int
        Which factor.
    settings : Krylov
        Seed of the random vectors.
    solver : callable
        Solves with C.

    Returns
    -------
    ndarray of shape (k, k, n_levels)
        Computed with a unit vector for every level where that takes a minute or so, else estimated
        with 128 random vectors or more.
    """
    part = _part(c, shared, factor)
    k, _, n_levels = part.known.shape
    lost = np.zeros((k, k, n_levels))
    settings = replace(settings, by_factor=(), n_probes=_number_for_levels(c, settings, n_levels))
    n_vectors = 0
    for vectors in _vectors(settings, factor, n_levels, k):
        m = vectors.shape[1]
        right = part.outward(_in_every_column(vectors, k))
        solution = solver(right, _tol(settings, factor, n_levels)).solution
        seen = part.inward(part.beyond(right, solution)).reshape(k, n_levels, k, m)
        lost += np.einsum("albm,lm->abl", seen, vectors, optimize=True)
        n_vectors += m
    if not settings.is_exact(factor, n_levels):
        lost /= n_vectors
    return part.known - (lost + lost.transpose(1, 0, 2)) / 2.0


def _number_for_levels(c: Complement, settings: Krylov, n_levels: int) -> int:
    """Return a number of vectors: one for each level where that is affordable."""
    if n_levels * c.products.n_pairs <= _AFFORDABLE:
        return n_levels
    return max(settings.n_probes, _MANY)


def _part(c: Complement, shared: Shared, factor: int) -> _Part:
    return _Eliminated(c, shared) if factor == c.eliminated else _Other(c, shared, factor)


def _tol(settings: Krylov, factor: int, n_levels: int) -> float:
    return settings.tol if settings.is_exact(factor, n_levels) else settings.probe_tol


def _vectors(settings: Krylov, factor: int, n_levels: int, k: int) -> Iterator[FloatArray]:
    """Yield vectors of random signs, or the unit vectors if these are no more."""
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
    """Return effects with each vector in one of the k columns, of shape (k, n_levels, k m)."""
    n_levels, m = vectors.shape
    effects = np.zeros((k, n_levels, k, m))
    for a in range(k):
        effects[a, :, a] = vectors
    return effects.reshape(k, n_levels, k * m)
