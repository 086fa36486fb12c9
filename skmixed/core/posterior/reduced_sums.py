"""[X y]'V^-1[X y] and log|V| at many lambdas at once, in scaled units.

With one factor, D = lambda'A lambda + I and T = D^-1/2 lambda', the first is [X y]'W[X y] less the
sum over levels of (T C)'(T C), C = Z'W[X y]. Products of two rows of C are made once, so that every
entry of T'T costs one matrix product for all lambdas.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import numpy as np

from skmixed.core.elimination.levels import (
    cholesky_plus_identity,
    multiply_levels,
    multiply_transposed,
)
from skmixed.core.elimination.protocol import Blocks, LostPrecisionError
from skmixed.core.linalg import FloatArray, IntArray
from skmixed.core.model.problem import Problem, collapsed
from skmixed.core.model.stack import LockstepData

_CELLS = 2e6  # levels times lambdas at a time: some arrays of 16 MB
_MOST_PRODUCTS = 3e7  # products of two columns, of all levels: 240 MB
_LAMBDAS_A_TASK = 64  # lambdas of several factors that a thread takes at a time

Progress = Callable[[int], object]
"""Called with the number of evaluations done since the last call."""


@dataclass(frozen=True, slots=True, eq=False)
class ReducedSums:
    """What is left of the sums of squares once the random effects are eliminated."""

    gram: FloatArray  # (R, p + 1, p + 1), [X y]'V^-1[X y]; NaN where digits are lost
    log_det: FloatArray  # (R,), log|V| less what the weights add

    def take(self, chosen: IntArray) -> ReducedSums:
        """Return those of some lambdas."""
        return ReducedSums(self.gram[chosen], self.log_det[chosen])

    @classmethod
    def joined(cls, parts: list[ReducedSums]) -> ReducedSums:
        """Put several in a row."""
        grams, dets = zip(*[(part.gram, part.log_det) for part in parts], strict=True)
        return cls(np.concatenate(grams), np.concatenate(dets))


class Reduction:
    """A problem, arranged to be evaluated at many lambdas."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    def at(self, lambdas: Blocks, n_jobs: int = 1, progress: Progress | None = None) -> ReducedSums:
        """Evaluate at R lambdas of every used factor, (R, k, k), in scaled units.

        Those of several factors are shared out among threads; results do not depend on how many.
        """
        if not lambdas:
            raise ValueError("a model without random effects has no lambda")
        n = len(lambdas[0])
        size = _LAMBDAS_A_TASK if self._one is None else self._one.n_at_once
        slices = [slice(start, start + size) for start in range(0, n, size)]

        def of_slice(chosen: slice) -> ReducedSums:
            part = [lam[chosen] for lam in lambdas]
            found = self._one.at(part[0]) if self._one is not None else self._by_single(part)
            if progress is not None:
                progress(len(part[0]))
            return found

        if n_jobs == 1 or len(slices) == 1:
            return ReducedSums.joined([of_slice(chosen) for chosen in slices])
        with ThreadPoolExecutor(n_jobs) as pool:
            return ReducedSums.joined(list(pool.map(of_slice, slices)))

    @cached_property
    def _one(self) -> OneFactor | None:
        """The only factor, where its products are not too many."""
        if len(self.problem.model.own) != 1:
            return None
        one = OneFactor.of(self.problem)
        return one if one.n_products <= _MOST_PRODUCTS else None

    def _by_single(self, lambdas: Blocks) -> ReducedSums:
        model, elimination = self.problem.model, self.problem.elimination
        q = len(model.gram)
        grams, dets = np.full((len(lambdas[0]), q, q), np.nan), np.full(len(lambdas[0]), -np.inf)
        for number, single in enumerate(zip(*lambdas, strict=True)):
            try:
                factorisation = elimination.factorise(list(single))
                reduced = factorisation.reduce(model.right)
            except (np.linalg.LinAlgError, LostPrecisionError):
                continue
            grams[number] = reduced.remaining(model.gram, model.within)
            dets[number] = factorisation.log_det
        return ReducedSums(grams, dets)


@dataclass(frozen=True, eq=False)
class OneFactor:
    """The sums of one factor; levels of equal size are put together where that changes nothing."""

    own: FloatArray  # (k, k, n_levels), Z'W Z
    right: FloatArray  # (k, p + 1, n_levels), Z'W[X y]
    gram: FloatArray  # (p + 1, p + 1), [X y]'W[X y]
    within: FloatArray | None  # (p + 1, p + 1), the same of deviations from means of the levels
    counts: FloatArray | None  # (n_levels,), how many levels each stands for

    @classmethod
    def of(cls, problem: Problem) -> OneFactor:
        """Take the sums of a problem with one factor."""
        model = collapsed(problem).model
        own, right, counts = model.own[0], model.right[0], model.times
        if counts is None and model.within is None:
            merged = LockstepData.of(problem, 1)
            own, counts = merged.own[:, :, 0], merged.counts
            right = np.concatenate([merged.fixed[:, :, 0], merged.response], axis=1)
        return cls(own, right, model.gram, model.within, counts)

    @property
    def n_products(self) -> int:
        """Number of products of two columns, of all levels."""
        k, q, n_levels = self.right.shape
        return int(k * (k + 1) // 2 * q * (q + 1) // 2 * n_levels)

    @property
    def n_at_once(self) -> int:
        """Number of lambdas to evaluate at a time."""
        k, _, n_levels = self.right.shape
        return max(1, int(_CELLS / (n_levels * k * k)))

    @cached_property
    def _products(self) -> FloatArray:
        """Products of rows a <= b of C, of columns i <= j, (pairs, columns, n_levels)."""
        k, q, _ = self.right.shape
        i, j = np.triu_indices(q)
        found = []
        for a, b in combinations_with_replacement(range(k), 2):
            product = self.right[a, i] * self.right[b, j]
            found.append(product if a == b else product + self.right[b, i] * self.right[a, j])
        return np.stack(found)

    def at(self, lambdas: FloatArray) -> ReducedSums:
        """Evaluate at R lambdas, (R, k, k)."""
        k, q, _ = self.right.shape
        root = lambdas.transpose(1, 2, 0)[..., None]
        own = self.own[:, :, None]
        inner = multiply_levels(multiply_transposed(root, own), root)
        lower, half, _ = cholesky_plus_identity(inner)
        logs = np.log(np.stack([lower[j, j] for j in range(k)])).sum(axis=0)
        log_det = 2.0 * (logs.sum(axis=1) if self.counts is None else logs @ self.counts)
        if self.within is not None:
            shares = (1.0 / (lower[0, 0] ** 2 * own[0, 0]))[None]
            base, sign = self.within, 1.0
        else:
            white = multiply_levels(half, root.swapaxes(0, 1))
            pairs = combinations_with_replacement(range(k), 2)
            shares = np.stack([(white[:, a] * white[:, b]).sum(axis=0) for a, b in pairs])
            base, sign = self.gram, -1.0
        total = sum(
            share @ product.T for share, product in zip(shares, self._products, strict=True)
        )
        gram = np.empty((len(lambdas), q, q))
        i, j = np.triu_indices(q)
        gram[:, i, j] = gram[:, j, i] = base[i, j] + sign * np.asarray(total)
        return ReducedSums(gram, np.asarray(log_det))
